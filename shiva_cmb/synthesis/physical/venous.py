"""Veins as trees of cheapest paths: every small vein takes the way to a sinus that costs least.

Paths that meet go on together, which gives branching; the radius follows from the number of small veins that
a vein drains (source: Murray 1926, PNAS: the cubes of the radii add up). Numbers and radii are assumed, where
no source is named.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.head_map import DeformedHead
from shiva_cmb.synthesis.physical.sampling import smooth_noise
from shiva_cmb.synthesis.shapes import Tube

WIDEST_MM = 0.95
"""Radius of the widest vein that is no sinus."""
Voxels = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Country:
    """Where the paths of a tree may run."""

    grid_head: DeformedHead
    """Gives the grid."""
    cost: NDArray[np.float32]
    """Cost of a voxel; infinite where no path may run."""
    spacing_mm: float
    """Of the grid."""


def cheapest_tree(
    rng: np.random.Generator, country: Country, roots: Voxels, seeds: Voxels, tip_mm: float, kind: str
) -> list[Tube]:
    """Tubes from every seed to the nearest of the roots, each ending where it meets another.

    Args:
        rng: of the bends.
        country: where they may run.
        roots: voxels (n, 3) where the tree ends; none gives no tubes.
        seeds: voxels (m, 3) where the tubes start.
        tip_mm: radius of a tube that drains one seed.
        kind: of the tubes.
    """
    from skimage.graph import MCP_Geometric

    if not len(roots) or not len(seeds):
        return []
    box = tuple(
        slice(max(int(low) - 2, 0), int(high) + 3)
        for low, high in zip(
            np.argwhere(np.isfinite(country.cost)).min(axis=0),
            np.argwhere(np.isfinite(country.cost)).max(axis=0),
            strict=True,
        )
    )
    first = np.array([s.start for s in box])
    cost = country.cost[box]
    paths = MCP_Geometric(np.where(np.isfinite(cost), cost, -1).astype(np.float64), fully_connected=True)
    total, _ = paths.find_costs([tuple(r) for r in roots - first])
    flow = np.zeros(cost.shape, np.int32)
    pieces: list[Voxels] = []
    within = (seeds - first)[np.all((seeds >= first) & (seeds - first < cost.shape), axis=1)]
    for seed in within[np.argsort(total[tuple(within.T)])]:
        if not np.isfinite(total[tuple(seed)]):
            continue
        path = np.array(paths.traceback(tuple(seed)))[::-1]  # from the seed to the root
        used = flow[tuple(path.T)] > 0
        meets = int(np.argmax(used)) if used.any() else len(path) - 1
        flow[tuple(path.T)] += 1
        if meets >= 3:
            pieces.append(path[: meets + 1])
    tubes = []
    for piece in pieces:
        radius = tip_mm * np.cbrt(flow[tuple(piece[:-1].T)].astype(float)) * rng.lognormal(0, 0.2)
        radius = np.append(radius, radius[-1])
        points = _smoothed(rng, piece + first.astype(float))
        tubes.append(resampled(kind, country.grid_head.grid.to_world(points), np.minimum(radius, WIDEST_MM)))
    return tubes


def resampled(kind: str, points_mm: NDArray[np.floating], radii_mm: NDArray[np.floating]) -> Tube:
    """A tube whose points are 0.25 mm apart."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points_mm, axis=0), axis=1))]
    at = np.linspace(0, length[-1], max(2, int(length[-1] / 0.25) + 1))
    points = np.stack([np.interp(at, length, axis) for axis in points_mm.T], axis=1)
    return Tube(kind, points, np.interp(at, length, radii_mm))


def cortical_veins(rng: np.random.Generator, head: DeformedHead, density: float) -> list[Tube]:
    """Veins in the sulci and on the brain that lead to the sinuses."""
    tissues, spacing = head.tissues, head.grid.spacing_mm[0]
    fluid = np.isin(tissues, (hm.CSF, hm.VEIN)) & _near(head.brain, 2.5 / spacing)
    bark = np.isin(tissues, (hm.CORTEX, hm.CEREBELLAR_CORTEX))
    shore = bark & ndimage.binary_dilation(fluid)
    roots = np.argwhere((tissues == hm.VEIN) & ndimage.binary_dilation(fluid & (tissues == hm.CSF)))
    if not len(roots):
        return []
    rough = np.exp(smooth_noise(rng, tissues.shape, 4 / spacing, 0.7))
    cost = np.full(tissues.shape, np.inf, np.float32)
    cost[shore], cost[fluid] = 2.5, 1.3
    cost[fluid & ndimage.binary_dilation(bark)] = 1.0
    cost *= rough
    volume_l = shore.sum() * spacing**3 / 1e6
    count = int(density * rng.lognormal(0, 0.3) * 900 * volume_l / 0.35)
    places = np.argwhere(shore)
    seeds = places[rng.choice(len(places), min(count, len(places)), replace=False)]
    return cheapest_tree(
        rng, Country(head, cost, spacing), roots, seeds, rng.uniform(0.2, 0.34), "cortical vein"
    )


