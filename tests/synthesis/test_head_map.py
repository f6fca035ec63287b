from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import DataError
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.generate import stored
from tests.synthesis.small_heads import MIDDLE_MM, SIZE, round_head, small_head


def padded(head: hm.HeadMap, before: tuple[int, int, int], after: tuple[int, int, int]) -> Volume:
    """With more air around it."""
    affine = head.labels.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    data = np.pad(head.labels.data, tuple(zip(before, after, strict=True)))
    return Volume(data, affine)


def middle_mm(labels: Volume, value: int) -> np.ndarray:
    return labels.grid.to_world(np.argwhere(labels.data == value).mean(axis=0))


def test_a_map_of_any_orientation_is_turned_upright_and_cropped(tmp_path: Path) -> None:
    wide = padded(small_head(), (10, 3, 20), (7, 12, 5))
    write_volume(stored(wide, [2, 0, 1], np.array([True, False, True])), tmp_path / "head_7.nii.gz")
    head = hm.read_head_map(tmp_path / "head_7.nii.gz", note=pytest.fail)
    assert head.name == "head_7"
    assert head.labels.grid.orientation == "RAS"
    assert head.labels.spacing_mm == (1, 1, 1)
    for value in (12, 51, 8):
        np.testing.assert_allclose(middle_mm(head.labels, value), middle_mm(wide, value), atol=1e-3)
    for axis in range(3):
        there = np.flatnonzero((head.labels.data > 0).any(axis=tuple({0, 1, 2} - {axis})))
        assert 0 < there[0] <= hm.MARGIN_MM
        assert 0 < head.labels.shape[axis] - 1 - there[-1] <= hm.MARGIN_MM
    assert (head.labels.data > 0).sum() == (wide.data > 0).sum()


def test_specks_take_the_label_of_their_neighbours_and_larger_pieces_stay(tmp_path: Path) -> None:
    plain = small_head().labels
    speckled = plain.data.copy()
    speckled[20:44:8, 32, 32] = 0  # air in the brain
    speckled[40:42, 44:46, 40] = 515  # bone
    plain.data[45:49, 30:34, 38:42] = speckled[45:49, 30:34, 38:42] = 514  # a vein of 64 voxels
    write_volume(plain.with_data(speckled), tmp_path / "speckled.nii.gz")
    write_volume(plain, tmp_path / "plain.nii.gz")
    cleaned, wanted = (
        hm.read_head_map(tmp_path / f"{name}.nii.gz", note=pytest.fail).labels.data
        for name in ("speckled", "plain")
    )
    assert ((cleaned == 0) == (wanted == 0)).all()
    assert ((cleaned == 515) == (wanted == 515)).all()
    assert (cleaned == 514).sum() == 64
    assert (cleaned != wanted).sum() <= 3  # on a border the nearest label may be another


def test_a_long_neck_is_cut_off(tmp_path: Path) -> None:
    tall = padded(small_head(), (0, 0, 170), (0, 0, 0))
    tall.data[20:44, 20:44, 5:180] = np.where(tall.data[20:44, 20:44, 5:180] == 0, 508, 0)
    write_volume(tall, tmp_path / "tall.nii.gz")
    head = hm.read_head_map(tmp_path / "tall.nii.gz", note=pytest.fail)
    assert head.labels.shape[2] < hm.NECK_MM + 2 * hm.MARGIN_MM < tall.shape[2]
    assert head.labels.grid.to_world((0, 0, head.labels.shape[2]))[2] > MIDDLE_MM[2] + 30


@pytest.mark.parametrize("kind", ["mask", "scan"])
def test_what_is_no_label_map_is_refused(tmp_path: Path, kind: str) -> None:
    values = round_head().brain.astype(np.int16)
    if kind == "scan":
        rng = np.random.default_rng(0)
        values = (values * rng.normal(200, 40, values.shape) + rng.integers(0, 40, values.shape)).astype(int)
    write_volume(Volume(values.astype(np.int16), np.eye(4)), tmp_path / "swi.nii.gz")
    with pytest.raises(DataError, match=r"swi\.nii\.gz: expected a label map with FreeSurfer's values"):
        hm.read_head_map(tmp_path / "swi.nii.gz", note=pytest.fail)


def test_a_few_unknown_labels_are_no_obstacle(tmp_path: Path) -> None:
    labels = small_head().labels
    odd = labels.with_data(np.where(labels.data == 14, 2035, labels.data).astype(np.int16))
    write_volume(odd, tmp_path / "odd.nii.gz")
    head = hm.read_head_map(tmp_path / "odd.nii.gz", note=pytest.fail)
    assert head.labels.data.max() < 1000
    assert (head.labels.data > 0).sum() == ((labels.data > 0) & (labels.data != 14)).sum()


