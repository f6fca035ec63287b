"""How large, how many and where microbleeds are: draws from the statistics of 957 of them.

The figures are derived statistics of bleeds that raters marked, in five datasets.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Region = Literal["lobar", "deep", "infratentorial"]
REGIONS: tuple[Region, ...] = ("lobar", "deep", "infratentorial")

SMALLEST_MM, LARGEST_MM = 1.2, 10.0
"""Ends of the tails of the diameters: hardly seen (assumed); and by definition no microbleed beyond
(Greenberg 2009: up to 5, at most 10 mm)."""


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of one dataset's bleeds."""

    bleeds: int
    """How many there are."""
    scans: int
    """Scans with one or more."""
    diameters_mm: tuple[float, float, float, float, float]
    """Visible diameter at `QUANTILES`."""
    single: float
    """Share of those scans that have one."""
    most: int
    """In one scan."""
    regions: tuple[float, float, float]
    """Share of the bleeds in each of `REGIONS`."""


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DATASETS = {
    "RODEJA": DatasetFacts(357, 61, (1.23, 1.53, 2.34, 3.03, 4.56), 0.41, 55, (0.714, 0.118, 0.151)),
    "MOMENI": DatasetFacts(146, 57, (2.29, 2.56, 2.78, 2.95, 3.18), 0.54, 17, (0.733, 0.082, 0.178)),
    "VALDO": DatasetFacts(253, 50, (2.01, 2.47, 2.73, 3.26, 4.86), 0.60, 83, (0.767, 0.166, 0.067)),
    "DOU": DatasetFacts(74, 20, (1.96, 2.37, 3.06, 3.40, 4.02), 0.50, 13, (0.662, 0.257, 0.081)),
    "CRB": DatasetFacts(127, 18, (2.64, 2.87, 3.26, 4.01, 5.65), 0.22, 29, (0.756, 0.102, 0.134)),
}
_TAIL = (0.995, 1.3)
"""Of one bleed in 200 the diameter is more than this many times the 95 % quantile: a tail that went straight
to 10 mm would double the datasets' standard deviations."""
_MOST = max(facts.most for facts in DATASETS.values())


def draw_diameters_mm(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Visible diameters, shape (count,): each of one dataset, drawn by its number of bleeds.

    Between the known quantiles the logarithm is interpolated, on to `SMALLEST_MM` and `LARGEST_MM`.
    """
    facts = list(DATASETS.values())
    bleeds = np.array([one.bleeds for one in facts])
    which = rng.choice(len(facts), count, p=bleeds / bleeds.sum())
    places = rng.random(count)
    levels = (0.0, *QUANTILES, _TAIL[0], 1.0)
    values = [
        np.log((SMALLEST_MM, *one.diameters_mm, _TAIL[1] * one.diameters_mm[-1], LARGEST_MM)) for one in facts
    ]
    return np.exp([np.interp(place, levels, values[one]) for place, one in zip(places, which, strict=True)])


def draw_count(rng: np.random.Generator) -> int:
    """How many bleeds a scan has that has any: 1 to 83, most often 1 to 4.

    The whole part of a log-normal, of one dataset drawn by its number of scans; its two parameters give the
    share of scans with a single bleed, and the largest number among as many scans as the dataset has.
    """
    facts = list(DATASETS.values())
    scans = np.array([one.scans for one in facts])
    one = facts[int(rng.choice(len(facts), p=scans / scans.sum()))]
    normal = NormalDist()
    low, high = normal.inv_cdf(one.single), normal.inv_cdf(1 - np.log(2) / one.scans)
    spread = float(np.log(one.most / 2)) / (high - low)
    count = 2 * np.exp(spread * (rng.normal() - low))
    return int(np.clip(count, 1, _MOST))


def region_shares() -> tuple[float, ...]:
    """Share of all bleeds in each of `REGIONS`, adding up to 1."""
    counts = sum(np.array(one.regions) * one.bleeds for one in DATASETS.values())
    return tuple((counts / np.sum(counts)).tolist())
