"""A made-up head with microbleeds whose places are known.

It is a compact stand-in, not a simulator: networks trained on it learn its dots and know nothing of patients.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging.volume import Grid, Volume
from tests.phantom.head import AIR, PALLIDUM, VENTRICLES, Head, tissue
from tests.phantom.paint import (
    ball_points,
    filled_fraction,
    smooth_field,
    tube_points,
    wandering_line,
)

AXES = {
    code: sign * np.eye(3)[axis]
    for axis, codes in enumerate(("RL", "AP", "SI"))
    for code, sign in zip(codes, (1.0, -1.0), strict=True)
}
"""The world direction of each orientation letter."""

SMALLEST_HEAD_MM = 40.0
"""In smaller ones veins no longer fit."""


@dataclass(frozen=True)
class PhantomSettings:
    """What kind of head is made. Every head differs within these bounds."""

    spacing_mm: tuple[float, float, float] = (0.6, 0.6, 2.0)
    """Voxel size along the array axes."""
    orientations: tuple[str, ...] = ("RAS", "LPS", "LAS", "PSR")
    """Where the array axes may point; one is drawn."""
    max_tilt_degrees: float = 15.0
    """The slices are tilted against the head by up to this much about each axis."""
    head_mm: tuple[float, float, float] = (148.0, 188.0, 156.0)
    """Width, length and height of the head; each varies by 5 %."""
    bleeds: tuple[int, int] = (6, 12)
    """Fewest and most bleeds."""
    bleed_diameter_mm: tuple[float, float] = (2.0, 5.0)
    """Smallest and largest bleed."""
    bleed_signal: tuple[float, float] = (0.05, 0.25)
    """Signal left in the middle of a bleed, relative to fluid: low enough to be seen in any tissue."""
    vessels: int = 60
    """Dark veins: the mimics."""
    bias: float = 0.15
    """Spread of the slow change of brightness across the head."""
    noise: float = 0.03
    """Spread of the noise, relative to fluid."""

    def __post_init__(self) -> None:
        if min(self.spacing_mm) <= 0 or not 0 < self.bleed_diameter_mm[0] <= self.bleed_diameter_mm[1]:
            raise UsageError(
                "a phantom needs sizes above 0 mm and the smallest bleed first,"
                f" got voxels of {self.spacing_mm} mm and bleeds of {self.bleed_diameter_mm} mm"
            )
        if min(self.head_mm) < SMALLEST_HEAD_MM:
            raise UsageError(f"a phantom's head needs {SMALLEST_HEAD_MM:g} mm or more, got {self.head_mm}")
        if not 0 <= self.bleeds[0] <= self.bleeds[1] or self.vessels < 0:
            raise UsageError(f"expected 0 <= fewest <= most bleeds and vessels >= 0, got {self.bleeds}")


class TrueBleed(NamedTuple):
    """Where a bleed was put."""

    centre_mm: tuple[float, float, float]
    """World millimetres (RAS)."""
    diameter_mm: float
    """Width at half of its darkness."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A head and what is true about it; the three volumes share one grid."""

    image: Volume
    """Magnitude image, int16, as a scanner would give it."""
    brain: Volume
    """Brain mask, uint8."""
    bleeds: Volume
    """Label k marks the bleed `truth[k - 1]`, int16; voxels at least half filled, or its fullest voxel."""
    truth: tuple[TrueBleed, ...]
    """One entry per bleed."""


def make_head(rng: np.random.Generator, settings: PhantomSettings | None = None) -> Phantom:
    """Make one head: scalp, dark skull, brain, dark veins, and soft-edged dark bleeds.

    Args:
        rng: everything random comes from here, so the same state gives the same head.
        settings: the defaults are a 0.6 x 0.6 x 2 mm oblique head of full size, about 9 million voxels.

    Raises:
        UsageError: if the bleeds asked for do not fit in the brain.
    """
    settings = settings or PhantomSettings()
    half_mm = np.array(settings.head_mm) / 2.0 * rng.uniform(0.95, 1.05, 3)
    head = Head(centre_mm=rng.uniform(-15.0, 15.0, 3), half_mm=half_mm)
    grid = _oblique_grid(rng, head, settings)

    lines = [_vein(rng, head) for _ in range(settings.vessels)]
    truth = _place_bleeds(rng, head, lines, settings)
    signal, brain = tissue(rng, head, grid)
    if lines:
        tubes = [tube_points(rng, line, rng.uniform(0.4, 0.9)) for line in lines]
        points, volumes = (np.concatenate(part) for part in zip(*tubes, strict=True))
        signal *= 1.0 - 0.8 * filled_fraction(points, volumes, grid)
    labels = _paint_bleeds(rng, signal, truth, grid, settings)
    signal *= np.exp(settings.bias * smooth_field(rng, grid, 60.0 * head.scale))
    return Phantom(
        image=Volume(_as_scanned(rng, signal, settings.noise), grid.affine),
        brain=Volume(brain.astype(np.uint8), grid.affine),
        bleeds=Volume(labels, grid.affine),
        truth=truth,
    )


