"""An evaluation as plain data: what `metrics.json` and the tables of cases, lesions and strata hold."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.evaluation.figures import DEFINITIONS, Groups, empty_convention
from shiva_cmb.evaluation.metrics import detection
from shiva_cmb.evaluation.operating_point import operating_curve
from shiva_cmb.evaluation.pipeline import Evaluation
from shiva_cmb.evaluation.reading import Judged
from shiva_cmb.evaluation.resampling import INTERVAL_RULE, Figure
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.files import plain

SCHEMA_VERSION = 1


def evaluation_record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was measured, by group, each figure as `value`, `low`, `high` and `n`.

    What is undefined is None; an infinite distance is the text `inf`, as JSON has no such number.
    """
    settings = evaluation.settings
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "settings": asdict(settings),
        "definitions": _definitions(evaluation),
        **input_record(evaluation),
        **_nested(evaluation.groups),
        "strata": {
            stratum: {level: _nested(groups) for level, groups in levels.items()}
            for stratum, levels in evaluation.strata.items()
        },
        "curves": _curves(evaluation),
        "operating_points": [dict(point) for point in operating_curve(evaluation)],
        "reliability_of_lesions": None
        if evaluation.curves is None or evaluation.curves.reliability is None
        else evaluation.curves.reliability._asdict(),
    }
    return dict(plain(record))


def input_record(evaluation: Evaluation) -> dict[str, Any]:
    """What was judged, what was wrong with it, and every remark."""
    return {
        "cases": {
            "judged": len(evaluation.results),
            "patients": len(set(evaluation.arrays.patients)),
            "missing_predictions": list(evaluation.cases.missing),
            "unreadable_predictions": evaluation.unread,
            "not_judged": dict(evaluation.failures),
            "predictions_without_truth": list(evaluation.cases.extra),
        },
        "lesions": {
            name: int(sum(getattr(result, name) for result in evaluation.results))
            for name in ("truth_count", "predicted_count", "ignored_truth", "ignored_prediction")
        },
        "notes": list(evaluation.notes),
    }


def figure_record(figure: Figure) -> dict[str, Any]:
    """One figure as plain data."""
    return {name: plain(getattr(figure, name)) for name in ("value", "low", "high", "n")}


def case_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per case: what was found, and every figure of that case."""
    arrays = evaluation.arrays
    scores = detection.per_case(arrays.tp, arrays.fp, arrays.fn, empty_convention(evaluation.settings.rule))
    columns = sorted({name for result in evaluation.results for name in result.columns})
    rows = []
    missing = set(evaluation.cases.missing)
    for k, result in enumerate(evaluation.results):
        nothing = "missing" if result.name in missing else "unusable"
        rows.append(
            {
                "case": result.name,
                "patient": result.patient,
                "prediction": nothing if result.judged == "nothing" else result.judged,
                **{name: getattr(result, name) for name in _COUNTED},
                **{name: float(values[k]) for name, values in scores.items()},
                **{f"voxel_{name}" if name in scores else name: v for name, v in result.voxels.items()},
                "matched_dice": float(arrays.voxels["matched_dice"][k]),
            }
        )
        taken = rows[-1].keys()  # the same in every row
        own = {f"table_{name}" if name in taken else name: result.columns.get(name) for name in columns}
        rows[-1] = {**rows[-1], **own}
    return rows


_COUNTED = ("truth_count", "predicted_count", "tp", "fp", "fn", "ignored_truth", "ignored_prediction")
LESION_COLUMNS = tuple(field.name for field in fields(LesionFacts))


def lesion_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row per lesion of either side, with its outcome, place, partner, size and shape."""
    for result in evaluation.results:
        for fact in result.facts:
            yield asdict(fact)


