"""Curves that grow through a head, many at a time, and the tubes that are laid along them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.floating]
STEP_MM = 0.5
"""Distance between two points of a curve."""
CURL_POINTS = 16
"""A curve ends where it comes back to within `CURL_MM` of its own course so many points before."""
CURL_MM = 3.0
LEAST_POINTS = 3
"""A curve that could not get this far is none."""


@dataclass(frozen=True, eq=False)
class Field:
    """A smooth quantity over a box of the head, coarse where that is enough."""

    values: NDArray[np.float32]
    """Shape of the box, in blocks of `block` voxels."""
    block: int = 1
    """Voxels of 1 mm along an edge of a block."""

    def at(self, points: Array) -> NDArray[np.float32]:
        """Nearest values, for points (n, 3) in voxels of the box; beyond its border, those at the border."""
        shape = self.values.shape
        index = np.rint((points - (self.block - 1) / 2) / self.block).astype(np.intp)
        i, j, k = (index[:, a].clip(0, shape[a] - 1) for a in range(3))
        return self.values[i, j, k]

    def uphill(self, points: Array) -> NDArray[np.float64]:
        """Directions of steepest ascent, shape (n, 3), per voxel of 1 mm."""
        steps = self.block * np.eye(3)
        slopes = [(self.at(points + s) - self.at(points - s)) / (2.0 * self.block) for s in steps]
        return np.stack(slopes, axis=1).astype(np.float64)


Guide = Callable[[Array, Array, NDArray[np.intp]], Array]
"""Takes points, directions (n, 3) and the numbers of the curves; gives the pull on each."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """Where curves start."""

    points: Array
    """In voxels of the box, shape (n, 3)."""
    directions: Array
    """Where they set out to, shape (n, 3), of any length."""
    lengths_mm: Array
    """How long they want to be, shape (n,)."""


def grow(
    rng: np.random.Generator, seeds: Seeds, room: NDArray[np.bool_], guide: Guide, wiggle: Array
) -> list[NDArray[np.float64]]:
    """Let curves grow until they are long enough, leave the room they have, or curl up.

    Args:
        rng: of the wiggles.
        seeds: where they start.
        room: where they may be, over the box.
        guide: pulls them; a pull of length 1 turns a curve by about 30 degrees per millimetre.
        wiggle: size of the random pull on each, shape (n,).

    Returns:
        For each seed its points in voxels of the box, shape (m, 3), `STEP_MM` apart; m = 1 where it could
        not grow.
    """
    count = len(seeds.points)
    wanted = np.maximum(np.rint(seeds.lengths_mm / STEP_MM), 1).astype(np.intp)
    steps = int(wanted.max(initial=0))
    trace = np.empty((steps + 1, count, 3))
    trace[0] = seeds.points
    grown = np.zeros(count, np.intp)
    alive = np.arange(count)
    headings = unit(seeds.directions)
    for step in range(1, steps + 1):
        alive = alive[wanted[alive] >= step]
        if not len(alive):
            break
        points, heading = trace[step - 1, alive], headings[alive]
        pull = guide(points, heading, alive) + wiggle[alive, None] * rng.normal(size=points.shape)
        heading = unit(heading + 0.5 * STEP_MM * pull)
        # who would leave the room goes where it is pulled instead, and stops if that leads out as well
        aside = unit(0.5 * heading + 2.0 * pull)
        free = within(room, points + STEP_MM * heading)
        heading = np.where(free[:, None], heading, aside)
        points = points + STEP_MM * heading
        free |= within(room, points)
        if step > CURL_POINTS:
            free &= np.linalg.norm(points - trace[step - CURL_POINTS, alive], axis=1) > CURL_MM
        alive = alive[free]
        trace[step, alive], headings[alive] = points[free], heading[free]
        grown[alive] = step
    return [trace[: n + 1, c].copy() for c, n in enumerate(grown)]


def within(mask: NDArray[np.bool_], points: Array) -> NDArray[np.bool_]:
    """Whether points (n, 3), in voxels of the box, lie in a mask over it."""
    index = np.rint(points).astype(np.intp)
    inside = np.all((index >= 0) & (index < mask.shape), axis=1)
    i, j, k = np.where(inside[:, None], index, 0).T
    return np.asarray(inside & mask[i, j, k])


def unit(vectors: Array) -> NDArray[np.float64]:
    """Vectors of length 1; those of length 0 stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def level_pull(field: Field, level: float, points: Array, strength: float) -> NDArray[np.float64]:
    """Pull towards the surface on which a field has a value."""
    slope = field.uphill(points)
    return np.asarray(strength * (level - field.at(points))[:, None] * unit(slope))


def along_surface(rng: np.random.Generator, field: Field, points: Array) -> NDArray[np.float64]:
    """Random directions within the surface of equal values through each point."""
    normal = unit(field.uphill(points))
    drawn = rng.normal(size=points.shape)
    return unit(drawn - np.sum(drawn * normal, axis=1, keepdims=True) * normal)


def taper(
    rng: np.random.Generator, points: int, start_mm: float, end_mm: float, unevenness: float
) -> NDArray[np.float64]:
    """Radii along a curve: from one to the other, uneven over a few millimetres."""
    knots = rng.normal(0.0, unevenness, points // 6 + 2)
    uneven = np.exp(np.interp(np.arange(points) / 6, np.arange(len(knots)), knots))
    return np.asarray(np.linspace(start_mm, end_mm, points) * uneven)


def smoothed(mask: NDArray[np.bool_], sigma: float) -> Field:
    """A mask as a smooth field."""
    return Field(ndimage.gaussian_filter(mask.astype(np.float32), sigma, truncate=2.0))


def distance_from(mask: NDArray[np.bool_]) -> Field:
    """Millimetres from a mask of 1 mm voxels, in blocks of 2; infinite if it is empty."""
    block = 2
    pads = [(0, -n % block) for n in mask.shape]
    x, y, z = (n // block for n in np.pad(mask, pads).shape)
    coarse = np.pad(mask, pads).reshape(x, block, y, block, z, block).any(axis=(1, 3, 5))
    if not coarse.any():
        return Field(np.full(coarse.shape, np.inf, np.float32), block)
    return Field(ndimage.distance_transform_edt(~coarse).astype(np.float32) * block, block)
