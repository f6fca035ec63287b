"""One case judged: everything that later figures need of it, without its images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import Place, place_of
from shiva_cmb.errors import ImageError, Note, ShivaCmbError
from shiva_cmb.evaluation.calibration import BINS, case_bins
from shiva_cmb.evaluation.inputs import EvaluationCase
from shiva_cmb.evaluation.lesion_set import LesionSet, flat_indices
from shiva_cmb.evaluation.matching import Matching, match_lesions
from shiva_cmb.evaluation.reading import CaseLesions, read_case, strict_threshold
from shiva_cmb.evaluation.segmentation import matched_dice, surface_distances, voxel_metrics
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.strata import LesionFacts
from shiva_cmb.evaluation.sweep import SweepSettings, sweep_case
from shiva_cmb.imaging import Volume, align_image, align_mask, read_volume
from shiva_cmb.imaging.alignment import MASK_THRESHOLD
from shiva_cmb.lesions import shape
from shiva_cmb.lesions.features import first_order_features, shape_features, sphericity


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What one case adds to the figures. Small, so that it can go between processes."""

    name: str
    patient: str
    columns: Mapping[str, str]
    """Its row of the case table."""
    has_prediction: bool
    """False where it is missing or could not be read: then it counts as empty."""
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
    """TP, FP, FN by threshold and minimum volume, shape (thresholds, volumes, 3); None without a map."""
    voxel_bins: NDArray[np.float64] | None
    """Calibration of the voxels above the lowest threshold; see `calibration.case_bins`."""
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
    region_voxels = _region_voxels(case.mask, truth, prediction, notes.append)
    dices = matched_dice(matching.pairs, truth, prediction)
    regions = _read_if_possible(case.regions, notes.append)
    facts = _facts(case.name, truth, prediction, matching, dices, (regions, region_names))
    probability = lesions.probability
    return CaseResult(
        name=case.name,
        patient=case.patient,
        columns=case.columns,
        has_prediction=case.prediction is not None and failure is None,
        tp=matching.tp,
        fp=matching.fp,
        fn=matching.fn,
        truth_count=int((matching.truth_status != "ignored").sum()),
        predicted_count=int((matching.prediction_status != "ignored").sum()),
        ignored_truth=int((matching.truth_status == "ignored").sum()),
        ignored_prediction=int((matching.prediction_status == "ignored").sum()),
        voxels=voxel_metrics(truth, prediction, region_voxels) | surface_distances(truth, prediction),
        matched_dice=tuple(dices.tolist()),
        facts=facts,
        features=_features(case, truth, prediction, notes.append) if features else (),
        sweep=None
        if probability is None
        else sweep_case(probability, truth, lesions.ignored_truth, _as_judged(settings), settings.rule),
        voxel_bins=None if probability is None else _voxel_bins(probability, truth, settings),
        lesion_bins=_lesion_bins(prediction, matching),
        notes=tuple(notes),
        failure=failure,
    )


def _as_judged(settings: EvaluationSettings) -> SweepSettings:
    """The sweep with thresholds as the rule takes them, so that the operating point lies on the curves."""
    thresholds = tuple(strict_threshold(value, settings.rule) for value in settings.sweep.thresholds)
    return replace(settings.sweep, thresholds=thresholds)


def _region_voxels(mask: Path | None, truth: LesionSet, prediction: LesionSet, note: Note) -> int:
    """How many voxels are judged: those of the brain mask and all lesions, or the whole image."""
    volume = _read_if_possible(mask, note)
    if volume is not None:
        try:
            brain = (align_mask(volume, truth.grid, str(mask), note) > MASK_THRESHOLD).reshape(-1)
            brain[truth.voxels] = brain[prediction.voxels] = True
            return int(brain.sum())
        except ImageError as error:
            note(f"left out: {error}")
    return int(np.prod(truth.grid.shape))


def _read_if_possible(path: Path | None, note: Note) -> Volume | None:
    """A file that only adds to the figures: without it the case is still judged, and that is said."""
    if path is None:
        return None
    try:
        return read_volume(path, note=note)
    except ImageError as error:
        note(f"left out: {error}")
        return None


def _voxel_bins(probability: Volume, truth: LesionSet, settings: EvaluationSettings) -> NDArray[np.float64]:
    above = flat_indices(probability.data > min(settings.sweep.thresholds))
    values = probability.data[np.unravel_index(above, probability.shape)]
    return case_bins(values, np.isin(above, truth.voxels))


