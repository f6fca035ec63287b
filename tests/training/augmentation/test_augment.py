"""The layer as a whole: when it acts, how often, that it repeats itself, and where it runs."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.errors import UsageError
from shiva_cmb.training.augmentation.augment import Augment
from shiva_cmb.training.augmentation.settings import (
    AUGMENTATIONS,
    Affine,
    AugmentationSettings,
    BrainMasking,
    Gamma,
    Inversion,
)
from tests.training.augmentation.stacks import MM, changed, noisy_stack, only, same_sample

HEAVY = AUGMENTATIONS["heavy"]


def test_nothing_happens_in_inference_or_without_changes() -> None:
    stack = noisy_stack(2)
    layer = Augment(HEAVY, 1, MM, 0)
    np.testing.assert_array_equal(layer(stack), stack)
    np.testing.assert_array_equal(layer(stack, training=False), stack)
    np.testing.assert_array_equal(changed(stack, AugmentationSettings()), stack)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_samples_are_changed_as_often_as_asked_for(probability: float) -> None:
    stack = same_sample(600, shape=(2, 2, 2))
    for settings in (only(inversion=Inversion(probability)), only(affine=Affine(probability))):
        differs = (changed(stack, settings) != stack).any(axis=(1, 2, 3, 4))
        assert differs.mean() == pytest.approx(probability, abs=0.06)


@pytest.mark.parametrize("shape", [(12, 12, 12), (9, 14, 11)])
def test_everything_at_once_stays_finite_with_its_shape(shape: tuple[int, int, int]) -> None:
    stack = noisy_stack(8, shape, channels=2)
    result = changed(stack, HEAVY, spacing_mm=(1.0, 1.2, 2.0))
    assert result.shape == stack.shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert set(np.unique(result[..., 2])) <= {0.0, 1.0}
    assert set(np.unique(result[..., 3])) <= {0.0, 1.0, 2.0}
    assert all(np.any(a != b) for a, b in zip(result, stack, strict=True))


def test_the_same_seed_gives_the_same_and_each_call_another() -> None:
    stack = noisy_stack(3)
    layers = [Augment(HEAVY, 1, MM, seed) for seed in (5, 5, 6)]
    first = [np.array(layer(stack, training=True)) for layer in layers]
    np.testing.assert_array_equal(first[0], first[1])
    assert np.any(first[0] != first[2])
    assert np.any(np.array(layers[0](stack, training=True)) != first[0])


def test_a_restored_state_goes_on_where_it_stopped() -> None:
    stack = noisy_stack(3)
    layer = Augment(HEAVY, 1, MM, 5)
    layer(stack, training=True)
    state = [variable.numpy() for variable in layer.variables]
    assert state, "checkpoints hold the state"
    expected = np.array(layer(stack, training=True))
    other = Augment(HEAVY, 1, MM, 99)
    other.build(stack.shape)
    for variable, value in zip(other.variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(other(stack, training=True), expected)


def test_it_runs_compiled_inside_a_bfloat16_model_of_open_batch() -> None:
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((10, 10, 10, 3))
        layer = Augment(HEAVY, 1, MM, 5)
        outputs = layer(inputs)
        assert outputs.shape == (None, 10, 10, 10, 3)
        assert outputs.dtype == "float32"
        model = keras.Model(inputs, outputs)
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    stack = noisy_stack(3, (10, 10, 10))

    compiled = tf.function(lambda batch: model(batch, training=True))
    result = compiled(stack)
    assert result.shape == (3, 10, 10, 10, 3)
    assert result.dtype == "float32"
    eager = Augment(HEAVY, 1, MM, 5)(stack, training=True)
    np.testing.assert_allclose(result, eager, atol=2e-5)
    np.testing.assert_array_equal(model(stack, training=False), stack)
    assert not model.trainable_weights


def test_stacks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1 channels, brain and label, got \(2, 8, 8, 8, 2\)"):
        Augment(HEAVY, 1, MM, 0)(np.zeros((2, 8, 8, 8, 2), np.float32))
    with pytest.raises(UsageError, match="2 voxels or more"):
        Augment(HEAVY, 1, MM, 0)(keras.Input((None, 8, 8, 3)))
    Augment(only(gamma=Gamma(1.0)), 1, MM, 0)(keras.Input((8, 8, 8, 3)))


JAX_PROGRAM = """
import jax, keras, numpy as np
from shiva_cmb.training.augmentation.augment import Augment
from shiva_cmb.training.augmentation.settings import AUGMENTATIONS
assert keras.backend.backend() == "jax"
layer = Augment(AUGMENTATIONS["heavy"], 1, (1.0, 1.0, 1.0), 5)
rng = np.random.default_rng(0)
stack = np.concatenate([rng.random((3, 10, 10, 10, 1)), rng.integers(0, 2, (3, 10, 10, 10, 2))], -1)
stack = stack.astype("float32")
layer.build(stack.shape)
state = [variable.value for variable in layer.variables]
eager = np.asarray(layer(stack, training=True))

