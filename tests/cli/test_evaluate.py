"""`shiva-cmb evaluate` and `shiva-cmb compare` on three small oblique cases with known hits and misses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import Bundle, OperatingPoint, open_bundle, update_operating_point
from shiva_cmb.imaging import Volume, write_volume
from tests.conftest import oblique_affine

Capture = pytest.CaptureFixture[str]
SHAPE = (18, 14, 16)


def write(path: Path, boxes: list[tuple[int, int, int, float]]) -> None:
    """An image of 2 x 2 x 2 voxel boxes at given corners, with given values."""
    data = np.zeros(SHAPE, np.float32)
    for x, y, z, value in boxes:
        data[x : x + 2, y : y + 2, z : z + 2] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(data, oblique_affine()), path)


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Truth: 2, 1 and 0 lesions. Prediction: one hit and one false alarm; nothing; the third is missing."""
    write(tmp_path / "truth/sub-1_label.nii.gz", [(2, 2, 2, 1), (8, 8, 8, 1)])
    write(tmp_path / "truth/sub-2_label.nii.gz", [(5, 5, 5, 1)])
    write(tmp_path / "truth/sub-3_label.nii.gz", [])
    write(tmp_path / "pred/sub-1_prob.nii.gz", [(2, 2, 3, 0.9), (13, 2, 2, 0.6)])
    write(tmp_path / "pred/sub-2_prob.nii.gz", [(5, 5, 5, 0.3)])
    return tmp_path


def evaluate(material: Path, *options: str, out: str = "out") -> int:
    sides = ["--truth", str(material / "truth"), "--pred", str(material / "pred"), "-o", str(material / out)]
    return main(["evaluate", *sides, "--processes", "1", "--bootstraps", "100", *options])