def _lesion_bins(prediction: LesionSet, matching: Matching) -> NDArray[np.float64] | None:
    if prediction.scores is None:
        return None if len(prediction) else np.zeros((BINS, 3))
    counted = matching.prediction_status != "ignored"
    return case_bins(prediction.scores[counted], matching.prediction_status[counted] == "TP")


def _facts(
    case: str,
    truth: LesionSet,
    prediction: LesionSet,
    matching: Matching,
    dices: NDArray[np.float64],
    regions: tuple[Volume | None, Mapping[int, Place]],
) -> tuple[LesionFacts, ...]:
    """One row per lesion, truth first."""
    dice_of = {(int(t), int(p)): float(dice) for (t, p), dice in zip(matching.pairs, dices, strict=True)}
    centres = truth.centroids_mm, prediction.centroids_mm
    facts = []
    for kind, own, other in (("truth", truth, prediction), ("prediction", prediction, truth)):
        status = matching.truth_status if kind == "truth" else matching.prediction_status
        partners = matching.truth_partner if kind == "truth" else matching.prediction_partner
        elongations = _elongations(own)
        for k in range(len(own)):
            j = int(partners[k])
            pair = (k, j) if kind == "truth" else (j, k)
            place = _place(own, k, *regions)
            x, y, z = centres[kind == "prediction"][k].tolist()
            facts.append(
                LesionFacts(
                    case=case,
                    kind=kind,  # type: ignore[arg-type]
                    status=str(status[k]),  # type: ignore[arg-type]
                    name=int(own.names[k]),
                    partner=int(other.names[j]) if j >= 0 else None,
                    x_mm=x,
                    y_mm=y,
                    z_mm=z,
                    volume_mm3=float(own.volumes_mm3[k]),
                    equivalent_diameter_mm=shape.equivalent_diameter_mm(float(own.volumes_mm3[k])),
                    elongation=float(elongations[k]),
                    sphericity=sphericity(*_box(own, k)),
                    region=None if place is None else place.region,
                    side=None if place is None else place.side,
                    score=None if own.scores is None else float(own.scores[k]),
                    matched_dice=dice_of.get(pair) if j >= 0 else None,
                    overlap_voxels=int(matching.overlaps[pair]) if j >= 0 else None,
                    distance_mm=float(np.linalg.norm(centres[0][pair[0]] - centres[1][pair[1]]))
                    if j >= 0
                    else None,
                )
            )
    return tuple(facts)


def _box(lesions: LesionSet, k: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """One lesion in its bounding box, and the affine (of which only the linear part matters)."""
    voxels = lesions.indices(k)
    corner = voxels.min(axis=0)
    inside = np.zeros(voxels.max(axis=0) - corner + 1, bool)
    inside[tuple((voxels - corner).T)] = True
    return inside, lesions.grid.affine


def _elongations(lesions: LesionSet) -> NDArray[np.float64]:
    """As in the lesion table: with every voxel's own extent, shape (n,)."""
    linear = lesions.grid.affine[:3, :3]
    covariances = np.zeros((len(lesions), 3, 3))
    for k in range(len(lesions)):
        offsets_mm = (lesions.indices(k) - lesions.centroids[k]) @ linear.T
        covariances[k] = offsets_mm.T @ offsets_mm / len(offsets_mm) + linear @ linear.T / 12.0
    return shape.elongation(covariances)


def _place(lesions: LesionSet, k: int, regions: Volume | None, names: Mapping[int, Place]) -> Place | None:
    """The region most of a lesion's voxels are in, looked up by world position."""
    if regions is None:
        return None
    world = lesions.grid.to_world(lesions.indices(k))
    voxels = np.rint(regions.grid.to_voxel(world)).astype(np.intp)
    voxels = voxels[np.all((voxels >= 0) & (voxels < regions.shape), axis=1)]
    return place_of(regions.data[tuple(voxels.T)], names)


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
            name = int(lesions.names[k])
            row: dict[str, float | int | str] = {"case": case.name, "kind": kind, "name": name}
            row |= shape_features(*_box(lesions, k))
            if image is not None:
                try:
                    row |= _intensities(image, lesions, k)
                except ImageError as error:
                    note(f"the intensity features of {kind} lesion {name} were left out: {error}")
            rows.append(row)
    return tuple(rows)


def _intensities(image: Volume, lesions: LesionSet, k: int) -> dict[str, float]:
    """First-order features, under names that say what is meant by `mean` or `range`."""
    values = image.data[tuple(lesions.indices(k).T)]
    found = first_order_features(values, lesions.grid.voxel_volume_mm3)
    return {f"intensity_{name}": value for name, value in found.items()}
