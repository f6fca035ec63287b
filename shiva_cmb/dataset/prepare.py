"""One case on the model grid: what the networks learn from."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.fingerprint import image_fingerprint
from shiva_cmb.dataset.labels import LabelValues, ModelLabel, label_to_model_grid
from shiva_cmb.errors import DataError, Note, warn_user
from shiva_cmb.evaluation.lesion_set import LesionSet
from shiva_cmb.imaging import Preprocessing, read_volume
from shiva_cmb.prediction.inputs import on_model_grid, read_subject


@dataclass(frozen=True)
class PrepareSettings:
    """How cases are brought to the model grid."""

    preprocessing: Preprocessing
    """As in prediction."""
    mask_input: bool = False
    """Whether everything outside the brain mask is set to zero, and bleeds there are left out."""
    values: LabelValues = field(default_factory=LabelValues)
    """What the values in the labels mean."""


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a `.npy` file that is opened for each look at it.

    An open memory map holds a file handle: two for each of 500 cases are about all that a process is commonly
    allowed. Opening takes a tenth of a millisecond.
    """

    path: Path
    """The file."""
    shape: tuple[int, ...]
    """Of the array."""
    dtype: np.dtype[Any]
    """Of its values."""

    def __getitem__(self, part: Any) -> NDArray[Any]:
        """A copy of a part; only its pages are read from disk."""
        try:
            return np.array(np.load(self.path, mmap_mode="r")[part])
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read {self.path}: {error}; was the cache removed, or an input changed, meanwhile?"
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case on the model grid."""

    name: str
    """Of the case."""
    patient: str
    """Of the case."""
    image: "NDArray[np.float32] | StoredArray"
    """Scaled intensities, shape (x, y, z, channels)."""
    brain: "NDArray[np.uint8] | StoredArray"
    """1 in the brain mask, shape (x, y, z)."""
    label: "NDArray[np.uint8] | StoredArray"
    """1 in bleeds, 2 in voxels that count neither way, shape (x, y, z)."""
    lesions: LesionSet
    """Each bleed by its own voxels, with the model grid of the case."""
    brain_box: NDArray[np.intp]
    """First and last voxel of the brain along each axis, shape (2, 3)."""
    fingerprint: str
    """Of the images' content, see `image_fingerprint`; one after the other."""
    digest: str = ""
    """Checksum of `image`, `brain` and `label`, if they are kept in files."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the model grid."""
        x, y, z = self.label.shape
        return x, y, z

    @cached_property
    def centres(self) -> NDArray[np.intp]:
        """A voxel in the middle of each bleed, one of its own, shape (bleeds, 3)."""
        return ModelLabel(np.zeros(0, np.uint8), self.lesions).centres


@dataclass(frozen=True, eq=False)
class CaseArrays:
    """What is kept of a case, whatever its name."""

    image: NDArray[np.float32]
    """See `PreparedCase`."""
    brain: NDArray[np.uint8]
    """See `PreparedCase`."""
    label: NDArray[np.uint8]
    """See `PreparedCase`."""
    lesions: LesionSet
    """See `PreparedCase`."""
    brain_box: NDArray[np.intp]
    """See `PreparedCase`."""
    fingerprint: str
    """See `PreparedCase`."""


def prepare_arrays(case: Case, how: PrepareSettings, *, note: Note = warn_user) -> CaseArrays:
    """Read one case and bring it to the model grid exactly as `predict` would.

    Args:
        case: its files.
        how: see `PrepareSettings`.
        note: told what was repaired, guessed or left out.

    Raises:
        ImageError: if an image or the mask cannot be used.
        DataError: if the label cannot be used.
    """
    subject = read_subject(case.images, case.mask, note=note)
    inputs = on_model_grid(subject, how.preprocessing, note)
    native_label = read_volume(case.label, note=note)
    if not native_label.grid.matches(subject.grid):
        note(f"the label {case.label} is on another grid than its image: it is placed by world coordinates")
    grid = inputs[0].image.grid
    label = label_to_model_grid(native_label, grid, str(case.label), values=how.values, note=note)
    image = np.stack([item.image.data for item in inputs], axis=-1).astype(np.float32, copy=False)
    inside = inputs[0].brain if inputs[0].brain is not None else np.ones(grid.shape, bool)
    mask, lesions = label.mask, label.lesions
    if how.mask_input:
        image, mask = image * inside[..., None], mask * inside
        lesions = _within(lesions, inside)
        left_out = len(label.lesions) - len(lesions)
        if left_out:
            note(f"{left_out} bleeds of {case.label} lie outside the brain mask and are left out")
    fingerprint = " ".join(image_fingerprint(channel) for channel in subject.channels)
    return CaseArrays(image, inside.astype(np.uint8), mask, lesions, _box(inside, case), fingerprint)


def _within(lesions: LesionSet, inside: NDArray[np.bool_]) -> LesionSet:
    """What of each lesion lies inside; those that do not reach inside are gone."""
    kept = inside.ravel()[lesions.voxels]
    sizes = np.bincount(lesions.owner[kept], minlength=len(lesions))
    starts = np.concatenate(([0], np.cumsum(sizes[sizes > 0]))).astype(np.intp)
    return LesionSet(lesions.grid, lesions.voxels[kept], starts, lesions.names[sizes > 0])


def _box(inside: NDArray[np.bool_], case: Case) -> NDArray[np.intp]:
    """First and last index along each axis, shape (2, 3)."""
    extents = []
    for axis in range(3):
        filled = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        if not filled.size:
            raise DataError(f"{case.mask or case.images[0]}: the brain mask is empty on the model grid")
        extents.append((filled[0], filled[-1]))
    return np.array(extents, np.intp).T
