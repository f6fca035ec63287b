"""Detection along thresholds: FROC, precision-recall, and the choice of an operating point.

`counts` holds the true positives, false positives and false negatives of each case at each threshold, shape
(N, T, 3) or (B, N, T, 3), thresholds rising. See `weighted` for `weights`. Figures have shape () or (B,),
curves one more axis for the thresholds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.weighted import Floats, Measure, pooled, ratio

FREE_RESPONSE_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which the free-response score reads the sensitivity."""

DEFINITIONS: dict[str, str] = {
    "free_response_score": "Mean over 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan (all scans) of"
    " the best pooled sensitivity among the thresholds with at most that many, 0 where none has.",
    **{
        f"sensitivity_at_{rate:g}_fp_per_scan": "Best pooled sensitivity among the thresholds with at most"
        f" {rate:g} false positives per scan (all scans), 0 where none has."
        for rate in FREE_RESPONSE_RATES
    },
    "average_precision": "Area under the precision-recall curve of pooled lesions, where the precision at a"
    " recall is the best one at that recall or beyond; recalls that no threshold reaches add nothing.",
}
"""One sentence for every figure."""


class Froc(NamedTuple):
    """Free-response curve, one value per threshold (..., T)."""

    sensitivity: Floats
    """NaN without truth lesions."""
    fp_per_scan: Floats
    """Over all scans."""


class PrecisionRecall(NamedTuple):
    """Precision-recall curve, one value per threshold (..., T)."""

    precision: Floats
    """NaN at thresholds without predictions."""
    recall: Floats
    """NaN without truth lesions."""


class OperatingPoints(NamedTuple):
    """Pooled figures at each threshold, minimum volume and peak threshold, (T, V, P), NaN where undefined."""

    sensitivity: Floats
    """TP / (TP + FN)."""
    precision: Floats
    """TP / (TP + FP)."""
    f1: Floats
    """2 TP / (2 TP + FP + FN)."""
    fp_per_scan: Floats
    """FP over all scans."""


def froc(counts: ArrayLike, weights: ArrayLike | None = None) -> Froc:
    """Pooled sensitivity and false positives per scan at each threshold."""
    tp, fp, fn, scans = _pooled(counts, weights)
    return Froc(ratio(tp, tp + fn), ratio(fp, scans))


def precision_recall(counts: ArrayLike, weights: ArrayLike | None = None) -> PrecisionRecall:
    """Pooled precision and sensitivity at each threshold."""
    tp, fp, fn, _ = _pooled(counts, weights)
    return PrecisionRecall(ratio(tp, tp + fp), ratio(tp, tp + fn))


def summary(counts: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Measure]:
    """Figures by name (`DEFINITIONS`), from counts that are pooled once."""
    sums = _pooled(counts, weights)
    return {
        "free_response_score": _mean_sensitivity(sums, FREE_RESPONSE_RATES),
        **{
            f"sensitivity_at_{rate:g}_fp_per_scan": _mean_sensitivity(sums, (rate,))
            for rate in FREE_RESPONSE_RATES
        },
        "average_precision": _average_precision(sums),
    }


def sensitivity_at(counts: ArrayLike, fp_rate: float, weights: ArrayLike | None = None) -> Measure:
    """Best sensitivity among the thresholds with at most `fp_rate` false positives per scan, 0 if none has.

    NaN without truth lesions, whose number is `n`. Nothing is interpolated: what is reported was reached.
    """
    return _mean_sensitivity(_pooled(counts, weights), (fp_rate,))


