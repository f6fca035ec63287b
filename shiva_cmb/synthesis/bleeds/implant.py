"""Bleeds put into a user's own scan: to see which of them are found on this scanner, or to train on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.errors import DataError, Note, UsageError, warn_user
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.synthesis.bleeds.blooming import attenuation
from shiva_cmb.synthesis.bleeds.draw import (
    TRIES,
    Bleed,
    BleedSettings,
    draw_bleed,
    draw_number,
    draw_visible_mm,
    keeps_distance,
    true_bleed,
    visible_diameter_mm,
)
from shiva_cmb.synthesis.bleeds.size_prior import REGIONS, region_shares
from shiva_cmb.synthesis.boxes import Box, box_around, world_points
from shiva_cmb.synthesis.scan import GeneratedScan, TrueBleed, place_name
from shiva_cmb.synthesis.shapes import Ball
from shiva_cmb.synthesis.visible import BleedFacts, label_of, numbered_mask

DEPTH_MM = 2.5
"""Implants lie this deep in the brain, since masks are not exact."""
CLEAR_MM = 1.5
"""Around an implant this much must be free of dark spots too."""
DARK = 0.65
"""What is darker than this part of its surroundings is there already: a vein, a bleed, a nucleus."""
SURROUNDINGS_MM = 5.0
PHASE_FILTER_MM = 3.0
"""Standard deviation, within the slices, of the Gaussian whose phase SWI takes away: about that of a Hanning
window over 64 of 512 lines in a field of view of 220 mm."""
UNCHANGED = 0.99
"""Voxels that keep more than this of their signal keep their value."""
PHASE_POWER = 4
"""How often SWI multiplies with its phase mask (Haacke 2004)."""
B0_DIRECTION = (0.0, 0.0, 1.0)
"""World coordinates are the scanner's: the field runs along the bore."""
_REGION_VALUES = {"lobar": (1, 2), "deep": (3, 4), "infratentorial": (5,)}


@dataclass(frozen=True)
class ScannerSettings:
    """How the scan was made, as far as the look of bleeds depends on it."""

    te_ms: float = 20.0
    """Echo time."""
    field_t: float = 3.0
    """Field strength."""
    phase_mask: bool = True
    """Whether it is a SWI, whose phase mask darkens bleeds further; False: a plain magnitude (T2*-GRE)."""

    def __post_init__(self) -> None:
        if not 1 <= self.te_ms <= 100:
            raise UsageError(f"te_ms: expected an echo time of 1 to 100 ms, got {self.te_ms}")
        if not 0.05 <= self.field_t <= 15:
            raise UsageError(f"field_t: expected a field of 0.05 to 15 T, got {self.field_t}")


@dataclass(frozen=True, eq=False)
class Implanted:
    """A scan with bleeds in it."""

    image: Volume
    """Type and range of the original."""
    numbers: NDArray[np.int16]
    """Number of the bleed in each voxel, from 1; 0: none."""
    bleeds: tuple[TrueBleed, ...]
    """What was put in, number 1 first."""
    sigma: float
    """Standard deviation of the scan's noise, as estimated."""
    wanted: int
    """How many bleeds were drawn; those that found no place are missing."""

    @property
    def label(self) -> NDArray[np.uint8]:
        """0 nothing, 1 visible bleed, 2 to be ignored."""
        return label_of(self.numbers, self.bleeds)


def implant(
    rng: np.random.Generator,
    scan: Volume,
    brain: NDArray[np.bool_],
    regions: NDArray[np.uint8] | None,
    settings: BleedSettings,
    scanner: ScannerSettings,
) -> Implanted:
    """Put bleeds into a real scan.

    The scan's own signal loses what the bleeds' fields and cores take from it; noise is filled in, so that
    voids are as noisy as the background. Places that are dark already are avoided.

    Args:
        rng: where places and sizes come from.
        scan: finite values, any orientation and voxels.
        brain: mask of the same shape.
        regions: values of `head_map.REGION_NAMES`, same shape; None: anywhere in the brain.
        settings: how many and how large; there are no pairs.
        scanner: how the scan was made.

    Returns:
        As many bleeds as were asked for, or fewer where there was no place.

    Raises:
        DataError: if the brain has no place for any.
    """
    data = scan.data.astype(np.float32)
    floor = min(float(data.min()), 0.0)
    data -= floor  # factors need a zero that means no signal
    bleeds, wanted = _placed(rng, data, brain, regions, scan.grid, settings, scanner)
    sigma = noise_of(data, brain)
    left = np.ones(data.shape, np.float32)
    for bleed in bleeds:
        box, factor = _factor(bleed, scan.grid, scanner)
        left[box] *= factor
    numbers, facts = _numbered(data, left, scan.grid, sigma, bleeds)
    # where there is no signal, as outside of a stripped brain, none is lost and no noise belongs
    changed = (left < UNCHANGED) & (data > 0)
    noise = sigma * np.sqrt(1 - left[changed] ** 2)
    real = data[changed] * left[changed] + noise * rng.standard_normal(noise.shape, dtype=np.float32)
    data[changed] = np.hypot(real, noise * rng.standard_normal(noise.shape, dtype=np.float32))
    values = scan.data.copy()
    filled = data[changed] + floor
    if scan.data.dtype.kind in "iu":
        filled = np.rint(filled)
    values[changed] = np.clip(filled, floor, scan.data.max()).astype(scan.data.dtype)
    truth = tuple(true_bleed(n, *pair) for n, pair in enumerate(zip(bleeds, facts, strict=True), start=1))
    return Implanted(scan.with_data(values), numbers, truth, sigma, wanted)


