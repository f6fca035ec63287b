"""Mirror images and turns are exact, and of the kinds that are allowed."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.training.augmentation.orientation import turnable_axes
from shiva_cmb.training.augmentation.settings import Flip, Turn
from tests.training.augmentation.stacks import changed, only, same_sample


def orientations(volume: NDArray[np.float32]) -> dict[tuple[bytes, tuple[int, ...]], tuple[float, tuple]]:
    """All 48 by their voxels: sign of the determinant (+1: a turn), and permutation."""
    found = {}
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            axes = tuple(axis for axis, sign in enumerate(signs) if sign < 0)
            moved = np.flip(np.transpose(volume, (*order, 3)), axes)
            sign = np.linalg.det(np.eye(3)[list(order)]) * np.prod(signs)
            found[moved.tobytes(), moved.shape] = (round(sign), order)
    return found


def kinds(stack: NDArray[np.float32], result: NDArray[np.float32]) -> list[tuple[float, tuple]]:
    known = orientations(stack[0])
    return [known[sample.tobytes(), sample.shape] for sample in result]


def test_turns_are_exact_and_all_24_occur() -> None:
    stack = same_sample(256, shape=(4, 4, 4), channels=2)
    result = changed(stack, only(turn=Turn(1.0)))
    assert {sign for sign, _ in kinds(stack, result)} == {1}
    assert len({sample.tobytes() for sample in result}) == 24


def test_turns_keep_the_shape() -> None:
    stack = same_sample(64, shape=(4, 6, 4))
    result = changed(stack, only(turn=Turn(1.0)))
    assert {(sign, order[1]) for sign, order in kinds(stack, result)} == {(1, 1)}
    assert len({sample.tobytes() for sample in result}) == 4


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "expected"),
    [
        ((8, 8, 8), (1.0, 1.0, 1.0), (0, 1, 2)),
        ((8, 8, 8), (1.0, 1.0, 2.0), (0, 1)),
        ((9, 8, 8), (1.0, 1.0, 1.0), (1, 2)),
        ((9, 8, 7), (1.0, 1.0, 1.0), ()),
    ],
)
def test_only_like_axes_are_swapped(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    assert turnable_axes(shape, spacing_mm) == expected


def test_flips_are_exact_and_each_axis_has_its_own_chance() -> None:
    stack = same_sample(400, shape=(3, 4, 5))
    result = changed(stack, only(flip=Flip(0.25, axes=(0, 2))))
    for axes, share in (((), 9 / 16), ((0,), 3 / 16), ((2,), 3 / 16), ((0, 2), 1 / 16)):
        same = (result == np.flip(stack[0], axes)).all(axis=(1, 2, 3, 4)).mean()
        assert same == pytest.approx(share, abs=0.09), axes


def test_a_turn_and_a_flip_add_up() -> None:
    stack = same_sample(64, shape=(4, 4, 4))
    result = changed(stack, only(turn=Turn(1.0), flip=Flip(1.0)))
    assert {sign for sign, _ in kinds(stack, result)} == {-1}, "three flips after a turn: a mirror image"


def test_whole_volumes_are_mirrored_left_right_only() -> None:
    stack = same_sample(8, shape=(4, 4, 4))
    result = changed(stack, only(flip=Flip(1.0), turn=Turn(1.0)), whole_volume=True)
    np.testing.assert_array_equal(result, stack[:, ::-1])
