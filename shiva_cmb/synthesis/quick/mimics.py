"""Calcifications, cavernomas and haemorrhagic infarcts of a head: dark things that are no microbleeds."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.head_map import DeformedHead
from shiva_cmb.synthesis.shapes import Ball

CALCIFICATION, CAVERNOMA, INFARCT = "calcification", "cavernoma", "infarct"


@dataclass(frozen=True)
class MimicSettings:
    """How often a head has what is easily mistaken for a microbleed. 0 leaves it out.

    Calcified choroid plexus and pineal gland are common from middle age on, calcified pallida are not rare
    (Kiroglu et al. 2010, "Intracranial calcifications on CT"). On CT of adults: pineal gland 71 %, choroid
    plexus 66 %, basal ganglia 1 %, falx and tentorium 7 % (Daghighi 2007), falx 27 % (Ghorbanlou 2022), basal
    ganglia 17 to 21 %, nearly all as dots (Yamada 2013). The rarer kinds are more frequent here than in life,
    so that those who learn from these heads see some. Sizes of calcifications are assumed.
    """

    choroid_share: float = 0.5
    """Share of the heads with calcified choroid plexus, mostly on both sides."""
    pineal_share: float = 0.5
    """Share of the heads with a calcified pineal gland."""
    pallidum_share: float = 0.25
    """Share of the heads with calcified pallida, on both sides."""
    dentate_share: float = 0.1
    """Share of the heads with calcified dentate nuclei, on both sides; 0.2 % on CT (Yamada 2013)."""
    dural_share: float = 0.3
    """Share of the heads with calcified plaques of the falx or on the hull."""
    cortical_calcifications: float = 0.8
    """Tiny calcifications in cortex and white matter per head, on average; assumed."""
    cavernomas: float = 0.06
    """Cavernomas, 5 to 12 mm, per head, on average; 0.5 % of those over 50 have any (Flemming 2017)."""
    haemorrhagic_infarcts: float = 0.05
    """Old infarcts with blood in them, 6 to 20 mm, per head, on average; assumed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            high = 1 if field.name.endswith("_share") else 100
            value = getattr(self, field.name)
            if not 0 <= value <= high:
                raise UsageError(f"{field.name}: expected a number from 0 to {high}, got {value}")


def draw_mimics(rng: np.random.Generator, head: DeformedHead, settings: MimicSettings) -> tuple[Ball, ...]:
    """The mimics of one head that are no tubes.

    Args:
        rng: where they come from; the same gives the same.
        head: whose tissues they lie in.
        settings: how many there are; one kind more or less changes nothing else.
    """
    streams = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=len(_PLANS))]
    balls: list[Ball] = []
    for stream, (name, plan) in zip(streams, _PLANS.items(), strict=True):
        value = getattr(settings, name)
        count = int(stream.random() < value) if name.endswith("_share") else stream.poisson(value)
        if count:
            balls += [
                Ball(kind, head.grid.to_world(centres), radii)
                for kind, centres, radii in plan(stream, head, count)
            ]
    return tuple(balls)


class _Lump(NamedTuple):
    """A ball before it is placed in the world."""

    kind: str
    centres: NDArray[np.float64]
    """In voxels of the head, which are 1 mm."""
    radii_mm: NDArray[np.float64]