@dataclass(frozen=True, eq=False)
class RealScan:
    """A scan that bleeds are put into."""

    name: str
    """Of the patient: copies of a scan belong into one fold."""
    image: Volume
    """Finite values."""
    brain: NDArray[np.bool_]
    """Brain mask, same shape."""
    regions: NDArray[np.uint8] | None = None
    """Values of `head_map.REGION_NAMES`, or None."""


@dataclass(frozen=True)
class ImplantSettings:
    """Which bleeds go into a real scan, and how it was made."""

    bleeds: BleedSettings = field(default_factory=BleedSettings)
    """How many, how large."""
    scanner: ScannerSettings = field(default_factory=ScannerSettings)
    """What bleeds look like on it."""


def scan_with_bleeds(
    rng: np.random.Generator,
    scan: RealScan,
    settings: ImplantSettings | None = None,
    note: Note = warn_user,
) -> GeneratedScan:
    """`implant`, in the form that generated scans are written in; a note tells of bleeds without a place."""
    settings = settings or ImplantSettings()
    made = implant(rng, scan.image, scan.brain, scan.regions, settings.bleeds, settings.scanner)
    if len(made.bleeds) < made.wanted:
        note(f"only {len(made.bleeds)} of {made.wanted} bleeds found a place in a copy of {scan.name}")
    scanner = settings.scanner
    known = np.zeros(scan.image.shape, np.uint8) if scan.regions is None else scan.regions
    return GeneratedScan(
        head=scan.name,
        image=made.image,
        label=scan.image.with_data(made.label),
        brain=scan.image.with_data(scan.brain.astype(np.uint8)),
        regions=scan.image.with_data(known),
        bleeds=made.bleeds,
        mimics=(),
        facts={
            "sequence": "swi" if scanner.phase_mask else "t2s",
            "field_t": scanner.field_t,
            "te_ms": scanner.te_ms,
            "slice_mm": round(max(scan.image.spacing_mm), 2),
        },
    )


