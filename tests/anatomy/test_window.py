import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shiva_cmb.anatomy.window import folded, scaled, unfolded


@given(st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 99))
def test_folding_puts_neighbours_together_and_is_undone(half: tuple[int, int, int], seed: int) -> None:
    shape = tuple(2 * n for n in half)
    values = np.random.default_rng(seed).random((*shape, 3))
    parts = np.stack([folded(values[..., number]) for number in range(3)], axis=-1)
    assert parts.shape == (*half, 8, 3)
    np.testing.assert_array_equal(unfolded(parts), values)
    assert set(parts[0, 0, 0, :, 0]) == set(values[:2, :2, :2, 0].ravel())


def test_scaling_is_by_what_is_inside_and_forgets_outliers() -> None:
    values = np.random.default_rng(0).uniform(100, 200, (20, 20, 20))
    inside = np.ones(values.shape, bool)
    inside[:5] = False
    values[:5], values[10, 10, 10] = -1e6, 1e6
    image = scaled(values, inside)
    assert (image[:5] == 0).all()
    assert (image[10, 10, 10], image.max(), image.min()) == (1, 1, 0)
    assert abs(np.median(image[inside]) - 0.5) < 0.03
    np.testing.assert_allclose(image, scaled(3 * values + 7, inside), atol=1e-5)


def test_images_without_contrast_or_content_are_zero() -> None:
    flat = np.full((4, 4, 4), 5.0)
    assert not scaled(flat, np.ones(flat.shape, bool)).any()
    assert not scaled(flat, np.zeros(flat.shape, bool)).any()
