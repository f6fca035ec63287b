"""One probability map at many thresholds, minimum volumes and peak thresholds: what each would have found."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.lesion_set import (
    LesionSet,
    flat_indices,
    grouped,
    lesions_of_mask,
    require_same_grid,
)
from shiva_cmb.evaluation.matching import ANY_OVERLAP, MatchRule, match_lesions
from shiva_cmb.imaging.volume import Grid, Volume
from shiva_cmb.lesions.criteria import LesionCriteria
from shiva_cmb.lesions.find import require_probabilities, too_far_outside, too_small
from shiva_cmb.lesions.neighbours import NEIGHBOURHOOD, Connectivity, require_connectivity

MOST_LISTED_VOXELS = 250_000
"""With more voxels the image is labelled anew at each threshold: neighbours take up to 800 bytes a voxel."""


_BY_OVERLAP = ("overlap", "iou", "shiva")
"""Rules by which only lesions that share voxels can be a match."""

NO_PEAK = 0.0
"""A peak threshold that every lesion exceeds: the same as none."""

PEAKS_TO_TRY = (NO_PEAK, *(round(0.1 * k, 1) for k in range(2, 10)))
"""What an operating point is chosen among, unless asked for otherwise."""


@dataclass(frozen=True)
class SweepSettings:
    """Which operating points are tried: all thresholds with all minimum volumes and all peak thresholds."""

    thresholds: tuple[float, ...] = (*(round(0.05 * k, 2) for k in range(1, 20)), 0.99)
    """Ascending, in [0, 1); a voxel counts where its probability is strictly above."""
    min_volumes_mm3: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0)
    """Ascending, from 0; smaller predictions are dropped."""
    peak_thresholds: tuple[float, ...] = (NO_PEAK,)
    """Ascending, in [0, 1); a prediction counts where its highest probability is strictly above. Those that
    are not above the threshold change nothing."""
    connectivity: Connectivity = 26
    """Of the predicted lesions."""

    def __post_init__(self) -> None:
        for what, values, limit in (
            ("thresholds", self.thresholds, 1.0),
            ("minimum volumes", self.min_volumes_mm3, float("inf")),
            ("peak thresholds", self.peak_thresholds, 1.0),
        ):
            rising = all(a < b for a, b in itertools.pairwise(values))
            if not (values and rising and values[0] >= 0.0 and values[-1] < limit):
                raise UsageError(f"expected ascending {what} in [0, {limit:g}), got {values}")
        require_connectivity(self.connectivity)


def sweep_case(
    probability: Volume,
    truth: LesionSet,
    ignored_truth: ArrayLike | None = None,
    settings: SweepSettings | None = None,
    rule: MatchRule = ANY_OVERLAP,
    *,
    brain: NDArray[np.bool_] | None = None,
    max_outside_fraction: float = LesionCriteria.max_outside_fraction,
) -> NDArray[np.int64]:
    """Count hits, false alarms and misses at every operating point.

    The same as `find_lesions` and `match_lesions` at each, without going through the image each time.

    Args:
        probability: map in [0, 1].
        truth: reference lesions on its grid.
        ignored_truth: see `match_lesions`.
        settings: the operating points; the defaults if left out.
        rule: what is a match.
        brain: mask of the map's shape; what lies too far outside is dropped, as `find_lesions` does.
        max_outside_fraction: how much of a component may lie outside of it.

    Returns:
        TP, FP and FN, shape (thresholds, minimum volumes, peak thresholds, 3).

    Raises:
        ImageError: if the map leaves [0, 1] or is not on the grid of the truth.
    """
    settings = settings or SweepSettings()
    require_probabilities(probability.data)
    require_same_grid(truth.grid, probability.grid, "probability map")
    criteria = LesionCriteria(max_outside_fraction=max_outside_fraction)
    volumes_mm3, peaks = settings.min_volumes_mm3, settings.peak_thresholds
    counts = np.zeros((len(settings.thresholds), len(volumes_mm3), len(peaks), 3), np.int64)
    for t, found in enumerate(_lesions_by_threshold(probability.data, truth.grid, settings)):
        if brain is not None and len(found):
            inside = brain.reshape(-1)[found.voxels]
            outside = np.add.reduceat(~inside, found.starts[:-1], dtype=np.intp)
            found = found.select(~too_far_outside(outside, found.sizes, criteria))
        large = np.array([~too_small(found.volumes_mm3, volume) for volume in volumes_mm3])
        highest = _peaks(found, probability.data)
        high = np.array([highest > peak for peak in peaks])  # one by one: in the precision of the map
        kept = (large[:, None] & high[None]).reshape(len(volumes_mm3) * len(peaks), len(found))
        counts[t] = _count(truth, found, kept, rule, ignored_truth).reshape(counts.shape[1:])
    return counts


def _peaks(found: LesionSet, data: NDArray[np.floating]) -> NDArray[np.floating]:
    """Highest value in each lesion, shape (lesions,), of the type of the map: rounding must not decide."""
    if not len(found):
        return np.zeros(0, data.dtype)
    return np.maximum.reduceat(data[np.unravel_index(found.voxels, data.shape)], found.starts[:-1])


def _count(
    truth: LesionSet,
    found: LesionSet,
    kept: NDArray[np.bool_],
    rule: MatchRule,
    ignored_truth: ArrayLike | None,
) -> NDArray[np.int64]:
    """TP, FP and FN of several selections of the found lesions, shape (selections, 3).

    Where no two predictions share a truth lesion, what becomes of one does not depend on the others, and one
    matching serves all selections; else each different one is matched.

    Args:
        truth: reference lesions.
        found: all predictions.
        kept: which of them each selection holds, shape (selections, predictions).
        rule: what is a match.
        ignored_truth: see `match_lesions`.
    """
    whole = match_lesions(truth, found, rule, ignored_truth=ignored_truth)
    shared = (whole.overlaps[whole.truth_status != "ignored"] > 0).sum(axis=1)
    if rule.name in _BY_OVERLAP and (shared <= 1).all():
        hits = np.bincount(whole.truth_partner[whole.truth_status == "TP"], minlength=len(found))
        tp = kept @ hits
        fp = kept @ (whole.prediction_status == "FP").astype(np.int64)
        return np.stack([tp, fp, whole.tp + whole.fn - tp], axis=-1)
    different, which = np.unique(kept, axis=0, return_inverse=True)
    counts = []
    for selection in different:
        matching = (
            whole
            if selection.all()
            else match_lesions(truth, found.select(selection), rule, ignored_truth=ignored_truth)
        )
        counts.append((matching.tp, matching.fp, matching.fn))
    return np.array(counts, np.int64)[which.reshape(-1)]


def _lesions_by_threshold(
    data: NDArray[np.floating], grid: Grid, settings: SweepSettings
) -> Iterator[LesionSet]:
    """The components above each threshold, of any volume."""
    voxels = flat_indices(data > settings.thresholds[0])
    if len(voxels) > MOST_LISTED_VOXELS:
        for threshold in settings.thresholds:
            yield lesions_of_mask(data > threshold, grid, settings.connectivity)
        return
    values = data[np.unravel_index(voxels, data.shape)]
    edges = _neighbours(voxels, data.shape, settings.connectivity)
    strength = np.minimum(values[edges[0]], values[edges[1]])  # both ends must be above the threshold
    for threshold in settings.thresholds:
        inside = values > threshold
        renumber = np.cumsum(inside) - 1
        edges = renumber[edges[:, strength > threshold]]
        strength = strength[strength > threshold]
        voxels, values = voxels[inside], values[inside]
        graph = scipy.sparse.coo_array((np.ones(len(strength), bool), tuple(edges)), shape=(len(voxels),) * 2)
        count, owner = scipy.sparse.csgraph.connected_components(graph, directed=False)
        yield grouped(grid, voxels, owner, np.arange(1, count + 1))


def _neighbours(
    voxels: NDArray[np.intp], shape: tuple[int, ...], connectivity: Connectivity
) -> NDArray[np.intp]:
    """Each pair of neighbouring voxels once, as positions in `voxels` (flat, ascending), shape (2, pairs)."""
    # in an array with one more plane along each axis, steps never come out on the far side of the image
    padded = tuple(n + 1 for n in shape)
    places = np.ravel_multi_index(np.unravel_index(voxels, shape), padded)
    pairs = [np.zeros((2, 0), np.intp)]
    for offset in itertools.product((-1, 0, 1), repeat=3):
        step = (offset[0] * padded[1] + offset[1]) * padded[2] + offset[2]
        if step <= 0 or np.abs(offset).sum() > NEIGHBOURHOOD[connectivity]:
            continue
        found = np.searchsorted(places, places + step)
        hit = np.flatnonzero(places[np.minimum(found, len(places) - 1)] == places + step)
        pairs.append(np.stack([hit, found[hit]]))
    return np.concatenate(pairs, axis=1)
