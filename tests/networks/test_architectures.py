"""Every architecture: as large as its original, the same function everywhere, at home in plain Keras."""

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shiva_cmb.errors import ModelError, UsageError
from shiva_cmb.networks import ARCHITECTURES, build_network
from tests.networks.one_function import ODD, check_one_function, image_of, trained, trained_looking

THIN: dict[str, dict[str, Any]] = {
    "plain_unet": {"filters": [2, 3, 4]},
    "residual_unet": {"filters": [2, 3, 4], "deep_supervision": 1},
    "monai_unet": {"filters": [2, 3, 4]},
    "segresnet": {"first_filters": 2, "blocks_down": [1, 2, 1], "blocks_up": [1, 1], "groups": 2},
    "attention_unet": {"filters": [2, 3, 4]},
    "unetr": {"first_filters": 2, "hidden": 6, "mlp": 8, "heads": 2, "layers": 3, "taps": [0, 1, 2]},
    "stem_unet": {"filters": [3, 4], "full_filters": 2, "residual": True},
}


def test_each_architecture_is_tested() -> None:
    assert set(ARCHITECTURES) == {*THIN, "shiva_unet"}  # that one has tests of its own


@pytest.mark.parametrize("name", THIN)
def test_all_engines_agree_on_a_trained_network_at_an_odd_size(name: str, tmp_path: Path) -> None:
    model = trained(name, THIN[name], ODD)
    assert model.layers[-1].name == "probability"
    check_one_function(model, image_of(ODD), tmp_path, atol=5e-6)


@pytest.mark.parametrize(
    ("name", "size", "published"),
    [
        # Counted in MONAI 1.5.1 (sum of all parameters) with one output channel and otherwise the settings of
        # IRM-Metastases-Segmentation: UNet(3, 1, 1, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2,
        # norm="batch"); SegResNet(3, 16, 1, 1, dropout_prob=0.2, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1,
        # 1)); AttentionUnet(3, 1, 1, (16, 32, 64, 128, 256), (2, 2, 2, 2)). Their two classes with a softmax
        # have 4808917, 4700914 and 5909130: other last layers, nothing else.
        ("monai_unet", 16, 4_807_968),
        ("segresnet", 16, 4_700_897),
        ("attention_unet", 16, 5_909_113),
        # UNETR(1, 1, (128, 128, 128), 16, 768, 3072, 12, "conv", "instance", res_block=True) has 121350353.
        # 28339200 are of a cross-attention that is made but never used. Ours has biases of the queries, keys
        # and values: 3 x 768 in each of 12 blocks. A scale of the 768 channels stands for the projection's
        # bias.
        ("unetr", 128, 121_350_353 - 28_339_200 + 12 * 3 * 768),
    ],
)
def test_as_many_weights_as_the_original(name: str, size: int, published: int) -> None:
    model = build_network(name, {}, (size, size, size, 1))
    assert _weights(model) == published


def test_as_many_weights_as_the_definition_says() -> None:
    """The code of these two is not public: counted by hand from the published settings."""
    # 27 voxels, no bias, scale and offset of the normalisation: 27 a b + 2 b for each convolution a -> b.
    # Encoder 1-32-32, 32-64-64, 64-128-128, 128-256-256; decoder 384-128-128, 192-64-64, 96-32-32; output
    # 32 + 1.
    chains = [(1, 32, 32), (32, 64, 64), (64, 128, 128), (128, 256, 256)]
    chains += [(384, 128, 128), (192, 64, 64), (96, 32, 32)]
    plain = build_network("plain_unet", {}, (32, 32, 32, 1))
    assert _weights(plain) == sum(27 * a * b + 27 * b * c + 2 * (b + c) for a, b, c in chains) + 33

    # Encoder of 3 convolutions, bottom and decoder of 2; transposed ones of 8 voxels a -> b: 8 a b + 2 b.
    chains = [(1, 32, 32, 32), (32, 64, 64, 64), (64, 128, 128, 128), (128, 256, 256, 256), (256, 320, 320)]
    chains += [(512, 256, 256), (256, 128, 128), (128, 64, 64), (64, 32, 32)]
    convolutions = sum(27 * a * b + 2 * b for chain in chains for a, b in pairwise(chain))
    large = sum(8 * a * b + 2 * b for a, b in [(320, 256), (256, 128), (128, 64), (64, 32)])
    residual = build_network("residual_unet", {}, (32, 32, 32, 1))
    assert _weights(residual) == convolutions + large + 33


