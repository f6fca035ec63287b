"""Odd sizes: nothing may shift, and nothing may be padded by a layer of its own."""

from typing import Any

import keras
import numpy as np
import pytest

from shiva_cmb.networks import build_network
from shiva_cmb.networks.blocks import Style, make_even
from tests.networks.one_function import image_of

THIN: dict[str, dict[str, Any]] = {
    "shiva_unet": {"first_filters": 2, "levels": 2, "pool_deepest": True},
    "plain_unet": {"filters": [2, 3, 4]},
    "monai_unet": {"filters": [2, 3, 4]},
    "stem_unet": {"filters": [3, 4], "full_filters": 2},
}


@pytest.mark.parametrize("name", THIN)
def test_a_networks_answer_does_not_shift_with_the_size(name: str) -> None:
    """Trained on even patches and run on odd volumes. (Others normalise over the image: see below.)"""
    image = image_of((44, 8, 8), batch=1)
    even, odd = (build_network(name, THIN[name], (size, 8, 8, 1)) for size in (44, 41))
    rng = np.random.default_rng(3)
    even.set_weights([w * rng.uniform(0.8, 1.2) + rng.uniform(-0.05, 0.05) for w in even.get_weights()])
    odd.set_weights(even.get_weights())
    whole, cut = np.asarray(even(image)), np.asarray(odd(image[:, :41]))
    assert whole[:, :12].std() > 1e-3
    np.testing.assert_allclose(cut[:, :12], whole[:, :12], atol=1e-5)


@pytest.mark.parametrize("kernel", [2, 3])
def test_down_and_up_again_keeps_places_at_any_size(kernel: int) -> None:
    style = Style("none", "none")

    def there_and_back(size: int) -> keras.Model:
        inputs = keras.Input((size, 6, 6, 1))
        half = style.convolve(inputs, 2, "a", stride=2)
        quarter = style.convolve(half, 2, "b", stride=2)
        back = style.enlarge(quarter, 2, half, "c", kernel=kernel)
        return keras.Model(inputs, style.enlarge(back, 1, inputs, "d", kernel=kernel))

    image = image_of((24, 6, 6))
    long = there_and_back(24)
    assert long.output_shape == (None, 24, 6, 6, 1)
    for size in (23, 22, 21):
        short = there_and_back(size)
        assert short.output_shape == (None, size, 6, 6, 1)
        short.set_weights(long.get_weights())
        a, b = np.asarray(long(image)), np.asarray(short(image[:, :size]))
        np.testing.assert_allclose(a[:, :12], b[:, :12], atol=1e-5)


def test_even_sizes_stay_and_odd_ones_repeat_their_last_plane() -> None:
    inputs = keras.Input((3, 4, 5, 1))
    model = keras.Model(inputs, make_even(inputs, "x"))
    image = image_of((3, 4, 5))
    expected = np.pad(image, [(0, 0), (0, 1), (0, 0), (0, 1), (0, 0)], mode="edge")
    np.testing.assert_array_equal(np.asarray(model(image)), expected)


def test_prelu_has_one_slope() -> None:
    inputs = keras.Input((2, 2, 2, 3))
    model = keras.Model(inputs, Style(activation="prelu").activate(inputs, "x"))
    assert [w.size for w in model.get_weights()] == [1]
    np.testing.assert_allclose(model(-np.ones((1, 2, 2, 2, 3), np.float32)), -0.25)


def test_instance_norm_is_per_sample_and_channel() -> None:
    inputs = keras.Input((4, 4, 4, 3))
    model = keras.Model(inputs, Style("instance").normalise(inputs, "x"))
    assert model.count_params() == 0
    image = np.random.default_rng(0).normal(5, [1, 2, 30], (2, 4, 4, 4, 3)).astype(np.float32)
    mean = image.mean((1, 2, 3), keepdims=True)
    expected = (image - mean) / np.sqrt(image.var((1, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.asarray(model(image)), expected, atol=1e-4)
