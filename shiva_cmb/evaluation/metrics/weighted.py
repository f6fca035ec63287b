"""Statistics of cases that count a whole number of times: one function for the value and for its bootstrap.

Everywhere, `x` holds one value per case along its last axis, shape (N,) or (B, N), and `weights` says how
often each case is drawn: None (once each), (N,) or (B, N), whole numbers from 0. Results are shaped () or
(B,). A result is what the plain statistic gives for `numpy.repeat(x, weights)`. NaN means undefined for that
case: it is left out and not counted; of pairs, both are left out.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError

Floats = NDArray[np.float64]

_BLOCK = 1_000_000
"""Most values in one intermediate array (8 MB): replicates are worked on in blocks of rows."""


class Measure(NamedTuple):
    """A statistic, and how much it rests on."""

    value: Floats
    """Shape () or (B,); NaN where undefined."""
    n: Floats
    """Number of cases or lesions, each as often as it was drawn; same shape."""


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Quotient, NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def drawn(weights: ArrayLike | None, *values: ArrayLike) -> tuple[Floats, ...]:
    """Weights and values as floats; a case with NaN in any of the values gets weight 0 and the value 0.

    Raises:
        UsageError: if the numbers of cases differ.
    """
    arrays = [np.asarray(value, np.float64) for value in values]
    counts = np.ones(arrays[0].shape[-1]) if weights is None else np.asarray(weights, np.float64)
    sizes = [array.shape[-1] for array in (*arrays, counts)]
    if len(set(sizes)) > 1:
        raise UsageError(f"expected as many weights as cases in every array, got {sizes}")
    if sizes[0] == 0:  # one case that is never drawn spares every statistic a special case
        arrays = [np.zeros((*array.shape[:-1], 1)) for array in arrays]
        counts = np.zeros((*counts.shape[:-1], 1))
    undefined = [np.isnan(array) for array in arrays]
    if any(flags.any() for flags in undefined):
        nowhere = ~np.any(np.broadcast_arrays(*undefined), axis=0)
        counts = counts * nowhere
        arrays = [np.where(flags, 0.0, array) for flags, array in zip(undefined, arrays, strict=True)]
    return counts, *arrays


def total(x: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Sum; 0 without cases."""
    return _in_blocks(lambda counts, values: Measure(_sum(counts, values), _size(counts, values)), weights, x)


def pooled(x: ArrayLike, weights: ArrayLike | None, axes: int) -> Measure:
    """Sum over cases of arrays: for `x` of shape (N, ...) or (B, N, ...) with `axes` axes behind the cases.

    Returns:
        The sum, shape (...) or (B, ...), and the number of cases, shape () or (B,). A case with NaN anywhere
        in its array is left out.

    Raises:
        UsageError: if the numbers of cases differ.
    """
    values = np.asarray(x)
    shape = values.shape[-axes:]
    flat = values.reshape(*values.shape[:-axes], int(np.prod(shape)))
    once = _without_gaps(flat) if flat.ndim == 2 else None  # the same for all rows of weights
    summed, n = _by_rows(
        lambda counts, block: _pooled(counts, *(once or _without_gaps(block))), weights, flat, behind=1
    )
    return Measure(summed.reshape(*summed.shape[:-1], *shape), n)


