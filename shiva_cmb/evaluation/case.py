"""One case judged: everything that later figures need of it, without its images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import Place
from shiva_cmb.errors import ImageError, Note, ShivaCmbError
from shiva_cmb.evaluation.facts import LesionFacts, lesion_box, lesion_facts
from shiva_cmb.evaluation.lesion_set import LesionSet, flat_indices
from shiva_cmb.evaluation.matching import Matching, match_lesions
from shiva_cmb.evaluation.metrics.calibration import BINS, case_bins
from shiva_cmb.evaluation.metrics.segmentation import matched_dice, surface_distances, voxel_metrics
from shiva_cmb.evaluation.pairing.inputs import EvaluationCase
from shiva_cmb.evaluation.reading import CaseLesions, Judged, read_case, strict_threshold
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.sweep import SweepSettings, sweep_case
from shiva_cmb.imaging import Volume, align_image, read_volume
from shiva_cmb.lesions.features import first_order_features, shape_features


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What one case adds to the figures. Small, so that it can go between processes."""

    name: str
    patient: str
    columns: Mapping[str, str]
    """Its row of the case table."""
    judged: Judged
    """What the predicted lesions were taken from; `nothing` where it is missing or could not be used."""
    tp: int
    fp: int
    fn: int
    truth_count: int
    """Truth lesions that count."""
    predicted_count: int
    """Predicted lesions that count."""
    ignored_truth: int
    """Truth lesions that are too small to count."""
    ignored_prediction: int
    """Predictions that touch only such lesions."""
    voxels: Mapping[str, float]
    """Voxel metrics and surface distances by name; see `segmentation`."""
    matched_dice: tuple[float, ...]
    """Dice of every matched pair."""
    facts: tuple[LesionFacts, ...]
    """Every lesion of both sides."""
    features: tuple[Mapping[str, float | int | str], ...]
    """Shape and intensity of every lesion; empty unless asked for."""
    sweep: NDArray[np.int64] | None
    """TP, FP, FN, shape (thresholds, volumes, peak thresholds, 3); None without a map."""
    voxel_bins: NDArray[np.float64] | None
    """Calibration of the voxels above the lowest threshold, without those of ignored lesions; see
    `calibration.case_bins`."""
    lesion_bins: NDArray[np.float64] | None
    """Calibration of the predicted lesions by their highest probability."""
    notes: tuple[str, ...] = ()
    """What was repaired or guessed."""
    failure: str | None = None
    """Why the prediction could not be read; it then counts as empty."""


def evaluate_case(
    case: EvaluationCase,
    settings: EvaluationSettings,
    *,
    region_names: Mapping[int, Place],
    features: bool = False,
) -> CaseResult:
    """Read, match and measure one case.

    A prediction that cannot be read counts as an empty one and is named in `failure`.

    Args:
        case: its files.
        settings: see `EvaluationSettings`.
        region_names: of the values in the case's region map.
        features: whether to measure the shape and intensity features too.

    Raises:
        ShivaCmbError: if the truth cannot be read: then the case cannot be judged.
    """
    notes: list[str] = []
    failure = None
    try:
        lesions = read_case(case, settings, note=notes.append)
    except ShivaCmbError as error:
        failure = str(error)
        unseen = replace(case, prediction=None, probability=None)
        lesions = read_case(unseen, settings, note=lambda _: None)  # fails again if it was the truth
    return _judge(case, lesions, settings, region_names, features, notes, failure)


def _judge(
    case: EvaluationCase,
    lesions: CaseLesions,
    settings: EvaluationSettings,
    region_names: Mapping[int, Place],
    features: bool,
    notes: list[str],
    failure: str | None,
) -> CaseResult:
    truth, prediction = lesions.truth, lesions.prediction
    matching = match_lesions(truth, prediction, settings.rule, ignored_truth=lesions.ignored_truth)
    dices = matched_dice(matching.pairs, matching.overlaps, truth, prediction)
    regions = _read_if_possible(case.regions, notes.append)
    facts = lesion_facts(case.name, truth, prediction, matching, dices, (regions, region_names))
    probability = lesions.probability
    sweep = None
    if probability is not None:
        how = _as_judged(settings)
        sweep = sweep_case(
            probability,
            truth,
            lesions.ignored_truth,
            how,
            settings.rule,
            brain=lesions.brain,
            max_outside_fraction=settings.criteria.max_outside_fraction,
        )
    return CaseResult(
        name=case.name,
        patient=case.patient,
        columns=case.columns,
        judged=lesions.judged,
        tp=matching.tp,
        fp=matching.fp,
        fn=matching.fn,
        truth_count=int((matching.truth_status != "ignored").sum()),
        predicted_count=int((matching.prediction_status != "ignored").sum()),
        ignored_truth=int((matching.truth_status == "ignored").sum()),
        ignored_prediction=int((matching.prediction_status == "ignored").sum()),
        voxels=_voxel_figures(lesions, matching),
        matched_dice=tuple(dices.tolist()),
        facts=facts,
        features=_features(case, truth, prediction, notes.append) if features else (),
        sweep=sweep,
        voxel_bins=None if probability is None else _voxel_bins(probability, lesions, matching, settings),
        lesion_bins=_lesion_bins(prediction, matching),
        notes=tuple(notes),
        failure=failure,
    )


