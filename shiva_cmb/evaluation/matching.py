"""Which predicted lesion is which true one: optimal one-to-one assignment, and two published rules."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.assignment import assign_lesions, in_order
from shiva_cmb.evaluation.lesion_set import LesionSet, centre_distances, lengths, overlap_counts

RuleName = Literal["overlap", "iou", "distance", "shiva", "valdo", "valdo-voxels"]
"""When a prediction may count as a truth lesion: see `MatchRule`."""

ONE_TO_ONE: tuple[RuleName, ...] = ("overlap", "iou", "distance")
"""Rules under which no lesion has two partners."""

_FIRST_BY_OVERLAP = 1e-9
"""Weight of the IoU (at most 1) against mm: it decides only between equal distances."""


@dataclass(frozen=True)
class MatchRule:
    """When a prediction may count as a truth lesion."""

    name: RuleName = "overlap"
    """`overlap`, `iou` and `distance` assign one-to-one and optimally; the others are published rules."""
    min_overlap_voxels: int = 1
    """`overlap`: this many shared voxels, at least."""
    min_iou: float = 0.1
    """`iou`: this much intersection over union, at least. Lesions of 10 voxels rarely reach one half."""
    max_distance_mm: float = 5.0
    """`distance`: centroids at most this far apart. `valdo`: closer than this; `valdo-voxels`: in voxels."""

    def __post_init__(self) -> None:
        if self.name not in get_args(RuleName):
            raise UsageError(f"expected a match rule out of {', '.join(get_args(RuleName))}, got {self.name}")
        if self.min_overlap_voxels < 1 or int(self.min_overlap_voxels) != self.min_overlap_voxels:
            raise UsageError(f"expected an overlap of 1 voxel or more, got {self.min_overlap_voxels}")
        if not 0.0 < self.min_iou <= 1.0:
            raise UsageError(f"expected a minimum IoU in (0, 1], got {self.min_iou}")
        if not 0.0 < self.max_distance_mm < float("inf"):
            raise UsageError(f"expected a distance above 0 mm, got {self.max_distance_mm}")

    @property
    def definition(self) -> str:
        """One sentence that says what is a match."""
        pairing = "one-to-one, as many pairs as possible"
        nearest = f"each prediction goes to the nearest truth lesion if closer than {self.max_distance_mm:g}"
        kept = "by centre of mass; a lesion's TP is the nearest that went to it, the others are FP"
        return {
            "overlap": f"A pair shares at least {self.min_overlap_voxels} voxel(s); {pairing}, then the"
            " largest summed intersection over union.",
            "iou": f"A pair has an intersection over union of at least {self.min_iou:g}; {pairing}, then"
            " the largest summed intersection over union.",
            "distance": f"The centroids of a pair are at most {self.max_distance_mm:g} mm apart; {pairing},"
            " then the smallest summed distance.",
            "shiva": "SHIVA: a truth lesion is a TP if it shares a voxel with any prediction, else a FN; a"
            " prediction that shares a voxel with no truth lesion is a FP (not one-to-one); without its"
            " optional size filter.",
            "valdo": f"VALDO: {nearest} mm, {kept}.",
            "valdo-voxels": f"VALDO, as its code measures: {nearest} voxels of whatever size, {kept}.",
        }[self.name]


ANY_OVERLAP = MatchRule()
"""The default: one shared voxel, one-to-one."""


@dataclass(frozen=True, eq=False)
class Matching:
    """What became of each lesion. Indices are positions in the two sets."""

    rule: MatchRule
    """By which it was decided."""
    pairs: NDArray[np.intp]
    """Truth and prediction of each pair, shape (pairs, 2), sorted. One-to-one, except that `shiva` has every
    touching pair and the VALDO rules every prediction of exactly the smallest distance."""
    overlaps: NDArray[np.int64]
    """Shared voxels, shape (truth, prediction)."""
    truth_status: NDArray[np.str_]
    """`TP`, `FN` or `ignored`, shape (truth,)."""
    prediction_status: NDArray[np.str_]
    """`TP`, `FP` or `ignored`, shape (prediction,)."""
    truth_partner: NDArray[np.intp]
    """Prediction paired with each truth lesion or -1, shape (truth,); out of several the one with the largest
    overlap, then the nearest."""
    prediction_partner: NDArray[np.intp]
    """Truth lesion paired with each prediction or -1, shape (prediction,), chosen likewise."""

    @property
    def tp(self) -> int:
        """Truth lesions found; for the VALDO rules the predictions that found one, as published."""
        status = self.prediction_status if self.rule.name.startswith("valdo") else self.truth_status
        return int((status == "TP").sum())

    @property
    def fp(self) -> int:
        """Predictions without a truth lesion."""
        return int((self.prediction_status == "FP").sum())

    @property
    def fn(self) -> int:
        """Truth lesions not found; for the VALDO rules those that count less `tp`, as published, but never
        below 0, where several predictions at exactly the same distance would take it."""
        if self.rule.name.startswith("valdo"):
            return max(int((self.truth_status != "ignored").sum()) - self.tp, 0)
        return int((self.truth_status == "FN").sum())


def match_lesions(
    truth: LesionSet,
    prediction: LesionSet,
    rule: MatchRule = ANY_OVERLAP,
    *,
    ignored_truth: ArrayLike | None = None,
) -> Matching:
    """Pair the lesions of two sets; the order within the sets changes nothing.

    For the one-to-one rules without ignored lesions, swapping the sets gives the same pairs swapped.

    Args:
        truth: reference lesions.
        prediction: what is judged, on the same grid.
        rule: see `MatchRule`.
        ignored_truth: lesions that count neither way, boolean, shape (truth,). The others are matched first;
            a prediction that finds none but may pair with an ignored one, or touches it, is ignored too.

    Raises:
        ImageError: if the grids differ.
        UsageError: if `ignored_truth` does not fit.
    """
    ignored = truth.flags(np.zeros(len(truth), bool) if ignored_truth is None else ignored_truth)
    overlaps = overlap_counts(truth, prediction)
    admissible, preference = _compare(truth, prediction, overlaps, rule)
    counted = np.flatnonzero(~ignored)
    reference = truth.select(~ignored) if ignored.any() else truth
    chosen = _pair(reference, prediction, rule, admissible[counted], preference[counted])
    pairs = in_order(np.stack([counted[chosen[:, 0]], chosen[:, 1]], axis=1))

    truth_status = np.where(ignored, "ignored", "FN")
    truth_status[pairs[:, 0]] = "TP"
    touches_ignored = (admissible | (overlaps > 0))[ignored].any(axis=0)
    prediction_status = np.where(touches_ignored, "ignored", "FP")
    prediction_status[pairs[:, 1]] = "TP"
    partners = _partners(truth, prediction, pairs, overlaps)
    return Matching(rule, pairs, overlaps, truth_status, prediction_status, *partners)


def _compare(
    truth: LesionSet, prediction: LesionSet, overlaps: NDArray[np.int64], rule: MatchRule
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which pairs the rule admits and how much it prefers each, both of shape (truth, prediction)."""
    iou = overlaps / (truth.sizes[:, None] + prediction.sizes[None] - overlaps)
    if rule.name == "overlap":
        return overlaps >= rule.min_overlap_voxels, iou
    if rule.name == "iou":
        return iou >= rule.min_iou, iou
    if rule.name == "shiva":
        return overlaps > 0, iou
    distances = centre_distances(truth, prediction, voxels=rule.name == "valdo-voxels")
    if rule.name == "distance":
        return distances <= rule.max_distance_mm, _FIRST_BY_OVERLAP * iou - distances
    return distances < rule.max_distance_mm, -distances


