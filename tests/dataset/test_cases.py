"""The list of cases: what is accepted, and which line is blamed."""

from pathlib import Path

import pytest

from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import DataError


def write_list(folder: Path, text: str) -> Path:
    for name in ("a/swi.nii.gz", "b/swi.nii.gz", "la.nii", "lb.nii", "ma.nii"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_reads_paths_from_the_lists_own_folder(tmp_path: Path, delimiter: str) -> None:
    rows = ["image,label,mask,patient", "a/swi.nii.gz,la.nii,ma.nii,P1", "", "b/swi.nii.gz,lb.nii,,P2"]
    first, second = read_cases(write_list(tmp_path, "\n".join(rows).replace(",", delimiter)))
    assert first.image == tmp_path / "a/swi.nii.gz"
    assert first.label == tmp_path / "la.nii"
    assert first.mask == tmp_path / "ma.nii"
    assert (first.patient, second.patient) == ("P1", "P2")
    assert second.mask is None


def test_names_are_as_short_as_can_be_told_apart(tmp_path: Path) -> None:
    cases = read_cases(write_list(tmp_path, "image,label\na/swi.nii.gz,la.nii\nb/swi.nii.gz,lb.nii\n"))
    assert [case.name for case in cases] == ["a/swi", "b/swi"]


def test_without_patients_every_row_is_one(tmp_path: Path) -> None:
    cases = read_cases(write_list(tmp_path, "image,label\na/swi.nii.gz,la.nii\nb/swi.nii.gz,lb.nii\n"))
    assert cases[0].patient != cases[1].patient


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the column 'image' is missing"),
        ("image,mask\n", "the column 'label' is missing; the header names: image, mask"),
        ("image,label,site\n", "unknown column 'site'"),
        ("image,label,label\n", "named twice"),
        ("image,label\n", "no case below the header"),
        ("image,label\na/swi.nii.gz\n", "line 2: expected 2 values, got 1"),
        ("image,label\n\na/swi.nii.gz,lc.nii\n", r"line 3: the label .*lc.nii does not exist"),
        (
            "image,label\na/swi.nii.gz,\n",
            "line 2: the label is missing; a scan without bleeds needs an all-zero",
        ),
        ("image,label\na/swi.nii.gz,la.nii\nb/../a/swi.nii.gz,lb.nii\n", "line 3: .* is on line 2 already"),
        (
            "image,label,patient\na/swi.nii.gz,la.nii,P1\nb/swi.nii.gz,lb.nii,\n",
            "line 3: the patient is missing",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_cases(write_list(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv"):
        read_cases(tmp_path / "none.csv")


def test_a_nifti_given_as_the_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.nii"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(DataError, match=r"cannot read the list of cases .*image.nii"):
        read_cases(path)
