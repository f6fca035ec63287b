"""Which voxels show a bleed, and whether it can be seen at all: the rule of the generated truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.boxes import Box, box_around, world_points

LOSS = 0.30
"""A voxel belongs to a bleed where it has lost more than this of its signal."""
LEAST_LOSS = 0.25
"""A bleed that takes less than this of every voxel is not visible,"""
LEAST_CNR = 5.0
"""nor one whose largest loss is less than this many times the noise."""
PART_OF_PEAK = 0.75
"""Where no voxel loses `LOSS`, the bleed is where they lose this much of its largest loss."""

NOTHING, BLEED, IGNORED = 0, 1, 2
"""Values of the label."""


@dataclass(frozen=True)
class BleedFacts:
    """How one bleed looks in an image."""

    contrast: float
    """Its largest loss of signal in a voxel, against the same image without bleeds: 0 to 1."""
    cnr: float
    """The signal lost there over the noise's standard deviation."""
    visible: bool
    """Whether both are enough: the others are to be ignored, not missed."""
    voxels: int
    """Of its mask; 0: outside of the image."""
    volume_mm3: float
    """Of its mask."""
    diameter_mm: float
    """Of the ball of that volume."""


def visible_mask(
    with_: NDArray[np.floating],
    without: NDArray[np.floating],
    grid: Grid,
    sigma: float,
    centres_mm: ArrayLike,
    extents_mm: Sequence[float],
) -> tuple[NDArray[np.uint8], tuple[BleedFacts, ...]]:
    """Label the voxels in which bleeds can be seen.

    Args:
        with_: see `numbered_mask`, as the others.
        without: the same image without bleeds.
        grid: where the voxels lie.
        sigma: standard deviation of the noise that the image gets.
        centres_mm: the bleeds' places.
        extents_mm: the radii of their cores.

    Returns:
        0 nothing, 1 visible bleed, 2 to be ignored, shape of the grid; and facts on each bleed, in order.
    """
    numbers, facts = numbered_mask(with_, without, grid, sigma, centres_mm, extents_mm)
    return label_of(numbers, facts), facts


class _Seen(Protocol):
    @property
    def visible(self) -> bool: ...


def label_of(numbers: NDArray[np.int16], facts: Sequence[_Seen]) -> NDArray[np.uint8]:
    """0 nothing, 1 visible bleed, 2 to be ignored, for a map of bleeds numbered from 1, in their order."""
    values = [NOTHING, *(BLEED if one.visible else IGNORED for one in facts)]
    return np.array(values, np.uint8)[numbers]


def numbered_mask(
    with_: NDArray[np.floating],
    without: NDArray[np.floating],
    grid: Grid,
    sigma: float,
    centres_mm: ArrayLike,
    extents_mm: Sequence[float],
) -> tuple[NDArray[np.int16], tuple[BleedFacts, ...]]:
    """Mark each bleed by its number, from 1.

    A bleed's mask are the voxels that lose more than `LOSS` and hang together (26 neighbours) with its place;
    voxels between two bleeds go to the nearer one.

    Args:
        with_: noise-free magnitude with the bleeds, shape of the grid.
        without: the same image without them.
        grid: where the voxels lie.
        sigma: standard deviation of the noise that the image gets.
        centres_mm: the bleeds' places in world millimetres, shape (n, 3).
        extents_mm: radius about the place within which a mask may begin (the core's), and three times which
            (and 4 mm more) it may reach, n of them.

    Returns:
        Number of the bleed in each voxel, shape of the grid; and facts on each bleed, in order.
    """
    numbers = np.zeros(grid.shape, np.int16)
    centres = np.asarray(centres_mm, np.float64).reshape(-1, 3)
    facts = []
    for number, extent_mm in enumerate(extents_mm):
        box = box_around(grid, centres[number], 3 * extent_mm + 4.0)
        if any(s.start >= s.stop for s in box):
            facts.append(BleedFacts(0.0, 0.0, False, 0, 0.0, 0.0))
            continue
        lost = np.asarray(without[box] - with_[box], np.float32)
        loss = lost / np.maximum(without[box], max(sigma, 1e-12)).astype(np.float32)
        distance_mm, nearest = _distances(grid, box, centres, number)
        loss[~nearest] = 0
        mask, peak = _piece(loss, distance_mm, extent_mm + max(grid.spacing_mm) / 2)
        contrast, cnr = float(loss[peak]), float(lost[peak]) / max(sigma, 1e-12)
        visible = bool(contrast >= LEAST_LOSS and cnr >= LEAST_CNR)
        numbers[box][mask] = number + 1
        voxels = int(mask.sum())
        volume = voxels * grid.voxel_volume_mm3
        diameter_mm = float(np.cbrt(6 * volume / np.pi))
        facts.append(BleedFacts(max(contrast, 0.0), max(cnr, 0.0), visible, voxels, volume, diameter_mm))
    return numbers, tuple(facts)


def _distances(
    grid: Grid, box: Box, centres: NDArray[np.float64], number: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distance of each voxel from a bleed's place, and whether no other bleed is nearer."""
    world = world_points(grid, box)
    own = np.linalg.norm(world - centres[number], axis=-1)
    nearest = np.ones(own.shape, bool)
    reach = 2 * float(own.max())
    for other, centre in enumerate(centres):
        if other != number and np.linalg.norm(centre - centres[number]) < reach:
            nearest &= own <= np.linalg.norm(world - centre, axis=-1)
    return own, nearest


def _piece(
    loss: NDArray[np.float32], distance_mm: NDArray[np.float64], start_mm: float
) -> tuple[NDArray[np.bool_], tuple[np.intp, ...]]:
    """The voxels that hang together with a place, and the one of largest loss among them."""
    start = distance_mm <= start_mm
    start.flat[distance_mm.argmin()] = True
    level = LOSS
    if loss[start].max() <= LOSS:
        level = PART_OF_PEAK * float(loss[start].max())
    if level <= 0:  # nothing is lost here
        mask = np.zeros(loss.shape, bool)
        mask.flat[distance_mm.argmin()] = True
    else:
        pieces, _ = ndimage.label(loss > level, np.ones((3, 3, 3)))
        wanted = np.unique(pieces[start])
        mask = np.isin(pieces, wanted[wanted > 0])
    return mask, np.unravel_index(np.where(mask, loss, -np.inf).argmax(), loss.shape)
