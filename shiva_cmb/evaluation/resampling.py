"""Uncertainty: bootstrap over patients, permutation of two methods, correction for several tests.

The statistics that are resampled are in `weighted`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.weighted import Floats, Measure, quantiles

Number = TypeVar("Number", bound=np.generic)

INTERVAL_RULE = (
    "percentiles of bootstrap samples of patients; samples in which a figure is undefined are left out, and"
    " there is no interval where they are more than half, the figure itself is undefined, or its cases or"
    " lesions are of fewer than two patients"
)
"""What the interval of every figure is."""


@dataclass(frozen=True)
class Figure:
    """One number of a report. NaN where undefined."""

    value: float
    """On the cases as they are."""
    low: float
    """Lower end of the bootstrap interval, see `INTERVAL_RULE`."""
    high: float
    """Upper end."""
    n: float
    """Number of cases or lesions the value rests on."""


def bootstrap_weights(groups: Sequence[str], replicates: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """How often each case is drawn when whole groups (patients) are drawn with replacement.

    Args:
        groups: the group of each case, length N. The draws of a group depend on which groups there are, not
            on the order of the cases.
        replicates: how many samples to draw, B.
        rng: the source of chance.

    Returns:
        Shape (B, N); all cases of a group have the same number. Small integers: there are many.

    Raises:
        UsageError: if there are no cases, or not at least one replicate is asked for.
    """
    names, member = _grouped(groups, replicates)
    weights = np.empty((replicates, len(member)), np.int16)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, names, names), minlength=names)[member]
    return weights


def as_figures(
    point: Mapping[str, Measure], replicates: Mapping[str, Measure], level: float = 0.95
) -> dict[str, Figure]:
    """Values with percentile intervals.

    Args:
        point: the statistics of the cases as they are, values of shape ().
        replicates: the same of the bootstrap samples, values of shape (B,); empty where there should be no
            interval.
        level: what the interval should hold, between 0 and 1.

    Raises:
        UsageError: if the level is not between 0 and 1.
    """
    _require_level(level)
    figures = {}
    for name, measure in point.items():
        low = high = np.asarray(np.nan)
        if name in replicates:
            low, high = interval(measure.value, np.atleast_1d(replicates[name].value), level)
        figures[name] = Figure(float(measure.value), float(low), float(high), float(measure.n))
    return figures


def interval(point: ArrayLike, drawn: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """Ends of percentile intervals by `INTERVAL_RULE` (of which the caller sees to the patients).

    Args:
        point: the values on the cases as they are, shape () or (T,).
        drawn: those of the bootstrap samples, shape (B,) or (B, T).
        level: what the interval should hold, between 0 and 1.

    Returns:
        Lower and upper ends, shape () or (T,), NaN where there is none.

    Raises:
        UsageError: if the level is not between 0 and 1.
    """
    _require_level(level)
    samples = np.moveaxis(np.asarray(drawn, np.float64), 0, -1)
    defined = 2 * np.count_nonzero(~np.isnan(samples), axis=-1) >= samples.shape[-1]
    shown = defined & ~np.isnan(np.asarray(point, np.float64))
    low, high = quantiles(samples, None, ((1 - level) / 2, (1 + level) / 2))
    return np.where(shown, low.value, np.nan), np.where(shown, high.value, np.nan)


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


def _require_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise UsageError(f"expected an interval level between 0 and 1, got {level}")


def _grouped(groups: Sequence[str], draws: int) -> tuple[int, NDArray[np.intp]]:
    """Number of groups, and the group of each case, numbered in the order of their names."""
    if len(groups) == 0 or draws < 1:
        raise UsageError(f"expected cases and at least one draw, got {len(groups)} cases and {draws} draws")
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return len(names), member