def noise_of(data: NDArray[np.float32], brain: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise of a magnitude image.

    From the air where it is noisy: there a magnitude has a Rayleigh distribution. Else (skull-stripped,
    background set to zero) from differences between neighbours in the brain, which hold some texture too.

    Args:
        data: zero means no signal.
        brain: mask of the same shape.
    """
    ends = [
        [_end(n, side) for n, side in zip(data.shape, sides, strict=True)] for sides in np.ndindex(2, 2, 2)
    ]
    corners = np.concatenate([data[np.ix_(*end)].ravel() for end in ends])
    air = corners[corners > 0]
    # the median of a Rayleigh distribution is 1.1774 sigma
    from_air = float(np.median(air)) / 1.1774 if air.size > corners.size / 2 else 0.0
    few, within = data[:, ::2, ::2], brain[:, ::2, ::2]
    if not within.any():
        few, within = data, brain
    steps = np.abs(np.diff(few, axis=0)[within[1:] & within[:-1]])
    from_brain = 1.4826 * float(np.median(steps)) / np.sqrt(2) if steps.size else 0.0
    level = float(np.median(few[within]))
    if 0.003 * level < from_air < 2 * from_brain:
        return from_air
    return max(from_brain, 1e-3 * level)


def _end(count: int, last: int) -> NDArray[np.intp]:
    """The first or last eighth of an axis, two voxels at least."""
    part = max(count // 8, min(count, 2))
    return np.arange(count - part, count) if last else np.arange(part)


def _placed(
    rng: np.random.Generator,
    data: NDArray[np.float32],
    brain: NDArray[np.bool_],
    regions: NDArray[np.uint8] | None,
    grid: Grid,
    settings: BleedSettings,
    scanner: ScannerSettings,
) -> tuple[tuple[Bleed, ...], int]:
    """The bleeds that found a place, and how many were drawn."""
    among = {"anywhere": np.flatnonzero(brain)}
    shares: tuple[float, ...] = (1.0,)
    if regions is not None:
        among = {name: np.flatnonzero(brain & np.isin(regions, _REGION_VALUES[name])) for name in REGIONS}
        shares = region_shares()
    usable = np.array([share * bool(len(where)) for share, where in zip(shares, among.values(), strict=True)])
    if not usable.any():
        raise DataError("there is no place for bleeds: the brain mask is empty, or no region lies within it")
    bleeds: list[Bleed] = []
    kept: list[tuple[NDArray[np.float64], float]] = []
    diameters = draw_visible_mm(rng, settings, draw_number(rng, settings))
    for diameter in diameters:
        bleed = draw_bleed(rng, float(diameter), settings)
        seen = visible_diameter_mm(
            bleed.core_diameter_mm, bleed.chi_ppm, scanner.te_ms / 1000, scanner.field_t
        )
        where = among[str(rng.choice(list(among), p=usable / usable.sum()))]
        for voxel in rng.choice(where, TRIES):
            at = np.array(np.unravel_index(voxel, brain.shape)) + rng.uniform(-0.5, 0.5, 3)
            centre = grid.to_world(at)
            if keeps_distance(centre, seen, kept) and _is_clear(data, brain, grid, centre, seen):
                kept.append((centre, seen))
                ball = Ball(bleed.ball.kind, bleed.ball.centres_mm + centre, bleed.ball.radii_mm)
                region, side = (
                    ("unknown", "unknown") if regions is None else place_name(regions, grid, centre)
                )
                bleeds.append(replace(bleed, ball=ball, region=region, side=side))
                break
    return tuple(bleeds), len(diameters)


def _is_clear(
    data: NDArray[np.float32],
    brain: NDArray[np.bool_],
    grid: Grid,
    centre: NDArray[np.float64],
    seen_mm: float,
) -> bool:
    """Whether a place lies deep enough in the brain, and nothing around it is dark or very bright already."""
    box = box_around(grid, centre, seen_mm / 2 + SURROUNDINGS_MM)
    distance_mm = np.linalg.norm(world_points(grid, box) - centre, axis=-1)
    inside = brain[box]
    if not inside[distance_mm <= max(DEPTH_MM, float(distance_mm.min()))].all():
        return False
    level = _local_level(data[box], grid.spacing_mm)
    usual = float(np.median(level[inside]))
    near = level[distance_mm <= max(seen_mm / 2 + CLEAR_MM, float(distance_mm.min()))]
    return bool(near.min() > DARK * usual and near.max() < usual / DARK)


def _numbered(
    data: NDArray[np.float32],
    left: NDArray[np.float32],
    grid: Grid,
    sigma: float,
    bleeds: Sequence[Bleed],
) -> tuple[NDArray[np.int16], tuple[BleedFacts, ...]]:
    """Number of the bleed in each voxel, and facts on each, by what is left of the signal."""
    without = np.zeros_like(data)
    with_ = np.zeros_like(data)
    for bleed in bleeds:  # only where it matters: the rest of a large scan need not be smoothed
        box = box_around(grid, bleed.ball.centre_mm, 3 * bleed.core_diameter_mm + 8)
        without[box] = _local_level(data[box], grid.spacing_mm)
        with_[box] = without[box] * left[box]
    centres_mm = [bleed.ball.centre_mm for bleed in bleeds]
    extents_mm = [bleed.core_diameter_mm / 2 for bleed in bleeds]
    return numbered_mask(with_, without, grid, sigma, centres_mm, extents_mm)


def _local_level(data: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """The image with less noise: smoothed by about a millimetre."""
    return np.asarray(ndimage.gaussian_filter(data, [0.6 / min(max(s, 0.3), 3.0) for s in spacing_mm]))


def _factor(bleed: Bleed, grid: Grid, scanner: ScannerSettings) -> tuple[Box, NDArray[np.float32]]:
    """What is left of each voxel's value; with SWI after the phase mask, which suppresses positive phases."""
    box, factor = attenuation(
        bleed.ball,
        bleed.chi_ppm,
        bleed.r2s_core,
        grid,
        scanner.te_ms / 1000,
        scanner.field_t,
        B0_DIRECTION,
    )
    left = np.abs(factor)
    if scanner.phase_mask and left.size:
        across = int(np.argmax(grid.spacing_mm))  # slices are filtered one by one
        sigma = [0 if a == across else PHASE_FILTER_MM / step for a, step in enumerate(grid.spacing_mm)]
        slow = ndimage.gaussian_filter(factor.real, sigma) + 1j * ndimage.gaussian_filter(factor.imag, sigma)
        phase = np.angle(factor * np.conj(slow))
        left = left * np.clip(1 - phase / np.pi, 0, 1) ** PHASE_POWER
    return box, np.asarray(left, np.float32)
