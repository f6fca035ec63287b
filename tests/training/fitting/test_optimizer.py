"""The learning rate along a run."""

from typing import Any

import numpy as np
import pytest

from shiva_cmb.training.fitting.optimizer import LearningRate, make_optimizer
from shiva_cmb.training.fitting.settings import FittingSettings


def rates(steps: int, **changes: Any) -> list[float]:
    schedule = LearningRate(FittingSettings(learning_rate=1.0, **changes), steps)
    return [float(schedule(step)) for step in range(steps + 1)]


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_rises_then_falls_to_its_lowest(schedule: Any) -> None:
    found = rates(100, schedule=schedule, warmup_fraction=0.1, final_fraction=0.05)
    assert found[0] == pytest.approx(0.1)
    assert found[10] == max(found) == pytest.approx(1.0)
    assert (np.diff(found[:11]) > 0).all()
    assert (np.diff(found[10:]) < 0).all()
    assert found[100] == pytest.approx(0.05)


def test_the_cosine_is_half_way_in_the_middle() -> None:
    assert rates(100, warmup_fraction=0.0, final_fraction=0.1)[50] == pytest.approx(0.55)


def test_constant_stays() -> None:
    assert rates(50, schedule="constant", warmup_fraction=0.0) == [1.0] * 51


def test_weight_decay_spares_biases_and_normalisations() -> None:
    import keras

    inputs = keras.Input((4, 4, 4, 1))
    features = keras.layers.BatchNormalization()(keras.layers.Conv3D(2, 1)(inputs))
    model = keras.Model(inputs, features)
    model.layers[1].bias.assign([1.0, 1.0])
    settings = FittingSettings(optimizer="adamw", weight_decay=0.5, learning_rate=1.0, warmup_fraction=0)
    optimizer = make_optimizer(settings, 10)
    optimizer.build(model.trainable_variables)
    before = [np.array(v) for v in model.trainable_variables]
    optimizer.apply([keras.ops.zeros_like(v) for v in model.trainable_variables])
    after = [np.array(v) for v in model.trainable_variables]
    assert np.abs(after[0]) == pytest.approx(np.abs(before[0]) * 0.5, rel=1e-3)
    for old, new in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(old, new)
