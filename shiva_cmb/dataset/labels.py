"""Labels on the model grid, without losing, breaking or joining a single bleed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import DataError, Note, UsageError, warn_user
from shiva_cmb.evaluation.lesion_set import LesionSet, grouped, lesions_of_mask
from shiva_cmb.imaging.alignment import resample_to_grid
from shiva_cmb.imaging.volume import Grid, Volume
from shiva_cmb.lesions.apart import lesions_on_grid

IGNORED = 2
"""Marks voxels of a model label that count neither way."""
ROUNDING = 1e-3
"""What a header's scale factor may add to a whole number."""
MOST_VALUES = 8
"""So many values of a label are named."""


@dataclass(frozen=True)
class LabelValues:
    """What the values in a label mean. Whatever is in neither list is background."""

    lesion: tuple[int, ...] = ()
    """Values of lesions; empty: everything above 0.5 that is not ignored."""
    ignore: tuple[int, ...] = ()
    """Values of voxels that count neither way."""

    def __post_init__(self) -> None:
        for name, values in (("lesion_values", self.lesion), ("ignore_values", self.ignore)):
            if 0 in values:
                raise UsageError(f"{name}: expected values other than 0, which is background, got {values}")
        both = sorted(set(self.lesion) & set(self.ignore))
        if both:
            raise UsageError(f"the label value {both[0]} is among both lesion_values and ignore_values")

    def lesions_in(self, data: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the lesions are in a label of finite values, same shape."""
        if self.lesion:
            return _is_one_of(data, self.lesion)
        return np.asarray(data > 0.5) & ~self.ignored_in(data)

    def truth_in(self, data: NDArray[Any]) -> NDArray[np.uint8]:
        """1 in lesions, 2 in voxels that count neither way, else 0; same shape."""
        return np.where(self.ignored_in(data), IGNORED, self.lesions_in(data)).astype(np.uint8)

    def ignored_in(self, data: NDArray[Any]) -> NDArray[np.bool_]:
        """Which voxels count neither way in a label of finite values, same shape."""
        return _is_one_of(data, self.ignore)


@dataclass(frozen=True, eq=False)
class ModelLabel:
    """Where the bleeds are on the model grid."""

    mask: NDArray[np.uint8]
    """1 in bleeds, 2 in voxels that count neither way, shape of the grid."""
    lesions: LesionSet
    """Each native bleed that lies on the grid, by its own voxels; named by its number in the native label."""

    @property
    def centres(self) -> NDArray[np.intp]:
        """A voxel in the middle of each bleed, one of its own, shape (n, 3)."""
        chosen = []
        for number, centroid in enumerate(self.lesions.centroids):
            voxels = self.lesions.indices(number)
            chosen.append(voxels[np.square(voxels - centroid).sum(axis=1).argmin()])
        return np.array(chosen, np.intp).reshape(-1, 3)


def require_label(data: NDArray[Any], values: LabelValues, name: str) -> None:
    """Refuse what is no label, such as an image, before its lesions are taken from it.

    Fractions between 0 and 1 are a soft mask, cut above one half; all other values have to be whole numbers,
    and negative ones have to be explained: many tools mark what they do not know by -1.

    Raises:
        DataError: if a value is not finite, a fraction outside 0 to 1, or negative without a meaning.
    """
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise DataError(f"the label {name} holds NaN or infinite values: write 0 where there is no bleed")
    outside = data[(data < -ROUNDING) | (data > 1 + ROUNDING)]
    if (np.abs(outside - np.rint(outside)) > ROUNDING).any():
        raise DataError(
            f"the label {name} is not binary, it holds {named_values(data)}: expected whole numbers, or"
            " fractions from 0 to 1; is it an image?"
        )
    unknown = outside[(outside < 0) & ~values.ignored_in(outside)]
    if unknown.size and not values.lesion:
        raise DataError(
            f"the label {name} holds {named_values(unknown)}: if it counts neither way, name it"
            " (--ignore-values); if it is background, name the lesion values (--lesion-values)"
        )


def named_values(data: NDArray[Any]) -> str:
    """The values that are there, for messages: `0, 1, 2`, or the first ones and how many others."""
    found = np.unique(data)
    named = ", ".join(f"{value:g}" for value in found[:MOST_VALUES])
    return named + (f" and {len(found) - MOST_VALUES} others" if len(found) > MOST_VALUES else "")


def label_to_model_grid(
    label: Volume,
    grid: Grid,
    name: str,
    *,
    values: LabelValues = LabelValues(),
    note: Note = warn_user,
) -> ModelLabel:
    """Bring a native label to the model grid by world coordinates, one bleed at a time.

    Each 26-connected component is one bleed. It keeps its volume and stays in one piece, and no two of them
    touch on the model grid wherever that can be had; see `lesions_on_grid`. Voxels that count neither way
    never cover one of a bleed.

    Args:
        label: finite values, any grid.
        grid: the model grid.
        name: of the label, for messages.
        values: what its values mean.
        note: told when bleeds lie outside the grid, and when some are too near to be told apart on it.

    Raises:
        DataError: see `require_label`; and if it has bleeds and none of them lies on the grid.
    """
    require_label(label.data, values, name)
    native = lesions_of_mask(values.lesions_in(label.data), label.grid)
    placed = lesions_on_grid([native.indices(number) for number in range(len(native))], label.grid, grid)
    found = np.array([len(voxels) > 0 for voxels in placed.voxels], bool)
    if len(native) and not found.any():
        raise DataError(f"no bleed of {name} lies in the image's brain: does it belong to this image?")
    if not found.all():
        note(
            f"{np.sum(~found)} of {len(native)} bleeds of {name} lie outside the model grid and are left out"
        )
    if placed.touching:
        touching = {number for pair in placed.touching for number in pair}
        note(
            f"{len(touching)} of {len(native)} bleeds of {name} lie too near to each other to be kept apart"
            " on the model grid: they touch there"
        )
    mask = np.zeros(grid.shape, np.uint8)
    mask[_ignored_on_grid(label, values, grid)] = IGNORED
    lesions = _as_set(placed.voxels, native.names, grid)
    mask.ravel()[lesions.voxels] = 1
    return ModelLabel(mask, lesions)


def _as_set(voxels: Sequence[NDArray[np.intp]], names: NDArray[np.int64], grid: Grid) -> LesionSet:
    """Those that have voxels, under their names."""
    kept = [number for number, own in enumerate(voxels) if len(own)]
    if not kept:
        return grouped(grid, np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.int64))
    flat = [np.ravel_multi_index(tuple(voxels[number].T), grid.shape) for number in kept]
    owner = np.repeat(np.arange(len(kept)), [len(own) for own in flat])
    everything = np.concatenate(flat).astype(np.intp)
    order = np.argsort(everything)
    return grouped(grid, everything[order], owner[order], names[kept])


def _ignored_on_grid(label: Volume, values: LabelValues, grid: Grid) -> NDArray[np.bool_]:
    """Voxels that are half ignored, or hold the middle of a native voxel that is."""
    ignored = values.ignored_in(label.data)
    result = np.zeros(grid.shape, bool)
    if not ignored.any():
        return result
    places = np.rint(grid.to_voxel(label.grid.to_world(np.argwhere(ignored)))).astype(np.intp)
    places = places[np.all((places >= 0) & (places < grid.shape), axis=1)]
    result[tuple(places.T)] = True  # where the model grid is the coarser one
    result |= resample_to_grid(label.with_data(ignored.astype(np.float32)), grid) >= 0.5  # the finer one
    return result


def _is_one_of(data: NDArray[Any], values: tuple[int, ...]) -> NDArray[np.bool_]:
    if not values:
        return np.zeros(data.shape, bool)
    rounded = np.rint(data)
    return np.isin(rounded, values) & (np.abs(data - rounded) <= ROUNDING)
