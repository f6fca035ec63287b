"""The stem loses nothing on the way in, and puts everything back in its place."""

from pathlib import Path

import keras
import numpy as np
import pytest

from shiva_cmb.networks import StemUNet, build_network
from shiva_cmb.networks.stem_unet import depth_to_space, space_to_depth
from tests.networks.one_function import ODD, check_one_function, image_of, trained_looking


def test_cubes_go_into_channels_and_come_back() -> None:
    inputs = keras.Input((4, 6, 8, 3))
    packed = space_to_depth(inputs, "in")
    model = keras.Model(inputs, [packed, depth_to_space(packed, "out")])
    image = np.random.default_rng(0).random((2, 4, 6, 8, 3), np.float32)
    channels, back = (np.asarray(array) for array in model(image))
    assert channels.shape == (2, 2, 3, 4, 24)
    for i, j, k in np.ndindex(2, 2, 2):
        first = ((i * 2 + j) * 2 + k) * 3
        expected = image[:, i::2, j::2, k::2]
        np.testing.assert_array_equal(channels[..., first : first + 3], expected)
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("full_filters", [0, 2])
def test_each_voxel_is_answered_in_its_own_place(full_filters: int) -> None:
    """Moving the image by a cube moves the answer; changing a voxel changes it there, and not far away."""
    model = trained_looking("stem_unet", {"filters": [4], "full_filters": full_filters}, (36, 8, 8))
    image = image_of((36, 8, 8), batch=1)
    here, there = (np.asarray(model(array)) for array in (image, np.roll(image, 2, axis=1)))
    np.testing.assert_allclose(there[:, 14:-12], here[:, 12:-14], atol=1e-6)
    other = np.array(image)
    other[0, 17, 5, 4] += 5.0
    change = np.abs(np.asarray(model(other)) - here)[0, ..., 0]
    assert change[17, 5, 4] > 0
    assert change[:8].max() == change[28:].max() == 0


def test_without_full_resolution_all_engines_agree(tmp_path: Path) -> None:
    """The other kind is in `test_architectures`."""
    arguments = {"filters": [3, 4], "merge": "add", "decoder_convs": 1, "activation": "swish"}
    model = trained_looking("stem_unet", arguments, ODD)
    check_one_function(model, image_of(ODD), tmp_path, atol=5e-6)


def test_as_many_weights_as_the_definition_says() -> None:
    """27 a b + 2 b for each convolution a -> b with its normalisation; the output 32 x 8 and 8 offsets."""
    pairs = [(8, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    pairs += [(192, 64), (64, 64), (96, 32), (32, 32)]
    model = build_network("stem_unet", {}, (16, 16, 16, 1))
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trained == sum(27 * a * b + 2 * b for a, b in pairs) + 32 * 8 + 8
    assert StemUNet().instance_norm_factor == 1