def mean(x: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Arithmetic mean; NaN without cases."""
    summed = total(x, weights)
    return Measure(ratio(summed.value, summed.n), summed.n)


def std(x: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Standard deviation with n - 1 in the denominator; NaN under two cases."""
    return _in_blocks(_std, weights, x)


def quantile(x: ArrayLike, weights: ArrayLike | None, q: float) -> Measure:
    """Quantile as `numpy.quantile` gives it, linear between neighbours; infinite values are extreme ones."""
    return quantiles(x, weights, (q,))[0]


def quantiles(x: ArrayLike, weights: ArrayLike | None, levels: Sequence[float]) -> list[Measure]:
    """Several quantiles of the same values, which are sorted once.

    Raises:
        UsageError: if a level is outside [0, 1].
    """
    if not all(0.0 <= level <= 1.0 for level in levels):
        raise UsageError(f"expected quantile levels in [0, 1], got {tuple(levels)}")
    found = _in_blocks(lambda counts, values: _quantiles(counts, values, levels), weights, x)
    return [Measure(found.value[..., k], found.n) for k in range(len(levels))]


def pearson(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Product-moment correlation; NaN under two cases, or where one side is constant."""
    return _in_blocks(_pearson, weights, x, y)


def spearman(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Rank correlation, tied values sharing their mean rank; undefined as in `pearson`."""
    return _in_blocks(
        lambda counts, a, b: _pearson(counts, _ranks(counts, a), _ranks(counts, b)), weights, x, y
    )


def icc(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Intraclass correlation ICC(A,1): two-way model, absolute agreement, single measurement.

    Undefined (NaN) under two cases, or where nothing but the error varies and the formula divides by 0.
    Source: McGraw and Wong, Forming inferences about some intraclass correlation coefficients, 1996, table 4.
    """
    return _in_blocks(_icc, weights, x, y)


def auc(score: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Area under the receiver operating curve; NaN without positive or without negative cases.

    The chance that a positive case scores above a negative one, ties counting half (Mann-Whitney).
    """
    return _in_blocks(_auc, weights, score, np.asarray(positive, np.float64))


def _in_blocks(statistic: Callable[..., Measure], weights: ArrayLike | None, *values: ArrayLike) -> Measure:
    """Call a statistic of `drawn` weights and values on blocks of rows."""
    return _by_rows(lambda counts, *arrays: statistic(*drawn(counts, *arrays)), weights, *values)


def _by_rows(
    function: Callable[..., Measure], weights: ArrayLike | None, *values: ArrayLike, behind: int = 0
) -> Measure:
    """Call a function on blocks of rows of those arrays that have rows.

    Only a block at a time becomes floats: weights are small whole numbers, and there may be many.

    Args:
        function: of weights and values.
        weights: None, (N,) or (B, N).
        values: shape (N, ...) or (B, N, ...).
        behind: number of axes of the values behind the cases.
    """
    arrays = [None if weights is None else np.asarray(weights), *(np.asarray(value) for value in values)]
    axes = [2, *[2 + behind] * len(values)]
    stacked = [array is not None and array.ndim == n for array, n in zip(arrays, axes, strict=True)]
    tall = [array for array, has_rows in zip(arrays, stacked, strict=True) if has_rows and array is not None]
    rows = max((len(array) for array in tall), default=1)
    step = max(1, _BLOCK // max((max(array[:1].size, 1) for array in tall), default=1))
    if rows <= step:
        return function(*arrays)

    def block(array: NDArray[Any] | None, has_rows: bool, first: int) -> NDArray[Any] | None:
        return array[first : first + step] if array is not None and has_rows and len(array) > 1 else array

    parts = [
        function(*(block(array, has_rows, first) for array, has_rows in zip(arrays, stacked, strict=True)))
        for first in range(0, rows, step)
    ]
    return Measure(np.concatenate([part.value for part in parts]), np.concatenate([part.n for part in parts]))


def _without_gaps(x: NDArray[Any]) -> tuple[Floats, Floats]:
    """Values (..., N, K) with 0 for NaN, and their sums of each case, NaN where one was."""
    flat = np.asarray(x, np.float64)
    return np.where(np.isnan(flat), 0.0, flat), flat.sum(axis=-1)


def _pooled(weights: NDArray[Any] | None, flat: Floats, of_case: Floats) -> Measure:
    """Sums of what `_without_gaps` gives, see `pooled`."""
    counts, _ = drawn(weights, of_case)
    if flat.shape[-2] == 0:
        flat = np.zeros((*flat.shape[:-2], 1, flat.shape[-1]))
    summed = counts @ flat if flat.ndim == 2 else np.einsum("...n,...nk->...k", counts, flat)
    return Measure(summed, _size(counts, flat[..., 0]))


def _dot(counts: Floats, values: Floats) -> Floats:
    """Weighted sum of finite values."""
    if values.ndim == 1:
        return np.asarray(counts @ values)
    if counts.ndim == 1:
        return np.asarray(values @ counts)
    return np.einsum("...n,...n->...", counts, values)


def _sum(counts: Floats, values: Floats) -> Floats:
    """Weighted sum, where an infinite value counts only if it is drawn."""
    finite = np.isfinite(values)
    if finite.all():
        return _dot(counts, values)
    summed = _dot(counts, np.where(finite, values, 0.0))
    for sign in (np.inf, -np.inf):
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is right
            summed = np.where(_dot(counts, (values == sign).astype(float)) > 0, summed + sign, summed)
    return summed


def _size(counts: Floats, *values: Floats) -> Floats:
    """Number of cases drawn, shaped like the result."""
    shapes = [array.shape[:-1] for array in (counts, *values)]
    return np.broadcast_to(counts.sum(axis=-1), np.broadcast_shapes(*shapes)).copy()


def _deviations(counts: Floats, values: Floats) -> Floats:
    """Differences to the mean; exactly 0 where all that is drawn is the same, whatever the rounding."""
    hit = counts > 0
    low = np.where(hit, values, np.inf).min(axis=-1)
    high = np.where(hit, values, -np.inf).max(axis=-1)
    centre = np.clip(ratio(_dot(counts, values), counts.sum(axis=-1)), low, np.maximum(low, high))
    return values - centre[..., None]


def _std(counts: Floats, values: Floats) -> Measure:
    deviations = _deviations(counts, values)
    size = _size(counts, values)
    return Measure(np.sqrt(ratio(_dot(counts, deviations**2), np.maximum(size - 1, 0))), size)


def _quantiles(counts: Floats, values: Floats, levels: Sequence[float]) -> Measure:
    """Quantiles along a new last axis."""
    order = np.argsort(values, axis=-1, kind="stable")
    ranked = _take(values, order)
    reached = np.cumsum(_take(counts, order), axis=-1)
    size = _size(counts, values)
    out = []
    for level in levels:
        place = np.maximum((size - 1) * level, 0.0)
        below = np.floor(place)
        part = place - below
        a = _drawn_at(ranked, reached, below)
        b = _drawn_at(ranked, reached, np.minimum(below + 1, np.maximum(size - 1, 0)))
        with np.errstate(invalid="ignore"):  # between infinite neighbours; replaced below
            # As numpy does it, so that both agree to the last digit.
            value = np.where(part < 0.5, a + (b - a) * part, b - (b - a) * (1 - part))
            # Between a finite and an infinite value there is nothing: the infinite one.
            value = np.where(np.isinf(a) | np.isinf(b), a + b, value)
        value = np.where((part == 0) | (a == b), a, value)
        out.append(np.where(size > 0, value, np.nan))
    return Measure(np.stack(out, axis=-1), size)


def _drawn_at(ranked: Floats, reached: Floats, place: Floats) -> Floats:
    """Value at a place (from 0) in the sorted sample that repeats each value as often as it is drawn."""
    column = np.minimum((reached <= place[..., None]).sum(axis=-1), ranked.shape[-1] - 1)
    return ranked[column] if ranked.ndim == 1 else np.take_along_axis(ranked, column[..., None], -1)[..., 0]


def _take(values: Floats, columns: NDArray[np.intp]) -> Floats:
    """Columns of each row, where the columns are the same for all rows (N,) or not (B, N)."""
    if columns.ndim == 1:
        return values[..., columns]
    return np.take_along_axis(np.broadcast_to(values, columns.shape), columns, axis=-1)


def _tied(ranked: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last column of the run of equal values that each column of sorted values belongs to."""
    edge = np.ones((*ranked.shape[:-1], 1), bool)
    new = ranked[..., 1:] != ranked[..., :-1]
    columns = np.arange(ranked.shape[-1])
    first = np.maximum.accumulate(np.where(np.concatenate([edge, new], -1), columns, 0), axis=-1)
    ends = np.where(np.concatenate([new, edge], -1), columns, len(columns))[..., ::-1]
    return first, np.minimum.accumulate(ends, axis=-1)[..., ::-1]


def _below_and_up_to(counts: Floats, first: NDArray[Any], last: NDArray[Any]) -> tuple[Floats, Floats]:
    """How many are drawn of smaller values, and of smaller or equal ones; `counts` in sorted order."""
    reached = np.cumsum(counts, axis=-1)
    before = _take(reached, first) - _take(counts, first)
    return before, _take(reached, last)


def _ranks(counts: Floats, values: Floats) -> Floats:
    """Mean rank, from 1, of each value in the sample with repetitions."""
    order = np.argsort(values, axis=-1)
    before, up_to = _below_and_up_to(_take(counts, order), *_tied(_take(values, order)))
    return _take((before + up_to + 1) / 2, np.argsort(order, axis=-1))


def _pearson(counts: Floats, x: Floats, y: Floats) -> Measure:
    dx, dy = _deviations(counts, x), _deviations(counts, y)
    # Two square roots: the product of two sums of squares may underflow.
    scale = np.sqrt(_dot(counts, dx**2)) * np.sqrt(_dot(counts, dy**2))
    return Measure(np.clip(ratio(_dot(counts, dx * dy), scale), -1.0, 1.0), _size(counts, x, y))


def _icc(counts: Floats, x: Floats, y: Floats) -> Measure:
    size = _size(counts, x, y)
    # Analysis of variance with two raters: everything follows from the case means and the differences.
    rows = 2 * _dot(counts, _deviations(counts, (x + y) / 2) ** 2)
    error = _dot(counts, _deviations(counts, x - y) ** 2) / 2
    columns = ratio(_dot(counts, x - y), size) ** 2 * size / 2
    freedom = np.maximum(size - 1, 0)
    ms_rows, ms_error = ratio(rows, freedom), ratio(error, freedom)
    below = ms_rows + ms_error + ratio(2 * (columns - ms_error), size)
    return Measure(ratio(ms_rows - ms_error, below), size)


def _auc(counts: Floats, score: Floats, positive: Floats) -> Measure:
    order = np.argsort(score, axis=-1)
    is_positive = positive > 0
    hits, others = counts * is_positive, counts * ~is_positive
    before, up_to = _below_and_up_to(_take(others, order), *_tied(_take(score, order)))
    wins = _dot(_take(hits, order), (before + up_to) / 2)
    return Measure(ratio(wins, hits.sum(-1) * others.sum(-1)), _size(counts, score, positive))
