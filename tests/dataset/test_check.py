"""Every fault of a dataset is found, and none hides another."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.dataset import LabelValues, read_dataset, split_folds, write_folds
from shiva_cmb.dataset.check import check_dataset
from shiva_cmb.dataset.report import DatasetReport
from shiva_cmb.files import plain
from shiva_cmb.tables import read_table
from tests.dataset.niftis import AFFINE, SHAPE, write, write_image, write_label


def make(folder: Path, cases: int = 3) -> Path:
    """A sound dataset."""
    rows = ["case,patient,image,label,mask"]
    for k in range(cases):
        write_image(folder / f"{k}_swi.nii.gz", seed=k)
        write_label(folder / f"{k}_label.nii.gz", (2, 2, 2), (6, 6, 6))
        write(folder / f"{k}_brain.nii.gz", np.ones(SHAPE, np.uint8))
        rows.append(f"c{k},P{k},{k}_swi.nii.gz,{k}_label.nii.gz,{k}_brain.nii.gz")
    (folder / "cases.csv").write_text("\n".join(rows))
    return folder / "cases.csv"


def check(path: Path, folds: Path | None = None) -> DatasetReport:
    return check_dataset(read_dataset(path, require_files=False), folds=folds)


def found(report: DatasetReport) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.kind, finding.case) for finding in report.findings]


def test_a_sound_dataset_passes_and_is_measured(tmp_path: Path) -> None:
    report = check(make(tmp_path))
    assert report.findings == ()
    assert report.facts[0].shape == SHAPE
    assert report.facts[0].spacing_mm == (1.0, 1.0, 2.0)
    assert report.facts[0].orientation == "RAS"
    lesions = report.facts[0].lesions
    assert lesions is not None
    assert [(one.voxels, one.volume_mm3, one.in_mask) for one in lesions] == [(2, 4.0, True)] * 2
    assert lesions[0].centre_mm == (2.5, 2.0, 4.0)
    assert "cases       3 of 3 patients" in report.summary()
    assert "lesions     6 in 3 cases, 2 to 2 each" in report.summary()
    assert report.summary().endswith("0 errors, 0 warnings")


def test_every_broken_case_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    path = make(tmp_path, 8)
    (tmp_path / "0_swi.nii.gz").unlink()
    (tmp_path / "1_label.nii.gz").write_bytes((tmp_path / "1_label.nii.gz").read_bytes()[:90])
    write(tmp_path / "2_swi.nii.gz", np.full(SHAPE, 7, np.int16))
    write(tmp_path / "3_label.nii.gz", np.full(SHAPE, np.nan, np.float32))
    write(tmp_path / "4_brain.nii.gz", np.zeros(SHAPE, np.uint8))
    write_label(tmp_path / "5_label.nii.gz")
    mask = np.ones(SHAPE, np.uint8)
    mask[:5] = 0
    write(tmp_path / "6_brain.nii.gz", mask)
    report = check(path)
    assert found(report) == [
        ("error", "missing file", "c0"),
        ("error", "unreadable file", "c1"),
        ("error", "image values", "c2"),
        ("error", "label values", "c3"),
        ("error", "mask", "c4"),
        ("warning", "lesions outside the brain", "c6"),
        ("info", "empty label", "c5"),
    ]
    assert "1 of 2 lesions lie outside the brain mask" in report.summary()
    assert report.summary().endswith("5 errors, 1 warning")
    assert [facts.lesions and len(facts.lesions) for facts in report.facts] == [2, None, 2, None, 2, (), 2, 2]
    assert all("\n" not in str(finding) for finding in report.findings)
    assert pickle.loads(pickle.dumps(report.facts)) == report.facts  # between processes


def test_grids_are_compared_with_numbers(tmp_path: Path) -> None:
    path = make(tmp_path)
    moved, far = AFFINE.copy(), AFFINE.copy()
    moved[0, 3], far[0, 3] = 3.0, 300.0
    write_label(tmp_path / "0_label.nii.gz", (2, 2, 2), affine=moved)
    write_label(tmp_path / "1_label.nii.gz", (2, 2, 2), affine=far)
    write(tmp_path / "2_label.nii.gz", np.ones((5, 5, 4), np.uint8))
    report = check(path)
    messages = {finding.case: finding for finding in report.findings if finding.kind == "grid"}
    assert messages["c0"].severity == "warning"
    assert "corners up to 3 mm apart" in messages["c0"].message
    assert messages["c1"].severity == "error"
    assert "do not overlap" in messages["c1"].message
    assert messages["c2"].severity == "warning"
    assert "has the shape 5 x 5 x 4, the first image 10 x 9 x 8" in messages["c2"].message


def test_channels_are_compared_too(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[1, 3] = 1.0
    write_image(tmp_path / "swi.nii", 1)
    write_image(tmp_path / "t1.nii", 2, affine=moved)
    write_image(tmp_path / "copy.nii.gz", 1)
    write_label(tmp_path / "label.nii", (1, 1, 1))
    (tmp_path / "cases.csv").write_text(
        "image_swi,image_t1,image_t2,label,patient\nswi.nii,t1.nii,copy.nii.gz,label.nii,P\n"
    )
    report = check(tmp_path / "cases.csv")
    assert [kind for _, kind, _ in found(report)] == ["duplicate", "grid", "mask"]
    assert "the t1 image lies elsewhere" in report.findings[1].message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (LabelValues(), "error the label is not binary, it holds 0, 1, 2"),
        (LabelValues((1, 2)), ""),
        (LabelValues((), (2,)), ""),
        (LabelValues((1,)), "warning the label holds 0, 1, 2; those that are neither"),
    ],
)
def test_values_of_labels_have_to_be_explained(tmp_path: Path, values: LabelValues, expected: str) -> None:
    path = make(tmp_path, 1)
    data = np.zeros(SHAPE, np.uint8)
    data[2, 2, 2], data[6, 6, 6], data[8, 2, 2] = 1, 2, 2
    write(tmp_path / "0_label.nii.gz", data)
    dataset = read_dataset(path)
    report = check_dataset(type(dataset)(path, dataset.channels, dataset.cases, values))
    assert [f"{one.severity} {one.message}"[: len(expected)] for one in report.findings] == (
        [expected] if expected else []
    )


def test_numbered_lesions_all_count(tmp_path: Path) -> None:
    path = make(tmp_path, 1)
    data = np.zeros(SHAPE, np.uint8)
    data[2, 2, 2], data[6, 6, 6], data[6, 6, 7] = 1, 2, 3
    write(tmp_path / "0_label.nii.gz", data)
    report = check(path)
    assert found(report) == [("warning", "label values", "c0")]
    assert "numbers its lesions (0, 1, 2, 3): all of them count, 1 less" in report.findings[0].message
    assert report.facts[0].lesions is not None
    assert len(report.facts[0].lesions) == 2
    data[6, 6, 7] = 0
    write(tmp_path / "0_label.nii.gz", data)
    assert found(check(path)) == [("info", "label values", "c0")]


def test_half_values_are_not_binary(tmp_path: Path) -> None:
    path = make(tmp_path, 1)
    write_label(tmp_path / "0_label.nii.gz", (1, 1, 1), value=0.25)
    assert "it holds 0, 0.25" in check(path).findings[0].message


def test_copies_are_found_whatever_the_file_and_the_header(tmp_path: Path) -> None:
    path = make(tmp_path, 3)
    moved = AFFINE.copy()
    moved[0, 3] = 1.0
    write_image(tmp_path / "copy.nii", seed=1, affine=moved)
    with path.open("a") as file:
        file.write("\nc3,P9,copy.nii,0_label.nii.gz,")
    report = check(path)
    duplicates = [finding for finding in report.findings if finding.kind == "duplicate"]
    assert [(one.severity, one.case) for one in duplicates] == [("error", "c3")]
    assert "1_swi.nii.gz of the case 'c1' and of another patient, 'P1'" in duplicates[0].message


def test_missing_patients_and_masks_are_said(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "bare.csv"
    path.write_text("image,label\n0_swi.nii.gz,0_label.nii.gz\n1_swi.nii.gz,1_label.nii.gz\n")
    report = check(path)
    assert found(report) == [("warning", "patients", ""), ("info", "mask", "")]
    assert "add the column 'patient'" in report.findings[0].message


def test_patients_that_may_be_one_are_warned_of(tmp_path: Path) -> None:
    path = make(tmp_path, 3)
    path.write_text(path.read_text().replace("c1,P1", "c1,p 0"))
    report = check(path)
    assert found(report) == [("warning", "patients", "")]
    assert "the patients 'P0', 'p 0' differ in case or spaces only" in report.findings[0].message


def test_the_same_remark_on_many_cases_is_one_line(tmp_path: Path) -> None:
    path = make(tmp_path, 6)
    for k in range(4):
        write_label(tmp_path / f"{k}_label.nii.gz")
    report = check(path)
    assert len(report.findings) == 4
    lines = [line for line in report.summary().splitlines() if line.startswith("info")]
    assert lines == ["info     4 cases (c0, c1, c2, ...): the label is empty: a scan without lesions"]


def test_a_dataset_without_a_lesion_is_warned_of(tmp_path: Path) -> None:
    path = make(tmp_path, 1)
    write_label(tmp_path / "0_label.nii.gz")
    assert ("warning", "empty label", "") in found(check(path))


def test_leaking_and_broken_folds_are_found(tmp_path: Path) -> None:
    path = make(tmp_path, 4)
    dataset = read_dataset(path)
    write_folds(tmp_path / "folds.json", split_folds(dataset.cases, 2, 0), dataset.cases, seed=0)
    assert check(path, tmp_path / "folds.json").findings == ()
    path.write_text(path.read_text().replace("P1", "P0").replace("P3", "P2").replace("P2", "P0"))
    report = check(path, tmp_path / "folds.json")
    assert {kind for _, kind, _ in found(report)} == {"folds"}
    assert len(report.findings) == 4  # each case's patient is on both sides
    (tmp_path / "folds.json").write_text("{}")
    assert found(check(path, tmp_path / "folds.json")) == [("error", "folds", "")]


def test_tables_and_json_hold_everything(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / "0_swi.nii.gz").unlink()
    report = check(path)
    report.save(tmp_path / "out")
    rows = [row for _, row in read_table(tmp_path / "out/cases.tsv", delimiter="\t").rows]
    assert rows[0]["problems"].startswith("the image")
    assert (rows[1]["spacing_mm"], rows[1]["lesions"], rows[1]["lesion_volume_mm3"]) == ("1x1x2", "2", "8")
    lesions = [row for _, row in read_table(tmp_path / "out/lesions.tsv", delimiter="\t").rows]
    assert len(lesions) == 6
    assert (lesions[0]["case"], lesions[0]["volume_mm3"], lesions[0]["z_mm"]) == ("c0", "4", "4")
    content = json.loads(json.dumps(plain(report.as_dict())))
    assert content["errors"] == 1
    assert content["findings"][0]["kind"] == "missing file"
    assert len(content["cases"][1]["lesions"]) == 2
