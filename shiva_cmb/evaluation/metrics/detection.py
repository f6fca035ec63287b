"""Detection figures from the hits, false alarms and misses of each case: pooled (micro) and per case (macro).

Per-case arrays have one value per case along their last axis, (N,) or (B, N); see `weighted` for `weights`
and for the shapes of results. NaN marks a case that could not be judged.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.weighted import Measure, mean, pooled, quantile, quantiles, ratio

Empty = Literal["undefined", "shiva", "valdo"]
"""What the figures of a case without truth lesions, or without predictions, are; see `EMPTY_DEFINITIONS`."""

EMPTY_DEFINITIONS: dict[Empty, str] = {
    "undefined": "Sensitivity is undefined for a case without truth lesions, precision for one without"
    " predictions, F1 for one without either; undefined cases are left out.",
    "shiva": "A case with neither truth lesions nor predictions has sensitivity, precision and F1 of 1, and"
    " every other case without a true positive has 0.",
    "valdo": "F1 is undefined for a case without truth lesions and 0 for one that lacks predictions only;"
    " sensitivity is undefined without truth lesions, precision without predictions.",
}
"""One sentence for each convention for empty cases."""

DEFINITIONS: dict[str, str] = {
    "micro.sensitivity": "True positives over all truth lesions of all scans together, TP / (TP + FN).",
    "micro.precision": "TP / (TP + FP) of all scans together, where TP + FP is the number of judged"
    " predictions except under the 'shiva' rule, whose TP are truth lesions: there it is the number of truth"
    " lesions found and of predictions that touch none.",
    "micro.f1": "2 TP / (2 TP + FP + FN) over all scans together.",
    "micro.tp": "Number of true positives in all scans.",
    "micro.fp": "Number of false positives in all scans.",
    "micro.fn": "Number of false negatives in all scans.",
    "micro.fp_per_scan": "False positives divided by the number of all scans, with lesions or without.",
    "micro.fp_per_lesion_free_scan": "False positives in the scans without truth lesions, divided by the"
    " number of these scans.",
    "micro.fn_per_scan": "False negatives divided by the number of all scans.",
    "micro.fp_per_lesion": "False positives divided by the number of truth lesions.",
    "micro.fn_per_lesion": "False negatives divided by the number of truth lesions.",
    "macro.sensitivity": "Mean over scans of each scan's TP / (TP + FN).",
    "macro.precision": "Mean over scans of each scan's TP / (TP + FP), counted as in micro precision.",
    "macro.f1": "Mean over scans of each scan's 2 TP / (2 TP + FP + FN).",
    **{
        f"macro.{name}_{suffix}": f"{text} over scans of each scan's {name}."
        for name in ("sensitivity", "precision", "f1")
        for suffix, text in (("median", "Median"), ("q25", "25th percentile"), ("q75", "75th percentile"))
    },
    "macro.fp_per_scan_median": "Median over all scans of the number of false positives.",
    "macro.fp_per_lesion_free_scan_median": "Median over the scans without truth lesions of the number of"
    " false positives.",
    "macro.fn_per_scan_median": "Median over all scans of the number of false negatives.",
    "macro.f1_of_means": "Harmonic mean of macro sensitivity and macro precision, 0 where both are 0.",
}
"""One sentence for every figure; `macro` figures depend on the convention for empty cases too."""


def micro(
    tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, lesion_free: ArrayLike, weights: ArrayLike | None = None
) -> dict[str, Measure]:
    """Pooled figures: the counts of all scans are added up first.

    Args:
        tp: true positives of each case.
        fp: false positives of each case.
        fn: false negatives of each case.
        lesion_free: whether a case has no truth lesion.
        weights: how often each case is drawn.

    Returns:
        Figures by name (`DEFINITIONS`). `n` is the number of truth lesions (sensitivity, and figures per
        lesion), TP + FP (precision), TP + FP + FN (F1), or the number of scans.
    """
    hits, alarms, misses, free = np.broadcast_arrays(
        *(np.asarray(count, np.float64) for count in (tp, fp, fn, lesion_free))
    )
    # All sums at once: a case with NaN in one of them is left out of all.
    sums, scans = pooled(np.stack([hits, alarms, misses, free, alarms * free], axis=-1), weights, 1)
    tps, fps, fns, free_scans, free_fps = np.moveaxis(sums, -1, 0)
    lesions, found = tps + fns, tps + fps
    return {
        "sensitivity": Measure(ratio(tps, lesions), lesions),
        "precision": Measure(ratio(tps, found), found),
        "f1": Measure(ratio(2 * tps, 2 * tps + fps + fns), tps + fps + fns),
        "tp": Measure(tps, scans),
        "fp": Measure(fps, scans),
        "fn": Measure(fns, scans),
        "fp_per_scan": Measure(ratio(fps, scans), scans),
        "fp_per_lesion_free_scan": Measure(ratio(free_fps, free_scans), free_scans),
        "fn_per_scan": Measure(ratio(fns, scans), scans),
        "fp_per_lesion": Measure(ratio(fps, lesions), lesions),
        "fn_per_lesion": Measure(ratio(fns, lesions), lesions),
    }


def macro(
    tp: ArrayLike,
    fp: ArrayLike,
    fn: ArrayLike,
    lesion_free: ArrayLike,
    weights: ArrayLike | None = None,
    empty: Empty = "undefined",
) -> dict[str, Measure]:
    """Figures per case, then their mean, median and quartiles over the cases where they are defined.

    Args:
        tp: true positives of each case.
        fp: false positives of each case.
        fn: false negatives of each case.
        lesion_free: whether a case has no truth lesion.
        weights: how often each case is drawn.
        empty: convention for empty cases.

    Returns:
        Figures by name (`DEFINITIONS`); `n` is the number of cases in which the figure is defined.

    Raises:
        UsageError: if the convention is unknown.
    """
    figures: dict[str, Measure] = {}
    for name, values in per_case(tp, fp, fn, empty).items():
        figures[name] = mean(values, weights)
        spread = quantiles(values, weights, (0.5, 0.25, 0.75))
        figures |= {f"{name}_{end}": q for end, q in zip(("median", "q25", "q75"), spread, strict=True)}
    figures["fp_per_scan_median"] = quantile(fp, weights, 0.5)
    of_free = np.where(np.asarray(lesion_free, bool), np.asarray(fp, np.float64), np.nan)
    figures["fp_per_lesion_free_scan_median"] = quantile(of_free, weights, 0.5)
    figures["fn_per_scan_median"] = quantile(fn, weights, 0.5)
    sensitivity, precision = figures["sensitivity"], figures["precision"]
    both = sensitivity.value + precision.value
    harmonic = np.where(both == 0, 0.0, ratio(2 * sensitivity.value * precision.value, both))
    figures["f1_of_means"] = Measure(harmonic, np.minimum(sensitivity.n, precision.n))
    return figures


def per_case(
    tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, empty: Empty = "undefined"
) -> dict[str, NDArray[np.float64]]:
    """Sensitivity, precision and F1 of each case, NaN where undefined, in the shape of the counts.

    Args:
        tp: true positives of each case.
        fp: false positives of each case.
        fn: false negatives of each case.
        empty: convention for empty cases (`EMPTY_DEFINITIONS`).

    Raises:
        UsageError: if the convention is unknown.
    """
    if empty not in get_args(Empty):
        raise UsageError(f"expected one of {', '.join(get_args(Empty))} for empty cases, got {empty!r}")
    hits, alarms, misses = (np.asarray(count, np.float64) for count in (tp, fp, fn))
    values = {
        "sensitivity": ratio(hits, hits + misses),
        "precision": ratio(hits, hits + alarms),
        "f1": ratio(2 * hits, 2 * hits + alarms + misses),
    }
    if empty == "valdo":
        values["f1"] = np.where(hits + misses == 0, np.nan, values["f1"])
    if empty == "shiva":
        nothing = hits + alarms + misses == 0
        none_found = (hits == 0) & (alarms + misses > 0)
        values = {name: np.where(nothing, 1.0, np.where(none_found, 0.0, v)) for name, v in values.items()}
    return values
