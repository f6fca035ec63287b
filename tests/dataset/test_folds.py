"""No patient may be on both sides, every case is validated once, and folds are alike."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.dataset import Case, Fold, check_leakage, read_folds, split_folds, write_folds
from shiva_cmb.errors import DataError, UsageError


def case(name: str, patient: str = "", training_only: bool = False, **columns: str) -> Case:
    image = Path(f"{name}.nii")
    return Case(name, (image,), Path("label.nii"), None, patient or name, training_only, columns)


@settings(max_examples=40, deadline=None)
@given(
    patients=st.lists(st.integers(0, 11), min_size=6, max_size=40).filter(lambda p: len(set(p)) >= 5),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_folds_are_disjoint_by_patient(
    patients: list[int], folds: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    own = [
        case(f"C{k}", f"P{patient}", site=rng.choice(["a", "b", "c"])) for k, patient in enumerate(patients)
    ]
    extra = [case(f"S{k}", f"P{rng.integers(14)}", True, site="a") for k in range(rng.integers(4))]
    cases = [(own + extra)[k] for k in rng.permutation(len(own) + len(extra))]
    counts = rng.choice([0, 0, 1, 2, 5, 30], len(cases)).tolist()
    notes: list[str] = []
    result = split_folds(cases, folds, seed, lesion_counts=counts, stratify=["site"], note=notes.append)
    assert len(result) == folds
    real = [k for k, one in enumerate(cases) if not one.training_only]
    assert sorted(k for fold in result for k in fold.validation) == real
    check_leakage(result, cases, {})
    left_out = 0
    for fold in result:
        assert fold.train
        assert fold.validation
        assert not {cases[k].patient for k in fold.train} & {cases[k].patient for k in fold.validation}
        missing = set(range(len(cases))) - set(fold.train) - set(fold.validation)
        assert all(cases[k].training_only for k in missing)
        assert {cases[k].patient for k in missing} <= {cases[k].patient for k in fold.validation}
        left_out += len(missing)
    assert bool(notes) == bool(left_out)
    back = np.random.default_rng(seed).permutation(len(cases))
    again = split_folds(
        [cases[k] for k in back],
        folds,
        seed,
        lesion_counts=[counts[k] for k in back],
        stratify=["site"],
        note=lambda line: None,
    )
    for one, other in zip(result, again, strict=True):  # whatever the order of the cases
        assert {cases[k].name for k in one.validation} == {cases[back[k]].name for k in other.validation}


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1, 5])), min_size=8, max_size=60),
    folds=st.integers(2, 5),
)
def test_each_kind_is_shared_out_evenly(kinds: list[tuple[str, int]], folds: int) -> None:
    cases = [case(f"C{k}", site=site) for k, (site, _) in enumerate(kinds)]
    result = split_folds(cases, folds, 1, lesion_counts=[n for _, n in kinds], stratify=["site"])
    for kind in set(kinds):
        shares = [sum(kinds[k] == kind for k in fold.validation) for fold in result]
        assert max(shares) - min(shares) <= 1
    sizes = [len(fold.validation) for fold in result]
    assert max(sizes) - min(sizes) <= 2


def test_patients_with_many_scans_do_not_fill_a_fold() -> None:
    cases = [case(f"C{k}", f"P{k % 3}") for k in range(12)] + [case(f"D{k}") for k in range(12)]
    sizes = [len(fold.validation) for fold in split_folds(cases, 3, 5)]
    assert sizes == [8, 8, 8]


def test_cases_with_bleeds_are_shared_out() -> None:
    cases = [case(f"P{number}") for number in range(40)]
    counts = [3 * (number < 8) for number in range(40)]
    for fold in split_folds(cases, 4, 3, lesion_counts=counts):
        assert Counter(counts[index] for index in fold.validation) == {3: 2, 0: 8}


def test_the_seed_decides() -> None:
    cases = [case(f"P{number}") for number in range(20)]
    assert split_folds(cases, 4, 1) == split_folds(cases, 4, 1)
    assert split_folds(cases, 4, 1) != split_folds(cases, 4, 2)


def test_a_synthetic_scan_of_a_validated_patient_is_left_out_and_said() -> None:
    cases = [case("A"), case("B"), case("made-from-A", "A", True), case("made-up", "X", True)]
    notes: list[str] = []
    folds = split_folds(cases, 2, 0, note=notes.append)
    with_a = next(number for number, fold in enumerate(folds) if 0 in fold.validation)
    assert folds[with_a] == Fold((1, 3), (0,))
    assert folds[1 - with_a] == Fold((0, 2, 3), (1,))
    assert len(notes) == 1
    assert f"fold {with_a}: 1 training-only cases are left out" in notes[0]


def test_too_few_patients_are_counted() -> None:
    with pytest.raises(DataError, match="3 folds need at least 3 patients, the list has 2"):
        split_folds([case("A1", "A"), case("A2", "A"), case("B"), case("S", "S", True)], 3, 0)
    with pytest.raises(UsageError, match="at least 2 folds, got 1"):
        split_folds([case("A"), case("B")], 1, 0)
    with pytest.raises(UsageError, match=r"no case has a value in the column 'sites'; .*: site"):
        split_folds([case("A", site="x"), case("B")], 2, 0, stratify=["sites"])


CASES = [case("A"), case("B1", "B"), case("B2", "B"), case("C"), case("S", "B", True)]


def test_folds_are_kept_by_name(tmp_path: Path) -> None:
    folds = split_folds(CASES, 2, 0, note=lambda line: None)
    write_folds(tmp_path / "folds.json", folds, CASES, seed=0, stratify=["site"])
    assert read_folds(tmp_path / "folds.json", CASES) == folds
    turned = CASES[::-1]
    for one, other in zip(folds, read_folds(tmp_path / "folds.json", turned), strict=True):
        for side in ("train", "validation"):
            names = {CASES[k].name for k in getattr(one, side)}
            assert names == {turned[k].name for k in getattr(other, side)}


def test_folds_of_another_list_with_the_same_cases_to_check_on(tmp_path: Path) -> None:
    """Pretrained with synthetic scans, fine-tuned without, or with others."""
    folds = split_folds(CASES, 2, 0, note=lambda line: None)
    write_folds(tmp_path / "folds.json", folds, CASES, seed=0)
    real = CASES[:4]
    notes: list[str] = []
    found = read_folds(tmp_path / "folds.json", real, note=notes.append)
    assert [fold.validation for fold in found] == [fold.validation for fold in folds]
    assert sorted(found[0].train + found[1].train) == [0, 1, 2, 3]
    assert len(notes) == 1
    assert "1 names to learn from are not in the list of cases and are left out, for example 'S'" in notes[0]
    found = read_folds(tmp_path / "folds.json", [*real, case("T", "B", True)], note=lambda line: None)
    assert [4 in fold.train for fold in found] == [1 not in fold.validation for fold in found]


@pytest.mark.parametrize("key", ["validation", "val"])
def test_folds_can_be_written_by_hand(tmp_path: Path, key: str) -> None:
    folds = [{key: ["A", "C"]}, {key: ["B1", "B2"]}]
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(folds if key == "val" else {"folds": folds}))  # a bare list is nnU-Net's way
    assert read_folds(path, CASES) == (Fold((1, 2, 4), (0, 3)), Fold((0, 3), (1, 2)))


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([{"validation": ["A", "Z"]}], r"folds\.json, fold 0: 1 names are not in the list .* 'Z'"),
        ([{"validation": ["A", "B1", "B2"]}], "1 cases are in no fold's validation, for example 'C'"),
        ([{"validation": ["A"], "train": ["B1", "C", "S"]}], "fold 0: 1 cases are neither .* 'B2'"),
        ([{"validation": []}], "fold 0: there is no case in the validation"),
        ([{"test": ["A"]}], r"folds\.json: .*folds\.0"),
        ([], r"folds\.json: .*folds"),
    ],
)
def test_mistakes_in_folds_are_named_in_one_line(tmp_path: Path, folds: object, message: str) -> None:
    (tmp_path / "folds.json").write_text(json.dumps({"folds": folds}))
    with pytest.raises(DataError, match=message) as error:
        read_folds(tmp_path / "folds.json", CASES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([Fold((2,), (0, 1))], r"patient 'B' is in both train \(B2\) and validation \(B1\)"),
        ([Fold((1, 2, 4), (0, 3)), Fold((1, 2), (0,))], "'A' is in the validation of two folds, 0 and 1"),
        ([Fold((0, 3), (1, 2, 4))], "'S' is training-only but in validation"),
        ([Fold((1, 2, 4), (0, 2, 3))], "'B2' is in both train and validation"),
        ([Fold((1, 2, 3), (0,))], "'A' in validation and 'C' in train have the same image"),
    ],
)
def test_leakage_is_refused(folds: list[Fold], message: str) -> None:
    marks = {"A": "w x", "B1": "y", "B2": "z", "C": "x v"}  # one of two channels is shared
    with pytest.raises(DataError, match=message):
        check_leakage(folds, CASES, marks)


def test_sound_folds_pass() -> None:
    marks = {"A": "x", "B1": "y", "B2": "z", "C": "x", "S": "y"}
    check_leakage([Fold((1, 2, 4), (0, 3)), Fold((0, 3), (1, 2))], CASES, marks)