def test_figures_tables_plots_and_gallery_are_written(material: Path, capsys: Capture) -> None:
    (material / "cases.tsv").write_text("case\tsite\tte_ms\nsub-1\tA\t15\nsub-2\tB\t20\nsub-3\tB\t35\n")
    # several columns behind one --strata, as the help says
    code = evaluate(
        material, "--cases", str(material / "cases.tsv"), "--strata", "site", "te_ms:20", "--features"
    )
    assert code == 0
    out = material / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    micro = {name: figure["value"] for name, figure in metrics["detection"]["micro"].items()}
    # 1 of 3 lesions found, 1 of 2 predictions right; 1 false alarm in 3 scans, none in the lesion-free one
    assert micro["sensitivity"] == pytest.approx(1 / 3)
    assert micro["precision"] == pytest.approx(1 / 2)
    assert micro["f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 2))
    assert micro["fp_per_scan"] == pytest.approx(1 / 3)
    assert micro["fp_per_lesion_free_scan"] == 0
    assert metrics["cases"]["missing_predictions"] == ["sub-3"]
    assert list(metrics["strata"]["te_ms:20"]) == ["<20", ">=20"]
    assert metrics["strata"]["site"]["A"]["detection"]["micro"]["sensitivity"]["value"] == 0.5
    assert "clinical" in metrics["notice"]
    assert {"cases.tsv", "lesions.tsv", "strata.tsv", "features.tsv", "tables.md", "tables.tex"} <= {
        path.name for path in out.iterdir()
    }
    plots = {path.name for path in (out / "plots").iterdir()}
    wanted = (
        "froc",
        "precision_recall",
        "bland_altman",
        "dice_per_case",
        "sensitivity_by_size",
        "f1_by_site",
    )
    assert {f"{name}.{kind}" for name in wanted for kind in ("png", "svg")} <= plots
    assert {path.name for path in (out / "gallery").iterdir()} == {"misses_01.png", "false_alarms_01.png"}
    shown = capsys.readouterr().out
    assert "sensitivity                 0.33" in shown
    assert "1 (sub-3)" in shown
    assert "Not for clinical use" in shown


def test_lesions_name_their_partners(material: Path) -> None:
    assert evaluate(material, "--no-gallery") == 0
    lines = (material / "out/lesions.tsv").read_text().splitlines()
    header = lines[0].split("\t")
    rows = [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]
    assert [(row["case"], row["kind"], row["status"]) for row in rows] == [
        ("sub-1", "truth", "TP"),
        ("sub-1", "truth", "FN"),
        ("sub-1", "prediction", "TP"),
        ("sub-1", "prediction", "FP"),
        ("sub-2", "truth", "FN"),
    ]
    assert (rows[0]["partner"], rows[2]["partner"], rows[1]["partner"]) == (rows[2]["name"], "1", "n/a")
    assert rows[0]["overlap_voxels"] == "4"  # boxes of 2 x 2 x 2, one voxel apart


def test_an_unreadable_prediction_is_counted_as_empty_and_told(material: Path, capsys: Capture) -> None:
    (material / "pred/sub-1_prob.nii.gz").write_bytes(b"nothing")
    assert evaluate(material, "--no-gallery") == 1
    metrics = json.loads((material / "out/metrics.json").read_text())
    assert list(metrics["cases"]["unreadable_predictions"]) == ["sub-1"]
    assert metrics["detection"]["micro"]["fn"]["value"] == 3
    assert "1 of 3 predictions or truths could not be used (of the cases sub-1)" in capsys.readouterr().err


def test_the_chosen_point_goes_into_the_model(material: Path, dot_bundle: Bundle, capsys: Capture) -> None:
    model = material / "model"
    shutil.copytree(dot_bundle.folder, model)
    assert evaluate(material, "--no-gallery", "--update-model", str(model)) == 0
    # below 0.3 one lesion of sub-1 and that of sub-2 are found: F1 = 4 / (4 + 1 + 1), the most there is; ties
    # go to the highest threshold of them
    criteria = open_bundle(model, note=lambda _: None).part.lesion_criteria()
    assert criteria.threshold == 0.25
    metrics = json.loads((material / "out/metrics.json").read_text())
    assert metrics["chosen_operating_point"]["threshold"] == 0.25
    assert "operating point written to" in capsys.readouterr().out


def test_a_models_own_point_is_judged(material: Path, dot_bundle: Bundle) -> None:
    model = material / "model"
    shutil.copytree(dot_bundle.folder, model)
    point = OperatingPoint(threshold=0.2, peak_threshold=0.7, min_volume_mm3=4.0)
    update_operating_point(open_bundle(model), point)
    assert evaluate(material, "--no-gallery", "--operating-point", str(model)) == 0
    metrics = json.loads((material / "out/metrics.json").read_text())
    criteria = metrics["settings"]["criteria"]
    assert [criteria[name] for name in ("threshold", "peak_threshold", "min_volume_mm3")] == [0.2, 0.7, 4.0]
    micro = metrics["detection"]["micro"]
    assert [micro[name]["value"] for name in ("tp", "fp", "fn")] == [1, 0, 2]  # peaks of 0.9, 0.6 and 0.3
    more = ("--peak-threshold", "0.25", "--ignore-value", "1")  # what is given counts; all truth is ignored
    assert evaluate(material, "--no-gallery", "--operating-point", str(model), *more, out="other") == 0
    micro = json.loads((material / "other/metrics.json").read_text())["detection"]["micro"]
    assert [micro[name]["value"] for name in ("tp", "fp", "fn")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--peaks", "high", "--pick", "f1"], "--peaks high: expected numbers"),
        (["--peaks", "0.5,1"], "ascending peak thresholds in [0, 1)"),
        (["--match", "nearest"], "nearest"),
        (["--truth-kind", "points"], "--truth-kind points: expected one of"),
        (["--strata", "colour"], "there is no stratum 'colour'"),
        (["--bootstraps", "3"], "100 bootstrap replicates or more"),
        (["--pick", "best"], "expected f1, or fp:RATE"),
        (["loose"], "unexpected argument 'loose'"),
    ],
)
def test_wrong_options_are_one_line(material: Path, capsys: Capture, options: list[str], told: str) -> None:
    assert evaluate(material, *options) == 2
    error = capsys.readouterr().err
    assert told in error.splitlines()[-1]
    assert not (material / "out").exists()


