"""An evaluation as plain data: what `metrics.json` and the tables of cases, lesions and strata hold."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.evaluation.figures import DEFINITIONS, Groups, empty_convention
from shiva_cmb.evaluation.metrics import detection
from shiva_cmb.evaluation.operating_point import operating_curve
from shiva_cmb.evaluation.pipeline import Evaluation
from shiva_cmb.evaluation.resampling import Figure

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
        **_nested(evaluation.groups),
        "strata": {
            stratum: {level: _nested(groups) for level, groups in levels.items()}
            for stratum, levels in evaluation.strata.items()
        },
        "operating_points": [dict(point) for point in operating_curve(evaluation)],
        "reliability_of_lesions": None
        if evaluation.curves is None or evaluation.curves.reliability is None
        else {name: plain(values) for name, values in evaluation.curves.reliability._asdict().items()},
        "notes": list(evaluation.notes),
    }
    return {key: plain(value) for key, value in record.items()}


def figure_record(figure: Figure) -> dict[str, Any]:
    """One figure as plain data."""
    return {name: plain(getattr(figure, name)) for name in ("value", "low", "high", "n")}


def plain(value: Any) -> Any:
    """Numbers, texts, lists and mappings that JSON knows."""
    if isinstance(value, np.ndarray):
        return [plain(part) for part in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


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


def lesion_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per lesion of either side, with its outcome, place, partner, size and shape."""
    return [asdict(fact) for fact in evaluation.facts]


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


def _definitions(evaluation: Evaluation) -> dict[str, Any]:
    settings = evaluation.settings
    criteria = settings.criteria
    at_threshold = "at or above" if settings.rule.name.startswith("valdo") else "strictly above"
    ignored = (
        f"Truth lesions under {settings.ignore_below_mm3:g} mm3, and predictions that match or touch only"
        " such lesions, count neither way."
    )
    return {
        "match": settings.rule.definition,
        "empty_cases": detection.EMPTY_DEFINITIONS[empty_convention(settings.rule)],
        "ignored": ignored if settings.ignore_below_mm3 else "No lesion is ignored.",
        "lesions": f"Connected components of masks, connectivity {criteria.connectivity}; each value of a"
        f" label map is one lesion; probability maps are cut {at_threshold} {criteria.threshold:g};"
        f" predictions under {criteria.min_volume_mm3:g} mm3 are dropped.",
        "interval": f"{100 * settings.level:g} % percentile interval of {settings.replicates} bootstrap"
        " samples of patients; samples in which a figure is undefined are left out.",
        "n": "number of lesions, predictions or scans that a figure rests on",
        "strata": "A matched pair counts in the stratum of its truth lesion, a false positive in its own.",
        **{group: dict(texts) for group, texts in DEFINITIONS.items()},
    }
