"""What a small magnetic thing does to the signal around it: its dipole field, averaged over each voxel."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.boxes import Box, box_around
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.shapes import Ball

FINE_MM = 0.25
"""Longest step between the points whose signals are averaged."""
MOST_POINTS = 400_000
"""Of them about one ball; around large ones, where fewer do, they are further apart."""
FAINT_RAD = 0.02
"""Where the phase is smaller than this the thing ends."""
FARTHEST_MM = 25.0
"""It ends there at the latest: a big one's field would fill the head."""
SMOOTH_RAD = 0.4
"""Where the phase changes by less than this over a voxel, one point in its middle is enough."""
FADING = 0.3
"""Last part of the reach over which the phase fades to nothing, so that no edge is seen."""


class _Dipoles(NamedTuple):
    """Balls, and what they do at the echo time."""

    centres_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    surface_rad: float
    """Phase on a ball's equator, with the other sign; at its poles it is twice as large."""
    core_signal: float
    """Left of the signal inside of them."""
    b0: NDArray[np.float64]
    middle_mm: NDArray[np.float64]
    reach_mm: float


def attenuation(
    ball: Ball,
    chi_ppm: float,
    r2s_core: float,
    grid: Grid,
    te_s: float,
    b0_t: float,
    b0_direction: ArrayLike,
) -> tuple[Box, NDArray[np.complex64]]:
    """The complex factor that a ball's field and its own decay put on the signal of each voxel near it.

    The field of a ball is exact (a dipole outside, nothing inside). That of several overlapping balls is the
    sum of theirs, with the moment of their union. The factor is the mean over the voxel of
    exp(+i phase), times exp(-r2s_core TE) in the core. Near the core the mean is taken over points at most
    `FINE_MM` apart, each for the small box around it (a linear phase over a box leaves a sinc of the signal).

    Args:
        ball: where it is; kind does not matter.
        chi_ppm: susceptibility relative to brain (SI): bleeds and veins positive, calcium negative.
        r2s_core: how much faster the signal decays inside than in the brain, 1/s.
        grid: any voxels: anisotropic, oblique, thick.
        te_s: echo time.
        b0_t: field strength.
        b0_direction: unit vector of the field in world coordinates.

    Returns:
        The box of the grid's array in which the factor is not 1, and the factor there, complex64; an empty
        box if the ball lies too far outside.
    """
    dipoles = _dipoles(ball, chi_ppm, r2s_core, te_s, b0_t, b0_direction)
    box = box_around(grid, dipoles.middle_mm, dipoles.reach_mm)
    factor = _means(dipoles, grid, box, (1, 1, 1))
    # the phase's slope falls with the fourth power: 3 * phase / r
    span_mm = max(grid.spacing_mm)
    strength = abs(dipoles.surface_rad) * float((dipoles.radii_mm**3).sum())
    extent_mm = _extent_mm(ball)
    near_mm = (6 * strength * span_mm / SMOOTH_RAD) ** 0.25
    near_mm = min(max(near_mm, extent_mm + span_mm), dipoles.reach_mm)
    inner = box_around(grid, dipoles.middle_mm, near_mm)
    voxels = np.prod([s.stop - s.start for s in inner])
    fine_mm = max(FINE_MM, float(voxels * grid.voxel_volume_mm3 / MOST_POINTS) ** (1 / 3))
    parts = [int(np.ceil(step / fine_mm)) for step in grid.spacing_mm]
    place = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, box, strict=True))
    factor[place] = _means(dipoles, grid, inner, (parts[0], parts[1], parts[2]))
    return box, factor


