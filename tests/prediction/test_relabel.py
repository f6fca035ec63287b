import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.ensemble import Bundle
from shiva_cmb.errors import DataError, ImageError
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.lesions import LesionCriteria, LesionTable, find_lesions
from shiva_cmb.prediction import criteria_beside, predict, relabel, save_relabelled


def half_found(folder: Path) -> Path:
    """A saved probability map with two lesions, of which the table beside it has the first, and its place."""
    data = np.zeros((20, 20, 20), np.float32)
    data[3:6, 3:6, 3:6], data[14:17, 14:17, 14:17] = 0.9, 0.5
    path = folder / "swi_prob.nii.gz"
    write_volume(Volume(data, np.eye(4)), path)
    found = find_lesions(Volume(data, np.eye(4)), LesionCriteria(threshold=0.7))
    assert len(found.table) == 1
    write_volume(found.labels, folder / "swi_labels.nii.gz")
    here = replace(found.table[0], region="infratentorial", side="midline")
    LesionTable((here,)).write_tsv(folder / "swi_lesions.tsv")
    return path


def _quiet(line: str) -> None:
    """These tests are not about what is said."""


@pytest.fixture
def predicted(saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle, tmp_path: Path) -> Path:
    image, mask, _ = saved_ball
    folder = tmp_path / "out"
    folder.mkdir()
    return predict(image, model=dot_bundle.folder, mask=mask).save(folder, "swi")["prob"]


def test_the_same_criteria_give_the_same_lesions(
    predicted: Path, saved_ball: tuple[Path, Path, np.ndarray]
) -> None:
    image, mask, _ = saved_ball
    found = relabel(predicted, criteria_beside(predicted), image=image, mask=mask)
    labels = read_volume(predicted.with_name("swi_labels.nii.gz"))
    np.testing.assert_array_equal(found.labels.data, labels.data)


def test_a_higher_threshold_gives_smaller_lesions(predicted: Path) -> None:
    low = relabel(predicted, LesionCriteria(threshold=0.2), note=_quiet)
    high = relabel(predicted, LesionCriteria(threshold=0.9), note=_quiet)
    assert (high.labels.data > 0).sum() < (low.labels.data > 0).sum()


def test_saving_keeps_the_predictions_own_record(predicted: Path, tmp_path: Path) -> None:
    criteria = LesionCriteria(threshold=0.9)
    written = save_relabelled(relabel(predicted, criteria, note=_quiet), predicted, criteria, tmp_path)
    record = json.loads(written["provenance"].read_text())
    assert record["criteria"]["threshold"] == 0.5
    assert record["relabel"]["criteria"]["threshold"] == 0.9
    assert record["model"]["folds"]


def test_lesions_keep_their_region_and_new_ones_are_said(tmp_path: Path) -> None:
    path, notes = half_found(tmp_path), []
    found = relabel(path, LesionCriteria(threshold=0.4), note=notes.append)
    places = [(lesion.region, lesion.side) for lesion in found.table]
    assert places == [("infratentorial", "midline"), (None, None)]
    assert any(line.startswith("1 lesion(s) have no region") for line in notes)


def test_a_map_by_itself_has_no_regions(tmp_path: Path) -> None:
    path = half_found(tmp_path)
    path.with_name("swi_lesions.tsv").unlink()
    (lesion,) = relabel(path, LesionCriteria(threshold=0.8), note=_quiet).table
    assert (lesion.region, lesion.side) == (None, None)


def test_a_map_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    write_volume(Volume(np.full((4, 4, 4), 7.0, np.float32), np.eye(4)), tmp_path / "x_prob.nii.gz")
    with pytest.raises(ImageError, match=r"\[0, 1\]"):
        relabel(tmp_path / "x_prob.nii.gz", LesionCriteria(), note=_quiet)


def test_a_broken_record_is_named_and_kept(predicted: Path) -> None:
    record = predicted.with_name("swi_provenance.json")
    record.write_text("{broken")
    with pytest.raises(DataError, match="swi_provenance"):
        criteria_beside(predicted)
    assert record.read_text() == "{broken"


def test_it_is_said_that_lesions_outside_the_brain_stay(predicted: Path) -> None:
    notes: list[str] = []
    relabel(predicted, LesionCriteria(), note=notes.append)
    assert any("no brain mask" in line for line in notes)
