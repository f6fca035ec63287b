"""The list of cases: what is accepted, and which line is blamed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shiva_cmb.dataset import LabelValues, read_cases, read_dataset
from shiva_cmb.dataset.writing import write_dataset
from shiva_cmb.errors import DataError, OutputError, UsageError


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
    assert first.images == (tmp_path / "a/swi.nii.gz",)
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
        ("image,label,patients\na/swi.nii.gz,la.nii,P1\n", "'patients'; if 'patient' is meant"),
        ("image,image_t1,label\n", "name every channel image_<channel>"),
        ("image,label,training_only\na/swi.nii.gz,la.nii,maybe\n", "line 2: expected yes or no in .*'maybe'"),
        (
            "image,label,case\na/swi.nii.gz,la.nii,A\nb/swi.nii.gz,lb.nii,A\n",
            "line 3: the case 'A' is on line 2 already",
        ),
        ("image,label,label\n", "named twice"),
        ("image,label\n", "there is no case in the list"),
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


def test_channels_names_and_free_columns_come_from_the_header(tmp_path: Path) -> None:
    text = (
        "Case,image_SWI,IMAGE_t1,label,training_only,Site\n"
        "A,a/swi.nii.gz,ma.nii,la.nii,no,Bonn\nB,b/swi.nii.gz,lb.nii,la.nii,YES,n/a\n"
    )
    dataset = read_dataset(write_list(tmp_path, text))
    assert dataset.channels == ("swi", "t1")
    first, second = dataset.cases
    assert (first.name, first.patient, first.training_only) == ("A", "A", False)
    assert first.images == (tmp_path / "a/swi.nii.gz", tmp_path / "ma.nii")
    assert (first.columns, second.columns) == ({"Site": "Bonn"}, {"Site": "n/a"})
    assert second.training_only
    assert not dataset.patients_listed


def test_a_list_with_missing_files_can_be_read_to_be_checked(tmp_path: Path) -> None:
    path = write_list(tmp_path, "image,label\nnone.nii,la.nii\n")
    assert read_dataset(path, require_files=False).cases[0].images == (tmp_path / "none.nii",)


def write_json(folder: Path, content: Any) -> Path:
    write_list(folder, "")
    path = folder / "cases.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


ONE = {"image": "a/swi.nii.gz", "label": "la.nii"}


def test_json_says_the_same_and_what_labels_mean(tmp_path: Path) -> None:
    case = {"case": 7, "patient": "P", "label": "la.nii", "field": 1.5, "training_only": True}
    case |= {"images": {"t1": "ma.nii", "swi": "a/swi.nii.gz"}}
    content = {"channels": ["swi", "t1"], "lesion_values": [1, 2], "ignore_values": [3], "cases": [case]}
    dataset = read_dataset(write_json(tmp_path, content))
    assert dataset.values == LabelValues((1, 2), (3,))
    assert dataset.cases[0].images == (tmp_path / "a/swi.nii.gz", tmp_path / "ma.nii")
    assert dataset.cases[0].name == "7"
    assert dataset.cases[0].columns == {"field": "1.5"}
    assert dataset.cases[0].training_only


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"cannot read the list of cases .*cases\.json: .*line 1"),
        ({"cases": []}, "there is no case in the list"),
        ({"case": [ONE]}, r"cases\.json: .*cases"),
        ({"cases": [{"image": "a/swi.nii.gz"}]}, r"cases\.json: .*cases\.0\.label"),
        ({"cases": [ONE], "lesion_value": [1]}, "unknown key 'lesion_value'"),
        ({"cases": [ONE], "lesion_values": [1], "ignore_values": [1]}, "value 1 is among both"),
        (
            {"cases": [ONE], "channels": ["swi", "t1"]},
            "case 1: expected images of the channels swi, t1, got one",
        ),
        ({"cases": [ONE, ONE]}, "case 2: .* is on case 1 already"),
        ({"cases": [ONE | {"label": "no.nii"}]}, "case 1: the label .*no.nii does not exist"),
        ({"cases": [ONE | {"masks": "ma.nii"}]}, "case 1: unknown column 'masks'"),
    ],
)
def test_mistakes_in_json_are_named_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_dataset(write_json(tmp_path, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ending", ["csv", "tsv", "json"])
def test_what_is_written_reads_back(tmp_path: Path, ending: str) -> None:
    text = (
        "case,image_swi,image_t1,label,mask,patient,training_only,site\n"
        "A,a/swi.nii.gz,ma.nii,la.nii,ma.nii,P1,,Bonn\nB,b/swi.nii.gz,lb.nii,la.nii,,P2,yes,Lille\n"
    )
    dataset = read_dataset(write_list(tmp_path, text))
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / f"again.{ending}"
    write_dataset(dataset, path)
    again = read_dataset(path)
    assert "../a/swi.nii.gz" in path.read_text()
    assert [replace(case, images=(), label=Path(), mask=None) for case in again.cases] == [
        replace(case, images=(), label=Path(), mask=None) for case in dataset.cases
    ]
    assert [i.resolve() for i in again.cases[1].images] == [i.resolve() for i in dataset.cases[1].images]
    assert again.cases[0].mask is not None
    with pytest.raises(OutputError, match="exists already"):
        write_dataset(dataset, path)
    write_dataset(dataset.with_channels(["t1"]), path, overwrite=True)
    assert read_dataset(path).channels == ("t1",)


def test_a_table_cannot_say_what_labels_mean(tmp_path: Path) -> None:
    dataset = read_dataset(write_json(tmp_path, {"cases": [ONE], "lesion_values": [2]}))
    with pytest.raises(UsageError, match=r"only a \.json can say"):
        write_dataset(dataset, tmp_path / "again.csv")
    write_dataset(dataset, tmp_path / "again.json")
    assert read_dataset(tmp_path / "again.json").values == LabelValues((2,))
