"""Bleeds keep their place, their number and their volume on the model grid."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shiva_cmb.dataset.labels import LabelValues, label_to_model_grid, require_label
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.imaging import Grid, Volume

MODEL = Grid((60, 60, 60), np.diag([1.0, 1.0, 1.0, 1.0]) + np.array([[0, 0, 0, -30]] * 3 + [[0, 0, 0, 0]]))


def native_grid(spacing_mm: tuple[float, float, float], angles: tuple[float, float, float]) -> Grid:
    """A field of 36 mm around the middle of the model grid, turned."""
    shape = tuple(round(36 / size) for size in spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


@settings(deadline=None, max_examples=15)
@given(
    spacing_mm=st.tuples(st.floats(0.4, 1.2), st.floats(0.4, 1.2), st.floats(0.5, 4.0)),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    radius_mm=st.floats(0.0, 3.0),
)
def test_every_bleed_keeps_place_and_volume(
    spacing_mm: tuple[float, float, float], angles: tuple[float, float, float], radius_mm: float
) -> None:
    native = native_grid(spacing_mm, angles)
    centres = np.array([[-12.0, -9, -10], [11, 10, 9], [0, -12, 11]])
    data = np.zeros(native.shape, np.uint8)
    place = native.to_world(np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"), axis=-1))
    for centre in centres:
        distance = np.linalg.norm(place - centre, axis=-1)
        data[(distance <= radius_mm) | (distance == distance.min())] = 1
    label = label_to_model_grid(Volume(data, native.affine), MODEL, "label", note=pytest.fail)

    found, count = ndimage.label(label.mask, np.ones((3, 3, 3)))
    assert count == len(label.centres) == 3
    assert label.mask[tuple(label.centres.T)].all()
    native_components, _ = ndimage.label(data, np.ones((3, 3, 3)))
    for number in (1, 2, 3):
        voxels = np.argwhere(native_components == number)
        middle = native.to_world(voxels.mean(axis=0))
        offsets = np.linalg.norm(MODEL.to_world(label.centres) - middle, axis=1)
        own = found[tuple(label.centres[offsets.argmin()])]
        place_mm = MODEL.to_world(np.argwhere(found == own).mean(axis=0))
        assert np.linalg.norm(place_mm - middle) < max(1.0, max(spacing_mm) / 2)
        volume_mm3 = len(voxels) * native.voxel_volume_mm3
        assert (found == own).sum() == pytest.approx(max(volume_mm3, 1.0), abs=0.51)


def test_labels_already_on_the_model_grid_stay_as_they_are() -> None:
    data = (np.random.default_rng(0).random(MODEL.shape) > 0.999).astype(np.float32)
    label = label_to_model_grid(Volume(data, MODEL.affine), MODEL, "label")
    np.testing.assert_array_equal(label.mask, data)


def test_no_bleeds_is_a_fine_label() -> None:
    label = label_to_model_grid(Volume(np.zeros(MODEL.shape, np.uint8), MODEL.affine), MODEL, "label")
    assert label.mask.sum() == 0
    assert label.centres.shape == (0, 3)


def test_bleeds_outside_the_grid_are_counted() -> None:
    native = Grid((80, 60, 60), MODEL.affine)
    data = np.zeros(native.shape, np.uint8)
    data[30, 30, 30] = data[75, 30, 30] = 1
    notes: list[str] = []
    label = label_to_model_grid(Volume(data, native.affine), MODEL, "scan.nii", note=notes.append)
    assert label.mask.sum() == 1
    assert notes == ["1 of 2 bleeds of scan.nii lie outside the model grid and are left out"]


def test_a_label_of_another_image_is_refused() -> None:
    data = np.ones((4, 4, 4), np.uint8)
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 500
    with pytest.raises(DataError, match=r"scan.nii .* does it belong to this image"):
        label_to_model_grid(Volume(data, elsewhere), MODEL, "scan.nii")


def test_labels_with_nan_are_refused() -> None:
    with pytest.raises(DataError, match=r"scan.nii holds NaN"):
        label_to_model_grid(Volume(np.full((4, 4, 4), np.nan), np.eye(4)), MODEL, "scan.nii")


@pytest.mark.parametrize(
    ("found", "values", "message"),
    [
        ([0, 0.2, 3.7], LabelValues(), r"scan.nii is not binary, it holds 0, 0.2, 3.7: .* is it an image"),
        ([0, 1, 812.4], LabelValues((1,)), "is it an image"),
        ([-0.3, 0, 0.9], LabelValues(), "is it an image"),
        ([-1, 0, 1], LabelValues(), r"scan.nii holds -1: .*--ignore-values"),
        ([-2, -1, 1], LabelValues(ignore=(-1,)), "scan.nii holds -2:"),
        ([0, 0.4, 1], LabelValues(), None),
        ([0, 1, 7], LabelValues(), None),
        ([-1, 0, 1], LabelValues(ignore=(-1,)), None),
        ([-1, 0, 1], LabelValues(lesion=(1,)), None),
        ([-1e-4, 0, 2.0004], LabelValues(), None),  # what a scale factor makes of 0 and 2
    ],
)
def test_what_is_no_label_is_refused(found: list[float], values: LabelValues, message: str | None) -> None:
    with nullcontext() if message is None else pytest.raises(DataError, match=message):
        require_label(np.array(found, np.float32), values, "scan.nii")


FINE = Grid((60, 60, 60), np.diag([0.5, 0.5, 0.5, 1.0]))
COARSE = Grid((30, 30, 30), np.diag([1.0, 1.0, 1.0, 1.0]))


@settings(deadline=None, max_examples=20)
@given(
    spacing_mm=st.tuples(st.floats(0.4, 1.2), st.floats(0.4, 1.2), st.floats(0.5, 4.0)),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    seed=st.integers(0, 10**6),
)
def test_crowded_bleeds_keep_their_number(
    spacing_mm: tuple[float, float, float], angles: tuple[float, float, float], seed: int
) -> None:
    native = native_grid(spacing_mm, angles)
    rng = np.random.default_rng(seed)
    around = np.array(native.shape) // 2
    data = np.zeros(native.shape, np.uint8)
    for _ in range(15):
        data[tuple(np.clip(around + rng.integers(-6, 7, 3), 0, np.array(native.shape) - 1))] = 1
    expected = ndimage.label(data, np.ones((3, 3, 3)))[1]
    notes: list[str] = []
    label = label_to_model_grid(Volume(data, native.affine), MODEL, "label", note=notes.append)
    assert len(label.lesions) == expected
    assert label.mask.sum() == len(label.lesions.voxels) == len(set(label.lesions.voxels.tolist()))
    assert (label.lesions.labels()[tuple(label.centres.T)] == np.arange(1, expected + 1)).all()
    if not notes:
        assert ndimage.label(label.mask, np.ones((3, 3, 3)))[1] == expected


def test_bleeds_too_near_for_the_grid_are_said_and_kept_by_themselves() -> None:
    data = np.zeros(FINE.shape, np.uint8)
    data[20, 20, 20] = data[22, 20, 20] = data[40, 40, 40] = 1
    notes: list[str] = []
    label = label_to_model_grid(Volume(data, FINE.affine), COARSE, "scan.nii", note=notes.append)
    assert len(label.lesions) == 3
    assert len(notes) == 1
    assert "2 of 3 bleeds of scan.nii lie too near to each other" in notes[0]


@pytest.mark.parametrize(("native", "model"), [(FINE, COARSE), (COARSE, FINE), (FINE, FINE)])
def test_ignored_voxels_are_marked_but_never_on_a_bleed(native: Grid, model: Grid) -> None:
    data = np.zeros(native.shape, np.uint8)
    data[8:16, 8:16, 8:16] = 3  # a doubtful region around a bleed
    data[11:13, 11:13, 11:13] = 1
    data[20, 20, 20] = 3
    values = LabelValues(ignore=(3,))
    label = label_to_model_grid(Volume(data, native.affine), model, "label", values=values, note=pytest.fail)
    assert len(label.lesions) == 1
    assert (label.mask.ravel()[label.lesions.voxels] == 1).all()
    ratio = native.voxel_volume_mm3 / model.voxel_volume_mm3
    assert (label.mask == 1).sum() == pytest.approx(8 * ratio, abs=0.51)
    assert 0.9 <= (label.mask == 2).sum() / ((8**3 - 8 + 1) * ratio) <= 2.0  # more at a coarser border
    speck = model.to_voxel(native.to_world([20, 20, 20]))
    assert label.mask[tuple(np.rint(speck).astype(int))] == 2


def test_lesion_values_choose_what_counts() -> None:
    data = np.zeros(COARSE.shape, np.float32)
    data[5, 5, 5], data[10, 10, 10], data[15, 15, 15], data[20, 20, 20] = 1, 2.0001, 4, 3
    volume = Volume(data, COARSE.affine)
    label = label_to_model_grid(volume, COARSE, "label", values=LabelValues((2, 3), (4,)), note=pytest.fail)
    assert label.mask[10, 10, 10] == label.mask[20, 20, 20] == 1
    assert label.mask[15, 15, 15] == 2
    assert label.mask[5, 5, 5] == 0
    with pytest.raises(UsageError, match="among both lesion_values and ignore_values"):
        LabelValues((1,), (1,))
    with pytest.raises(UsageError, match="ignore_values: expected values other than 0"):
        LabelValues((), (0,))
