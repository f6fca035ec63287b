"""Real heads as label maps: reading, deforming, and what their labels are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.anatomy.regions import COARSE, Side
from shiva_cmb.errors import DataError, Note, warn_user
from shiva_cmb.imaging import Grid, Reorient, Resample, SpatialChain, Volume, read_volume
from shiva_cmb.synthesis.specks import without_specks

WORKING_SPACING_MM = 1.0
MARGIN_MM = 4.0
"""Air around the head that is kept."""
NECK_MM = 190.0
"""What lies further below the top of the head is cut off: no scan of the brain reaches there."""
KNOT_MM = 24.0
"""Distance between the control points of a random deformation."""
MOST_UNKNOWN = 0.1
"""Of a label map's voxels that are not 0: above that it is something else, such as a scan."""

BUNDLED = Path(__file__).parent / "heads" / "head_14.nii.gz"
"""Apache-2.0, Billot et al. 2023, "SynthSeg"; cropped. Its licence lies beside it."""

OUTSIDE, WHITE, CORTEX, CSF, VENTRICLE = 0, 1, 2, 3, 4
THALAMUS, CAUDATE, PUTAMEN, PALLIDUM, DIENCEPHALON, ACCUMBENS = 5, 6, 7, 8, 9, 10
HIPPOCAMPUS, AMYGDALA, BRAINSTEM, CEREBELLAR_WHITE, CEREBELLAR_CORTEX = 11, 12, 13, 14, 15
ARTERY, VEIN, EYE, SOFT, MUSCLE, MUCOSA, SKIN, CORD, BONE, MARROW, NERVE = range(16, 27)

TISSUE_NAMES = (
    *("outside", "white matter", "cortex", "CSF", "ventricle"),
    *("thalamus", "caudate", "putamen", "pallidum", "ventral diencephalon", "accumbens"),
    *("hippocampus", "amygdala", "brain stem", "cerebellar white matter", "cerebellar cortex"),
    *("artery", "vein", "eye", "soft tissue", "muscle", "mucosa", "skin", "spinal cord"),
    *("cortical bone", "bone marrow", "optic nerve"),
)
"""In the order of the numbers above."""

_LABELS: dict[int, tuple[int, ...]] = {
    WHITE: (2, 41, 25, 57, 77, 78, 79, 251, 252, 253, 254, 255),
    CORTEX: (3, 42, 19, 55),
    CSF: (24,),
    VENTRICLE: (4, 43, 5, 44, 14, 15, 72, 31, 63),
    THALAMUS: (9, 48, 10, 49),
    CAUDATE: (11, 50),
    PUTAMEN: (12, 51, 136, 137),
    PALLIDUM: (13, 52),
    DIENCEPHALON: (28, 60, 163, 164),
    ACCUMBENS: (26, 58),
    HIPPOCAMPUS: (17, 53),
    AMYGDALA: (18, 54),
    BRAINSTEM: (16,),
    CEREBELLAR_WHITE: (7, 46),
    CEREBELLAR_CORTEX: (8, 47, 6, 45),
    ARTERY: (502, 30, 62),
    VEIN: (514,),
    EYE: (506,),
    SOFT: (507,),
    MUSCLE: (508,),
    MUCOSA: (509,),
    SKIN: (511,),
    CORD: (512,),
    BONE: (515,),
    MARROW: (516,),
    NERVE: (530, 85),
}
"""FreeSurfer's labels within the brain, and those of the SynthSeg training maps around it."""
_RIGHT = frozenset((41, 42, 43, 44, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 57, 58, 60, 62, 63, 137, 164))
NERVOUS = (WHITE, CORTEX, *range(THALAMUS, CEREBELLAR_CORTEX + 1))
"""Brain tissue proper."""
DEEP = (THALAMUS, CAUDATE, PUTAMEN, PALLIDUM, DIENCEPHALON, ACCUMBENS)
INFRATENTORIAL = (BRAINSTEM, CEREBELLAR_WHITE, CEREBELLAR_CORTEX)
SPECKLED = (OUTSIDE, ARTERY, VEIN, SOFT, MUSCLE, MUCOSA, SKIN, BONE, MARROW)
"""Tissues whose pieces of a few voxels are slips of the segmentation; small pieces of others are real."""

REGION_NAMES: Mapping[int, tuple[str, Side]] = {
    **{value: (place.region, place.side or "midline") for value, place in COARSE.items()},
    6: ("ventricle", "midline"),
    7: ("CSF", "midline"),
}
"""Values of a map of coarse regions; 0 is outside of the brain."""


@dataclass(frozen=True, eq=False)
class HeadMap:
    """A head as somebody labelled it."""

    name: str
    """Of the subject: no head may be on both sides of a fold."""
    labels: Volume
    """FreeSurfer's and SynthSeg's values, int16, 1 mm, axes right, anterior, superior; cropped."""


