import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.ensemble.bundle import FoldFile, open_bundle, write_bundle
from shiva_cmb.ensemble.descriptor import ShivaCmbPart
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.imaging import read_volume, write_volume
from shiva_cmb.reporting import evaluation_report
from shiva_cmb.training.calibration.choose import (
    Calibration,
    calibrate,
    calibration_text,
    evaluate_command,
    save_calibration,
)
from shiva_cmb.training.calibration.out_of_fold import OutOfFoldCase, write_case_table
from shiva_cmb.training.calibration.settings import CalibrationSettings
from tests.training.calibration.conftest import VALUES


@pytest.fixture(scope="module")
def calibration(table: Path) -> Calibration:
    return calibrate(table, values=VALUES, note=lambda _: None)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds and are tested elsewhere."""
    monkeypatch.setattr(evaluation_report, "draw_plots", lambda *_: None)


@pytest.mark.usefixtures("no_plots")
def test_the_figures_are_those_of_the_evaluate_command(
    calibration: Calibration,
    table: Path,
    networks: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    part = ShivaCmbPart(operating_point=calibration.point, metrics=calibration.figures)
    bundle = write_bundle(tmp_path / "model", [FoldFile(path) for path in networks], part)
    assert open_bundle(bundle.folder).part.operating_point == calibration.point
    program, *arguments = evaluate_command(table, bundle.folder, VALUES)
    assert program == "shiva-cmb"
    assert main([*arguments, "--no-gallery", "--processes", "1"]) == 0
    found = json.loads((tmp_path / "figures/metrics.json").read_text())
    for name in ("sensitivity", "precision", "f1", "fp_per_scan"):
        given = found["detection"]["micro"][name]
        ours = [calibration.figures[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert ours == [given[key] for key in ("value", "low", "high")]
    for name in ("expected_calibration_error_voxels", "expected_calibration_error_lesions"):
        assert calibration.figures[name] == found["calibration"][name]["value"]
    assert found["lesions"]["truth_count"] == calibration.figures["lesions"]


def test_figures_by_hand(calibration: Calibration) -> None:
    figures = calibration.figures
    assert (figures["cases"], figures["patients"]) == (4, 4)
    # two lesions that are seen in each case, one that is not in three of them; the ignored dot and the vessel
    # are found too, of which only the latter counts
    assert figures["lesions"] == 4 * 2 + 3
    assert figures["sensitivity"] == pytest.approx(8 / 11)
    assert figures["precision"] == pytest.approx(8 / 12)
    assert figures["fp_per_scan"] == 1
    assert figures["f1"] == pytest.approx(2 * 8 / (2 * 8 + 4 + 3))
    assert figures["f1_low"] is not None
    assert figures["f1_low"] <= figures["f1"] <= (figures["f1_high"] or 0)
    text = calibration_text(calibration, ("shiva-cmb", "evaluate", "--truth", "a table"))
    assert "sensitivity                0.73" in text
    assert "best epoch was chosen on the cases" in text
    assert "  shiva-cmb evaluate --truth 'a table'\n" in text
    assert "Not for clinical use" in text


def test_nested_figures_use_points_of_the_other_folds(
    maps: tuple[OutOfFoldCase, ...], tmp_path: Path
) -> None:
    # the second fold gives a third of what it gave, and the first has false alarms where that would be cut
    entries = []
    for entry in maps:
        made = replace(entry, probability=tmp_path / f"{entry.patient}_prob.nii.gz", columns={})
        volume = read_volume(entry.probability)
        data = volume.data / (3 if entry.fold else 1)
        centre = volume.grid.to_world((np.array(volume.shape) - 1) / 2)
        for place in ((0, -14, -9), (13, 8, -9), (-13, -9, 9)) if entry.fold == 0 else ():
            x, y, z = np.rint(volume.grid.to_voxel(centre + place)).astype(int)
            data[x : x + 2, y : y + 2, z : z + 2] = 0.5
        write_volume(volume.with_data(data.astype(np.float32)), made.probability)
        entries.append(made)
    table = write_case_table(tmp_path / "cases.tsv", entries)
    figures = calibrate(table, values=VALUES, note=lambda _: None).figures
    assert figures["nested_f1"] is not None
    assert figures["f1"] is not None
    assert figures["nested_f1"] < figures["f1"]
    own_fold = [replace(entry, fold=0) for entry in entries]
    single = calibrate(write_case_table(tmp_path / "one.tsv", own_fold), values=VALUES, note=lambda _: None)
    assert "nested_f1" not in single.figures
    assert single.figures["f1"] == figures["f1"]


@pytest.mark.parametrize("broken", ["probability", "truth"])
def test_what_cannot_be_read_does_not_count_as_nothing_found(
    maps: tuple[OutOfFoldCase, ...], tmp_path: Path, broken: str
) -> None:
    file = tmp_path / "half.nii.gz"
    file.write_bytes(getattr(maps[1], broken).read_bytes()[:200])
    half = replace(maps[1], probability=file) if broken == "probability" else replace(maps[1], truth=file)
    table = write_case_table(tmp_path / "cases.tsv", [maps[0], half])
    with pytest.raises(
        DataError, match=r"^1 of 2 cases cannot be judged, the first is site A/2: .*half\.nii"
    ):
        calibrate(table, values=VALUES, note=lambda _: None)


def test_a_wanted_rate_of_false_alarms_is_kept(table: Path) -> None:
    kept = calibrate(table, CalibrationSettings(pick="fp:0"), VALUES, note=lambda _: None)
    assert kept.figures["fp_per_scan"] == 0 or kept.chosen is None
    with pytest.raises(UsageError, match=r"^pick: expected f1, or fp:RATE"):
        CalibrationSettings(pick="best")


@pytest.mark.parametrize("lesions", [True, False])
def test_where_nothing_is_found_the_default_point_stays(
    maps: tuple[OutOfFoldCase, ...], tmp_path: Path, lesions: bool
) -> None:
    entries = []
    for entry in maps[:2]:
        empty = replace(entry, probability=tmp_path / f"{entry.patient}_prob.nii.gz")
        volume = read_volume(entry.probability)
        write_volume(volume.with_data(np.zeros_like(volume.data)), empty.probability)
        if not lesions:
            empty = replace(empty, truth=empty.probability)
        entries.append(empty)
    notes: list[str] = []
    found = calibrate(write_case_table(tmp_path / "cases.tsv", entries), values=VALUES, note=notes.append)
    assert found.chosen is None
    assert (found.point.threshold, found.point.peak_threshold, found.point.min_volume_mm3) == (
        0.5,
        None,
        None,
    )
    assert any("the default operating point is kept" in line for line in notes)
    assert found.figures["sensitivity"] == (0 if lesions else None)
    assert "undefined" in calibration_text(found, ())
    ShivaCmbPart(operating_point=found.point, metrics=found.figures)


@pytest.mark.usefixtures("no_plots")
def test_the_report_is_that_of_an_evaluation(calibration: Calibration, tmp_path: Path) -> None:
    for _ in range(2):  # again after an interruption
        save_calibration(calibration, tmp_path / "report", gallery=False)
    written = json.loads((tmp_path / "report/metrics.json").read_text())
    assert written["detection"]["micro"]["f1"]["value"] == calibration.figures["f1"]
    assert written["chosen_operating_point"]["threshold"] == calibration.point.threshold
