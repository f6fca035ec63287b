"""What figures and strata are called in tables and plots."""

import re

_LABELS = {
    "f1": "F1",
    "iou": "IoU",
    "ppv": "PPV",
    "npv": "NPV",
    "auc": "AUC",
    "icc": "ICC(A,1)",
    "pearson": "Pearson r",
    "spearman": "Spearman rho",
    "kappa": "Cohen's kappa",
    "tp": "True positives",
    "fp": "False positives",
    "fn": "False negatives",
    "tn": "True negatives",
    "fp_per_scan": "False positives per scan",
    "fp_per_lesion_free_scan": "False positives per lesion-free scan",
    "fn_per_scan": "False negatives per scan",
    "fp_per_lesion": "False positives per true lesion",
    "fn_per_lesion": "False negatives per true lesion",
    "f1_of_means": "F1 of mean sensitivity and precision",
    "free_response_score": "Free-response score",
    "error_mean": "Error (predicted - true), mean",
    "absolute_error_mean": "Absolute error, mean",
    "absolute_error_median": "Absolute error, median",
    "bland_altman_bias": "Bland-Altman bias",
    "bland_altman_low": "Lower limit of agreement",
    "bland_altman_high": "Upper limit of agreement",
    "truth_volume_mm3": "True volume (mm3)",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "Average surface distance (mm)",
    "matched_dice": "Dice of matched lesions",
    "expected_calibration_error_voxels": "Expected calibration error, voxels",
    "expected_calibration_error_lesions": "Expected calibration error, lesions",
}
"""Figures whose name does not read well by itself."""

_STRATA_NAMES = {
    "size": "size (equivalent diameter)",
    "n_lesions": "true lesions in the scan",
    "volume_mm3": "volume",
    "equivalent_diameter_mm": "equivalent diameter",
    "region": "region",
    "side": "side",
    "elongation": "elongation",
    "sphericity": "sphericity",
}
_UNITS = {"_mm3": " (mm3)", "_mm": " (mm)"}
_SUMMARIES = {"_mean": ", mean", "_median": ", median"}


def figure_label(name: str) -> str:
    """A figure's name for people."""
    if name in _LABELS:
        return _LABELS[name]
    if name.endswith("_q25"):
        return figure_label(name.removesuffix("_q25")) + ", quartiles"
    for ending, text in _SUMMARIES.items():
        if name.endswith(ending):
            return figure_label(name.removesuffix(ending)) + text
    at = re.fullmatch(r"sensitivity_at_(.+)_fp_per_scan", name)
    if at:
        return f"Sensitivity at {at[1]} false positives per scan"
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return capital(name.removesuffix(ending).replace("_", " ")) + unit
    return capital(name.replace("_", " "))


def stratum_name(stratum: str) -> str:
    """What to call a stratum, such as `size` or `size:2,5`; a column of the case table keeps its name."""
    column, colon, cuts = stratum.partition(":")
    if column not in _STRATA_NAMES:
        return stratum
    return _STRATA_NAMES[column] + (f", cut at {cuts}" if colon else "")


def stratum_title(stratum: str) -> str:
    """The same to begin a line with."""
    known = stratum.partition(":")[0] in _STRATA_NAMES
    return capital(stratum_name(stratum)) if known else stratum


def capital(text: str) -> str:
    """The text with a large first letter."""
    return text[:1].upper() + text[1:]