def union_volume_mm3(ball: Ball) -> float:
    """Volume of overlapping balls together."""
    if len(ball.radii_mm) == 1:
        return float(4 / 3 * np.pi * ball.radii_mm[0] ** 3)
    low = (ball.centres_mm - ball.radii_mm[:, None]).min(axis=0)
    high = (ball.centres_mm + ball.radii_mm[:, None]).max(axis=0)
    steps = (high - low) / 32
    axes = [a + s * (np.arange(32) + 0.5) for a, s in zip(low, steps, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inside = np.zeros(points.shape[:3], bool)
    for centre, radius in zip(ball.centres_mm, ball.radii_mm, strict=True):
        inside |= ((points - centre) ** 2).sum(axis=-1) <= radius**2
    return float(inside.sum() * steps.prod())


def _dipoles(
    ball: Ball, chi_ppm: float, r2s_core: float, te_s: float, b0_t: float, b0_direction: ArrayLike
) -> _Dipoles:
    volumes = 4 / 3 * np.pi * ball.radii_mm**3
    share = union_volume_mm3(ball) / float(volumes.sum())  # what overlaps counts once
    surface = radians_per_ppm(te_s, b0_t) * chi_ppm * share / 3
    strength = 2 * abs(surface) * float((ball.radii_mm**3).sum())
    reach_mm = min((strength / FAINT_RAD) ** (1 / 3), FARTHEST_MM)
    reach_mm = max(reach_mm, 1.5 * _extent_mm(ball))
    b0 = np.asarray(b0_direction, np.float64)
    return _Dipoles(
        centres_mm=ball.centres_mm,
        radii_mm=ball.radii_mm,
        surface_rad=surface,
        core_signal=float(np.exp(-r2s_core * te_s)),
        b0=b0 / np.linalg.norm(b0),
        middle_mm=ball.centre_mm,
        reach_mm=reach_mm,
    )


def _extent_mm(ball: Ball) -> float:
    """Distance of the farthest surface from the middle."""
    return float((np.linalg.norm(ball.centres_mm - ball.centre_mm, axis=1) + ball.radii_mm).max())


def _means(dipoles: _Dipoles, grid: Grid, box: Box, parts: tuple[int, int, int]) -> NDArray[np.complex64]:
    """The factor in each voxel of a box, as the mean over `parts` points along each axis."""
    counts = [s.stop - s.start for s in box]
    if 0 in counts:
        return np.ones(counts, np.complex64)
    places = [
        s.start - 0.5 + (np.arange(n * p) + 0.5) / p for s, n, p in zip(box, counts, parts, strict=True)
    ]
    steps = grid.affine[:3, :3] / np.array(parts)  # columns: from one point to the next along each axis
    phase = np.zeros([len(p) for p in places], np.float32)
    slopes = [np.zeros_like(phase) for _ in range(3)]
    outside = np.ones_like(phase)
    edge_mm = float(np.cbrt(abs(np.linalg.det(steps))))
    for centre, radius in zip(dipoles.centres_mm, dipoles.radii_mm, strict=True):
        away = _offsets(grid, places, centre)
        distance = np.maximum(np.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2), np.float32(1e-3))
        along = sum(np.float32(b) * a for b, a in zip(dipoles.b0, away, strict=True))
        cosine = along / distance
        beyond = np.clip((distance - radius) / edge_mm + 0.5, 0, 1)
        outside *= beyond
        fall = np.float32(dipoles.surface_rad) * (radius / np.maximum(distance, np.float32(radius))) ** 3
        fall[distance < radius] = 0
        phase += fall * (3 * cosine**2 - 1)
        for axis, step in enumerate(steps.T):
            # d/dr of (3 (b.r)^2 / r^2 - 1) / r^3, along one step
            towards = sum(np.float32(s) * a for s, a in zip(step, away, strict=True)) / distance
            with_b0 = np.float32(step @ dipoles.b0)
            slopes[axis] += fall / distance * (6 * cosine * with_b0 - (15 * cosine**2 - 3) * towards)
    phase *= _fading(_offsets(grid, places, dipoles.middle_mm), dipoles.reach_mm)
    size = outside + np.float32(dipoles.core_signal) * (1 - outside)
    for slope in slopes:
        size *= np.sinc(slope / np.float32(2 * np.pi))
    signal = np.empty(phase.shape, np.complex64)
    signal.real, signal.imag = size * np.cos(phase), size * np.sin(phase)
    blocks = [number for n, p in zip(counts, parts, strict=True) for number in (n, p)]
    return signal.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.complex64)


def _offsets(
    grid: Grid, places: list[NDArray[np.float64]], from_mm: NDArray[np.float64]
) -> list[NDArray[np.float32]]:
    """World offsets of a lattice of voxel places from a point: three arrays of the lattice's shape."""
    start = grid.affine[:3, 3] - from_mm
    lattice = np.ix_(*places)
    return [
        np.asarray(
            sum((grid.affine[row, axis] * lattice[axis]).astype(np.float32) for axis in range(3))
            + np.float32(start[row])
        )
        for row in range(3)
    ]


def _fading(away: list[NDArray[np.float32]], reach_mm: float) -> NDArray[np.float32]:
    """One near the middle, falling smoothly to nothing at the end of the reach."""
    distance = np.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2) / np.float32(reach_mm)
    part = np.clip((1 - distance) / FADING, 0, 1)
    return part * part * (3 - 2 * part)
