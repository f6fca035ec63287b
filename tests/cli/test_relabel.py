import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.lesions import LesionTable
from tests.prediction.test_relabel import half_found

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def probability(tmp_path: Path) -> Path:
    return half_found(tmp_path)


def _places(folder: Path) -> list[tuple[str | None, str | None]]:
    return [(lesion.region, lesion.side) for lesion in LesionTable.read_tsv(folder / "swi_lesions.tsv")]


def test_a_map_of_regions_wins_over_what_the_prediction_said(probability: Path, tmp_path: Path) -> None:
    regions, out = tmp_path / "aseg.nii.gz", tmp_path / "out"
    labels = np.full((20, 20, 20), 10, np.int16)
    labels[10:] = 42
    write_volume(Volume(labels, np.eye(4)), regions)
    command = ["relabel", str(probability), "-o", str(out), "--threshold", "0.4", "--regions", str(regions)]
    assert main(command) == 0
    assert _places(out) == [("deep", "left"), ("lobar", "right")]
    record = json.loads((out / "swi_provenance.json").read_text())
    assert record["relabel"]["regions"]["source"] == str(regions)

    names = tmp_path / "names.tsv"
    names.write_text("value\tregion\tside\n10\tfrontal\tR\n42\tinsula\tn/a\n")
    assert main([*command, "--region-names", str(names)]) == 0
    assert _places(out) == [("frontal", "right"), ("insula", None)]


def test_without_one_region_and_side_stay(probability: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert main(["relabel", str(probability), "-o", str(out), "--threshold", "0.8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["table"][0]["side"] == "midline"
    assert _places(out) == [("infratentorial", "midline")]


def test_a_map_of_regions_is_never_overwritten(probability: Path, tmp_path: Path, capsys: Capture) -> None:
    regions = tmp_path / "sub" / "swi_labels.nii.gz"
    regions.parent.mkdir()
    write_volume(Volume(np.full((20, 20, 20), 42, np.int16), np.eye(4)), regions)
    before = regions.read_bytes()
    command = ["relabel", str(probability), "-o", str(regions.parent), "--regions", str(regions)]
    assert main(command) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert regions.read_bytes() == before


def test_the_predictions_own_files_are_never_overwritten(
    probability: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Its labels and table say where lesions are, so they are inputs."""
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["relabel", str(probability), "-o", str(tmp_path), "--threshold", "0.2"]) == 2
    error = capsys.readouterr().err
    assert "swi_labels.nii.gz is an input of this command" in error
    assert "name another output (-o)" in error
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_several_volumes_of_regions_must_be_split(probability: Path, tmp_path: Path, capsys: Capture) -> None:
    image = nib.Nifti1Image(np.full((20, 20, 20, 2), 10, np.int16), np.eye(4))
    nib.save(image, tmp_path / "two.nii.gz")
    command = ["relabel", str(probability), "-o", str(tmp_path / "out")]
    assert main([*command, "--regions", str(tmp_path / "two.nii.gz")]) == 1
    error = capsys.readouterr().err
    assert "two.nii.gz: holds 2 volumes (shape 20 x 20 x 20 x 2), expected one: split the file" in error