def _as_judged(settings: EvaluationSettings) -> SweepSettings:
    """The sweep with thresholds as the rule takes them, so that the operating point lies on the curves."""
    thresholds = tuple(strict_threshold(value, settings.rule) for value in settings.sweep.thresholds)
    return replace(settings.sweep, thresholds=thresholds)


def _voxel_figures(lesions: CaseLesions, matching: Matching) -> dict[str, float]:
    """Voxel metrics and surface distances of the lesions that count."""
    truth = lesions.truth.select(matching.truth_status != "ignored")
    prediction = lesions.prediction.select(matching.prediction_status != "ignored")
    counted = np.union1d(truth.voxels, prediction.voxels)
    ignored = np.setdiff1d(_ignored_voxels(lesions, matching), counted)
    region = _region_voxels(lesions, counted, ignored)
    return voxel_metrics(truth, prediction, region) | surface_distances(truth, prediction)


def _ignored_voxels(lesions: CaseLesions, matching: Matching) -> NDArray[np.intp]:
    """Flat indices of the voxels of lesions of either side that count neither way."""
    truth = lesions.truth.select(matching.truth_status == "ignored")
    prediction = lesions.prediction.select(matching.prediction_status == "ignored")
    return np.union1d(truth.voxels, prediction.voxels)


def _region_voxels(lesions: CaseLesions, counted: NDArray[np.intp], ignored: NDArray[np.intp]) -> int:
    """How many voxels are judged: those of the brain mask and of all lesions that count, or the whole image;
    without those of ignored lesions alone."""
    if lesions.brain is None:
        return int(np.prod(lesions.truth.grid.shape)) - len(ignored)
    judged = lesions.brain.reshape(-1).copy()
    judged[counted], judged[ignored] = True, False
    return int(judged.sum())


def _read_if_possible(path: Path | None, note: Note) -> Volume | None:
    """A file that only adds to the figures: without it the case is still judged, and that is said."""
    if path is None:
        return None
    try:
        return read_volume(path, note=note)
    except ImageError as error:
        note(f"left out: {error}")
        return None


def _voxel_bins(
    probability: Volume, lesions: CaseLesions, matching: Matching, settings: EvaluationSettings
) -> NDArray[np.float64]:
    above = flat_indices(probability.data > min(settings.sweep.thresholds))
    above = np.setdiff1d(above, _ignored_voxels(lesions, matching), assume_unique=True)
    values = probability.data[np.unravel_index(above, probability.shape)]
    return case_bins(values, np.isin(above, lesions.truth.voxels))


def _lesion_bins(prediction: LesionSet, matching: Matching) -> NDArray[np.float64] | None:
    if prediction.scores is None:
        return None if len(prediction) else np.zeros((BINS, 3))
    counted = matching.prediction_status != "ignored"
    # as maps have them: in float64 a score such as 0.6 would fall into another bin than its voxel
    scores = prediction.scores[counted].astype(np.float32)
    return case_bins(scores, matching.prediction_status[counted] == "TP")


def _features(
    case: EvaluationCase, truth: LesionSet, prediction: LesionSet, note: Note
) -> tuple[Mapping[str, float | int | str], ...]:
    """Shape and, where there is an image, intensity of every lesion."""
    image = _read_if_possible(case.image, note)
    if image is not None:
        try:
            image = align_image(image, truth.grid, str(case.image), note)
        except ImageError as error:
            note(f"left out: {error}")
            image = None
    rows = []
    for kind, lesions in (("truth", truth), ("prediction", prediction)):
        for k in range(len(lesions)):
            number = int(lesions.names[k])
            row: dict[str, float | int | str] = {"case": case.name, "kind": kind, "name": number}
            row |= {f"shape_{name}": v for name, v in shape_features(*lesion_box(lesions, k)).items()}
            if image is not None:
                try:
                    row |= _intensities(image, lesions, k)
                except ImageError as error:
                    note(f"the intensity features of {kind} lesion {number} were left out: {error}")
            rows.append(row)
    return tuple(rows)


def _intensities(image: Volume, lesions: LesionSet, k: int) -> dict[str, float]:
    """First-order features, under names that say what is meant by `mean` or `range`."""
    values = image.data[tuple(lesions.indices(k).T)]
    found = first_order_features(values, lesions.grid.voxel_volume_mm3)
    return {f"intensity_{name}": value for name, value in found.items()}