def _pair(
    truth: LesionSet,
    prediction: LesionSet,
    rule: MatchRule,
    admissible: NDArray[np.bool_],
    preference: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Pairs out of the lesions that count."""
    if rule.name == "shiva":
        return np.argwhere(admissible)
    if rule.name in ONE_TO_ONE:
        return assign_lesions(truth, prediction, admissible, preference)
    rows = np.argsort(truth.first_voxels)  # whatever the order, the same one of equally near lesions
    return _nearest(admissible[rows], preference[rows], rows)


def _nearest(
    admissible: NDArray[np.bool_], preference: NDArray[np.float64], names: NDArray[np.intp]
) -> NDArray[np.intp]:
    """VALDO's pairs: every prediction has one choice, and a lesion keeps the nearest that chose it.

    Args:
        admissible: close enough, shape (truth, prediction).
        preference: minus the distance, same shape.
        names: what to call each row.
    """
    if not admissible.any():
        return np.zeros((0, 2), np.intp)
    choice = preference.argmax(axis=0)
    columns = np.arange(len(choice))
    columns = columns[admissible[choice, columns]]
    choice = choice[columns]
    nearest = np.full(len(names), -np.inf)
    np.maximum.at(nearest, choice, preference[choice, columns])
    kept = preference[choice, columns] == nearest[choice]
    return np.stack([names[choice[kept]], columns[kept]], axis=1)


def _partners(
    truth: LesionSet, prediction: LesionSet, pairs: NDArray[np.intp], overlaps: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Partner of each truth lesion and of each prediction, -1 for none."""
    rows, columns = pairs.T
    distances = lengths(truth.centroids[rows] - prediction.centroids[columns], truth.grid)
    places = (truth.first_voxels[rows], prediction.first_voxels[columns])
    # the best pair of a lesion comes last, so that it is the one that stays
    best_last = np.lexsort((-places[0], -places[1], -distances, overlaps[rows, columns]))
    truth_partner = np.full(len(truth), -1, np.intp)
    prediction_partner = np.full(len(prediction), -1, np.intp)
    truth_partner[rows[best_last]] = columns[best_last]
    prediction_partner[columns[best_last]] = rows[best_last]
    return truth_partner, prediction_partner