def test_maps_of_a_folder_are_read_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder with label maps"):
        hm.read_head_maps(tmp_path)
    for name in ("b", "a", "c"):
        write_volume(small_head().labels, tmp_path / f"{name}.nii.gz")
    assert [head.name for head in hm.read_head_maps(tmp_path, note=pytest.fail)] == ["a", "b", "c"]
    assert [head.name for head in hm.read_head_maps(tmp_path, ["c"], note=pytest.fail)] == ["c"]
    with pytest.raises(DataError, match="there is no label map d; it holds a, b, c"):
        hm.read_head_maps(tmp_path, ["a", "d"], note=pytest.fail)


def test_mirroring_swaps_the_sides_and_twice_is_nothing() -> None:
    labels = round_head().labels
    other = hm.mirrored(labels)
    np.testing.assert_array_equal(hm.mirrored(other), labels)
    for left, right in ((2, 41), (12, 51), (4, 43)):
        np.testing.assert_array_equal(other == left, (labels == right)[::-1])
    assert (np.argwhere(other == 51)[:, 0] > SIZE / 2).all()  # right is still on the right
    np.testing.assert_array_equal(other == 515, (labels == 515)[::-1])


def test_no_strength_leaves_a_head_as_it_is() -> None:
    for seed in (1, 2):  # one above and one below the half that is mirrored
        same = hm.deform(np.random.default_rng(seed), small_head(), strength=0)
        np.testing.assert_array_equal(same.labels, small_head().labels.data)
        assert same.grid.matches(small_head().labels.grid)


def test_heads_are_deformed_a_little_and_stay_where_they_are() -> None:
    first, again, other = (hm.deform(np.random.default_rng(seed), small_head("x")) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.grid.matches(again.grid)
    assert first.labels.shape != other.labels.shape or (first.labels != other.labels).any()
    volume = (round_head().labels > 0).sum()
    for head in (first, other):
        assert head.name == "x"
        assert head.grid.spacing_mm == (1, 1, 1)
        assert 0.7 < (head.labels > 0).sum() / volume < 1.4
        middle = head.grid.to_world(np.argwhere(head.labels > 0).mean(axis=0))
        assert 0.01 < np.linalg.norm(middle - MIDDLE_MM) < 9
        assert set(np.unique(head.tissues)) == set(np.unique(round_head().tissues))
        left, right = (head.grid.to_world(np.argwhere(head.labels == v))[:, 0].mean() for v in (12, 51))
        assert right - left > 15  # mirrored or not


@pytest.mark.parametrize("seed", [2, 3, 14])
def test_a_larger_head_is_not_cut(seed: int) -> None:
    head = hm.deform(np.random.default_rng(seed), small_head(), strength=1.5)
    assert max(head.labels.shape) > 1.15 * SIZE
    ends = [np.take(head.labels, index, axis) > 0 for axis in range(3) for index in (0, -1)]
    assert max(end.mean() for end in ends) < 0.12


def test_the_brain_holds_all_fluid_within_the_skull_but_not_what_surrounds_it() -> None:
    head = round_head()
    tissue = np.isin(head.tissues, (*hm.NERVOUS, hm.VENTRICLE))
    assert head.brain[tissue].all()
    assert not head.brain[np.isin(head.tissues, (hm.BONE, hm.SKIN, hm.OUTSIDE))].any()
    fissure, outer = MIDDLE_MM + np.array([[0, 0, 20], [15.5, 15.5, 15.5]])
    assert head.at(head.tissues, np.array([fissure, outer])).tolist() == [hm.CSF, hm.CSF]
    assert head.at(head.brain, np.array([fissure, outer])).tolist() == [True, True]


def test_regions_are_those_of_the_labels() -> None:
    head = round_head()
    np.testing.assert_array_equal(head.regions > 0, head.brain)
    wanted = {3: 1, 2: 1, 41: 2, 12: 3, 10: 3, 52: 4, 8: 5, 7: 5, 4: 6, 14: 6}
    for label, region in wanted.items():
        assert set(np.unique(head.regions[head.labels == label])) == {region}, label
    assert hm.REGION_NAMES[int(head.at(head.regions, MIDDLE_MM + np.array([[0, 0, 20]]))[0])][0] == "CSF"


def test_beyond_the_grid_there_is_nothing() -> None:
    head = round_head()
    points = MIDDLE_MM + np.array([[12.4, 0, 0], [100, 0, 0], [0, -100, 0]])
    assert head.at(head.labels, points).tolist() == [51, 0, 0]


def test_the_bundled_head_is_a_whole_adult_one() -> None:
    head = hm.bundled_head()
    tissues = hm.tissues_of(head.labels.data)
    assert not ((tissues == 0) & (head.labels.data > 0)).any()  # every label is known
    assert 900 < np.isin(tissues, hm.NERVOUS).sum() / 1000 < 1600
    there = set(np.unique(tissues))
    assert {*hm.NERVOUS, hm.VENTRICLE, hm.CSF, hm.BONE, hm.SKIN, hm.VEIN} <= there
    left, right = (np.argwhere(head.labels.data == value)[:, 0].mean() for value in (12, 51))
    assert right > left + 30
    assert (hm.BUNDLED.parent / "LICENSE").is_file()
