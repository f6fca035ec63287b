"""Splitting the cases by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

from shiva_cmb.dataset.cases import Case
from shiva_cmb.errors import DataError, UsageError


@dataclass(frozen=True)
class Fold:
    """Which cases one network learns from and which it is checked on, as indices into the cases."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def split_folds(
    cases: Sequence[Case], folds: int, seed: int, *, with_bleeds: Sequence[bool] | None = None
) -> tuple[Fold, ...]:
    """Share out the patients so that each case is in the validation of exactly one fold.

    Args:
        cases: any order.
        folds: at least 2.
        seed: of the shuffling.
        with_bleeds: for each case, whether its label holds any; if given, folds get similar shares of these.

    Raises:
        UsageError: if fewer than 2 folds are asked for.
        DataError: if there are fewer patients than folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if folds < 2:
        raise UsageError(f"expected at least 2 folds, got {folds}: each fold validates on the others' cases")
    patients = [case.patient for case in cases]
    if len(set(patients)) < folds:
        raise DataError(f"{folds} folds need at least {folds} patients, the list has {len(set(patients))}")
    presence = [bool(value) for value in with_bleeds] if with_bleeds is not None else [False] * len(cases)
    enough_of_both = min(sum(presence), len(presence) - sum(presence)) >= folds
    if enough_of_both:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    else:  # stratifying by a class that is not in every fold can leave a fold empty
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    pairs = splitter.split(presence, presence, groups=patients)
    result = tuple(Fold(tuple(map(int, train)), tuple(map(int, validation))) for train, validation in pairs)
    return (
        result
        if all(fold.train and fold.validation for fold in result)
        else _by_patient(patients, folds, seed)
    )


def _by_patient(patients: Sequence[str], folds: int, seed: int) -> tuple[Fold, ...]:
    """The plain split, for when the stratified one left a fold without cases."""
    from sklearn.model_selection import GroupKFold

    pairs = GroupKFold(folds, shuffle=True, random_state=seed).split(patients, groups=patients)
    return tuple(Fold(tuple(map(int, train)), tuple(map(int, validation))) for train, validation in pairs)