def test_an_existing_folder_is_not_written_over(material: Path, capsys: Capture) -> None:
    (material / "out").mkdir()
    (material / "out/mine.txt").write_text("kept")
    assert evaluate(material) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in (material / "out").iterdir()] == ["mine.txt"]


def test_compare_names_the_better_method(material: Path, capsys: Capture) -> None:
    write(material / "better/sub-1_prob.nii.gz", [(2, 2, 2, 0.9), (8, 8, 8, 0.9)])
    write(material / "better/sub-2_prob.nii.gz", [(5, 5, 5, 0.9)])
    write(material / "better/sub-3_prob.nii.gz", [])
    out = material / "comparison"
    sides = [str(material / "pred"), f"good={material / 'better'}", "--truth", str(material / "truth")]
    more = ["--processes", "1", "--bootstraps", "100", "--permutations", "200", "-o", str(out)]
    assert main(["compare", *sides, *more, "--figure", "detection.micro.sensitivity"]) == 0
    shown = capsys.readouterr().out
    assert "detection.micro.sensitivity" in shown
    comparison = json.loads((out / "comparison.json").read_text())
    assert set(comparison["methods"]) == {"pred", "good"}
    (difference,) = comparison["differences"]
    # good finds 3 of 3, pred 1 of 3
    sign = 1 if difference["second"] == "good" else -1
    assert difference["second_less_first"]["value"] == pytest.approx(sign * 2 / 3)
    assert {"comparison.tsv", "tables.md", "tables.tex", "plots"} <= {path.name for path in out.iterdir()}


def test_runs_of_one_method_show_their_spread(material: Path, capsys: Capture) -> None:
    write(material / "second/sub-1_prob.nii.gz", [(2, 2, 2, 0.9), (8, 8, 8, 0.9)])
    runs = [f"net={material / 'pred'}", f"net={material / 'second'}", "--truth", str(material / "truth")]
    more = ["--processes", "1", "--bootstraps", "100", "--figure", "detection.micro.sensitivity"]
    assert main(["compare", *runs, *more]) == 0
    # 1 and 2 of 3 lesions: mean 1/2, standard deviation 1/3 / sqrt(2)
    shown = capsys.readouterr().out
    assert "0.50 (" in shown
    assert "SD of 2 runs 0.236" in shown
    assert "Differences" not in shown


@pytest.mark.parametrize(
    ("methods", "figure", "told"),
    [
        (
            ["a=pred", "b=pred", "b=pred"],
            "detection.micro.f1",
            "as many runs each, or several runs of one, got a: 1, b: 2",
        ),
        (["a=pred", "b=pred"], "detection.micro.F1", "did you mean detection.micro.f1"),
    ],
)
def test_what_cannot_be_compared_is_said_before_the_work(
    material: Path, capsys: Capture, methods: list[str], figure: str, told: str
) -> None:
    # truth that does not exist would be the first thing the work stumbles over
    assert main(["compare", *methods, "--truth", str(material / "none"), "--figure", figure]) == 2
    assert told in capsys.readouterr().err


def test_a_model_is_not_changed_by_broken_files(material: Path, dot_bundle: Bundle, capsys: Capture) -> None:
    model = material / "model"
    shutil.copytree(dot_bundle.folder, model)
    before = (model / "model_info.json").read_bytes()
    (material / "pred/sub-2_prob.nii.gz").write_bytes(b"nothing")
    assert evaluate(material, "--no-gallery", "--update-model", str(model)) == 1
    assert (model / "model_info.json").read_bytes() == before
    assert (material / "out/metrics.json").is_file()


def test_compare_wants_two_methods(material: Path, capsys: Capture) -> None:
    assert main(["compare", str(material / "pred"), "--truth", str(material / "truth")]) == 2
    assert "two or more methods" in capsys.readouterr().err
