"""Uncertainty: bootstrap over patients, permutation of two methods, correction for several tests.

The statistics that are resampled are in `weighted`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.weighted import (
    Measure,
    auc,
    icc,
    mean,
    pearson,
    quantile,
    quantiles,
    spearman,
    std,
    total,
)

Number = TypeVar("Number", bound=np.generic)

__all__ = [
    "Figure",
    "Measure",
    "as_figures",
    "auc",
    "bootstrap_weights",
    "exchange",
    "holm",
    "icc",
    "mean",
    "pearson",
    "permutation_p",
    "quantile",
    "quantiles",
    "spearman",
    "std",
    "swap_methods",
    "total",
]


@dataclass(frozen=True)
class Figure:
    """One number of a report. NaN where undefined."""

    value: float
    """On the cases as they are."""
    low: float
    """Lower end of the bootstrap interval."""
    high: float
    """Upper end."""
    n: float
    """Number of cases or lesions the value rests on."""


def bootstrap_weights(groups: Sequence[str], replicates: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each case is drawn when whole groups (patients) are drawn with replacement.

    Args:
        groups: the group of each case, length N. The draws of a group depend on which groups there are, not
            on the order of the cases.
        replicates: how many samples to draw, B.
        rng: the source of chance.

    Returns:
        Shape (B, N); all cases of a group have the same number.

    Raises:
        UsageError: if there are no cases, or not at least one replicate is asked for.
    """
    names, member = _grouped(groups, replicates)
    weights = np.empty((replicates, len(member)), np.int32)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, names, names), minlength=names)[member]
    return weights


def as_figures(
    point: Mapping[str, Measure], replicates: Mapping[str, Measure], level: float = 0.95
) -> dict[str, Figure]:
    """Values with percentile intervals.

    Args:
        point: the statistics of the cases as they are, values of shape ().
        replicates: the same of the bootstrap samples, values of shape (B,). Undefined ones (NaN)
            are left out; where fewer than half are defined, or the value is not, there is no interval.
        level: what the interval should hold, between 0 and 1.

    Raises:
        UsageError: if the level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise UsageError(f"expected an interval level between 0 and 1, got {level}")
    ends = ((1 - level) / 2, (1 + level) / 2)
    figures = {}
    for name, measure in point.items():
        value, n = float(measure.value), float(measure.n)
        low = high = float("nan")
        if name in replicates and not np.isnan(value):
            drawn = np.atleast_1d(replicates[name].value)
            if 2 * np.count_nonzero(~np.isnan(drawn)) >= len(drawn):
                low, high = (float(end.value) for end in quantiles(drawn, None, ends))
        figures[name] = Figure(value, low, high, n)
    return figures


def swap_methods(groups: Sequence[str], permutations: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which cases exchange the results of two methods, shape (B, N); all cases of a group do the same.

    If the methods are alike, each patient's two results could as well be exchanged.

    Args:
        groups: the group (patient) of each case, length N.
        permutations: how many, B.
        rng: the source of chance.

    Raises:
        UsageError: if there are no cases, or not at least one permutation is asked for.
    """
    names, member = _grouped(groups, permutations)
    return rng.integers(0, 2, (permutations, names), dtype=np.int8).astype(bool)[:, member]


def exchange(
    a: NDArray[Number], b: NDArray[Number], swap: NDArray[np.bool_]
) -> tuple[NDArray[Number], NDArray[Number]]:
    """The results of two methods, shape (N, ...) each, after exchanging the cases that `swap` (B, N) names.

    Returns:
        The new first and second method, shape (B, N, ...) each.
    """
    flags = swap.reshape(*swap.shape, *(1,) * (a.ndim - 1))
    return np.where(flags, b, a), np.where(flags, a, b)


def permutation_p(observed: float, null: ArrayLike) -> float:
    """Two-sided p value: (1 + number of permutations at least as extreme) / (1 + number of permutations).

    Args:
        observed: the difference between two methods; NaN gives NaN.
        null: the difference in each permutation, shape (B,); undefined ones (NaN) are left out.

    Source: Phipson and Smyth, Permutation p-values should never be zero, 2010.
    """
    values = np.abs(np.asarray(null, np.float64))
    values = values[~np.isnan(values)]
    if np.isnan(observed):
        return float("nan")
    # A permutation that gives the observed split again may differ from it by rounding.
    slack = max(1e-9 * abs(observed), 1e-12)
    return float((1 + np.count_nonzero(values >= abs(observed) - slack)) / (1 + len(values)))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """P values adjusted for several tests by Holm's step-down method, in the order given.

    NaN stays NaN and does not count as a test.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    values = np.asarray(p, np.float64)
    adjusted = np.full(values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _grouped(groups: Sequence[str], draws: int) -> tuple[int, NDArray[np.intp]]:
    """Number of groups, and the group of each case, numbered in the order of their names."""
    if len(groups) == 0 or draws < 1:
        raise UsageError(f"expected cases and at least one draw, got {len(groups)} cases and {draws} draws")
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return len(names), member
