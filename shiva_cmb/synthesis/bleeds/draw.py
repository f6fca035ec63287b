"""Microbleeds: how many, where, of what size and strength. What they look like is `blooming`'s affair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.synthesis.bleeds.blooming import union_volume_mm3
from shiva_cmb.synthesis.bleeds.places import BleedPlaces
from shiva_cmb.synthesis.bleeds.size_prior import draw_count, draw_diameters_mm
from shiva_cmb.synthesis.head_map import DeformedHead
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.scan import TrueBleed
from shiva_cmb.synthesis.shapes import Ball
from shiva_cmb.synthesis.visible import BleedFacts

REFERENCE_TE_S, REFERENCE_B0_T = 0.020, 3.0
"""The acquisition at which a bleed has the diameter that was drawn for it. Only TE times B0 matters to the
phase, and 60 T ms is both 3 T at 20 ms (the SWI of most datasets behind the prior) and 1.5 T at 40 ms (the
T2*-GRE of the others)."""
REFERENCE_VOXEL_MM = 0.9
"""Edge of the voxel's cube there: 0.7 x 0.7 x 1.5 mm."""
SWI_MAGNITUDE = 1.13
"""The prior's diameters were measured on SWI and on magnitudes; the phase mask makes a bleed look about 1.28
times as wide as the magnitude alone. What is drawn lies in between: this times what the magnitude shows."""
APART = 1.5
"""Bleeds that are no pair are this many visible diameters apart at least."""
TRIES, KINDS_TRIED = 60, 4
"""Places tried for one bleed, and kinds of places, before it is left out."""
MOST_BLEEDS = 1000
"""In one head; a brain has no place for more."""
LARGEST = {"bleed_diameter_mm": 60.0, "bleed_susceptibility_ppm": 100.0, "bleed_core_decay": 10000.0}
"""Upper limits of settings, well above what a microbleed can have."""


@dataclass(frozen=True)
class BleedSettings:
    """Which bleeds a head gets."""

    lesion_free_share: float = 0.35
    """Share of the heads that get none."""
    bleed_count: tuple[int, int] | None = None
    """Fewest and most in a head that has any; None: as in patients, most often 1 to 4."""
    bleed_diameter_mm: tuple[float, float] | None = None
    """Smallest and largest visible diameter at 3 T and 20 ms, on a log scale; None: as in patients."""
    bleed_susceptibility_ppm: tuple[float, float] = (0.4, 3.0)
    """Weakest and strongest core against brain tissue, drawn evenly on a log scale: the stronger it is, the
    smaller is the core of a bleed of the same visible size, and the more it changes with TE and field."""
    bleed_core_decay: tuple[float, float] = (60.0, 400.0)
    """How much faster the signal decays inside of the core than in the brain, 1/s, on a log scale."""
    pair_share: float = 0.06
    """Share of the bleeds that get a second one 3 to 8 mm away."""
    irregular_share: float = 0.25
    """Share of the bleeds that are several balls that overlap instead of one."""
    pial_share: float = 0.10
    """Share of the lobar bleeds that touch the brain's surface."""

    def __post_init__(self) -> None:
        for name in ("lesion_free_share", "pair_share", "irregular_share", "pial_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")
        count = self.bleed_count
        if count is not None and not 0 <= count[0] <= count[1] <= MOST_BLEEDS:
            raise UsageError(f"bleed_count: expected 0 <= fewest <= most <= {MOST_BLEEDS}, got {count}")
        for name, limit in LARGEST.items():
            values = getattr(self, name)
            if values is not None and not 0 < values[0] <= values[1] <= limit:
                raise UsageError(f"{name}: expected 0 < smallest <= largest <= {limit:g}, got {values}")


@dataclass(frozen=True, eq=False)
class Bleed:
    """One bleed, as it is in the head."""

    ball: Ball
    """Its core, where the iron is."""
    chi_ppm: float
    """The core's susceptibility against brain tissue."""
    r2s_core: float
    """How much faster the signal decays in it, 1/s."""
    diameter_mm: float
    """The visible diameter that it is meant to have at the reference, between SWI and magnitude."""
    region: str = "unknown"
    """`lobar`, `deep` or `infratentorial`, as in the head's map of regions."""
    side: str = "midline"
    """`left`, `right` or `midline`."""
    pair: int | None = None
    """The same number for two that lie side by side."""

    @cached_property
    def core_diameter_mm(self) -> float:
        """Of the ball with the core's volume."""
        return float(np.cbrt(6 * union_volume_mm3(self.ball) / np.pi))


