"""Truth and prediction of one case, read and brought to one grid as sets of lesions."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.evaluation.common_grid import enlarged, enlarged_grid, missing_margins, moved_to, on_enlarged
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels, lesions_of_mask
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.pairing.inputs import EvaluationCase
from shiva_cmb.evaluation.settings import EvaluationSettings, LabelKind
from shiva_cmb.imaging import Grid, Volume, align_mask, read_volume
from shiva_cmb.imaging.alignment import MASK_THRESHOLD
from shiva_cmb.lesions.find import find_lesions, require_probabilities, too_small
from shiva_cmb.lesions.neighbours import Connectivity, neighbours

MOST_ENLARGED = 4
"""A grid is not made larger than this many times to hold truth lesions beyond its edge."""
ROUNDING = 1e-3
"""What scale factors may add to a value."""


Judged = Literal["labels", "probability map", "nothing"]
"""What the predicted lesions were taken from."""


@dataclass(frozen=True, eq=False)
class CaseLesions:
    """What is compared: everything lies on one grid."""

    truth: LesionSet
    ignored_truth: NDArray[np.bool_]
    """Truth lesions that do not count: too small on their own grid, or of a value to ignore; shape (n,)."""
    prediction: LesionSet
    judged: Judged
    """Where they come from."""
    probability: Volume | None = None
    """The map for the curves; None if there is none."""
    brain: NDArray[np.bool_] | None = None
    """The brain mask, shape of the grid; None if there is none."""


def read_case(case: EvaluationCase, settings: EvaluationSettings, note: Note = warn_user) -> CaseLesions:
    """Read both sides of a case; a missing prediction is an empty one.

    Where the grids differ, the truth is moved to the prediction's grid, each lesion by itself, so that none
    is lost or broken and predictions stay as they are at every threshold. The grid is enlarged where truth
    lesions lie beyond its edge: they count.

    A brain mask, and a probability map beside a label map, only add to the figures: if they cannot be used,
    that is said.

    Raises:
        ImageError: if truth or prediction cannot be read or holds something else than lesions.
    """
    truth_image = read_volume(case.truth, note=note)
    require_finite(truth_image, str(case.truth))
    truth, ignored = _truth_lesions(truth_image, settings, str(case.truth), note)
    if case.prediction is None:
        nothing = np.zeros(truth_image.shape, bool)
        empty = lesions_of_mask(nothing, truth_image.grid)
        brain = _brain(case, truth_image.grid, note)
        return CaseLesions(truth, ignored, empty, "nothing", brain=brain)
    found = _read_prediction(case, settings, note)
    grid = found.lesions.grid
    if truth.grid.matches(grid):
        return CaseLesions(truth, ignored, found.lesions, found.judged, found.probability, found.brain)
    margins = missing_margins(truth, grid)
    if np.prod(np.array(grid.shape, np.float64) + margins.sum(axis=1)) > MOST_ENLARGED * np.prod(grid.shape):
        raise ImageError(
            f"{case.truth} has lesions far outside {case.prediction}: are both of the same scan and space?"
        )
    note(
        f"{case.truth} is on another grid than its prediction: its lesions were moved to the prediction's"
        " grid, each by itself"
    )
    if margins.any():
        found = found.enlarged(margins)
    moved = moved_to(truth, found.lesions.grid)
    return CaseLesions(moved, ignored, found.lesions, found.judged, found.probability, found.brain)


def _truth_lesions(
    image: Volume, settings: EvaluationSettings, name: str, note: Note
) -> tuple[LesionSet, NDArray[np.bool_]]:
    """All truth lesions, and which of them do not count."""
    connectivity = settings.criteria.connectivity
    regions = None
    if settings.ignored_values:
        hidden = np.isin(image.data, settings.ignored_values)
        regions = lesions_of_mask(hidden, image.grid, connectivity)
        image = image.with_data(np.where(hidden, 0, image.data))
    truth = label_lesions(image, settings.truth_kind, connectivity, name, note)
    small = too_small(truth.volumes_mm3, settings.ignore_below_mm3)
    if regions is None:
        return truth, small
    return truth.followed_by(regions), np.concatenate([small, np.ones(len(regions), bool)])


@dataclass(frozen=True, eq=False)
class _Found:
    """The prediction's side of a case."""

    lesions: LesionSet
    judged: Judged
    probability: Volume | None
    brain: NDArray[np.bool_] | None

    def enlarged(self, margins: NDArray[np.intp]) -> "_Found":
        """The same on a larger grid."""
        grid = enlarged_grid(self.lesions.grid, margins)
        probability = None if self.probability is None else enlarged(self.probability, margins)
        brain = None if self.brain is None else np.pad(self.brain, margins)
        return _Found(on_enlarged(self.lesions, margins, grid), self.judged, probability, brain)


def _read_prediction(case: EvaluationCase, settings: EvaluationSettings, note: Note) -> _Found:
    """Predicted lesions, scored where there is a probability map, on the grid they were given on."""
    kind, criteria = settings.prediction_kind, settings.criteria
    maps_first = kind == "probability" or (kind == "auto" and settings.maps_first)
    source = case.probability if maps_first and case.probability is not None else case.prediction
    name = str(source)
    image = _without_nan(read_volume(source, note=note), name, note)  # type: ignore[arg-type]
    brain = _brain(case, image.grid, note)
    itself = case.probability is not None and case.probability == source
    if kind == "probability" or (kind == "auto" and (itself or _has_fractions(image.data))):
        beside = None if itself else _map_beside(case, image, note)
        lesions = probable_lesions(image, settings, name, brain)
        return _Found(lesions, "probability map", image if beside is None else beside, brain)
    lesions = label_lesions(image, kind, criteria.connectivity, name, note)
    lesions = lesions.select(~too_small(lesions.volumes_mm3, criteria.min_volume_mm3))
    probability = image if itself else _map_beside(case, image, note)
    if probability is None:
        # an image without any lesion may be a mask or a map: as either it finds nothing at any threshold
        return _Found(lesions, "labels", None if image.data.any() else image, brain)
    return _Found(lesions.with_scores(probability.data), "labels", probability, brain)