def _weights(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("name", THIN)
def test_layers_are_named_and_built_in(name: str) -> None:
    model = build_network(name, THIN[name], (*ODD, 1))
    for layer in model.layers:
        assert type(layer).__module__.startswith("keras.")
        assert not isinstance(layer, keras.layers.Lambda | keras.layers.ZeroPadding3D)
        automatic = keras.src.utils.naming.to_snake_case(type(layer).__name__)
        assert not layer.name.startswith(automatic)


def test_h5_files_load_in_plain_keras(tmp_path: Path) -> None:
    """In one process that does not know this package. These four have all kinds of layers."""
    names = ("residual_unet", "monai_unet", "segresnet", "unetr")
    image = image_of(ODD, batch=1)
    np.save(tmp_path / "image.npy", image)
    expected = {}
    for name in names:
        model = trained_looking(name, THIN[name], ODD)
        model.save(tmp_path / f"{name}.h5")
        expected[name] = np.asarray(model(image))
    code = (
        "import sys, pathlib, keras, numpy\n"
        "image = numpy.load('image.npy')\n"
        "for path in pathlib.Path('.').glob('*.h5'):\n"
        "    numpy.save(path.stem + '_map.npy', keras.models.load_model(path)(image))\n"
        "sys.exit(any(name.startswith('shiva_cmb') for name in sys.modules))\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)
    for name, map_ in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}_map.npy"), map_, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", THIN)
def test_output_stays_float32_under_mixed_precision(name: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_network(name, THIN[name], (16, 16, 16, 2), training=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.input_shape == (None, 16, 16, 16, 2)
    outputs = 2 if "deep_supervision" in THIN[name] else 1
    assert model.output_shape == (None, 16, 16, 16, outputs)
    assert model.output.dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers if "conv" in layer.name} == {"bfloat16"}


def test_penalties_are_those_asked_for() -> None:
    model = build_network("plain_unet", {"filters": [2, 3], "l2": 0.5}, (8, 8, 8, 1))
    kernels = [layer.kernel for layer in model.layers if layer.name.split("_")[-1].startswith("conv")]
    assert len(kernels) == 6
    expected = 0.5 * sum(float(np.sum(np.square(kernel))) for kernel in kernels)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(expected, rel=1e-5)
    assert not build_network("plain_unet", {"filters": [2, 3], "l2": 0.0}, (8, 8, 8, 1)).losses


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_gives_the_logits_of_the_same_network(name: str) -> None:
    arguments = THIN.get(name, {"first_filters": 2, "levels": 2})
    keras.utils.set_random_seed(0)
    learning = build_network(name, arguments, (*ODD, 1), training=True)
    plain = build_network(name, arguments, (*ODD, 1))
    layers = [layer for layer in learning.layers if layer.weights]
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(learning.get_layer(layer.name).get_weights())
    assert len(layers) - sum(bool(layer.weights) for layer in plain.layers) == THIN.get(name, {}).get(
        "deep_supervision", 0
    )
    image = 100 * image_of(ODD)  # large enough that some answers are sure
    logits = np.asarray(learning(image), np.float64)[..., :1]
    assert logits.min() < 0 or logits.max() > 1, "these are probabilities"
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), np.asarray(plain(image)), atol=1e-6)


def test_deep_supervision_adds_outputs_in_training_only() -> None:
    arguments = {"filters": [2, 3, 4, 5], "deep_supervision": 2}
    plain = build_network("residual_unet", arguments, (*ODD, 1))
    judged = build_network("residual_unet", arguments, (*ODD, 1), training=True)
    assert plain.output_shape == (None, *ODD, 1)
    assert judged.output_shape == (None, *ODD, 3)
    for layer in plain.layers:
        layer.set_weights(judged.get_layer(layer.name).get_weights())
    image = image_of(ODD)
    maps = np.asarray(judged(image))
    np.testing.assert_allclose(keras.ops.sigmoid(maps[..., :1]), np.asarray(plain(image)), rtol=1e-6)
    # The second output was made at half the resolution: pairs of voxels are alike.
    np.testing.assert_array_equal(maps[:, 0:12:2, ..., 1], maps[:, 1:13:2, ..., 1])
    np.testing.assert_array_equal(maps[:, 0:12:4, ..., 2], maps[:, 3:13:4, ..., 2])


