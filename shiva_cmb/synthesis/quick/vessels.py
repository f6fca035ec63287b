"""Veins, arteries and perivascular spaces of a head: the dark dots and lines that are no microbleeds."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.synthesis.head_map import DeformedHead
from shiva_cmb.synthesis.quick import vessel_courses as courses
from shiva_cmb.synthesis.quick.curves import LEAST_POINTS, STEP_MM, Seeds, grow, taper, unit
from shiva_cmb.synthesis.quick.vessel_courses import Course, Places
from shiva_cmb.synthesis.shapes import Tube

FLOW_VOID = "flow void"
PERIVASCULAR_SPACE = "perivascular space"
THINNEST_MM, THICKEST_MM = 0.1, 2.0
"""Radii beyond which no taper takes a vessel."""


@dataclass(frozen=True)
class VesselSettings:
    """How many vessels of each kind a head has. 0 leaves a kind out and changes nothing else in the head.

    The counts are those of a head of middling density; branches come on top. They are assumed, and so is how
    thick most vessels are. Known: internal cerebral veins are 1.5 to 2 mm thick (Hou 2021), deep medullary
    veins 0.2 to 0.3 mm (Chen 2016, on SWI), veins within the cortex about 0.1 mm (Duvernoy 1981),
    perivascular spaces mostly less than 3 mm (Wardlaw 2013). The cortical and medullary veins here
    are thicker than that.
    """

    pial_veins: int = 260
    """Veins in sulci and on the surface of the brain, 0.5 to 3 mm thick."""
    cortical_veins: int = 110
    """Short veins that run through the cortex, 0.4 to 0.8 mm thick."""
    medullary_veins: int = 110
    """Veins of the white matter, in parallel groups towards the ventricles, 0.3 to 0.8 mm thick."""
    deep_veins: int = 24
    """Veins in the walls of the ventricles and around the midbrain, 0.6 to 2.5 mm thick."""
    infratentorial_veins: int = 50
    """Veins on and in the cerebellum and around the brain stem, 0.5 to 2 mm thick."""
    bridging_veins: int = 14
    """Veins from the upper surface of the brain to the sagittal sinus, 0.8 to 2.5 mm thick."""
    flow_voids: int = 14
    """Arteries at the base of the brain, around the insula and in sulci, 1 to 3 mm thick."""
    perivascular_spaces: int = 30
    """Straight spaces filled with fluid in basal ganglia and white matter, 0.5 to 2 mm thick."""
    vessel_density_low: float = 0.25
    """The counts of a head are multiplied by a factor, log-uniform from this ..."""
    vessel_density_high: float = 1.4
    """... to this, the same for all kinds, and by another 0.7 to 1.4 for each."""
    branches_per_30mm: float = 0.6
    """Branches of a vein, on average."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            high = 20.0 if isinstance(field.default, float) else 5000
            if not 0 <= value <= high:
                raise UsageError(f"{field.name}: expected a number from 0 to {high:g}, got {value}")
        if not 0 < self.vessel_density_low <= self.vessel_density_high:
            raise UsageError(
                "vessel_density_low: expected more than 0 and no more than vessel_density_high "
                f"({self.vessel_density_high}), got {self.vessel_density_low}"
            )


def draw_vessels(rng: np.random.Generator, head: DeformedHead, settings: VesselSettings) -> tuple[Tube, ...]:
    """The vessels of one head.

    Args:
        rng: where they come from; the same gives the same vessels.
        head: whose tissues they run through.
        settings: how many there are.

    Returns:
        Tubes, each with its kind (`pial vein`, `flow void` ...), points at most 0.5 mm apart.
    """
    density = np.exp(rng.uniform(np.log(settings.vessel_density_low), np.log(settings.vessel_density_high)))
    streams = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=len(_KINDS))]
    places = Places(head)
    tubes: list[Tube] = []
    for stream, (kind, how) in zip(streams, _KINDS.items(), strict=True):
        count = stream.poisson(getattr(settings, how.count) * density * stream.uniform(0.7, 1.4))
        for course in how.plan(stream, places, count) if count else ():
            if len(course.seeds.points):
                tubes += _tubes(stream, places, settings, kind, course)
    return tuple(tubes)


