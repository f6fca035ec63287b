"""Brain mask and coarse regions of any head image, by the anatomy network."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.anatomy.head_network import HeadNetwork, bundled_network
from shiva_cmb.anatomy.quality import LEAST_FOUND_CM3, quality_flags
from shiva_cmb.anatomy.regions import COARSE
from shiva_cmb.anatomy.rough_mask import rough_brain_mask
from shiva_cmb.anatomy.window import SPACING_MM
from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging import CropPad, Reorient, Resample, SpatialChain, Volume

LOOKS = 3
"""At most so many, each with the window about the brain that the one before found."""
NEAR_ENOUGH = 3
"""Voxels of 2 mm by which the window may be off without another look."""
TISSUE_MARGIN_MM = 1.0
"""How far from the edge of brain tissue a microbleed may lie: the network's edges are no finer, and bleeds
bloom. Measured: see "What lies in fluid" in docs/architecture.md."""
ROUGH_MARGIN_MM = 2.0
"""How far from a brain that only brightness told."""

Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What was found on an image, on its own grid."""

    brain: NDArray[np.bool_]
    """Everything inside the skull that a skull stripper keeps: brain, ventricles, sulci."""
    regions: NDArray[np.uint8] | None
    """Values of `regions.COARSE`, 0 outside of the brain. None where only brightness told the brain."""
    flags: tuple[str, ...]
    """What is not as expected, a line each; empty where all is well."""
    confidence: float
    """Mean probability of the class that was chosen, over the brain; 0 where only brightness told it."""
    volume_cm3: float
    """Of the brain mask."""
    searched: NDArray[np.bool_]
    """Where microbleeds may lie: in brain tissue and up to `TISSUE_MARGIN_MM` from it, as calcified choroid
    plexus and pineal gland look like bleeds, but lie in the midst of fluid. Where only brightness told the
    brain: in it and up to `ROUGH_MARGIN_MM` from it."""


@dataclass(frozen=True, eq=False)
class _Look:
    """The window, and what the network says of it."""

    crop: CropPad
    probabilities: NDArray[np.float32]
    inside: NDArray[np.bool_]

    @property
    def brain(self) -> NDArray[np.bool_]:
        return np.asarray(self.probabilities[..., 0] < 0.5)


def segment_head(image: Volume, note: Note = warn_user, *, network: HeadNetwork | None = None) -> Anatomy:
    """Find the brain and its coarse regions.

    Any contrast, voxel size, orientation and field of view, with the skull or without. The network works at
    2 mm; the mask follows the interpolated probability, so its edge is finer than that.

    Args:
        image: finite values.
        note: told what is not as expected of a brain.
        network: another than the bundled one.

    Returns:
        Mask and regions on the image's grid, with what is doubtful about them.

    Raises:
        ImageError: if nothing found has the size of a brain.
        ModelError: if the network cannot be used.
    """
    network = network or bundled_network()
    reorient = Reorient(image.grid)
    resample = Resample.to_spacing(reorient.target, (SPACING_MM,) * 3)
    small = SpatialChain((reorient, resample)).apply(image, order=1)
    look = _look_at_brain(small, network)
    pieces = _pieces(look.brain)
    least_cm3 = min(LEAST_FOUND_CM3, small.data.size * small.grid.voxel_volume_mm3 / 4000)
    if not pieces or pieces[0].sum() * look.crop.source.voxel_volume_mm3 / 1000 < least_cm3:
        return _by_brightness(image, note)
    brain = ndimage.binary_fill_holes(pieces[0])
    soft = np.where(ndimage.binary_dilation(brain), 1 - look.probabilities[..., 0], 0)
    soft[brain] = np.maximum(soft[brain], 0.5)
    regions = (look.probabilities[..., 1:].argmax(axis=-1) + 1).astype(np.uint8)
    chain = SpatialChain((reorient, resample, look.crop))
    window = look.crop.target
    native = chain.invert(Volume(soft.astype(np.float32), window.affine), order=1).data >= 0.5
    there = chain.invert(Volume(regions, window.affine), order=0).data
    confidence = float(look.probabilities.max(axis=-1)[brain].mean())
    flags = quality_flags(Volume(brain, window.affine), regions, look.inside, pieces, confidence)
    for flag in flags:
        note(flag)
    volume_cm3 = float(native.sum()) * image.grid.voxel_volume_mm3 / 1000
    searched = chain.invert(Volume(_nearness(regions, brain), window.affine), order=1).data >= 0.5
    found = np.where(native, there, 0).astype(np.uint8)
    return Anatomy(native, found, flags, confidence, volume_cm3, searched)