def draw_bleeds(
    rng: np.random.Generator, head: DeformedHead, settings: BleedSettings, te_s: float, b0_t: float
) -> tuple[Bleed, ...]:
    """The bleeds of one head.

    Args:
        rng: where they come from.
        head: where they go.
        settings: how many, how large.
        te_s: echo time of the image to be made: at long ones bleeds bloom and must keep more distance.
        b0_t: its field strength.

    Returns:
        As many as were drawn, or fewer where there was no place that kept the distance.
    """
    count = draw_number(rng, settings)
    diameters = draw_visible_mm(rng, settings, count)
    places = BleedPlaces(head)
    bleeds: list[Bleed] = []
    kept: list[tuple[NDArray[np.float64], float]] = []
    pairs = 0
    while len(bleeds) < count:
        first = draw_bleed(rng, float(diameters[len(bleeds)]), settings)
        seen_mm = visible_diameter_mm(first.core_diameter_mm, first.chi_ppm, te_s, b0_t)
        centre = _free_place(rng, places, settings, seen_mm, kept)
        if centre is None:
            count -= 1
            continue
        kept.append((centre, seen_mm))
        mate = None
        if len(bleeds) + 2 <= count and rng.random() < settings.pair_share:
            second = draw_bleed(rng, float(diameters[len(bleeds) + 1]), settings)
            wide_mm = visible_diameter_mm(second.core_diameter_mm, second.chi_ppm, te_s, b0_t)
            mate = places.beside(rng, centre, (seen_mm + wide_mm) / 2)
        if mate is None or not keeps_distance(mate, wide_mm, kept[:-1]):
            bleeds.append(_placed(first, centre, places, None))
            continue
        kept.append((mate, wide_mm))
        bleeds += [_placed(first, centre, places, pairs), _placed(second, mate, places, pairs)]
        pairs += 1
    return tuple(bleeds)


def true_bleed(number: int, bleed: Bleed, facts: BleedFacts) -> TrueBleed:
    """What is known of one bleed and what is seen of it, as the tables say it."""
    x, y, z = (float(value) for value in bleed.ball.centre_mm)
    return TrueBleed(
        bleed=number,
        x_mm=x,
        y_mm=y,
        z_mm=z,
        diameter_mm=facts.diameter_mm,
        core_diameter_mm=bleed.core_diameter_mm,
        volume_mm3=facts.volume_mm3,
        region=bleed.region,
        side=bleed.side,
        contrast=facts.contrast,
        cnr=facts.cnr,
        visible=facts.visible,
        pair=bleed.pair,
    )


def visible_diameter_mm(core_mm: float, chi_ppm: float, te_s: float, b0_t: float) -> float:
    """How large a ball looks in a magnitude image: where a voxel of the reference loses 30 % of its signal.

    That is the core itself, or the place where the phase of its dipole field changes by about 2.5 rad over a
    voxel; the slope of that phase falls with the fourth power of the distance. Within 6 % of `attenuation`
    (standard deviation) for cores of 0.5 to 6.5 mm and 0.3 to 2.4 ppm, 30 to 120 T ms.

    Args:
        core_mm: diameter of the core.
        chi_ppm: its susceptibility; the sign does not matter.
        te_s: echo time.
        b0_t: field strength.
    """
    return float(_seen_mm(np.array(core_mm), radians_per_ppm(te_s, b0_t) * abs(chi_ppm)))


def _seen_mm(core_mm: NDArray[np.float64], phase_rad: float) -> NDArray[np.float64]:
    """`visible_diameter_mm` for several cores, and the phase of a field as strong as their susceptibility."""
    bloom_mm = 2 * (0.38 * phase_rad * (core_mm / 2) ** 3 * REFERENCE_VOXEL_MM) ** 0.25
    return np.asarray((core_mm**6 + bloom_mm**6) ** (1 / 6))