@dataclass(frozen=True)
class _Kind:
    """What sets one kind of vessel apart."""

    count: str
    """The field of the settings that says how many there are."""
    plan: Callable[[np.random.Generator, Places, int], list[Course]]
    """Where they run."""
    diameters_mm: tuple[float, float]
    """Log-uniform at the thicker end."""
    wiggle: float
    """How winding they are."""
    end: float
    """Radius at the thinner end, as a share of that at the thicker one."""
    branches: bool = False
    """Whether they branch."""


_KINDS = {
    "pial vein": _Kind("pial_veins", courses.pial, (0.5, 3.0), 0.8, 0.6, branches=True),
    "cortical vein": _Kind("cortical_veins", courses.cortical, (0.4, 0.8), 0.4, 0.7),
    "medullary vein": _Kind("medullary_veins", courses.medullary, (0.3, 0.8), 0.25, 0.6, branches=True),
    "deep vein": _Kind("deep_veins", courses.deep, (0.6, 2.5), 0.5, 0.6, branches=True),
    "infratentorial vein": _Kind(
        "infratentorial_veins", courses.infratentorial, (0.5, 2.0), 0.8, 0.6, branches=True
    ),
    "bridging vein": _Kind("bridging_veins", courses.bridging, (0.8, 2.5), 0.4, 0.8),
    FLOW_VOID: _Kind("flow_voids", courses.flow_voids, (1.0, 3.0), 0.8, 0.7, branches=True),
    PERIVASCULAR_SPACE: _Kind("perivascular_spaces", courses.perivascular, (0.5, 2.0), 0.1, 0.8),
}


def _tubes(
    rng: np.random.Generator, places: Places, settings: VesselSettings, kind: str, course: Course
) -> list[Tube]:
    """Grow the curves of a course and their branches, and give them radii."""
    how = _KINDS[kind]
    seeds = course.seeds
    low, high = np.log(how.diameters_mm) - np.log(2)
    thick = np.exp(low + (high - low) * rng.random(len(seeds.points)) ** 1.5)
    curves = grow(rng, seeds, course.room, course.guide, how.wiggle * _bending(thick))
    radii = [taper(rng, len(c), r, how.end * r, 0.15) for c, r in zip(curves, thick, strict=True)]
    if how.branches and settings.branches_per_30mm > 0:
        extra = _branches(rng, curves, radii, settings.branches_per_30mm)
        if extra is not None:
            starts, thin, parents = extra
            guide = course.guide
            bending = how.wiggle * _bending(thin)
            grown = grow(rng, starts, course.room, lambda p, d, n: guide(p, d, parents[n]), bending)
            radii += [taper(rng, len(c), r, how.end * r, 0.15) for c, r in zip(grown, thin, strict=True)]
            curves += grown
    return [
        Tube(kind, places.grid.to_world(curve + places.origin), radius.clip(THINNEST_MM, THICKEST_MM))
        for curve, radius in zip(curves, radii, strict=True)
        if len(curve) >= LEAST_POINTS
    ]


def _bending(radii_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How readily vessels bend: thick ones less."""
    return np.asarray(np.minimum(1.0, 0.5 / radii_mm))


def _branches(
    rng: np.random.Generator,
    curves: list[NDArray[np.float64]],
    radii: list[NDArray[np.float64]],
    per_30mm: float,
) -> tuple[Seeds, NDArray[np.float64], NDArray[np.intp]] | None:
    """Where branches leave their curves, how thick they are there, and the numbers of those curves."""
    lengths = np.array([(len(c) - 1) * STEP_MM for c in curves])
    parents = np.repeat(np.arange(len(curves)), rng.poisson(per_30mm * lengths / 30))
    if not len(parents):
        return None
    last = np.array([len(c) - 1 for c in curves])[parents]
    at = (rng.uniform(0.1, 0.9, len(parents)) * last).astype(np.intp)
    points = np.array([curves[p][i] for p, i in zip(parents, at, strict=True)])
    ahead = np.array([curves[p][i + 1] for p, i in zip(parents, at, strict=True)])
    thick = np.array([radii[p][i] for p, i in zip(parents, at, strict=True)])
    heading = unit(unit(ahead - points) + rng.normal(0, 0.6, points.shape))
    seeds = Seeds(points, heading, np.maximum(lengths[parents] * rng.uniform(0.2, 0.7, len(parents)), 3.0))
    return seeds, thick * rng.uniform(0.5, 0.85, len(parents)), parents
