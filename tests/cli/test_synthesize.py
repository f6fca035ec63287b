import json
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.cli import synthesize
from shiva_cmb.cli.main import main
from shiva_cmb.dataset import read_dataset
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.synthesis.bleeds.implant import RealScan
from tests.synthesis.small_heads import small_head

Capture = pytest.CaptureFixture[str]
COARSE = """
protocol:
  in_plane_mm: [2, 2]
  swi_slice_mm: [2, 2]
  t2s_slice_mm: [2, 2]
vessels: {pial_veins: 0, cortical_veins: 0, medullary_veins: 0, deep_veins: 0, infratentorial_veins: 0}
"""


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("anna", "ben", "cleo"):
        write_volume(small_head().labels, folder / f"{name}.nii.gz")
    (tmp_path / "coarse.yaml").write_text(COARSE)
    return folder


def test_scans_are_made_from_the_heads_that_are_named(maps: Path, tmp_path: Path, capsys: Capture) -> None:
    out, config = tmp_path / "out", str(tmp_path / "coarse.yaml")
    more = ["--config", config, "--set", "bleeds.lesion_free_share=0", "--set", "bleeds.bleed_count=2,2"]
    arguments = ["synthesize", str(maps), "-o", str(out), "--heads", "ben, cleo", "--seed", "5", *more]
    assert main([*arguments, "-n", "2"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"2 scans -> {out / 'cases.json'}\n"
    assert shown.err.splitlines()[-1] == "2 of 2 scans"
    data = read_dataset(out / "cases.json")
    assert [case.patient for case in data.cases] == ["ben", "cleo"]
    image = read_volume(data.cases[0].images[0], note=pytest.fail)
    assert max(image.spacing_mm) == pytest.approx(2, abs=0.01)
    kinds = {line.split("\t")[0] for line in (out / "scan_0000_mimics.tsv").read_text().splitlines()[1:]}
    assert not any("pial" in kind for kind in kinds)
    how = json.loads((out / "generator.json").read_text())
    assert how["generator"] == "quick"
    assert how["settings"]["bleeds"]["bleed_count"] == [2, 2]
    assert how["settings"]["deformation"] == 1.0  # also what was not named

    assert main([*arguments, "-n", "2", "--json"]) == 0  # they are there already
    shown = capsys.readouterr()
    assert json.loads(shown.out)["cases"] == str(out / "cases.json")
    assert "clinical" in json.loads(shown.out)["notice"]
    assert shown.err == ""
    assert main([*arguments, "--set", "deformation=0"]) == 2
    assert "made otherwise (settings differ" in capsys.readouterr().err


def test_one_label_map_may_be_named(maps: Path, tmp_path: Path, capsys: Capture) -> None:
    config, one = str(tmp_path / "coarse.yaml"), str(maps / "anna.nii.gz")
    assert main(["synthesize", one, "-o", str(tmp_path / "o"), "--heads", "ben"]) == 2
    assert "--heads chooses from a folder" in capsys.readouterr().err
    assert main(["synthesize", one, "-o", str(tmp_path / "o"), "--config", config]) == 0
    assert [case.patient for case in read_dataset(tmp_path / "o" / "cases.json").cases] == ["anna"]


def test_a_folder_that_is_missing_and_a_generator_for_a_real_scan_are_told(
    tmp_path: Path, capsys: Capture
) -> None:
    out = ["-o", str(tmp_path / "out")]
    assert main(["synthesize", str(tmp_path / "none"), "--heads", "ben", *out]) == 2
    assert "none: no such folder or file; expected label maps" in capsys.readouterr().err
    assert main(["synthesize", "--into", "swi.nii.gz", "--generator", "physical", *out]) == 2
    assert "--generator makes heads" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--generator", "fast"], 2, "--generator fast: expected one of quick, physical"),
        (["--set", "bleeds.many=3"], 2, "bleeds.many: unknown; the known ones are lesion_free_share"),
        (["--generator", "physical", "--set", "deformation=1"], 2, "deformation: unknown"),
        (["--set", "protocol.swi_share=2"], 2, "swi_share: expected a share from 0 to 1"),
        (["--heads", "dora"], 1, "there is no label map dora; it holds anna, ben, cleo"),
        (["--set", "bleeds.bleed_diameter_mm=[1,.inf]"], 2, "bleed_diameter_mm: expected 0 < smallest <="),
        (["-b", "brain.nii.gz"], 2, "-b and --volume are about the scan that --into names"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line_and_leaves_nothing(
    maps: Path, tmp_path: Path, capsys: Capture, arguments: list[str], code: int, message: str
) -> None:
    assert main(["synthesize", str(maps), "-o", str(tmp_path / "out"), *arguments]) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("option", "value"), [("--count", "0"), ("--seed", "-1"), ("--processes", "0")])
def test_numbers_out_of_range_are_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, option: str, value: str
) -> None:
    monkeypatch.setattr(synthesize, "_heads", lambda *given: pytest.fail("label maps were read"))
    assert main(["synthesize", "-o", str(tmp_path / "out"), option, value]) == 2
    assert option in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "inputs",
    [
        ["--into", "scan_0000.nii.gz"],
        ["--into", "swi.nii.gz", "-b", "scan_0000_brain.nii.gz"],
        ["scan_0001.nii.gz", "-n", "2"],
        [".", "--heads", "scan_0001", "-n", "2"],
        ["--config", "cases.json"],
    ],
)
def test_what_is_read_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, inputs: list[str]
) -> None:
    names = ("scan_0000.nii.gz", "scan_0000_brain.nii.gz", "scan_0001.nii.gz", "swi.nii.gz", "cases.json")
    for name in names:
        (tmp_path / name).write_text("{}")
    for reader in ("_real_scan", "_heads"):
        monkeypatch.setattr(synthesize, reader, lambda *given: pytest.fail("it was read first"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    assert main(["synthesize", *inputs, "-o", "link"]) == 2
    assert "is an input of this command and would be overwritten" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "link"])
    assert all((tmp_path / name).read_text() == "{}" for name in names)