def core_diameter_mm(visible_mm: float, chi_ppm: float) -> float:
    """The core that looks `visible_mm` wide at the reference, between the magnitude and SWI."""
    magnitude_mm = visible_mm / SWI_MAGNITUDE
    cores = np.geomspace(0.02, 1.0, 200) * magnitude_mm
    phase_rad = radians_per_ppm(REFERENCE_TE_S, REFERENCE_B0_T) * abs(chi_ppm)
    seen = _seen_mm(cores, phase_rad)
    return float(np.interp(magnitude_mm, seen, cores))


def draw_number(rng: np.random.Generator, settings: BleedSettings) -> int:
    """How many bleeds a head gets."""
    if rng.random() < settings.lesion_free_share:
        return 0
    if settings.bleed_count is None:
        return draw_count(rng)
    return int(rng.integers(settings.bleed_count[0], settings.bleed_count[1] + 1))


def draw_visible_mm(rng: np.random.Generator, settings: BleedSettings, count: int) -> NDArray[np.float64]:
    """Visible diameters at the reference acquisition, shape (count,)."""
    if settings.bleed_diameter_mm is None:
        return draw_diameters_mm(rng, count)
    low, high = np.log(settings.bleed_diameter_mm)
    return np.exp(rng.uniform(low, high, count))


def draw_bleed(rng: np.random.Generator, diameter_mm: float, settings: BleedSettings) -> Bleed:
    """A bleed of that visible diameter about the origin, without a place."""
    chi_ppm = float(np.exp(rng.uniform(*np.log(settings.bleed_susceptibility_ppm))))
    decay = float(np.exp(rng.uniform(*np.log(settings.bleed_core_decay))))
    core_mm = core_diameter_mm(diameter_mm, chi_ppm)
    ball = Ball("microbleed", np.zeros((1, 3)), np.array([core_mm / 2]))
    if rng.random() < settings.irregular_share:
        ball = _lumpy(rng, core_mm)
    return Bleed(ball, chi_ppm, decay, diameter_mm)


def _lumpy(rng: np.random.Generator, core_mm: float) -> Ball:
    """Two to four balls that overlap, with the volume of one ball."""
    number = int(rng.integers(2, 5))
    radii = rng.uniform(0.6, 1.0, number)
    centres = np.zeros((number, 3))
    for one in range(1, number):
        towards = rng.normal(size=3)
        onto = int(rng.integers(one))
        reach = rng.uniform(0.6, 1.1) * max(radii[one], radii[onto])
        centres[one] = centres[onto] + reach * towards / np.linalg.norm(towards)
    ball = Ball("microbleed", centres, radii)
    scale = (np.pi / 6 * core_mm**3 / union_volume_mm3(ball)) ** (1 / 3)
    return Ball("microbleed", (centres - ball.centre_mm) * scale, radii * scale)


def _placed(bleed: Bleed, centre: NDArray[np.float64], places: BleedPlaces, pair: int | None) -> Bleed:
    region, side = places.region(centre)
    ball = Ball(bleed.ball.kind, bleed.ball.centres_mm + centre, bleed.ball.radii_mm)
    return replace(bleed, ball=ball, region=region, side=side, pair=pair)


def _free_place(
    rng: np.random.Generator,
    places: BleedPlaces,
    settings: BleedSettings,
    seen_mm: float,
    kept: list[tuple[NDArray[np.float64], float]],
) -> NDArray[np.float64] | None:
    """A place that keeps its distance from the others."""
    for _ in range(KINDS_TRIED):
        kind = places.draw_kind(rng, settings.pial_share)
        for centre in places.candidates(rng, kind, TRIES):
            if keeps_distance(centre, seen_mm, kept):
                return np.asarray(centre)
    return None


def keeps_distance(
    centre: NDArray[np.float64], seen_mm: float, kept: Sequence[tuple[NDArray[np.float64], float]]
) -> bool:
    """Whether a bleed of a visible diameter is far enough from others, given by place and diameter."""
    return all(np.linalg.norm(centre - c) >= APART * (seen_mm + d) / 2 for c, d in kept)
