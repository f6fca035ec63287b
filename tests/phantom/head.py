"""The shape of a made-up head, and its tissues on a T2*-weighted image."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging.volume import Grid
from tests.phantom.paint import smooth_field

ADULT_HEAD_MM = 164.0
"""Mean of the default head's extents; skin, skull and cortex get thinner in smaller heads in proportion."""

SKULL_STARTS_MM, SKULL_ENDS_MM, BRAIN_STARTS_MM = 5.0, 10.5, 12.5
"""Depth under the skin of an adult head at which each layer starts."""

SKIN, SKULL, FLUID, CORTEX, WHITE = 0.75, 0.08, 1.0, 0.85, 0.7
"""Brightness of each tissue on a T2*-weighted image, relative to fluid."""

VENTRICLES = [((side * 0.13, 0.0, 0.12), (0.08, 0.30, 0.13)) for side in (-1, 1)]
PALLIDUM = [((side * 0.30, 0.05, -0.02), (0.08, 0.12, 0.09)) for side in (-1, 1)]
AIR = [((0.0, 0.62, -0.62), (0.22, 0.16, 0.18))]
"""Centre and half axes of ellipsoids, as fractions of the head's half extents."""


@dataclass(frozen=True, eq=False)
class Head:
    """An ellipsoid whose axes are the world's."""

    centre_mm: NDArray[np.float64]
    """Its centre in world millimetres (RAS)."""
    half_mm: NDArray[np.float64]
    """Half of its width, length and height."""

    @property
    def scale(self) -> float:
        """Size against an adult head."""
        return float(2.0 * self.half_mm.mean() / ADULT_HEAD_MM)

    def depth_mm(self, offsets_mm: NDArray[np.floating]) -> NDArray[np.floating]:
        """Distance to the skin along the ray from the centre, positive inside, for offsets (3, ...)."""
        distance = np.sqrt(sum(x * x for x in offsets_mm)) + 1e-3
        relative = np.sqrt(sum((x / h) ** 2 for x, h in zip(offsets_mm, self.half_mm.tolist(), strict=True)))
        return distance / (relative + 1e-3 / self.half_mm.mean()) - distance

    def brain_depth_mm(self, points_mm: NDArray[np.float64]) -> NDArray[np.floating]:
        """Distance to the brain's surface, positive inside, for world points (n, 3)."""
        return self.depth_mm((points_mm - self.centre_mm).T) - BRAIN_STARTS_MM * self.scale

    def ellipsoid(
        self,
        offsets_mm: NDArray[np.floating],
        part: tuple[tuple[float, float, float], tuple[float, float, float]],
    ) -> NDArray[np.floating]:
        """Squared radius, below 1 inside, of a part given in fractions of the head, for offsets (3, ...)."""
        axes = zip(offsets_mm, *part, self.half_mm.tolist(), strict=True)
        return sum((x * (1.0 / (h * half)) - centre / half) ** 2 for x, centre, half, h in axes)


def tissue(rng: np.random.Generator, head: Head, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Paint scalp, skull, fluid, cortex, white matter, ventricles, iron-rich nuclei and an air-filled sinus.

    Returns:
        Signal relative to fluid and the brain mask, both of the grid's shape.
    """
    index = np.ogrid[tuple(slice(n) for n in grid.shape)]
    origin = grid.affine[:3, 3] - head.centre_mm
    offsets = np.empty((3, *grid.shape), np.float32)
    for axis in range(3):
        steps = [float(grid.affine[axis, a]) * index[a] for a in range(3)]
        offsets[axis] = steps[0] + (steps[1] + steps[2] + float(origin[axis]))
    depth = head.depth_mm(offsets).astype(np.float32) / np.float32(head.scale)
    brain = depth > BRAIN_STARTS_MM

    # Brightness against depth: np.interp between these gives every border a partial-volume ramp of 1 mm.
    borders = [0.0, SKULL_STARTS_MM, SKULL_ENDS_MM, BRAIN_STARTS_MM]
    levels = [0.0, SKIN, SKULL, FLUID, CORTEX]
    knots = [border + shift for border in borders for shift in (-0.5, 0.5)]
    values = [level for pair in pairwise(levels) for level in pair]
    signal = np.interp(depth, knots, values).astype(np.float32)

    # Sulci are thin sheets of fluid where a smooth field crosses zero, open to the surface; the cortex is a
    # ribbon along them and under the surface.
    folds = np.abs(smooth_field(rng, grid, 9.0 * head.scale))
    under = depth - BRAIN_STARTS_MM
    fluid = np.clip(1.4 - 10.0 * folds, 0.0, 1.0) * np.clip((15.0 - under) / 5.0, 0.0, 1.0)
    fissure = (offsets[2] > 0.1 * head.half_mm[2]) * np.clip((28.0 - under) / 5.0, 0.0, 1.0)
    fluid = np.maximum(fluid, np.clip(1.7 - np.abs(offsets[0]), 0.0, 1.0) * fissure)
    cortex = np.clip(3.0 - 5.0 * folds, 0.0, 1.0) * np.clip((19.0 - under) / 3.0, 0.0, 1.0)
    cortex = np.maximum(cortex, np.clip(4.0 - under, 0.0, 1.0))
    signal += (WHITE - signal) * brain * (1.0 - cortex)
    signal += (FLUID - signal) * brain * fluid
    for parts, level, soft in ((VENTRICLES, FLUID, 4.0), (PALLIDUM, 0.5, 1.5), (AIR, 0.05, 1.0)):
        for part in parts:
            inside = np.clip((1.0 - head.ellipsoid(offsets, part)) * soft + 0.5, 0.0, 1.0)
            signal += (level - signal) * inside * (depth > SKULL_STARTS_MM)
    signal *= 1.0 + np.float32(0.02) * smooth_field(rng, grid, 4.0)
    return signal, brain