def test_other_label_maps_of_the_same_names_are_told(maps: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = ["synthesize", str(maps), "-o", str(tmp_path / "out"), "--heads", "anna, ben"]
    arguments += ["--config", str(tmp_path / "coarse.yaml"), "--json"]
    assert main(arguments) == 0
    labels = small_head().labels
    other = labels.with_data(labels.data[::-1].copy())
    write_volume(other, maps / "cleo.nii.gz")  # not among the heads
    assert main(arguments) == 0
    write_volume(other, maps / "ben.nii.gz")
    assert main(arguments) == 2
    assert "scans that were made otherwise (checksums differ" in capsys.readouterr().err
    how = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert list(how.pop("checksums")) == ["anna.nii.gz", "ben.nii.gz"]
    (tmp_path / "out" / "generator.json").write_text(json.dumps(how))  # as earlier versions wrote it
    assert main(arguments) == 0


def small_scan(*given: object) -> RealScan:
    """A bright ball of 13 mm in noise."""
    rng, shape = np.random.default_rng(0), (32, 32, 32)
    brain = np.linalg.norm(np.indices(shape).T - 15.5, axis=-1) < 13
    noisy = np.hypot(np.where(brain, 1000, 0) + rng.normal(0, 30, shape), rng.normal(0, 30, shape))
    return RealScan("anna", Volume(noisy.astype(np.int16), np.eye(4)), brain)


def test_bleeds_without_a_place_in_a_real_scan_and_another_scan_of_its_name_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(synthesize, "_real_scan", small_scan)
    scan, out = tmp_path / "swi.nii.gz", tmp_path / "out"
    scan.write_text("one")
    arguments = ["synthesize", "--into", str(scan), "-o", str(out), "--set", "bleeds.lesion_free_share=0"]
    many = [*arguments, "--set", "bleeds.bleed_count=15,15", "--set", "bleeds.bleed_diameter_mm=6,6"]
    assert main(many) == 0
    placed = len((out / "scan_0000_bleeds.tsv").read_text().splitlines()) - 1
    assert placed < 15
    said = capsys.readouterr().err.splitlines()
    assert f"note: only {placed} of 15 bleeds found a place in a copy of anna" in said
    few = [*arguments[:-3], str(tmp_path / "few"), *arguments[-2:], "--set", "bleeds.bleed_count=1,1"]
    assert main([*few, "--set", "bleeds.bleed_diameter_mm=2,2"]) == 0
    assert "note" not in capsys.readouterr().err
    scan.write_text("another")
    assert main(many) == 2
    assert "made otherwise (checksums differ" in capsys.readouterr().err
