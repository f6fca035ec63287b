"""Truth and prediction of one case, read and brought to one grid as sets of lesions."""

from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.evaluation.inputs import EvaluationCase
from shiva_cmb.evaluation.lesion_set import (
    NEIGHBOURHOOD,
    Connectivity,
    LesionSet,
    lesions_of_labels,
    lesions_of_mask,
)
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.settings import EvaluationSettings, LabelKind
from shiva_cmb.imaging import Grid, Volume, read_volume
from shiva_cmb.lesions.find import find_lesions, require_probabilities, too_small
from shiva_cmb.lesions.regrid import lesion_on_grid

MOST_ENLARGED = 4
"""A grid is not made larger than this many times to hold truth lesions beyond its edge."""
ROUNDING = 1e-3
"""What scale factors and affines may add to a value, or to a place in voxels."""


@dataclass(frozen=True, eq=False)
class CaseLesions:
    """What is compared: both sets lie on one grid."""

    truth: LesionSet
    ignored_truth: NDArray[np.bool_]
    """Truth lesions that are too small to count, by their volume on their own grid, shape (n,)."""
    prediction: LesionSet
    probability: Volume | None
    """The map for the curves, on the same grid; None if there is none."""


def read_case(case: EvaluationCase, settings: EvaluationSettings, note: Note = warn_user) -> CaseLesions:
    """Read both sides of a case; a missing prediction is an empty one.

    Where the grids differ, the truth is moved to the prediction's grid, each lesion by itself, so that none
    is lost or broken and predictions stay as they are at every threshold. The grid is enlarged where truth
    lesions lie beyond its edge: they count.

    A probability map beside a prediction only adds curves and scores: if it cannot be used, that is said.

    Raises:
        ImageError: if truth or prediction cannot be read or holds something else than lesions.
    """
    connectivity = settings.criteria.connectivity
    truth_image = _finite(read_volume(case.truth, note=note), str(case.truth))
    truth = label_lesions(truth_image, settings.truth_kind, connectivity, str(case.truth), note)
    ignored = ~large_enough(truth, settings.ignore_below_mm3)
    if case.prediction is None:
        empty = truth_image.with_data(np.zeros(truth_image.shape, np.uint8))
        return CaseLesions(truth, ignored, lesions_of_mask(empty.data, empty.grid, connectivity), None)
    image = _finite(read_volume(case.prediction, note=note), str(case.prediction))
    prediction, probability = _read_prediction(case, image, settings, note)
    if truth.grid.matches(image.grid):
        return CaseLesions(truth, ignored, prediction, probability)
    note(
        f"{case.truth} is on another grid than its prediction: its lesions were moved to the prediction's"
        " grid, each by itself"
    )
    margins = _margins(truth, image.grid)
    enlarged = np.prod(np.array(image.shape, np.float64) + margins.sum(axis=1))
    if enlarged > MOST_ENLARGED * np.prod(image.shape):
        raise ImageError(
            f"{case.truth} has lesions far outside {case.prediction}: are both of the same scan and space?"
        )
    if margins.any():
        image = _padded(image, margins)
        prediction = _on_padded(prediction, margins, image.grid)
        probability = None if probability is None else _padded(probability, margins)
    return CaseLesions(_moved(truth, image.grid), ignored, prediction, probability)


def _read_prediction(
    case: EvaluationCase, image: Volume, settings: EvaluationSettings, note: Note
) -> tuple[LesionSet, Volume | None]:
    """Predicted lesions, scored where there is a probability map, and that map, both on the image's grid."""
    name, criteria, kind = str(case.prediction), settings.criteria, settings.prediction_kind
    itself = case.probability is not None and case.probability == case.prediction
    if kind == "probability" or (kind == "auto" and (itself or _has_fractions(image.data))):
        prediction = probable_lesions(image, settings, name)
        beside = None if itself else _map_beside(case, image, note)
        return prediction, image if beside is None else beside
    prediction = label_lesions(image, kind, criteria.connectivity, name, note)
    prediction = prediction.select(large_enough(prediction, criteria.min_volume_mm3))
    probability = image if itself else _map_beside(case, image, note)
    if probability is None:
        # an image without any lesion may be a mask or a map: as either it finds nothing at any threshold
        return prediction, None if image.data.any() else image
    return prediction.with_scores(probability.data), probability


def _map_beside(case: EvaluationCase, image: Volume, note: Note) -> Volume | None:
    """The probability map that comes with a prediction, or None if there is none that can be used."""
    if case.probability is None:
        return None
    try:
        probability = _finite(read_volume(case.probability, note=note), str(case.probability))
        require_probabilities(probability.data)
    except ImageError as error:
        note(f"{case.probability}: left out of the curves: {error}")
        return None
    if not probability.grid.matches(image.grid):
        note(f"{case.probability}: left out of the curves, it is not on the grid of {case.prediction}")
        return None
    return probability


def strict_threshold(threshold: float, rule: MatchRule) -> float:
    """The threshold to be strictly above: VALDO's code takes probabilities of exactly the threshold too."""
    if not rule.name.startswith("valdo"):
        return threshold
    return max(0.0, float(np.nextafter(np.float32(threshold), np.float32(0))))


