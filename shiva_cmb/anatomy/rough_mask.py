"""A rough brain mask without a network: enough to centre the model grid and to scale intensities."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Reorient, Resample, SpatialChain, Volume

WORKING_SPACING_MM = 2.0
NECK_RADII_MM = (15.0, 10.0, 6.0)
"""Connections thinner than twice this (optic nerves, spinal cord, muscle behind dropout) are cut off. The
first is best on whole heads; the others are for small or much divided brains."""
REACH_MM = 2.5
"""How much further than it was eroded the brain grows back into gyri."""
CLOSING_MM = 5.0
"""Sulci, sinuses and dropout narrower than twice this are filled."""
BRAIN_HEIGHT_MM = 165.0
"""From the top of the head to below the cerebellum."""
TOP_AREA_CM2 = 10.0
LARGEST_HOLE_CM3 = 20.0
"""Dark regions inside tissue up to this size (bleeds, veins, iron-rich nuclei) count as tissue."""
PLAUSIBLE_CM3 = (250.0, 2600.0)
PART_OF_HEAD_CM3 = 600.0
"""A smaller field of view holds only part of a head, and may be brain throughout."""
MIDDLE_MM = 40.0
"""Around the middle of the head the tissue is brain, so its median is the brain's brightness."""
CEILING = 1.2
HISTOGRAM_BINS = 256


def rough_brain_mask(image: Volume) -> NDArray[np.bool_]:
    """Estimate the brain on any SWI or T2* image, with the skull or without.

    The skull is dark, so the brain is the largest piece of bright tissue once thin bridges are cut: tissue by
    Otsu's threshold, eroded, largest piece, grown back, closed, filled; at 2 mm. Expect about 0.96 Dice on
    a whole head; the lower end of the brain stem and the skull base are where it is wrong.

    Args:
        image: finite values, any orientation and voxel size.

    Returns:
        True in the brain, shape of `image`. Holes (dark bleeds, veins) are filled.

    Raises:
        ImageError: if nothing found has the size of a brain.
    """
    reorient = Reorient(image.grid)
    chain = SpatialChain((reorient, Resample.to_spacing(reorient.target, (WORKING_SPACING_MM,) * 3)))
    small = chain.apply(image, order=1)
    brain = _search(small)
    native = chain.invert(small.with_data(brain.astype(np.float32)), order=1).data
    return np.asarray(native >= 0.5)


def _search(small: Volume) -> NDArray[np.bool_]:
    """The brain on the working grid: the widest cut that leaves something of plausible size."""
    spacing = small.spacing_mm
    voxel_cm3 = small.grid.voxel_volume_mm3 / 1000
    field_cm3 = small.data.size * voxel_cm3
    part_of_head = field_cm3 < PART_OF_HEAD_CM3
    least, most = PLAUSIBLE_CM3
    if part_of_head:
        least = min(least, field_cm3 / 4)
    tissue = _without_neck(_fill_holes(small.data > _tissue_threshold(small), spacing), spacing)
    guess_cm3 = 0.0
    for radius_mm in NECK_RADII_MM:
        brain = ndimage.binary_fill_holes(_close(_largest_core(tissue, spacing, radius_mm), spacing))
        volume_cm3 = float(brain.sum()) * voxel_cm3
        if least <= volume_cm3 <= most:
            return np.asarray(brain)
        guess_cm3 = max(guess_cm3, volume_cm3)
    if part_of_head:
        return np.ones_like(tissue)
    raise ImageError(
        f"no brain found in the image (best guess {guess_cm3:.0f} cm3, expected {least:.0f} to {most:.0f}): "
        "give a brain mask"
    )


def _tissue_threshold(small: Volume) -> float:
    """Between bone and brain: Otsu's threshold once fat and vessels, brighter than brain, are cut off."""
    data = small.data - small.data.min()
    inside = data > _otsu(np.sqrt(data)) ** 2  # the root keeps bright fat from being a class of its own
    centre = ndimage.center_of_mass(inside)
    axes = [
        (np.arange(n) - c) * size for n, c, size in zip(data.shape, centre, small.spacing_mm, strict=True)
    ]
    x, y, z = np.ogrid[tuple(slice(0, n) for n in data.shape)]
    near = axes[0][x] ** 2 + axes[1][y] ** 2 + axes[2][z] ** 2 < MIDDLE_MM**2
    level = float(np.median(data[near & inside])) if (near & inside).any() else float(data.max())
    return _otsu(np.minimum(data, CEILING * level)) + float(small.data.min())


def _otsu(data: NDArray[np.float32]) -> float:
    """The threshold that separates two classes of values best (Otsu 1979)."""
    low, high = data.min(), data.max()
    counts, edges = np.histogram(data, bins=HISTOGRAM_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = counts.sum() - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = mass / below - (mass[-1] - mass) / above
        between = np.nan_to_num(below * above * difference**2)
    return float(centres[between.argmax()])


def _fill_holes(tissue: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Fill small enclosed dark regions; the skull is a large one and stays."""
    labels, count = ndimage.label(~tissue)
    sizes_cm3 = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing) / 1000
    small = sizes_cm3 < LARGEST_HOLE_CM3
    small[0] = False
    return tissue | small[labels]


def _without_neck(tissue: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Drop what lies further below the top of the head than any brain reaches."""
    area_cm2 = tissue.sum(axis=(0, 1)) * spacing[0] * spacing[1] / 100
    wide = np.flatnonzero(area_cm2 > TOP_AREA_CM2)
    if wide.size:
        tissue = tissue.copy()
        tissue[..., : max(0, int(wide[-1] - BRAIN_HEIGHT_MM / spacing[2]))] = False
    return tissue


def _largest_core(
    tissue: NDArray[np.bool_], spacing: tuple[float, float, float], radius_mm: float
) -> NDArray[np.bool_]:
    """The largest piece of tissue after an opening, with what lies just around it."""
    if tissue.all():
        return tissue
    depth_mm = ndimage.distance_transform_edt(tissue, sampling=spacing)
    labels, count = ndimage.label(depth_mm > radius_mm)
    if count == 0:
        return np.zeros_like(tissue)
    core = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    from_core_mm = ndimage.distance_transform_edt(~core, sampling=spacing)
    return np.asarray(tissue & (from_core_mm <= radius_mm + REACH_MM))


def _close(brain: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Morphological closing by distances, so that it is round whatever the spacing."""
    margin = int(np.ceil(CLOSING_MM / min(spacing))) + 1
    padded = np.pad(brain, margin)
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing) <= CLOSING_MM
    shrunk = ndimage.distance_transform_edt(grown, sampling=spacing) > CLOSING_MM
    return np.asarray(shrunk[(slice(margin, -margin),) * 3] | brain)
