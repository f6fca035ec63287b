"""Where the vessels of a head run: where each kind starts, where it heads for, and what it may cross."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.curves import (
    Array,
    Field,
    Guide,
    Seeds,
    along_surface,
    distance_from,
    level_pull,
    smoothed,
    unit,
    within,
)

MARGIN = 8
"""Voxels around the brain in which vessels may run."""


class Places:
    """Where things are in a head: maps over the box around its brain, made when first asked for."""

    def __init__(self, head: hm.DeformedHead) -> None:
        found = ndimage.find_objects(head.brain.astype(np.uint8))[0]
        box = tuple(
            slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, n))
            for s, n in zip(found, head.labels.shape, strict=True)
        )
        self.origin = np.array([s.start for s in box])
        self.grid = head.grid
        self.labels, self.tissues, self.brain = head.labels[box], head.tissues[box], head.brain[box]
        self.middle = np.argwhere(self.brain).mean(axis=0)

    def of(self, *tissues: int) -> NDArray[np.bool_]:
        """Where these tissues are."""
        table = np.zeros(len(hm.TISSUE_NAMES), bool)
        table[list(tissues)] = True
        return table[self.tissues]

    def pick(
        self,
        rng: np.random.Generator,
        mask: NDArray[np.bool_],
        count: int,
        suits: Callable[[Array], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.float64]:
        """Random places within a mask, in voxels of the box, shape (n, 3); n = `count` if enough suit."""
        flat = np.flatnonzero(mask)
        if not len(flat) or not count:
            return np.empty((0, 3))
        index = np.unravel_index(rng.choice(flat, count if suits is None else 10 * count), mask.shape)
        points = np.stack(index, axis=1) + rng.uniform(-0.45, 0.45, (len(index[0]), 3))
        return points if suits is None else points[suits(points)][:count]

    @cached_property
    def matter(self) -> Field:
        """Brain tissue, smooth: its gradient points inwards at the surface."""
        return smoothed(self.of(*hm.NERVOUS), 1.5)

    @cached_property
    def white(self) -> Field:
        """White matter, smooth."""
        return smoothed(self.of(hm.WHITE), 1.5)

    @cached_property
    def fluid(self) -> NDArray[np.bool_]:
        """Fluid within 3 mm of brain tissue."""
        return self.of(hm.CSF) & (self.matter.values > 0.03)

    @cached_property
    def sheet(self) -> Field:
        """The fluid in sulci and on the surface, smooth: highest in its middle."""
        return smoothed(self.fluid, 1.0)

    @cached_property
    def outer_room(self) -> NDArray[np.bool_]:
        """Where a vessel of the surface may run."""
        outer = (hm.CORTEX, hm.CEREBELLAR_CORTEX, hm.BRAINSTEM, hm.ARTERY, hm.VEIN)
        return self.fluid | self.of(*outer) | (self.of(hm.CSF) & self.brain)

    @cached_property
    def wall(self) -> Field:
        """The ventricles, smooth: a half at their walls."""
        return smoothed(self.of(hm.VENTRICLE), 1.0)

    @cached_property
    def to_ventricles(self) -> Field:
        """Millimetres to the lateral ventricles; to the middle of the brain where there are none."""
        lateral = np.isin(self.labels, (4, 43))
        if not lateral.any():
            lateral[tuple(np.rint(self.middle).astype(int))] = True
        return distance_from(lateral)

    @cached_property
    def to_hindbrain(self) -> Field:
        """Millimetres to cerebellum and brain stem."""
        return distance_from(self.of(*hm.INFRATENTORIAL))

    @cached_property
    def to_base(self) -> Field:
        """Millimetres to what lies within the circle of Willis and the insula."""
        return distance_from(self.of(hm.PUTAMEN, hm.DIENCEPHALON, hm.BRAINSTEM, hm.AMYGDALA))

    @cached_property
    def third_roof(self) -> NDArray[np.float64]:
        """Top of the third ventricle from front to back, shape (n, 3); n = 0 if there is none."""
        third = np.argwhere(self.labels == 14)
        if len(third) < 20:
            return np.empty((0, 3))
        rows = [third[third[:, 1] == y] for y in np.unique(third[:, 1])[::-1]]
        return np.array([[row[:, 0].mean(), row[0, 1], row[:, 2].max() + 1.0] for row in rows])


@dataclass(frozen=True, eq=False)
class Course:
    """Curves of one kind that may grow together."""

    seeds: Seeds
    """Where they start."""
    guide: Guide
    """What pulls them."""
    room: NDArray[np.bool_]
    """Where they may be."""


def pial(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """In the fluid of sulci and on the hull, along its sheet."""
    pool = places.fluid & (places.brain | (places.matter.values > 0.15))
    points = places.pick(rng, pool, count, lambda p: places.to_hindbrain.at(p) > 4)
    return [_on_surface(rng, places, points, (5, 60))]


def cortical(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """From the surface straight into the cortex, or a little further."""
    surface = places.of(hm.CORTEX) & (places.matter.values < 0.8)
    points = places.pick(rng, surface, count)
    inwards = places.matter.uphill(points)
    seeds = Seeds(
        points, unit(inwards) + rng.normal(0, 0.3, points.shape), _skewed(rng, (3, 10), len(points))
    )
    return [Course(seeds, _no_pull, places.fluid | places.of(hm.CORTEX, hm.WHITE))]


def medullary(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """From the ventricles through the white matter, in groups whose members run side by side."""
    white = places.of(hm.WHITE)
    starts = np.concatenate(
        [
            places.pick(
                rng, white, count - count // 3, lambda p: _between(places.to_ventricles.at(p), 2, 12)
            ),
            places.pick(rng, white, count // 3, lambda p: _between(places.to_ventricles.at(p), 10, 30)),
        ]
    )
    if not len(starts):
        return []
    group = rng.integers(0, len(starts), -(-count // 5))[rng.integers(0, -(-count // 5), count)]
    points = starts[group] + rng.normal(0, 4.0, (count, 3))
    inside = within(white, points)
    points = points[inside]
    length = rng.uniform(10, 45, len(starts))[group][inside] * rng.uniform(0.6, 1.1, len(points))
    seeds = Seeds(points, places.to_ventricles.uphill(points), length)

    def outwards(p: Array, d: Array, n: NDArray[np.intp]) -> Array:
        return 0.6 * unit(places.to_ventricles.uphill(p)) + 3 * places.white.uphill(p)

    return [Course(seeds, outwards, places.of(hm.WHITE, hm.CAUDATE))]


def deep(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """In the walls of the ventricles, in the roof of the third one, around the midbrain, to the back."""
    wall = places.wall
    beside = places.of(hm.WHITE, hm.CAUDATE, hm.THALAMUS)
    points = places.pick(rng, beside & (wall.values > 0.2), max(count - 7, 1))
    seeds = Seeds(points, along_surface(rng, wall, points), _skewed(rng, (8, 40), len(points)))
    courses = [Course(seeds, lambda p, d, n: level_pull(wall, 0.35, p, 6.0), places.brain)]
    roof = places.third_roof
    if len(roof):
        galen = roof[-1] + (0, -3.0, 1.0)
        room = places.brain | places.of(hm.CSF, hm.VEIN)
        pair = roof[0] + rng.normal(0, 0.5, (2, 3)) + np.outer((-1.5, 1.5), (1, 0, 0))
        length = np.full(2, np.linalg.norm(galen - roof[0]))
        courses.append(Course(Seeds(pair, galen - pair, length), _to_target(galen[None].repeat(2, 0)), room))
        midbrain = places.of(hm.CSF) & places.brain
        basal = places.pick(rng, midbrain, 4, lambda p: _between(np.linalg.norm(p - galen, axis=1), 18, 35))
        length = 1.2 * np.linalg.norm(galen - basal, axis=1)
        courses.append(Course(Seeds(basal, galen - basal, length), _around(places, galen), room))
        back = np.array([[0.0, -0.8, 0.6]])
        courses.append(Course(Seeds(galen[None], back, rng.uniform(8, 18, 1)), _no_pull, room))
    return courses


def infratentorial(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """On the cerebellum and around the brain stem, and short ones into the folia."""
    near = places.pick(rng, places.fluid, count - count // 3, lambda p: places.to_hindbrain.at(p) <= 2)
    within = places.pick(rng, places.of(hm.CEREBELLAR_CORTEX), count // 3)
    inner = Seeds(within, places.matter.uphill(within), _skewed(rng, (4, 15), len(within)))
    room = places.of(hm.CEREBELLAR_CORTEX, hm.CEREBELLAR_WHITE, hm.CSF)
    return [_on_surface(rng, places, near, (5, 40)), Course(inner, _no_pull, room)]


def bridging(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """From the top of the brain to the sagittal sinus."""
    top = places.middle[2] + 0.45 * (np.argwhere(places.brain.any(axis=(0, 1))).max() - places.middle[2])
    points = places.pick(
        rng, places.fluid, count, lambda p: (p[:, 2] > top) & (np.abs(p[:, 0] - places.middle[0]) < 40)
    )
    sinus = np.argwhere(places.of(hm.VEIN))
    sinus = sinus[sinus[:, 2] > top]
    if len(sinus) and len(points):
        distance = np.linalg.norm(points[:, None] - sinus[None, ::5], axis=2)
        target = sinus[::5][distance.argmin(axis=1)].astype(np.float64)
    else:
        target = points * (0, 1, 1) + (places.middle[0], 0, 6)
    target += rng.normal(0, 3.0, target.shape) * (0, 1, 0)
    length = np.minimum(1.2 * np.linalg.norm(target - points, axis=1), rng.uniform(12, 45, len(points)))
    room = places.outer_room | places.of(hm.CSF, hm.VEIN)
    return [Course(Seeds(points, target - points, length), _to_target(target), room)]


def flow_voids(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """In the cisterns and around the insula, a third in sulci."""
    cisterns = places.of(hm.CSF) & places.brain
    inner = places.pick(rng, cisterns, count - count // 3, lambda p: places.to_base.at(p) < 20)
    outer = places.pick(rng, places.fluid & places.brain, count // 3)
    return [_on_surface(rng, places, np.concatenate([inner, outer]), (6, 40))]


def perivascular(rng: np.random.Generator, places: Places, count: int) -> list[Course]:
    """Upwards through the lower basal ganglia, and towards the ventricles in the white matter."""
    ganglia = places.of(hm.PUTAMEN, hm.PALLIDUM, hm.CAUDATE)
    points = places.pick(rng, ganglia, count // 2)
    up = np.array([0.0, 0.0, 1.0]) + rng.normal(0, 0.25, points.shape)
    inner = Seeds(points, up, _skewed(rng, (3, 15), len(points)))
    white = places.pick(
        rng, places.of(hm.WHITE), count - count // 2, lambda p: _between(places.to_ventricles.at(p), 5, 40)
    )
    outer = Seeds(white, -places.to_ventricles.uphill(white), _skewed(rng, (3, 15), len(white)))
    within = places.of(hm.WHITE, *hm.DEEP)
    return [Course(inner, _no_pull, within), Course(outer, _towards_ventricles(places), within)]


def _on_surface(
    rng: np.random.Generator, places: Places, points: Array, lengths: tuple[float, float]
) -> Course:
    """Curves that stay within the fluid's sheet."""
    seeds = Seeds(points, along_surface(rng, places.matter, points), _skewed(rng, lengths, len(points)))
    return Course(seeds, lambda p, d, n: 5 * places.sheet.uphill(p), places.outer_room)


def _towards_ventricles(places: Places) -> Guide:
    return lambda p, d, n: -0.6 * unit(places.to_ventricles.uphill(p))


def _to_target(targets: Array) -> Guide:
    """Each curve to its own."""
    return lambda p, d, n: 0.8 * unit(targets[n] - p)


def _around(places: Places, target: Array) -> Guide:
    """To a target, through the fluid where there is some."""
    return lambda p, d, n: 0.5 * unit(target - p) + 3 * places.sheet.uphill(p)


def _no_pull(points: Array, headings: Array, numbers: NDArray[np.intp]) -> Array:
    return np.zeros_like(points)


def _skewed(rng: np.random.Generator, span: tuple[float, float], count: int) -> NDArray[np.float64]:
    """Numbers of a span, log-uniform: more of the short ones."""
    return np.exp(rng.uniform(np.log(span[0]), np.log(span[1]), count))


def _between(values: Array, low: float, high: float) -> NDArray[np.bool_]:
    return (values >= low) & (values <= high)