def stratum_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row per stratum, level and figure."""
    for stratum, levels in evaluation.strata.items():
        for level, groups in levels.items():
            for group, named in groups.items():
                for name, figure in named.items():
                    place = {"stratum": stratum, "level": level, "group": group, "figure": name}
                    yield place | {k: getattr(figure, k) for k in ("value", "low", "high", "n")}


def _nested(groups: Groups) -> dict[str, Any]:
    """`detection.micro` as `micro` within `detection`."""
    nested: dict[str, Any] = {}
    for group, named in groups.items():
        outer, _, inner = group.partition(".")
        place = nested.setdefault(outer, {})
        if inner:
            place = place.setdefault(inner, {})
        place |= {name: figure_record(figure) for name, figure in named.items()}
    return nested


def _curves(evaluation: Evaluation) -> dict[str, Any] | None:
    """Detection along the thresholds, one value per threshold; None without probability maps."""
    curves = evaluation.curves
    if curves is None:
        return None
    names = (
        *("thresholds", "min_volume_mm3", "peak_threshold", "sensitivity", "sensitivity_low"),
        *("sensitivity_high", "fp_per_scan", "precision"),
    )
    return {name: getattr(curves, name) for name in names}


def _definitions(evaluation: Evaluation) -> dict[str, Any]:
    settings = evaluation.settings
    reasons = [f"under {settings.ignore_below_mm3:g} mm3"] if settings.ignore_below_mm3 else []
    if settings.ignored_values:
        reasons.append(f"of the values {', '.join(map(str, settings.ignored_values))}")
    ignored = (
        f"Truth lesions {' or '.join(reasons)}, and predictions that match or touch only such lesions, count"
        " neither way."
    )
    return {
        "match": settings.rule.definition,
        "empty_cases": detection.EMPTY_DEFINITIONS[empty_convention(settings.rule)],
        "ignored": ignored if reasons else "No lesion is ignored.",
        "lesions": _what_is_a_lesion(settings, Counter(result.judged for result in evaluation.results)),
        "voxels_judged": "Those of the case's brain mask and of all lesions that count, also beyond the mask;"
        " the whole image of the prediction where there is no mask; without those of ignored lesions.",
        "interval": f"{100 * settings.level:g} % interval of {settings.replicates} samples, in which all"
        f" scans of a patient are drawn together: {INTERVAL_RULE}.",
        "curves": "Pooled detection at each threshold (see `detection.curves`), with the interval of the"
        " sensitivity; predicted lesions under the minimum volume, or whose highest probability is not above"
        " the peak threshold, are dropped.",
        "n": "number of lesions, predictions or scans that a figure rests on",
        "strata": "A matched pair counts in the stratum of its truth lesion, a false positive in its own.",
        **{group: dict(texts) for group, texts in DEFINITIONS.items()},
    }


_OF_LABELS: dict[str, str] = {
    "auto": "each connected piece of each value is a lesion",
    "mask": "each connected component of what is not 0 is a lesion, whatever its values",
    "labels": "each value is one lesion, in however many pieces",
}
"""By the kind of image, see `LabelKind`."""


def _what_is_a_lesion(settings: EvaluationSettings, judged: Mapping[Judged, int]) -> str:
    """How both sides became lesions, and in how many cases which way."""
    criteria = settings.criteria
    soft = "; fractions are cut above 0.5"
    of_truth = _OF_LABELS[settings.truth_kind] + (soft if settings.truth_kind != "labels" else "")
    parts = [f"Connectivity {criteria.connectivity}. Truth: {of_truth}."]
    if judged.get("labels"):
        kind = settings.prediction_kind
        of_prediction = _OF_LABELS.get(kind, _OF_LABELS["auto"]) + (soft if kind == "mask" else "")
        parts.append(f"Predictions of {judged['labels']} cases were judged as labels: {of_prediction}.")
    if judged.get("probability map"):
        above = "at or above" if settings.rule.name.startswith("valdo") else "strictly above"
        peak = criteria.peak_threshold
        high = "" if peak is None else f", if its highest probability is strictly above {peak:g}"
        parts.append(
            f"Predictions of {judged['probability map']} cases were judged as probability maps: each"
            f" connected component of the voxels {above} {criteria.threshold:g} is a lesion{high}; where the"
            f" case has a brain mask, it is dropped with more than {100 * criteria.max_outside_fraction:g} %"
            " of its voxels outside (labels are not)."
        )
    if judged.get("nothing"):
        parts.append(f"{judged['nothing']} cases had no prediction that could be used: nothing was found.")
    smallest = criteria.min_volume_mm3
    parts.append(
        f"Predicted lesions under {smallest:g} mm3 are dropped."
        if smallest
        else "No predicted lesion is dropped for its size."
    )
    return " ".join(parts)
