"""Scans as positive or negative by their number of lesions. See `weighted` for shapes and weights."""

import numpy as np
from numpy.typing import ArrayLike

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.weighted import Measure, auc, pooled, ratio

DEFINITIONS: dict[str, str] = {
    "tp": "Scans with at least that many truth lesions and at least that many predicted ones.",
    "fp": "Scans with at least that many predicted lesions but fewer truth lesions.",
    "fn": "Scans with at least that many truth lesions but fewer predicted ones.",
    "tn": "Scans with fewer truth lesions and fewer predicted ones.",
    "sensitivity": "Positive scans that are called positive, TP / (TP + FN).",
    "specificity": "Negative scans that are called negative, TN / (TN + FP).",
    "ppv": "Scans called positive that are positive, TP / (TP + FP).",
    "npv": "Scans called negative that are negative, TN / (TN + FN).",
    "f1": "2 TP / (2 TP + FP + FN), where a positive scan is one with at least that many lesions.",
    "accuracy": "Scans that are called rightly, (TP + TN) / all.",
    "auc": "Chance that a positive scan has more predicted lesions than a negative one, ties counting half.",
}
"""One sentence for every figure."""


def classify(
    truth_count: ArrayLike, predicted_count: ArrayLike, at_least: int, weights: ArrayLike | None = None
) -> dict[str, Measure]:
    """Figures by name (`DEFINITIONS`); the positive class has at least `at_least` lesions.

    Args:
        truth_count: number of truth lesions of each case.
        predicted_count: number of predicted lesions of each case.
        at_least: from how many lesions on a scan is positive.
        weights: how often each case is drawn.

    Returns:
        Measures whose `n` is the number of scans in the denominator (TP + FP + FN for F1), all scans for the
        counts and the AUC.

    Raises:
        UsageError: if `at_least` is below 1.
    """
    if at_least < 1:
        raise UsageError(f"expected a number of lesions of at least 1 for a positive scan, got {at_least}")
    truth, predicted = np.broadcast_arrays(
        np.asarray(truth_count, np.float64), np.asarray(predicted_count, np.float64)
    )
    undefined = np.isnan(truth) | np.isnan(predicted)
    positive, called = truth >= at_least, predicted >= at_least
    outcomes = np.stack([positive & called, ~positive & called, positive & ~called], axis=-1)
    sums, n = pooled(np.where(undefined[..., None], np.nan, outcomes), weights, 1)
    tp, fp, fn = np.moveaxis(sums, -1, 0)
    tn = n - tp - fp - fn

    def rate(part: np.ndarray, whole: np.ndarray) -> Measure:
        return Measure(ratio(part, whole), whole)

    return {
        "tp": Measure(tp, n),
        "fp": Measure(fp, n),
        "fn": Measure(fn, n),
        "tn": Measure(tn, n),
        "sensitivity": rate(tp, tp + fn),
        "specificity": rate(tn, tn + fp),
        "ppv": rate(tp, tp + fp),
        "npv": rate(tn, tn + fn),
        "f1": Measure(ratio(2 * tp, 2 * tp + fp + fn), tp + fp + fn),
        "accuracy": rate(tp + tn, n),
        "auc": auc(predicted, np.where(undefined, np.nan, positive), weights),
    }