def _map_beside(case: EvaluationCase, image: Volume, note: Note) -> Volume | None:
    """The probability map that comes with a prediction, or None if there is none that can be used."""
    if case.probability is None:
        return None
    try:
        name = str(case.probability)
        probability = _without_nan(read_volume(case.probability, note=note), name, note)
        require_probabilities(probability.data)
    except ImageError as error:
        note(f"{case.probability}: left out of the curves: {error}")
        return None
    if not probability.grid.matches(image.grid):
        note(f"{case.probability}: left out of the curves, it is not on the grid of {case.prediction}")
        return None
    return probability


def _brain(case: EvaluationCase, grid: Grid, note: Note) -> NDArray[np.bool_] | None:
    """The case's brain mask on a grid, or None if there is none that can be used."""
    if case.mask is None:
        return None
    try:
        mask = align_mask(read_volume(case.mask, note=note), grid, str(case.mask), note)
    except ImageError as error:
        note(f"left out: {error}")
        return None
    return mask > MASK_THRESHOLD


def strict_threshold(threshold: float, rule: MatchRule) -> float:
    """The threshold to be strictly above: VALDO's code takes probabilities of exactly the threshold too."""
    if not rule.name.startswith("valdo"):
        return threshold
    return max(0.0, float(np.nextafter(np.float32(threshold), np.float32(0))))


def probable_lesions(
    probability: Volume,
    settings: EvaluationSettings,
    name: str,
    brain: NDArray[np.bool_] | None = None,
) -> LesionSet:
    """Lesions of a probability map, by the criteria; those outside the brain are dropped, as `predict` does.

    Raises:
        ImageError: if it is no probability map.
    """
    criteria = settings.criteria
    criteria = replace(criteria, threshold=strict_threshold(criteria.threshold, settings.rule))
    try:
        found = find_lesions(probability, criteria, brain=brain)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    lesions = lesions_of_labels(found.labels.data, probability.grid)
    peaks = np.array([lesion.max_probability for lesion in found.table], np.float64)
    return LesionSet(lesions.grid, lesions.voxels, lesions.starts, lesions.names, peaks[lesions.names - 1])


def label_lesions(
    image: Volume, kind: LabelKind, connectivity: Connectivity, name: str, note: Note = warn_user
) -> LesionSet:
    """Lesions of a mask or a label map.

    Of several values, each connected piece is a lesion: one that touches another value stays apart. Where a
    value is in several pieces (it may be a class, such as possible bleeds), each piece counts; that is said.

    Raises:
        ImageError: if a label map holds values that are no labels.
    """
    data = image.data
    if _has_fractions(data):
        low, high = float(data.min()), float(data.max())
        if kind == "labels" or high > 1.0 + ROUNDING or low < -ROUNDING:
            raise ImageError(
                f"{name}: expected whole numbers (0 outside lesions), got values between {low:g} and {high:g}"
            )
        note(f"{name}: not binary; voxels above 0.5 count as lesion")
        return lesions_of_mask(data > 0.5, image.grid, connectivity)
    if kind == "mask":
        return lesions_of_mask(data != 0, image.grid, connectivity)
    labels = lesions_of_labels(data, image.grid)
    if kind == "labels":
        return labels
    pieces = _pieces(labels, connectivity)
    if 1 < len(labels) < len(pieces):
        note(
            f"{name}: has {len(labels)} values in {len(pieces)} pieces, and every piece was taken for a"
            " lesion; if each value is one lesion, say --truth-kind or --pred-kind labels"
        )
    return pieces


def require_finite(image: Volume, name: str) -> None:
    """Refuse a reference that does not say everywhere whether there is a lesion.

    Raises:
        ImageError: if a value is not finite.
    """
    if image.data.dtype.kind == "f" and not np.isfinite(image.data).all():
        raise ImageError(f"{name}: holds NaN or infinite values; write 0 where there is no lesion")


def _without_nan(image: Volume, name: str, note: Note) -> Volume:
    """NaN as 0: some tools write it outside the brain. Infinite values are refused."""
    if image.data.dtype.kind != "f" or not np.isnan(image.data).any():
        require_finite(image, name)
        return image
    note(f"{name}: NaN was taken for 0")
    filled = image.with_data(np.where(np.isnan(image.data), 0, image.data))
    require_finite(filled, name)
    return filled


def _has_fractions(data: NDArray[np.generic]) -> bool:
    return data.dtype.kind == "f" and bool(np.any(data != np.rint(data)))


def _pieces(labels: LesionSet, connectivity: Connectivity) -> LesionSet:
    """Every connected component of every label; under the labels' own names if each is in one piece."""
    structure, parts = neighbours(connectivity), []
    for number in range(len(labels)):
        inside = labels.cut_out(number)
        pieces, count = scipy.ndimage.label(inside, structure)
        flat = labels.voxels[labels.starts[number] : labels.starts[number + 1]]
        parts += [flat[pieces[inside] == piece] for piece in range(1, count + 1)]
    if len(parts) == len(labels):
        return labels
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.intp)
    return LesionSet(labels.grid, np.concatenate(parts), starts, np.arange(1, len(parts) + 1))