def test_positions_tell_patches_apart() -> None:
    """Only by its position does the transformer know where a patch is: the order of tokens means nothing."""
    model = trained_looking("unetr", THIN["unetr"], (48, 16, 16))
    described = keras.Model(model.input, model.get_layer("last").output)
    image = image_of((48, 16, 16), batch=1)
    exchanged = np.concatenate([image[:, 32:], image[:, 16:32], image[:, :16]], axis=1)
    layer = model.get_layer("positions")
    scale, positions = layer.get_weights()
    assert positions.shape == (3, 6)

    def moved() -> float:
        """How far descriptions are from those of the exchanged patches."""
        return float(np.abs(np.asarray(described(exchanged))[:, ::-1] - np.asarray(described(image))).max())

    assert moved() > 1e-3
    rows = np.random.default_rng(5).permutation(positions)
    layer.set_weights([scale, np.repeat(rows[:1], 3, axis=0)])
    assert moved() < 1e-5


@pytest.mark.parametrize("name", THIN)
def test_arguments_survive_a_descriptor(name: str) -> None:
    settings = ARCHITECTURES[name].from_arguments(THIN[name])
    arguments = settings.as_arguments()
    assert not [value for value in arguments.values() if isinstance(value, tuple)]
    assert ARCHITECTURES[name].from_arguments(arguments) == settings


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("plain_unet", {"filters": []}, "filters of plain_unet: expected 1 to 9 numbers from 1"),
        ("plain_unet", {"filters": [8, 0]}, "numbers from 1"),
        ("plain_unet", {"filters": 8}, "expected a list of int, got 8"),
        ("plain_unet", {"filters": [8.0, 9.0]}, "expected a list of int"),
        ("plain_unet", {"l2": 1.0}, "l2 of plain_unet: expected 0 to below 1"),
        ("residual_unet", {"encoder_convs": 0}, "encoder_convs of residual_unet: expected at least 1"),
        ("residual_unet", {"deep_supervision": 4}, "deep_supervision of residual_unet: expected 0 to 3"),
        ("monai_unet", {"filters": [8]}, "2 to 9 numbers"),
        ("segresnet", {"first_filters": 12}, "a multiple of the 8 groups"),
        ("segresnet", {"blocks_up": [1]}, "3 numbers from 1, one fewer than blocks_down"),
        ("attention_unet", {"filters": [8, 1]}, "numbers from 2"),
        ("stem_unet", {"full_filters": -1}, "full_filters of stem_unet: expected 0 or more"),
        ("stem_unet", {"merge": "sum"}, "merge of stem_unet: expected concat or add"),
        ("stem_unet", {"activation": "elu"}, "activation of stem_unet: expected swish or relu"),
        ("unetr", {"heads": 5}, "hidden of unetr: expected a multiple of the 5 heads"),
        ("unetr", {"layers": 9}, "taps of unetr: expected 3 rising numbers from 0 to 8"),
        ("unetr", {"taps": [3, 3, 6]}, "3 rising numbers"),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(name, arguments, (16, 16, 16, 1))


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("residual_unet", 17),
        ("attention_unet", 9),
        ("plain_unet", 1),
        ("shiva_unet", 1),
        ("unetr", 1),
        ("stem_unet", 1),
    ],
)
def test_patches_that_instance_norm_would_blank_are_refused(name: str, smallest: int) -> None:
    settings = ARCHITECTURES[name]()
    settings.require_fits((smallest,) * 3)
    if smallest > 1:
        message = f"patch: {name} has .* leaves 1 of at least 8 voxels: take patches from {smallest} voxels"
        with pytest.raises(UsageError, match=message):
            settings.require_fits((smallest - 1,) * 3)


def test_a_bottom_of_one_voxel_would_be_blank() -> None:
    """The reason for `require_fits`: the bottom says the same whatever the image."""
    for size, blank in ((8, True), (9, False)):
        model = build_network(
            "residual_unet", {"filters": [2, 2, 2, 2], "bottom_convs": 1}, (size,) * 3 + (1,)
        )
        bottom = keras.Model(model.input, model.get_layer("enc3_0_norm").output)
        assert (np.ptp(np.asarray(bottom(image_of((size,) * 3)))) < 1e-6) == blank
