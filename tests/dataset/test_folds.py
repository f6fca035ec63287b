"""No patient may be on both sides, and every case is validated once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiva_cmb.dataset import Case, split_folds
from shiva_cmb.errors import DataError, UsageError


def case(patient: str) -> Case:
    return Case(patient, Path("image.nii"), Path("label.nii"), None, patient)


@given(
    patients=st.lists(st.integers(0, 11), min_size=6, max_size=40).filter(lambda p: len(set(p)) >= 5),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_folds_are_disjoint_by_patient(
    patients: list[int], folds: int, seed: int, data: st.DataObject
) -> None:
    cases = [case(f"P{patient}") for patient in patients]
    presence = data.draw(st.lists(st.booleans(), min_size=len(cases), max_size=len(cases)))
    result = split_folds(cases, folds, seed, with_bleeds=presence)
    assert len(result) == folds
    assert sorted(index for fold in result for index in fold.validation) == list(range(len(cases)))
    for fold in result:
        assert sorted(fold.train + fold.validation) == list(range(len(cases)))
        assert fold.train
        assert fold.validation
        assert not {patients[i] for i in fold.train} & {patients[i] for i in fold.validation}


def test_cases_with_bleeds_are_shared_out() -> None:
    cases = [case(f"P{number}") for number in range(40)]
    presence = [number < 8 for number in range(40)]
    for fold in split_folds(cases, 4, 3, with_bleeds=presence):
        assert sum(presence[index] for index in fold.validation) == 2


def test_the_seed_decides() -> None:
    cases = [case(f"P{number}") for number in range(20)]
    assert split_folds(cases, 4, 1) == split_folds(cases, 4, 1)
    assert split_folds(cases, 4, 1) != split_folds(cases, 4, 2)


def test_too_few_patients_are_counted() -> None:
    with pytest.raises(DataError, match="3 folds need at least 3 patients, the list has 2"):
        split_folds([case("A"), case("A"), case("B")], 3, 0)
    with pytest.raises(UsageError, match="at least 2 folds, got 1"):
        split_folds([case("A"), case("B")], 1, 0)
