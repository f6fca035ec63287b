import json
from pathlib import Path

import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.dataset import read_dataset
from shiva_cmb.imaging import read_volume, write_volume
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
        (["-n", "0"], 2, "expected at least one scan"),
        (["--seed", "-1"], 2, "seed: expected 0 or more, got -1"),
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