def free_response_score(counts: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Mean of `sensitivity_at` over `FREE_RESPONSE_RATES`."""
    return _mean_sensitivity(_pooled(counts, weights), FREE_RESPONSE_RATES)


def average_precision(counts: ArrayLike, weights: ArrayLike | None = None) -> Measure:
    """Area under the best precision at or beyond each recall; NaN without truth lesions, whose number is `n`.

    Recall need not fall as the threshold rises, since a component may split in two, so thresholds are sorted
    by recall.
    """
    return _average_precision(_pooled(counts, weights))


def operating_points(counts: ArrayLike, weights: ArrayLike | None = None) -> OperatingPoints:
    """Pooled figures at each threshold, minimum volume and peak threshold.

    Args:
        counts: true positives, false positives and false negatives, shape (N, T, V, P, 3).
        weights: how often each case is drawn.
    """
    tp, fp, fn, scans = _pooled(counts, weights, axes=4)
    found, lesions = ratio(tp, tp + fp), ratio(tp, tp + fn)
    return OperatingPoints(lesions, found, ratio(2 * tp, 2 * tp + fp + fn), ratio(fp, scans))


def best_by_f1(counts: ArrayLike) -> tuple[int, int, int]:
    """Threshold, minimum volume and peak threshold, by index, with the highest pooled F1.

    Ties go to fewer false positives, then to the higher threshold, then to the lower peak threshold, then to
    the smaller minimum volume.

    Args:
        counts: shape (N, T, V, P, 3), all rising.

    Raises:
        UsageError: if there are neither truth lesions nor predictions, or no lesion is found anywhere.
    """
    points = operating_points(counts)
    if np.isnan(points.f1).all():
        raise UsageError("cannot choose an operating point by F1: there are no lesions and no predictions")
    if not np.nanmax(points.f1) > 0:
        raise UsageError("cannot choose an operating point by F1: nothing in the sweep finds a lesion")
    return _first(points, np.nan_to_num(points.f1, nan=-1.0))


def best_by_fp_rate(counts: ArrayLike, wanted: float) -> tuple[int, int, int]:
    """The point, by index as in `best_by_f1`, with the highest sensitivity within a rate of false positives.

    Ties are broken as there.

    Args:
        counts: shape (N, T, V, P, 3), all rising.
        wanted: the most false positives per scan, over all scans.

    Raises:
        UsageError: if no threshold reaches it, none that does finds a lesion, or there are no truth lesions.
    """
    points = operating_points(counts)
    if np.isnan(points.sensitivity).all():
        raise UsageError(
            "cannot choose an operating point by false positives per scan: there are no truth lesions"
        )
    allowed = points.fp_per_scan <= wanted
    if not allowed.any():
        raise UsageError(
            f"no threshold has {wanted:g} false positives per scan or fewer; the fewest are"
            f" {np.nanmin(points.fp_per_scan):.3g}: ask for more, or sweep higher thresholds"
        )
    merit = np.where(allowed, np.nan_to_num(points.sensitivity, nan=0.0), -1.0)
    if not merit.max() > 0:
        raise UsageError(
            f"cannot choose an operating point with {wanted:g} false positives per scan or fewer: nothing in"
            " the sweep that has so few finds a lesion; ask for more"
        )
    return _first(points, merit)


def _first(points: OperatingPoints, merit: NDArray[np.float64]) -> tuple[int, int, int]:
    """Index of the highest merit, ties as in `best_by_f1`."""
    threshold, volume, peak = (index.ravel() for index in np.indices(merit.shape))
    order = np.lexsort((volume, peak, -threshold, points.fp_per_scan.ravel(), -merit.ravel()))
    first = order[0]
    return int(threshold[first]), int(volume[first]), int(peak[first])


_Sums = tuple[Floats, Floats, Floats, Floats]
"""True positives, false positives, false negatives and number of all cases, ready to broadcast."""


def _pooled(counts: ArrayLike, weights: ArrayLike | None, axes: int = 2) -> _Sums:
    added, scans = pooled(counts, weights, axes)
    return added[..., 0], added[..., 1], added[..., 2], scans.reshape(*scans.shape, *(1,) * (axes - 1))


def _mean_sensitivity(sums: _Sums, rates: Sequence[float]) -> Measure:
    """Best sensitivity at each rate of false positives per scan, then their mean."""
    tp, fp, fn, scans = sums
    sensitivity, fp_per_scan = ratio(tp, tp + fn), ratio(fp, scans)
    best = [np.where(fp_per_scan <= rate, sensitivity, 0.0).max(axis=-1) for rate in rates]
    return _of_lesions(np.mean(best, axis=0), tp, fn)


def _average_precision(sums: _Sums) -> Measure:
    tp, fp, fn, _ = sums
    precision, recall = np.nan_to_num(ratio(tp, tp + fp)), np.nan_to_num(ratio(tp, tp + fn))
    order = np.argsort(recall, axis=-1)
    reached = np.take_along_axis(recall, order, -1)
    falling = np.take_along_axis(precision, order, -1)[..., ::-1]
    best = np.maximum.accumulate(falling, axis=-1)[..., ::-1]
    area = (np.diff(reached, axis=-1, prepend=0.0) * best).sum(axis=-1)
    return _of_lesions(area, tp, fn)


def _of_lesions(value: Floats, tp: Floats, fn: Floats) -> Measure:
    """A figure that needs truth lesions, and their number.

    Thresholds differ in it only where a rule counts ties twice.
    """
    lesions = (tp + fn).max(axis=-1)
    return Measure(np.where(lesions > 0, value, np.nan), lesions)