@dataclass(frozen=True, eq=False)
class DeformedHead:
    """A head of a shape that nobody has, on the working grid: 1 mm, axes right, anterior, superior."""

    name: str
    """Of the subject whose map was deformed."""
    labels: NDArray[np.int16]
    """FreeSurfer's and SynthSeg's values, shape (x, y, z)."""
    grid: Grid
    """Where they lie."""

    @cached_property
    def tissues(self) -> NDArray[np.uint8]:
        """Numbers of `TISSUE_NAMES`, shape of the grid."""
        return tissues_of(self.labels)

    @cached_property
    def brain(self) -> NDArray[np.bool_]:
        """Everything within the skull that is no blood vessel of the dura: brain, ventricles, all fluid.

        Skull strippers differ most in how much fluid they keep; this is the largest of their masks, so that
        no bleed at the surface is lost.
        """
        tissue = np.isin(self.tissues, (*NERVOUS, VENTRICLE))
        if not tissue.any():
            return tissue
        lowest = np.flatnonzero(tissue.any(axis=(0, 1)))[0]
        within = tissue | np.isin(self.tissues, (CSF, NERVE))
        within[:, :, :lowest] = False  # the fluid goes on around the spinal cord
        pieces, _ = ndimage.label(within)
        largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        return np.asarray(ndimage.binary_fill_holes(largest))

    @cached_property
    def regions(self) -> NDArray[np.uint8]:
        """Coarse regions, values of `REGION_NAMES`, shape of the grid."""
        return regions_of(self.labels, self.tissues, self.brain)

    def at(self, values: NDArray[np.generic], points_mm: NDArray[np.floating]) -> NDArray[np.generic]:
        """Values of the nearest voxel at world points (n, 3); 0 outside of the grid."""
        index = np.rint(self.grid.to_voxel(points_mm)).astype(np.intp)
        inside = np.all((index >= 0) & (index < self.grid.shape), axis=-1)
        found = np.zeros(index.shape[:-1], values.dtype)
        found[inside] = values[tuple(index[inside].T)]
        return found