def _choroid(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """In the trigones of the lateral ventricles."""
    lumps = []
    for label, plexus in ((4, 31), (43, 63)):
        places = np.argwhere(head.labels == plexus)
        if len(places) < 20:
            places = np.argwhere(head.labels == label)
            if len(places):
                low, high = np.quantile(places[:, 1], (0.05, 0.3))
                places = places[(places[:, 1] >= low) & (places[:, 1] <= high)]
        if len(places) and rng.random() < 0.8:
            lumps += _scatter(rng, places, int(rng.integers(1, 4)), (0.6, 2.2), spread_mm=1.5)
    return lumps


def _pineal(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """Behind the upper end of the third ventricle."""
    third = np.argwhere(head.labels == 14)
    if not len(third):
        return []
    back = third[third[:, 1] <= third[:, 1].min() + 3]
    place = np.array([back[:, 0].mean(), back[:, 1].min() - 4, back[:, 2].max() - 2])
    return [
        _lump(rng, CALCIFICATION, place + rng.normal(0, 1.0, 3), int(rng.integers(1, 5)), (0.7, 2.2), 1.2)
    ]


def _pallidum(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """Irregular, on both sides."""
    return _bilateral(rng, head, (13, 52), (0.5, 1.6), 1.6)


def _dentate(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """Within the white matter of the cerebellum, on both sides."""
    return _bilateral(rng, head, (7, 46), (0.5, 1.4), 2.0)


def _bilateral(
    rng: np.random.Generator,
    head: DeformedHead,
    labels: tuple[int, int],
    radii_mm: tuple[float, float],
    spread_mm: float,
) -> list[_Lump]:
    """Lumps around the middle of a nucleus of either side."""
    lumps = []
    for label in labels:
        places = np.argwhere(head.labels == label)
        if not len(places):
            continue
        near = np.linalg.norm(places - places.mean(axis=0), axis=1)
        places = places[near <= np.quantile(near, 0.3)]
        lumps += _scatter(rng, places, int(rng.integers(1, 4)), radii_mm, spread_mm)
    return lumps


def _dural(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """On the falx and, less often, on the hull of the brain; flat."""
    places = np.argwhere((head.tissues == hm.CSF) & head.brain)
    if not len(places):
        return []
    middle = np.median(places, axis=0)
    falx = places[(np.abs(places[:, 0] - middle[0]) <= 2) & (places[:, 2] > middle[2])]
    return _scatter(rng, falx if len(falx) else places, int(rng.integers(1, 4)), (0.6, 2.0), spread_mm=1.5)


def _cortical(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """Tiny ones."""
    where = _random_places(rng, head, (hm.CORTEX, hm.WHITE), count)
    return [_lump(rng, CALCIFICATION, place, int(rng.integers(1, 3)), (0.4, 1.1), 0.6) for place in where]


def _cavernoma(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """Like a mulberry."""
    lumps = []
    for place in _random_places(rng, head, (hm.WHITE, hm.CORTEX, hm.BRAINSTEM, hm.CEREBELLAR_WHITE), count):
        radius = rng.uniform(2.5, 6.0)
        lumps.append(
            _lump(
                rng, CAVERNOMA, place, int(rng.integers(5, 12)), (0.3 * radius, 0.6 * radius), 0.35 * radius
            )
        )
    return lumps


def _infarct(rng: np.random.Generator, head: DeformedHead, count: int) -> list[_Lump]:
    """Longish and ragged."""
    lumps = []
    for place in _random_places(rng, head, (hm.CORTEX, hm.PUTAMEN, hm.CEREBELLAR_CORTEX), count):
        half = rng.uniform(3.0, 10.0)
        along = rng.normal(size=3)
        along /= np.linalg.norm(along)
        number = int(rng.integers(6, 16))
        centres = place + np.outer(rng.uniform(-half, half, number), along)
        centres = centres + rng.normal(0, 0.2 * half, (number, 3))
        lumps.append(_Lump(INFARCT, centres, rng.uniform(0.12, 0.35, number) * half))
    return lumps


_PLANS: dict[str, Callable[[np.random.Generator, DeformedHead, int], list[_Lump]]] = {
    "choroid_share": _choroid,
    "pineal_share": _pineal,
    "pallidum_share": _pallidum,
    "dentate_share": _dentate,
    "dural_share": _dural,
    "cortical_calcifications": _cortical,
    "cavernomas": _cavernoma,
    "haemorrhagic_infarcts": _infarct,
}


def _random_places(
    rng: np.random.Generator, head: DeformedHead, tissues: tuple[int, ...], count: int
) -> NDArray[np.float64]:
    """Places within some tissues, shape (count, 3); none if the head has no such tissue."""
    flat = np.flatnonzero(np.isin(head.tissues, tissues))
    if not len(flat):
        return np.empty((0, 3))
    index = np.unravel_index(rng.choice(flat, count), head.tissues.shape)
    return np.stack(index, axis=1) + rng.uniform(-0.5, 0.5, (count, 3))


def _scatter(
    rng: np.random.Generator,
    places: NDArray[np.intp],
    count: int,
    radii_mm: tuple[float, float],
    spread_mm: float,
) -> list[_Lump]:
    """Calcified lumps at some of the places."""
    return [
        _lump(rng, CALCIFICATION, place, int(rng.integers(1, 6)), radii_mm, spread_mm)
        for place in rng.choice(places, count)
    ]


def _lump(
    rng: np.random.Generator,
    kind: str,
    place: NDArray[np.floating],
    number: int,
    radii_mm: tuple[float, float],
    spread_mm: float,
) -> _Lump:
    """Balls around a place, more of the small sizes."""
    centres = place + rng.normal(0, spread_mm, (number, 3)) * (np.arange(number) > 0)[:, None]
    low, high = np.log(radii_mm)
    return _Lump(kind, centres, np.exp(rng.uniform(low, high, number)))
