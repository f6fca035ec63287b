"""Small dark things in a coarse image: how much of each voxel a ball or a tube fills."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging.volume import Grid

Points = NDArray[np.float64]


def ball_points(centre_mm: NDArray[np.float64], diameter_mm: float, edge_mm: float) -> tuple[Points, Points]:
    """A soft-edged ball as many small weighted points.

    Args:
        centre_mm: centre in world millimetres, shape (3,).
        diameter_mm: where the profile has fallen to one half.
        edge_mm: width of the edge; bleeds bloom on T2* images and have no sharp border.

    Returns:
        Points in world millimetres, shape (n, 3), and the volume in mm3 that each stands for, shape (n,).
    """
    step = min(0.2, diameter_mm / 12.0)
    reach = diameter_mm / 2.0 + 3.0 * edge_mm
    ticks = np.arange(-reach, reach + step, step)
    offsets = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    excess = (np.linalg.norm(offsets, axis=1) - diameter_mm / 2.0) / edge_mm
    inside = excess < 3.0
    weights = step**3 / (1.0 + np.exp(4.0 * excess[inside]))
    return centre_mm + offsets[inside], weights


def wandering_line(
    rng: np.random.Generator, start_mm: NDArray[np.float64], length_mm: float, step_mm: float = 0.5
) -> Points:
    """A smooth random curve, shape (n, 3): the course of a small vein."""
    count = max(int(length_mm / step_mm), 2)
    turns = rng.normal(size=(count, 3)).cumsum(axis=0) * 0.08
    headings = rng.normal(size=3) + turns
    headings /= np.linalg.norm(headings, axis=1, keepdims=True)
    return start_mm + np.cumsum(headings, axis=0) * step_mm


def tube_points(
    rng: np.random.Generator, line_mm: Points, radius_mm: float, points_per_mm3: float = 400.0
) -> tuple[Points, Points]:
    """A tube around a curve, thinning towards its end, as many small weighted points.

    Args:
        rng: where the points fall within the tube.
        line_mm: the curve in world millimetres, evenly spaced, shape (n, 3).
        radius_mm: radius at the start; at the end it is 60 % of that.
        points_per_mm3: density of the points.

    Returns:
        Points in world millimetres, shape (m, 3), and the volume in mm3 that each stands for, shape (m,).
    """
    radii = np.linspace(radius_mm, 0.6 * radius_mm, len(line_mm))
    step_mm = float(np.linalg.norm(line_mm[1] - line_mm[0]))
    per_step = max(int(np.pi * radius_mm**2 * step_mm * points_per_mm3), 8)
    # Balls strung along the curve: no frame to carry along it, and at the size of veins nobody sees it.
    offsets = rng.normal(size=(len(line_mm), per_step, 3))
    offsets /= np.linalg.norm(offsets, axis=2, keepdims=True)
    offsets *= np.cbrt(rng.random((len(line_mm), per_step, 1))) * radii[:, None, None]
    weights = np.repeat(np.pi * radii**2 * step_mm / per_step, per_step)
    return (line_mm[:, None] + offsets).reshape(-1, 3), weights


def filled_fraction(points_mm: Points, volumes_mm3: Points, grid: Grid) -> NDArray[np.float32]:
    """The fraction of each voxel that is filled, at most 1, shape of the grid.

    Args:
        points_mm: world millimetres, shape (n, 3); points outside the grid are ignored.
        volumes_mm3: what each point stands for, shape (n,).
        grid: where to paint.
    """
    index = np.rint(grid.to_voxel(points_mm)).astype(np.intp)
    within = np.all((index >= 0) & (index < grid.shape), axis=1)
    flat = np.ravel_multi_index(tuple(index[within].T), grid.shape)
    size = int(np.prod(grid.shape))
    total = np.bincount(flat, weights=volumes_mm3[within], minlength=size)
    return np.minimum(total / grid.voxel_volume_mm3, 1.0).astype(np.float32).reshape(grid.shape)


def smooth_field(rng: np.random.Generator, grid: Grid, scale_mm: float) -> NDArray[np.float32]:
    """Smooth random values of zero mean and unit spread, shape of the grid.

    Args:
        rng: the source of the values.
        grid: where the values are wanted.
        scale_mm: distance between bumps; the field is smooth at every voxel size.
    """
    weights = []
    for count, spacing in zip(grid.shape, grid.spacing_mm, strict=True):
        place = np.arange(count) * spacing / scale_mm
        knots = np.arange(-1.0, place[-1] + 2.0)
        # Gaussian bumps one knot wide: separable, so three small matrix products do the whole grid.
        weights.append(np.exp(-1.2 * (place[:, None] - knots[None, :]) ** 2).astype(np.float32))
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for weight in weights:
        field = np.tensordot(field, weight, axes=(0, 1))  # each turn moves the next axis to the front
    return (field - field.mean()) / max(float(field.std()), 1e-6)
