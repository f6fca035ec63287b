"""One-to-one assignment that depends on what is paired, not on the order in which it is listed."""

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.evaluation.lesion_set import LesionSet


def assign(admissible: NDArray[np.bool_], preference: NDArray[np.float64]) -> NDArray[np.intp]:
    """One-to-one pairs: as many as possible, and among those choices the highest total preference.

    Exact ties go by position. Source: Crouse 2016, On implementing 2D rectangular assignment algorithms.

    Args:
        admissible: which pairs may be, shape (rows, columns).
        preference: how much each is wanted, finite where admissible, same shape.

    Returns:
        Row and column of each pair, shape (pairs, 2), sorted by row.
    """
    rows, columns = np.flatnonzero(admissible.any(axis=1)), np.flatnonzero(admissible.any(axis=0))
    if not len(rows):
        return np.zeros((0, 2), np.intp)
    inner = np.ix_(rows, columns)
    possible, wanted = admissible[inner], preference[inner]
    lowest, highest = wanted[possible].min(), wanted[possible].max()
    gain = (np.where(possible, wanted, lowest) - lowest) / ((highest - lowest) or 1.0)
    # every pair is worth more than all gains together, which are at most 1 each
    worth = np.where(possible, gain + min(possible.shape) + 1.0, 0.0)
    left, right = scipy.optimize.linear_sum_assignment(worth, maximize=True)
    real = possible[left, right]
    return np.stack([rows[left[real]], columns[right[real]]], axis=1)


def match_points(truth_mm: ArrayLike, found_mm: ArrayLike, max_distance_mm: float) -> NDArray[np.intp]:
    """Pair points one-to-one: as many pairs within reach as possible, then the smallest summed distance.

    Args:
        truth_mm: shape (n, 3), or empty.
        found_mm: shape (m, 3), or empty.
        max_distance_mm: points at most this far apart may pair.

    Returns:
        Index of the truth and of the found point of each pair, shape (pairs, 2), sorted.
    """
    truth = np.asarray(truth_mm, np.float64).reshape(-1, 3)
    found = np.asarray(found_mm, np.float64).reshape(-1, 3)
    distance_mm = np.sqrt(((truth[:, None] - found[None]) ** 2).sum(axis=2))
    left, right = np.lexsort(truth.T[::-1]), np.lexsort(found.T[::-1])
    swap = _comes_later([len(truth), truth[left]], [len(found), found[right]])
    return _assign_in_order(distance_mm <= max_distance_mm, -distance_mm, left, right, swap)


def assign_lesions(
    truth: LesionSet,
    prediction: LesionSet,
    admissible: NDArray[np.bool_],
    preference: NDArray[np.float64],
) -> NDArray[np.intp]:
    """`assign` for two sets of lesions; swapping the sets, or their order, changes no pair.

    Args:
        truth: rows.
        prediction: columns.
        admissible: see `assign`.
        preference: see `assign`.

    Returns:
        Truth and prediction of each pair, shape (pairs, 2), sorted.
    """
    # An order that belongs to the lesions, not to how they are listed, decides exact ties.
    rows, columns = np.argsort(truth.first_voxels), np.argsort(prediction.first_voxels)
    swap = _comes_later(_place(truth, rows), _place(prediction, columns))
    return _assign_in_order(admissible, preference, rows, columns, swap)


def in_order(pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pairs sorted by truth, then by prediction, shape (pairs, 2)."""
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _assign_in_order(
    admissible: NDArray[np.bool_],
    preference: NDArray[np.float64],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    swap: bool,
) -> NDArray[np.intp]:
    """`assign` with rows and columns put in an order, and the two exchanged if wanted; sorted pairs."""
    inner = np.ix_(rows, columns)
    if swap:
        pairs = assign(admissible[inner].T, preference[inner].T)[:, ::-1]
    else:
        pairs = assign(admissible[inner], preference[inner])
    return in_order(np.stack([rows[pairs[:, 0]], columns[pairs[:, 1]]], axis=1))


def _place(lesions: LesionSet, order: NDArray[np.intp]) -> list[ArrayLike]:
    """What tells one set of lesions from another, whatever their order: cheap things first."""
    rank = np.argsort(order)
    voxels = lesions.voxels[np.argsort(rank[lesions.owner], kind="stable")]
    return [len(lesions), lesions.first_voxels[order], lesions.sizes[order], voxels]


def _comes_later(one: list[ArrayLike], other: list[ArrayLike]) -> bool:
    """Whether the first of two lists of equally built arrays is the greater, element by element."""
    for left, right in zip(one, other, strict=True):
        a, b = np.ravel(left), np.ravel(right)
        different = np.flatnonzero(a != b)
        if len(different):
            return bool(a[different[0]] > b[different[0]])
    return False
