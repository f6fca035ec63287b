"""The head in the frame of the slices: a tilted grid, smooth borders, twice the resolution."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.head_map import DeformedHead, HeadMap
from shiva_cmb.synthesis.physical.sampling import along_axes, gaussian_refinement, smooth_noise
from shiva_cmb.synthesis.physical.settings import PhysicalSettings

BORDER_SIGMA = 0.7
"""Smoothing of the tissues' borders, in voxels of the coarse grid: blocks vanish, narrow sulci stay."""
SLAB = 12
"""Coarse sheets that are worked on at once; bounds the memory."""
MARGIN_MM = 6.0

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Frame:
    """A head whose third axis is that of the slices."""

    head: DeformedHead
    """On the coarse grid (twice `fine_mm`), whose axes are those of the scan."""
    box: Box
    """The part of the coarse grid that is simulated at the fine spacing."""
    fine_mm: float
    """Spacing of the fine grid."""
    direction: NDArray[np.float64]
    """Unit vector of the main field along the axes of the grid."""

    @property
    def coarse_mm(self) -> float:
        """Spacing of the coarse grid."""
        return 2 * self.fine_mm

    @property
    def fine_grid(self) -> Grid:
        """The fine grid over the box."""
        first = np.array([s.start for s in self.box]) - 0.25
        affine = self.head.grid.affine.copy()
        affine[:3, 3] = self.head.grid.to_world(first)
        affine[:3, :3] /= 2
        x, y, z = (2 * (s.stop - s.start) for s in self.box)
        return Grid((x, y, z), affine)


def place_head(rng: np.random.Generator, head: HeadMap, settings: PhysicalSettings) -> Frame:
    """Tilt, bend and sample a head; choose which part the slices cover."""
    tilt = settings.tilt_deg
    turn = Rotation.from_euler("xyz", rng.normal(0, (tilt, tilt / 3, tilt / 3)), degrees=True).as_matrix()
    lean = Rotation.from_euler("xy", rng.normal(0, (6, 3)), degrees=True).as_matrix()
    direction = turn.T @ lean @ np.array([0.0, 0.0, 1.0])
    spacing = 2 * settings.fine_mm
    source = head.labels.grid
    corners = source.to_world(np.array(np.meshgrid(*[(0, n - 1) for n in source.shape])).reshape(3, -1).T)
    low, high = (f(corners @ turn, axis=0) for f in (np.min, np.max))
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = turn @ low
    x, y, z = (int(n) for n in np.ceil((high - low) / spacing).astype(int) + 1)
    labels = _sampled(rng, head, Grid((x, y, z), affine), settings)
    found = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    pad = round(MARGIN_MM / spacing)
    kept: Box = tuple(slice(max(s.start - pad, 0), s.stop + pad) for s in found)  # type: ignore[assignment]
    affine[:3, 3] = Grid((x, y, z), affine).to_world([s.start for s in kept])
    labels = np.ascontiguousarray(labels[kept])
    x, y, z = labels.shape
    tilted = DeformedHead(head.name, labels, Grid((x, y, z), affine))
    return Frame(tilted, _covered(rng, tilted, spacing), settings.fine_mm, direction)


def fine_tissues(frame: Frame) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Tissue numbers on the fine grid, sheet by sheet along x; borders between tissues are smooth.

    Yields:
        The sheets' place along the fine x axis, and the numbers, shape (sheets, y, z).
    """
    whole = frame.head.tissues
    x0, x1 = frame.box[0].start, frame.box[0].stop
    for start in range(x0, x1, SLAB):
        stop = min(start + SLAB, x1)
        left, right = max(start - 3, 0), min(stop + 3, whole.shape[0])
        part = whole[left:right, frame.box[1], frame.box[2]]
        best = np.zeros((2 * (stop - start), 2 * part.shape[1], 2 * part.shape[2]), np.float32)
        number = np.zeros(best.shape, np.uint8)
        objects = ndimage.find_objects(part + np.uint8(1))
        refine_x = gaussian_refinement(right - left, BORDER_SIGMA)[2 * (start - left) : 2 * (stop - left)]
        for tissue, found in enumerate(objects):
            if found is None:
                continue
            _, ys, zs = (
                slice(max(s.start - 2, 0), min(s.stop + 2, n)) for s, n in zip(found, part.shape, strict=True)
            )
            inside = (part[:, ys, zs] == tissue).astype(np.float32)
            ny, nz = inside.shape[1:]
            share = along_axes(
                inside, refine_x, gaussian_refinement(ny, BORDER_SIGMA), gaussian_refinement(nz, BORDER_SIGMA)
            )
            there = (slice(None), slice(2 * ys.start, 2 * ys.stop), slice(2 * zs.start, 2 * zs.stop))
            better = share > best[there]
            np.copyto(best[there], share, where=better)
            number[there][better] = tissue
        yield slice(2 * (start - x0), 2 * (stop - x0)), number


def _sampled(
    rng: np.random.Generator, head: HeadMap, grid: Grid, settings: PhysicalSettings
) -> NDArray[np.int16]:
    """Labels at the grid's voxels, each taken from a place that is off by a smooth random way."""
    source = head.labels
    to_source = np.linalg.inv(source.affine) @ grid.affine
    spacing = float(np.linalg.norm(grid.affine[:3, 0]))
    ways = [
        smooth_noise(rng, grid.shape, 30 / spacing, settings.bend_mm)
        + smooth_noise(rng, grid.shape, 5 / spacing, 0.3)
        for _ in range(3)
    ]
    labels = np.zeros(grid.shape, np.int16)
    i, j, k = (np.arange(n, dtype=np.float32) for n in grid.shape)
    for sheet in range(0, grid.shape[0], SLAB):
        here = slice(sheet, sheet + SLAB)
        at = []
        for axis in range(3):
            a, b, c, d = (np.float32(v) for v in to_source[axis])
            place = a * i[here, None, None] + b * j[None, :, None] + c * k[None, None] + d + ways[axis][here]
            at.append(np.rint(place).astype(np.int32))
        inside = np.logical_and.reduce([(p >= 0) & (p < n) for p, n in zip(at, source.shape, strict=True)])
        near = tuple(np.clip(p, 0, n - 1) for p, n in zip(at, source.shape, strict=True))
        labels[here] = np.where(inside, source.data[near], 0)
    return labels


def _covered(rng: np.random.Generator, head: DeformedHead, spacing: float) -> Box:
    """All of the head within the slices; across them the brain, sometimes with a bit cut off."""
    sheets = np.flatnonzero(np.isin(head.tissues, hm.NERVOUS).any(axis=(0, 1)))
    low = sheets[0] + round(rng.uniform(-12, 6) / spacing)
    high = sheets[-1] + round(rng.uniform(-2, 12) / spacing)
    x, y, z = head.labels.shape
    return slice(0, x), slice(0, y), slice(max(low, 0), min(high, z))
