"""Which part of which case the network sees next."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase

Shape = tuple[int, int, int]

MARGIN = 0.125
"""Bleeds lie at least this fraction of the patch's width from its border, so that they are seen whole."""

MAX_VALIDATION_PATCHES = 128
"""Half of them around bleeds: enough for a steady loss, and checked in seconds."""


class Place(NamedTuple):
    """A patch of a case."""

    case: int
    """Index of the case."""
    corner: Shape
    """Its first voxel."""


def draw_place(
    rng: np.random.Generator, cases: Sequence[PreparedCase], shape: Shape, lesion_fraction: float
) -> Place:
    """Choose a patch: around a bleed with probability `lesion_fraction`, else anywhere in a brain.

    Every case with bleeds is as likely as the next, so that one head with eighty does not take over.
    """
    bleeding = [index for index, case in enumerate(cases) if len(case.bleeds)]
    if bleeding and rng.random() < lesion_fraction:
        case = int(rng.choice(bleeding))
        bleed = cases[case].bleeds[rng.integers(len(cases[case].bleeds))]
        return Place(case, corner_around(rng, bleed, shape, cases[case]))
    case = int(rng.integers(len(cases)))
    first, last = cases[case].brain_box
    centre = rng.integers(first, last + 1)
    return Place(case, _clip(centre - np.array(shape) // 2, shape, cases[case]))


def corner_around(
    rng: np.random.Generator, bleed: NDArray[np.intp], shape: Shape, case: PreparedCase
) -> Shape:
    """The corner of a patch that holds the voxel `bleed` at a random place, away from the border."""
    margin = np.floor(MARGIN * np.array(shape)).astype(int)
    return _clip(bleed - rng.integers(margin, np.array(shape) - margin), shape, case)


def validation_places(
    rng: np.random.Generator, cases: Sequence[PreparedCase], shape: Shape
) -> tuple[Place, ...]:
    """Patches to check a fold on: around every bleed (or a random choice) and as many others.

    Whole volumes, if the patch is that large.
    """
    if shape == cases[0].image.shape:
        return tuple(Place(index, (0, 0, 0)) for index in range(len(cases)))
    bleeds = [(index, bleed) for index, case in enumerate(cases) for bleed in case.bleeds]
    order = rng.permutation(len(bleeds))[: MAX_VALIDATION_PATCHES // 2]
    chosen = [bleeds[number] for number in order]
    around = [Place(index, corner_around(rng, bleed, shape, cases[index])) for index, bleed in chosen]
    others = [draw_place(rng, cases, shape, 0.0) for _ in range(max(len(around), 8))]
    return (*around, *others)


def cut(case: PreparedCase, corner: Shape, shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The image and the label of a patch."""
    box = tuple(slice(start, start + size) for start, size in zip(corner, shape, strict=True))
    return case.image[box], case.label[box]


def _clip(corner: NDArray[np.integer], shape: Shape, case: PreparedCase) -> Shape:
    x, y, z = np.clip(corner, 0, np.array(case.image.shape) - shape)
    return int(x), int(y), int(z)