def _oblique_grid(rng: np.random.Generator, head: Head, settings: PhantomSettings) -> Grid:
    """Tilted slices that hold the whole head with a margin."""
    codes = settings.orientations[int(rng.integers(len(settings.orientations)))]
    axes = np.stack([AXES[code] for code in codes], axis=1)
    tilt = rng.uniform(-settings.max_tilt_degrees, settings.max_tilt_degrees, 3)
    directions = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() @ axes
    # Half extent of an ellipsoid along a direction d is |h * d|.
    reach_mm = np.linalg.norm(head.half_mm[:, None] * directions, axis=0) + 6.0
    shape = np.ceil(2.0 * reach_mm / settings.spacing_mm).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = directions * settings.spacing_mm
    affine[:3, 3] = head.centre_mm - affine[:3, :3] @ ((shape - 1) / 2.0)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _vein(rng: np.random.Generator, head: Head) -> NDArray[np.float64]:
    """The course of a vein that stays in the brain, shape (n, 3): half of them hug the surface."""
    while True:
        direction = rng.normal(size=3)
        at_skin = head.half_mm * direction / np.linalg.norm(direction)
        start = head.centre_mm + at_skin * rng.choice([0.84, rng.uniform(0.3, 0.84)])
        line = wandering_line(rng, start, rng.uniform(12.0, 45.0) * head.scale)
        outside = np.flatnonzero(head.brain_depth_mm(line) < 0.5)
        line = line[: outside[0]] if outside.size else line
        if len(line) >= 12:
            return line


def _place_bleeds(
    rng: np.random.Generator, head: Head, lines: list[NDArray[np.float64]], settings: PhantomSettings
) -> tuple[TrueBleed, ...]:
    """Choose places inside the brain that are clear of veins, ventricles and one another."""
    wanted = int(rng.integers(settings.bleeds[0], settings.bleeds[1] + 1))
    veins = cKDTree(np.concatenate(lines)) if lines else None
    placed: list[TrueBleed] = []
    failures = 0
    while len(placed) < wanted:
        failures += 1  # in a row: a full brain gives up soon, a big order may take long
        if failures > 1500:
            raise UsageError(
                f"only {len(placed)} of {wanted} bleeds fit: ask for fewer bleeds or vessels or a bigger head"
            )
        centre = head.centre_mm + head.half_mm * rng.uniform(-1.0, 1.0, 3)
        diameter = float(np.exp(rng.uniform(*np.log(settings.bleed_diameter_mm))))
        clear_mm = diameter / 2.0 + 2.0
        if head.brain_depth_mm(centre[None])[0] < clear_mm:
            continue
        offsets = (centre - head.centre_mm)[:, None]
        if any(head.ellipsoid(offsets, part)[0] < 2.0 for part in VENTRICLES + PALLIDUM + AIR):
            continue
        if veins is not None and veins.query(centre)[0] < clear_mm + 1.0:
            continue
        if any(np.linalg.norm(centre - b.centre_mm) < clear_mm + b.diameter_mm / 2 + 4.0 for b in placed):
            continue
        placed.append(TrueBleed((float(centre[0]), float(centre[1]), float(centre[2])), diameter))
        failures = 0
    return tuple(placed)


def _paint_bleeds(
    rng: np.random.Generator,
    signal: NDArray[np.float32],
    truth: tuple[TrueBleed, ...],
    grid: Grid,
    settings: PhantomSettings,
) -> NDArray[np.int16]:
    """Darken `signal` in place where the bleeds are, and return their labels."""
    labels = np.zeros(grid.shape, np.int16)
    for number, bleed in enumerate(truth, start=1):
        points, volumes = ball_points(np.array(bleed.centre_mm), bleed.diameter_mm, edge_mm=0.4)
        corner = np.floor(grid.to_voxel(points).min(axis=0)).astype(int)
        size = np.ceil(grid.to_voxel(points).max(axis=0)).astype(int) - corner + 1
        affine = grid.affine.copy()
        affine[:3, 3] = grid.to_world(corner)
        box = tuple(slice(int(c), int(c + n)) for c, n in zip(corner, size, strict=True))
        filled = filled_fraction(points, volumes, Grid((int(size[0]), int(size[1]), int(size[2])), affine))
        signal[box] += (rng.uniform(*settings.bleed_signal) - signal[box]) * filled
        # A dot between two slices fills neither by half; its fullest voxel still belongs to it.
        labels[box][filled >= min(0.5, float(filled.max()))] = number
    return labels


def _as_scanned(rng: np.random.Generator, signal: NDArray[np.float32], noise: float) -> NDArray[np.int16]:
    """Rician noise (what a magnitude image has), and a scanner's integer range."""
    real = signal + np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.rint(np.hypot(real, imaginary) * 1000.0).clip(0, 32767).astype(np.int16)