@jax.jit
def step(state, stack):
    with keras.StatelessScope(list(zip(layer.variables, state))) as scope:
        result = layer(stack, training=True)
    return [scope.get_current_value(variable) for variable in layer.variables], result

after, compiled = step(state, stack)
np.testing.assert_allclose(compiled, eager, atol=2e-5)
assert np.isfinite(eager).all() and set(np.unique(eager[..., 2])) <= {0.0, 1.0, 2.0}
for old, new in zip(after, layer.variables):
    np.testing.assert_array_equal(old, new.value)
_, again = step(after, stack)
assert np.any(np.asarray(again) != eager)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_it_runs_compiled_on_jax() -> None:
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", JAX_PROGRAM], check=True, env=environment)


ON_TWO_DEVICES = """
import numpy as np, tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from shiva_cmb.training.augmentation.augment import Augment
from shiva_cmb.training.augmentation.settings import AugmentationSettings, GaussianNoise

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
stack = tf.zeros((2, 8, 8, 8, 3))
settings = AugmentationSettings(gaussian_noise=GaussianNoise(1.0, std_fraction=(0.1, 0.2)))
with strategy.scope():
    layer = Augment(settings, 1, (1.0, 1.0, 1.0), seed=5)
    layer.build(stack.shape)
run = tf.function(lambda: strategy.run(lambda: layer(stack, training=True)))
seen = [sample.numpy().tobytes() for _ in range(3) for one in run().values for sample in one]
alone = Augment(settings, 1, (1.0, 1.0, 1.0), seed=5)
expected = [sample.numpy().tobytes() for sample in alone(stack, training=True)]
assert len(set(seen)) == len(seen) == 12, "devices draw the same"
assert seen[:2] == expected, "the first draws otherwise than one alone"
"""


@pytest.mark.slow
def test_devices_that_share_a_batch_draw_different_changes() -> None:
    """In a fresh process, which can still divide the processor."""
    done = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_fractions_are_meant_between_air_and_brightest_brain() -> None:
    settings = AugmentationSettings(inversion=Inversion(1.0))
    stack = np.random.default_rng(0).random((2, 4, 4, 4, 3), dtype=np.float32)
    scaled = stack.copy()
    scaled[..., 0] = scaled[..., 0] * 6.0 - 3.0
    one = Augment(settings, 1, (1.0, 1.0, 1.0), seed=0)(stack, training=True)
    other = Augment(settings, 1, (1.0, 1.0, 1.0), seed=0, value_range=(-3.0, 3.0))(scaled, training=True)
    np.testing.assert_allclose(np.asarray(one)[..., 0] * 6.0 - 3.0, np.asarray(other)[..., 0], atol=1e-5)


def test_outside_the_brain_is_what_a_stripped_image_has_there() -> None:
    settings = AugmentationSettings(brain_masking=BrainMasking(1.0, edge_mm=0.0))
    stack = np.ones((1, 4, 4, 4, 3), np.float32)
    stack[:, :2, ..., 1] = 0.0
    changed = np.asarray(Augment(settings, 1, (1.0, 1.0, 1.0), seed=0, outside=-3.0)(stack, training=True))
    assert (changed[:, :2, ..., 0] == -3.0).all()
    assert (changed[:, 2:, ..., 0] == 1.0).all()