def probable_lesions(probability: Volume, settings: EvaluationSettings, name: str) -> LesionSet:
    """Lesions of a probability map, by the criteria.

    Raises:
        ImageError: if it is no probability map.
    """
    criteria = settings.criteria
    criteria = replace(criteria, threshold=strict_threshold(criteria.threshold, settings.rule))
    try:
        found = find_lesions(probability, criteria)
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
            " lesion; say so if each value is one lesion"
        )
    return pieces


def large_enough(lesions: LesionSet, min_volume_mm3: float) -> NDArray[np.bool_]:
    """Which lesions reach a volume, shape (n,); exactly reached is enough, whatever the affine's rounding."""
    return ~too_small(lesions.volumes_mm3, min_volume_mm3)


def _finite(image: Volume, name: str) -> Volume:
    if image.data.dtype.kind == "f" and not np.isfinite(image.data).all():
        raise ImageError(f"{name}: holds NaN or infinite values; write 0 where there is no lesion")
    return image


def _has_fractions(data: NDArray[np.generic]) -> bool:
    return data.dtype.kind == "f" and bool(np.any(data != np.rint(data)))


def _pieces(labels: LesionSet, connectivity: int) -> LesionSet:
    """Every connected component of every label; under the labels' own names if each is in one piece."""
    structure = scipy.ndimage.generate_binary_structure(3, NEIGHBOURHOOD[connectivity])
    parts = []
    for number in range(len(labels)):
        voxels = labels.indices(number)
        place = tuple((voxels - voxels.min(axis=0)).T)
        box = np.zeros(voxels.max(axis=0) - voxels.min(axis=0) + 1, bool)
        box[place] = True
        pieces, count = scipy.ndimage.label(box, structure)
        flat = labels.voxels[labels.starts[number] : labels.starts[number + 1]]
        parts += [flat[pieces[place] == piece] for piece in range(1, count + 1)]
    if len(parts) == len(labels):
        return labels
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.intp)
    return LesionSet(labels.grid, np.concatenate(parts), starts, np.arange(1, len(parts) + 1))


def _margins(truth: LesionSet, grid: Grid) -> NDArray[np.intp]:
    """How many voxels `grid` lacks before and behind each axis to hold all truth lesions, shape (3, 2)."""
    if not len(truth):
        return np.zeros((3, 2), np.intp)
    voxels = np.stack(np.unravel_index(truth.voxels, truth.grid.shape), axis=-1)
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
    places = grid.to_voxel(truth.grid.to_world((voxels[:, None] + corners).reshape(-1, 3)))
    # half a voxel beyond the outermost centre still belongs to the outermost voxel
    before = np.maximum(0, np.ceil(-0.5 - places.min(axis=0) - ROUNDING))
    behind = np.maximum(0, np.ceil(places.max(axis=0) - np.array(grid.shape) + 0.5 - ROUNDING))
    return np.stack([before, behind], axis=-1).astype(np.intp)


def _padded(image: Volume, margins: NDArray[np.intp]) -> Volume:
    affine = image.affine.copy()
    affine[:3, 3] = image.grid.to_world(-margins[:, 0])
    return Volume(np.pad(image.data, margins), affine)


def _on_padded(lesions: LesionSet, margins: NDArray[np.intp], grid: Grid) -> LesionSet:
    voxels = np.stack(np.unravel_index(lesions.voxels, lesions.grid.shape), axis=-1) + margins[:, 0]
    flat = np.ravel_multi_index(tuple(voxels.T), grid.shape)
    return LesionSet(grid, flat, lesions.starts, lesions.names, lesions.scores)


def _moved(truth: LesionSet, grid: Grid) -> LesionSet:
    """Every lesion on another grid that has room for it.

    Where voxels are larger, two lesions may want the same one: the smaller has it, and one that would have
    none left takes the nearest free one, so that no lesion is lost.
    """
    own: dict[int, NDArray[np.intp]] = {}
    taken = np.zeros(0, np.intp)
    for k in np.argsort(truth.sizes, kind="stable"):
        places = lesion_on_grid(truth.indices(k), truth.grid, grid)
        flat = np.ravel_multi_index(tuple(places.T), grid.shape)
        free = np.setdiff1d(flat, taken)
        own[int(k)] = free if len(free) else _nearest_free(places, taken, grid)
        taken = np.union1d(taken, own[int(k)])
    order = [own[k] for k in range(len(truth))]
    voxels = np.concatenate([np.zeros(0, np.intp), *order])
    starts = np.concatenate([[0], np.cumsum([len(part) for part in order])]).astype(np.intp)
    return LesionSet(grid, voxels, starts, truth.names)


def _nearest_free(places: NDArray[np.intp], taken: NDArray[np.intp], grid: Grid) -> NDArray[np.intp]:
    """A voxel next to the middle of `places` that is not taken, as one flat index.

    Raises:
        ImageError: if all are taken.
    """
    middle = np.rint(places.mean(axis=0)).astype(np.intp)
    for reach in range(1, max(grid.shape)):
        around = np.argwhere(np.ones((2 * reach + 1,) * 3)) - reach
        around = around[np.argsort(np.square(around @ grid.affine[:3, :3].T).sum(axis=1), kind="stable")]
        around = around + middle
        around = around[np.all((around >= 0) & (around < grid.shape), axis=1)]
        flat = np.ravel_multi_index(tuple(around.T), grid.shape)
        free = flat[~np.isin(flat, taken)]
        if len(free):
            return free[:1]
    raise ImageError(f"the truth has more lesions than the prediction's grid {grid.shape} has voxels for")