def deep_veins(rng: np.random.Generator, head: DeformedHead, density: float) -> list[Tube]:
    """Straight medullary veins, the veins of the ventricles' walls that they end in, and the inner veins.

    Medullary veins are 0.2-0.8 mm wide here; on SWI 0.2-0.3 mm were measured (source: Chen 2016, Acta
    Anatomica Sinica).
    """
    tissues, spacing = head.tissues, head.grid.spacing_mm[0]
    ventricle = tissues == hm.VENTRICLE
    if not ventricle.any():
        return []
    distance, nearest = ndimage.distance_transform_edt(~ventricle, return_indices=True)
    white = (tissues == hm.WHITE) & (distance * spacing > 2) & (distance * spacing < 26)
    places = np.argwhere(white)
    count = min(int(density * rng.lognormal(0, 0.4) * 130), len(places))
    starts = places[rng.choice(len(places), count, replace=False)] if count else places[:0]
    tip = rng.uniform(0.16, 0.3)
    tubes, ends = [], []
    for start in starts:
        end = nearest[(slice(None), *start)]
        whole = head.grid.to_world(np.stack([start, end]).astype(float))
        length = np.linalg.norm(whole[1] - whole[0])
        if length < 4:
            continue
        along = np.linspace(0, 1, max(3, int(length / 2)))[:, None]
        points = whole[0] + along * (whole[1] - whole[0])
        points[1:-1] += np.cumsum(rng.normal(0, 0.25, (len(points) - 2, 3)), axis=0)
        radii = tip * rng.lognormal(0, 0.25) * np.linspace(0.7, 1.3, len(points))
        tubes.append(resampled("medullary vein", points, radii))
        ends.append(end)
    wall = (distance * spacing < 2.0) & head.brain
    root = _inner_root(tissues, wall)
    if root is None or not ends:
        return tubes
    cost = np.where(wall, np.exp(smooth_noise(rng, tissues.shape, 5 / spacing, 0.5)), np.inf)
    country = Country(head, cost.astype(np.float32), spacing)
    tubes += cheapest_tree(rng, country, root[None], np.array(ends), tip * 1.3, "subependymal vein")
    return tubes + _inner_veins(rng, head, root)


def _inner_root(tissues: NDArray[np.uint8], wall: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    """Where the veins of both sides join: on the ventricles' wall, behind and above the thalami."""
    thalamus = np.argwhere(tissues == hm.THALAMUS)
    if not len(thalamus) or not wall.any():
        return None
    middle = thalamus.mean(axis=0)
    target = np.array([middle[0], middle[1], np.percentile(thalamus[:, 2], 80)])
    places = np.argwhere(wall)
    return np.asarray(places[np.argmin(np.linalg.norm(places - target, axis=1))])


def _inner_veins(rng: np.random.Generator, head: DeformedHead, root: NDArray[np.intp]) -> list[Tube]:
    """Two veins side by side, from the root back to the straight sinus.

    1.5 mm wide at first and 2 mm at their end (source: Hou 2021, Int J Med Sci); here from 1 to 2 mm.
    """
    sinus = np.argwhere(head.tissues == hm.VEIN)
    if not len(sinus):
        return []
    spacing = head.grid.spacing_mm[0]
    weight = np.linalg.norm((sinus - root) * (3.0, 1.0, 1.0), axis=1)  # it lies in the middle plane
    end = sinus[np.argmin(weight)]
    if np.linalg.norm(end - root) * spacing > 60:
        return []
    tubes = []
    for side in (-1, 1):
        along = np.linspace(0, 1, 8)[:, None]
        points = root + along * (end - root)
        points[:, 0] += side * (1 - along[:, 0]) * 1.8 / spacing
        points[1:-1] += rng.normal(0, 0.5 / spacing, (6, 3))
        radii = np.linspace(0.5, 1.0, 8) * rng.lognormal(0, 0.2)
        tubes.append(resampled("internal cerebral vein", head.grid.to_world(_smoothed(rng, points)), radii))
    return tubes


def _near(mask: NDArray[np.bool_], voxels: float) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask, iterations=max(1, round(voxels))))


def _smoothed(rng: np.random.Generator, points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Without the steps of the voxels, and a bit off their centres; both ends stay."""
    moved = points + rng.normal(0, 0.3, points.shape)
    moved[0], moved[-1] = points[0], points[-1]
    smooth = ndimage.uniform_filter1d(moved, 5, axis=0, mode="nearest")
    smooth[0], smooth[-1] = points[0], points[-1]
    return np.asarray(smooth)