def tissues_of(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Numbers of `TISSUE_NAMES` for label values; unknown labels are outside."""
    table = np.zeros(1024, np.uint8)
    for tissue, values in _LABELS.items():
        table[list(values)] = tissue
    return table[np.clip(labels, 0, 1023)]


def regions_of(
    labels: NDArray[np.integer], tissues: NDArray[np.uint8], brain: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Coarse regions (values of `REGION_NAMES`) of a label map; 0 outside of the brain."""
    right = np.isin(labels, list(_RIGHT))
    regions = np.zeros(labels.shape, np.uint8)
    regions[brain] = 7
    lobar = np.isin(tissues, (WHITE, CORTEX, HIPPOCAMPUS, AMYGDALA))
    deep = np.isin(tissues, DEEP)
    regions[lobar], regions[deep] = 1, 3
    regions[(lobar | deep) & right] += 1
    regions[np.isin(tissues, INFRATENTORIAL)] = 5
    regions[tissues == VENTRICLE] = 6
    return regions


def read_head_map(path: str | Path, note: Note = warn_user) -> HeadMap:
    """Read one label map, crop it to the head, and take out its specks.

    Args:
        path: NIfTI of whole numbers: FreeSurfer's labels in the brain, SynthSeg's 5xx around it.
        note: told of repairs.

    Raises:
        ImageError: if it cannot be read.
        DataError: if its values are no such labels.
    """
    volume = read_volume(path, note=note)
    reorient = Reorient(volume.grid)
    steps = (reorient, Resample.to_spacing(reorient.target, (WORKING_SPACING_MM,) * 3))
    whole = SpatialChain(steps).apply(volume.with_data(volume.data.astype(np.int16)), order=0)
    tissues = tissues_of(whole.data)
    unknown = np.count_nonzero((tissues == OUTSIDE) & (whole.data != 0)) / max(
        int(np.count_nonzero(whole.data)), 1
    )
    if unknown > MOST_UNKNOWN or not np.isin(tissues, (WHITE, CORTEX)).any():
        raise DataError(
            f"{path}: expected a label map with FreeSurfer's values (2 and 41 white matter, 3 and 42 cortex, "
            f"...), found {unknown:.0%} of unknown ones: give a map like those that SynthSeg was trained on"
        )
    box = _head_box(tissues)
    data = np.where(tissues[box] != OUTSIDE, whole.data[box], 0).astype(np.int16)
    data = without_specks(data, tissues[box], SPECKLED)
    affine = whole.affine.copy()
    affine[:3, 3] = whole.grid.to_world([s.start for s in box])
    return HeadMap(_head_name(Path(path)), Volume(data, affine))


def read_head_maps(
    folder: str | Path, names: Sequence[str] | None = None, note: Note = warn_user
) -> tuple[HeadMap, ...]:
    """Read the label maps of a folder, in the order of their names.

    Args:
        folder: where `NAME.nii.gz` lie.
        names: only these; None: all.
        note: told of repairs.

    Raises:
        DataError: if there is none, or one that is named is not there.
    """
    return tuple(read_head_map(path, note) for path in head_map_paths(folder, names).values())


def names_of_head_maps(folder: str | Path) -> tuple[str, ...]:
    """The names of a folder's label maps, without reading them.

    Raises:
        DataError: if there is none.
    """
    return tuple(head_map_paths(folder))


def head_map_paths(folder: str | Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """The files of a folder's label maps, by their names and in this order.

    Args:
        folder: where `NAME.nii.gz` lie.
        names: only these; None: all.

    Raises:
        DataError: if there is none, or one that is named is not there.
    """
    files = (path for ending in ("nii", "nii.gz") for path in Path(folder).glob(f"*.{ending}"))
    paths = {_head_name(path): path for path in sorted(files) if path.is_file()}
    if not paths:
        raise DataError(f"{folder}: expected a folder with label maps (*.nii.gz), found none")
    for name in names or ():
        if name not in paths:
            raise DataError(f"{folder}: there is no label map {name}; it holds {', '.join(paths)}")
    return {name: path for name, path in paths.items() if names is None or name in names}


def _head_name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def bundled_head() -> HeadMap:
    """The head that comes with the package: one of the label maps that were published with SynthSeg."""
    return read_head_map(BUNDLED)


def deform(rng: np.random.Generator, head: HeadMap, *, strength: float = 1.0) -> DeformedHead:
    """A head of another shape: scaled, sheared, bent smoothly, and mirrored half of the time.

    Args:
        rng: where the shape comes from.
        head: the real one.
        strength: 0 leaves the head as it is; 1: about 5 % in size and 3 mm in place.
    """
    labels = head.labels.data
    if strength > 0 and rng.random() < 0.5:
        labels = mirrored(labels)
    shape = np.array(labels.shape)
    matrix = np.eye(3) + strength * (np.diag(rng.normal(0, 0.05, 3)) + rng.normal(0, 0.02, (3, 3)))
    middle = (shape - 1) / 2
    knots = np.ceil(shape / KNOT_MM).astype(int) + 2
    bends = rng.normal(0, 3.0 * strength, (3, *knots)).astype(np.float32)
    # the target grows with the head, so that nothing is cut
    target = np.ceil(shape * np.clip(1 / np.diag(matrix), 1.0, 1.3)).astype(int)
    if strength == 0:
        target = shape
    places = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in target]
    at = []
    for axis in range(3):
        bend = _from_knots(bends[axis], target)
        for other in range(3):
            bend += np.float32(matrix[axis, other]) * np.expand_dims(
                places[other], [a for a in range(3) if a != other]
            )
        bend += np.float32(middle[axis])
        at.append(np.rint(bend, out=bend).astype(np.int32))
    inside = np.logical_and.reduce([(a >= 0) & (a < n) for a, n in zip(at, shape, strict=True)])
    taken = labels[tuple(np.clip(a, 0, n - 1) for a, n in zip(at, shape, strict=True))]
    affine = head.labels.affine.copy()
    affine[:3, 3] = head.labels.grid.to_world(middle) - affine[:3, :3] @ ((target - 1) / 2)
    x, y, z = (int(n) for n in target)
    return DeformedHead(head.name, np.where(inside, taken, 0).astype(np.int16), Grid((x, y, z), affine))


def mirrored(labels: NDArray[np.int16]) -> NDArray[np.int16]:
    """Left and right exchanged: the array along its first axis, and the labels of the sides."""
    table = np.arange(1024, dtype=np.int16)
    for left, right in _PAIRS.items():
        table[left], table[right] = right, left
    return np.ascontiguousarray(table[labels[::-1]])


_PAIRS = {
    **{2: 41, 3: 42, 4: 43, 5: 44, 7: 46, 8: 47, 6: 45, 9: 48, 10: 49, 11: 50, 12: 51, 13: 52, 17: 53},
    **{18: 54, 19: 55, 25: 57, 26: 58, 28: 60, 30: 62, 31: 63, 136: 137, 163: 164},
}
"""Left label to right label."""


def _from_knots(knots: NDArray[np.float32], shape: NDArray[np.integer]) -> NDArray[np.float32]:
    """A smooth field through control points that lie evenly over a grid: cubic B-splines, one axis a time."""
    field = knots
    for n in shape:
        place = np.linspace(0.5, field.shape[0] - 1.5, int(n))
        distance = np.abs(place[:, None] - np.arange(field.shape[0])[None])
        inner = 2 / 3 - distance**2 + distance**3 / 2
        outer = np.clip(2 - distance, 0, None) ** 3 / 6
        weights = np.where(distance < 1, inner, outer).astype(np.float32)
        field = np.tensordot(field, weights, axes=(0, 1))  # each turn moves the next axis to the front
    return np.ascontiguousarray(field)


def _head_box(tissues: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """Where the head is, with a margin of air; the neck ends `NECK_MM` below the top."""
    box = ndimage.find_objects((tissues > 0).astype(np.uint8))[0]
    margin = int(MARGIN_MM)
    slices = [slice(max(s.start - margin, 0), s.stop + margin) for s in box]
    slices[2] = slice(max(slices[2].start, int(box[2].stop - NECK_MM)), slices[2].stop)
    return slices[0], slices[1], slices[2]
