"""Agreement of the number of lesions per case. See `weighted` for shapes and weights."""

import numpy as np
from numpy.typing import ArrayLike

from shiva_cmb.evaluation.metrics.weighted import Measure, icc, mean, pearson, quantile, spearman, std

DEFINITIONS: dict[str, str] = {
    "error_mean": "Mean over scans of predicted minus true number of lesions.",
    "absolute_error_mean": "Mean over scans of the absolute difference between predicted and true number of"
    " lesions.",
    "absolute_error_median": "Median over scans of the absolute difference between predicted and true number"
    " of lesions.",
    "pearson": "Pearson's correlation between true and predicted number of lesions over scans.",
    "spearman": "Spearman's rank correlation between true and predicted number of lesions over scans, ties"
    " at their mean rank.",
    "icc": "Intraclass correlation between true and predicted number of lesions: two-way model, absolute"
    " agreement, single measurement, ICC(A,1) of McGraw and Wong 1996.",
    "bland_altman_bias": "Mean of predicted minus true number of lesions, the bias of Bland and Altman 1986.",
    "bland_altman_low": "Lower limit of agreement: bias minus 1.96 standard deviations (n - 1) of the"
    " differences.",
    "bland_altman_high": "Upper limit of agreement: bias plus 1.96 standard deviations (n - 1) of the"
    " differences.",
}
"""One sentence for every figure."""

LIMIT_DEVIATIONS = 1.96
"""Standard deviations from the bias to a limit of agreement: within are 95 % of normal differences."""


def agreement(
    truth_count: ArrayLike, predicted_count: ArrayLike, weights: ArrayLike | None = None
) -> dict[str, Measure]:
    """Figures by name (`DEFINITIONS`); `n` is the number of cases.

    Args:
        truth_count: number of truth lesions of each case.
        predicted_count: number of predicted lesions of each case.
        weights: how often each case is drawn.

    Source of the limits of agreement: Bland and Altman, Statistical methods for assessing agreement between
    two methods of clinical measurement, 1986.
    """
    difference = np.asarray(predicted_count, np.float64) - np.asarray(truth_count, np.float64)
    bias, spread = mean(difference, weights), std(difference, weights)
    reach = LIMIT_DEVIATIONS * spread.value
    return {
        "error_mean": bias,
        "absolute_error_mean": mean(np.abs(difference), weights),
        "absolute_error_median": quantile(np.abs(difference), weights, 0.5),
        "pearson": pearson(truth_count, predicted_count, weights),
        "spearman": spearman(truth_count, predicted_count, weights),
        "icc": icc(truth_count, predicted_count, weights),
        "bland_altman_bias": bias,
        "bland_altman_low": Measure(bias.value - reach, bias.n),
        "bland_altman_high": Measure(bias.value + reach, bias.n),
    }