def _nearness(regions: NDArray[np.uint8], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """One half at `TISSUE_MARGIN_MM` from brain tissue, more within, 0 far away; on the window."""
    tissue = brain & np.isin(regions, list(COARSE))
    # distances go from middle to middle: half a voxel is tissue. The slope is over four voxels, so that
    # interpolation on a finer grid follows the distance
    distance_mm = (ndimage.distance_transform_edt(~tissue) - 0.5) * SPACING_MM
    return np.clip(0.5 - (distance_mm - TISSUE_MARGIN_MM) / (4 * SPACING_MM), 0, 1).astype(np.float32)


def _look_at_brain(small: Volume, network: HeadNetwork) -> _Look:
    """Look where the tissue is, then where the brain is."""
    bright = small.data > small.data.mean()
    start = _start_about(bright, network.window) if bright.any() else (0, 0, 0)
    for _ in range(LOOKS):
        look = _look(small, start, network)
        pieces = _pieces(look.brain)
        if not pieces:
            break
        box = ndimage.find_objects(pieces[0].astype(np.uint8))[0]
        middle = [first + (s.start + s.stop) / 2 for first, s in zip(start, box, strict=True)]
        better = _about(middle, network.window)
        if max(abs(a - b) for a, b in zip(start, better, strict=True)) <= NEAR_ENOUGH:
            break
        start = better
    values = look.crop.apply(small).data
    return replace(look, probabilities=network.mirrored_too(values, look.inside, look.probabilities))


def _look(small: Volume, start: Triple, network: HeadNetwork) -> _Look:
    crop = CropPad(small.grid, start, network.window)
    inside = crop.apply(Volume(np.ones(small.shape, bool), small.affine)).data
    values = crop.apply(small).data
    return _Look(crop, network.probabilities(values, inside), inside)


def _start_about(mask: NDArray[np.bool_], window: Triple) -> Triple:
    """First voxel of a window about the middle of a mask's mass."""
    return _about([c + 0.5 for c in ndimage.center_of_mass(mask)], window)


def _about(middle: list[float], window: Triple) -> Triple:
    x, y, z = (round(m - n / 2) for m, n in zip(middle, window, strict=True))
    return x, y, z


def _pieces(brain: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The largest connected piece, and the second largest if there is one."""
    labels, count = ndimage.label(brain)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [labels == number + 1 for number in np.argsort(-sizes)[:2]]


def _by_brightness(image: Volume, note: Note) -> Anatomy:
    """Where the network sees no brain: an estimate that knows only bright from dark."""
    try:
        brain = rough_brain_mask(image)
    except ImageError as error:
        raise ImageError(f"the anatomy network found no brain, and {error}") from error
    flag = (
        "the anatomy network found no brain: where it is was estimated from brightness alone, and regions "
        "are not known; look at the image, or give a brain mask"
    )
    note(flag)
    distance_mm = ndimage.distance_transform_edt(~brain, sampling=image.grid.spacing_mm)
    volume_cm3 = float(brain.sum()) * image.grid.voxel_volume_mm3 / 1000
    return Anatomy(brain, None, (flag,), 0.0, volume_cm3, distance_mm <= ROUGH_MARGIN_MM)
