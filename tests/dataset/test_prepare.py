"""Cases lie on the grid as in a prediction, with every bleed by its own voxels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.dataset.prepare import PrepareSettings, StoredArray, prepare_arrays
from shiva_cmb.errors import DataError, ImageError
from shiva_cmb.imaging import Volume, to_model_grid, write_volume
from shiva_cmb.prediction.inputs import read_subject
from tests.dataset.small_scans import AFFINE, PREPROCESSING, SHAPE, write_scan

HOW = PrepareSettings(PREPROCESSING)


def test_the_images_are_what_predict_would_see(tmp_path: Path) -> None:
    case = write_scan(tmp_path, "a", channels=2)
    arrays = prepare_arrays(case, HOW, note=pytest.fail)
    assert arrays.image.shape == (*PREPROCESSING.shape, 2)
    assert arrays.image.dtype == np.float32
    subject = read_subject(case.images, case.mask, note=pytest.fail)
    for number, channel in enumerate(subject.channels):
        seen = to_model_grid(channel, subject.brain, PREPROCESSING, pytest.fail)
        np.testing.assert_array_equal(arrays.image[..., number], seen.image.data)
    np.testing.assert_array_equal(arrays.lesions.grid.affine, seen.image.affine)
    assert seen.brain is not None
    voxels = np.argwhere(seen.brain)
    np.testing.assert_array_equal(arrays.brain_box, [voxels.min(axis=0), voxels.max(axis=0)])


def test_each_bleed_is_known_by_its_voxels_and_values_have_a_meaning(tmp_path: Path) -> None:
    case = write_scan(tmp_path, "a")
    arrays = prepare_arrays(case, HOW, note=pytest.fail)
    assert len(arrays.lesions) == 3
    np.testing.assert_array_equal(arrays.lesions.labels() > 0, arrays.label)
    chosen = replace(HOW, values=LabelValues(lesion=(1, 2), ignore=(3,)))
    arrays = prepare_arrays(case, chosen, note=pytest.fail)
    assert len(arrays.lesions) == 2
    np.testing.assert_array_equal(arrays.lesions.labels() > 0, arrays.label == 1)
    assert (arrays.label == 2).any()


def test_masked_input_is_zero_outside_the_brain_and_bleeds_there_are_counted(tmp_path: Path) -> None:
    case = write_scan(tmp_path, "a")
    brain = np.zeros(SHAPE, np.uint8)
    brain[3:9, 3:15, 2:11] = 1  # without the second dot
    assert case.mask is not None
    write_volume(Volume(brain, AFFINE), case.mask)
    notes: list[str] = []
    arrays = prepare_arrays(case, replace(HOW, mask_input=True), note=notes.append)
    assert len(arrays.lesions) == 2
    assert notes == [f"1 bleeds of {case.label} lie outside the brain mask and are left out"]
    first, last = arrays.brain_box
    outside = np.ones(PREPROCESSING.shape, bool)
    outside[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = False
    assert not arrays.image[outside].any()
    assert not arrays.label[outside].any()
    np.testing.assert_array_equal(arrays.lesions.labels() > 0, arrays.label)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    prints = [
        prepare_arrays(write_scan(tmp_path / folder, name, seed), HOW, note=pytest.fail).fingerprint
        for folder, name, seed in (("x", "a", 0), ("y", "b", 0), ("z", "c", 1))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_broken_files_are_named(tmp_path: Path) -> None:
    case = write_scan(tmp_path, "a")
    label = np.zeros(SHAPE, np.float32)
    label[0] = np.nan
    write_volume(Volume(label, AFFINE), case.label)
    with pytest.raises(DataError, match="a_label"):
        prepare_arrays(case, HOW, note=pytest.fail)
    case.images[0].write_bytes(b"no image")
    with pytest.raises(ImageError, match="a_0"):
        prepare_arrays(case, HOW, note=pytest.fail)


def test_parts_of_stored_arrays_are_copies_and_leave_no_file_open(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", whole)
    stored = StoredArray(tmp_path / "a.npy", whole.shape, whole.dtype)
    part = stored[:, 1]
    assert type(part) is np.ndarray
    assert part.flags.owndata
    np.testing.assert_array_equal(part, whole[:, 1])
    np.testing.assert_array_equal(stored, whole)
    with (tmp_path / "a.npy").open("r+b") as stream:
        stream.truncate(150)
    with pytest.raises(DataError, match=r"cannot read .*a.npy"):
        stored[0]
