"""What the network sees: bleeds within patches, images and labels turned alike, all decided by the seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.training import TrainingSettings
from shiva_cmb.training.sampling.batches import GAIN, FixedBatches, TrainingBatches
from shiva_cmb.training.sampling.places import draw_place, validation_places

GRID = (20, 24, 22)
SETTINGS = TrainingSettings(shape=GRID, patch=(12, 12, 12), batch_size=4, steps_per_epoch=3)


def make_case(*bleeds: tuple[int, int, int], name: str = "case") -> PreparedCase:
    """The image equals the label, so that whatever happens to one can be seen in the other."""
    label = np.zeros(GRID, np.uint8)
    for x, y, z in bleeds:
        label[x : x + 2, y, z] = 1
    centres = np.array(bleeds, np.intp).reshape(-1, 3)
    return PreparedCase(name, label.astype(np.float32), label, centres, np.array([[2, 2, 2], [17, 21, 19]]))


CASES = [make_case((1, 3, 20), (10, 12, 11)), make_case(), make_case((18, 23, 0))]


@settings(deadline=None)
@given(seed=st.integers(0, 1000), shape=st.tuples(*[st.integers(8, n) for n in GRID]))
def test_patches_lie_in_the_grid_and_hold_their_bleed(seed: int, shape: tuple[int, int, int]) -> None:
    place = draw_place(np.random.default_rng(seed), CASES, shape, lesion_fraction=1.0)
    corner, case = np.array(place.corner), CASES[place.case]
    assert (corner >= 0).all()
    assert (corner + shape <= GRID).all()
    assert ((case.bleeds >= corner) & (case.bleeds < corner + shape)).all(axis=1).any()


def test_patches_elsewhere_come_from_every_case() -> None:
    rng = np.random.default_rng(0)
    places = [draw_place(rng, CASES, (8, 8, 8), lesion_fraction=0.0) for _ in range(60)]
    assert {place.case for place in places} == {0, 1, 2}
    assert len({place.corner for place in places}) > 30


def test_sets_without_bleeds_can_be_drawn_from() -> None:
    assert draw_place(np.random.default_rng(0), [make_case()], (8, 8, 8), lesion_fraction=1.0).case == 0


@pytest.mark.parametrize("patch", [(12, 12, 12), None])
def test_images_and_labels_are_turned_alike(patch: tuple[int, int, int] | None) -> None:
    batches = TrainingBatches(CASES, replace(SETTINGS, patch=patch), seed=1)
    assert len(batches) == 3
    for index in range(3):
        images, labels = batches[index]
        assert images.shape == labels.shape == (4, *(patch or GRID), 1)
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images > 0, labels > 0)
        assert images.max() <= 1 + GAIN


def test_whole_heads_are_never_upside_down() -> None:
    case = make_case((2, 5, 7))
    batches = TrainingBatches([case], replace(SETTINGS, patch=None), seed=0)
    for index in range(3):
        for label in batches[index][1][..., 0]:
            assert {tuple(voxel[1:]) for voxel in np.argwhere(label)} == {(5, 7)}


def test_the_seed_and_the_round_decide() -> None:
    first, second = (TrainingBatches(CASES, SETTINGS, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first[2][0], second[2][0])
    before = second[2][0]
    second.on_epoch_end()
    assert not np.array_equal(before, second[2][0])
    assert not np.array_equal(before, TrainingBatches(CASES, SETTINGS, seed=6)[2][0])


def test_validation_shows_every_bleed_and_as_much_else() -> None:
    places = validation_places(np.random.default_rng(0), CASES, (8, 8, 8))
    assert len(places) == 3 + 8
    batches = FixedBatches(CASES, places, (8, 8, 8), batch_size=4)
    assert len(batches) == 3
    assert len(batches[2][0]) == 3
    assert all(batches[0][1][index].any() for index in range(3))


def test_whole_volumes_are_validated_once_each() -> None:
    places = validation_places(np.random.default_rng(0), CASES, GRID)
    assert [place.case for place in places] == [0, 1, 2]
