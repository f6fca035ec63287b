"""Windows cover every voxel, whatever the sizes, and what they say is averaged fairly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.training.fitting.sliding import gaussian_weights, slide, window_starts

SIZES = st.integers(1, 13)
OVERLAPS = st.floats(0, 0.9)


@given(st.data(), st.integers(1, 60), OVERLAPS)
def test_windows_cover_an_axis_and_overlap(data: st.DataObject, size: int, overlap: float) -> None:
    window = data.draw(st.integers(1, size))
    starts = np.array(window_starts(size, window, overlap))
    assert starts[0] == 0
    assert starts[-1] == size - window
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, window * (1 - overlap))).all()


def test_no_more_windows_than_needed() -> None:
    assert window_starts(64, 32, 0.0) == (0, 32)
    assert window_starts(65, 32, 0.0) == (0, 16, 33)
    assert window_starts(64, 32, 0.5) == (0, 16, 32)
    assert window_starts(48, 48, 0.9) == (0,)


@given(st.tuples(SIZES, SIZES, SIZES), st.floats(0.001, 1))
def test_weights_are_positive_and_fall_from_the_middle(window: tuple[int, int, int], sigma: float) -> None:
    weights = gaussian_weights(window, sigma)
    assert weights.shape == window
    assert weights.min() > 0
    assert weights.max() == 1
    np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])
    assert (np.diff(weights[: (window[0] + 1) // 2], axis=0) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.data(), st.tuples(SIZES, SIZES, SIZES), OVERLAPS, st.integers(1, 5))
def test_what_says_its_input_gives_the_image_back(
    data: st.DataObject, shape: tuple[int, int, int], overlap: float, batch_size: int
) -> None:
    x, y, z = (data.draw(st.integers(max(1, n // 2), n)) for n in shape)
    window = (x, y, z)
    image = np.random.default_rng(0).uniform(-1, 1, (*shape, 2)).astype(np.float32)
    seen = set()

    def second_channel(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.add(batch.shape)
        return batch[..., 1]

    back = slide(second_channel, image, window, overlap=overlap, batch_size=batch_size)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, image[..., 1], atol=5e-6)  # sums of up to dozens of weighted float32
    assert seen == {(batch_size, *window, 2)}, "another shape would be compiled again"
    constant = slide(lambda batch: np.ones(batch.shape[:4]), image, window, overlap=overlap)
    np.testing.assert_allclose(constant, 1, atol=1e-6)


def test_the_middle_of_a_window_counts_more_than_its_edge() -> None:
    image = np.zeros((12, 4, 4, 1), np.float32)
    numbers = iter(range(3))  # windows from 0, 4 and 8

    def number(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full(batch.shape[:4], float(next(numbers)))

    mean = slide(number, image[..., :1], (6, 4, 4), overlap=0.5)[:, 0, 0]
    np.testing.assert_allclose(mean[:3], 0, atol=1e-6)
    assert 0 < mean[3] < 0.5 < mean[5] < 1  # 3 is nearer the middle of the first window
    np.testing.assert_allclose(mean[9:], 2, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [
        ((9, 4, 4), 0.5, "window of 1 to 8 voxels"),
        ((0, 4, 4), 0.5, "got 0"),
        ((4, 4, 4), 1.0, "below 1, got 1"),
    ],
)
def test_windows_that_cannot_be_are_refused(
    window: tuple[int, int, int], overlap: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        slide(lambda batch: batch[..., 0], np.zeros((8, 8, 8, 1), np.float32), window, overlap=overlap)
