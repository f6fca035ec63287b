"""What stages, averaged weights, half precision and several devices ask of the fitting."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.errors import UsageError
from shiva_cmb.training import settings_from
from shiva_cmb.training.fitting.callbacks import averaged_weights
from shiva_cmb.training.fitting.devices import require_precision
from shiva_cmb.training.fitting.fit import FitOptions, FoldJob, fit_fold
from shiva_cmb.training.fitting.optimizer import LearningRate, make_optimizer
from shiva_cmb.training.fitting.settings import FittingSettings
from shiva_cmb.training.fitting.stages import stages_of
from shiva_cmb.training.fitting.state import STATE_NAME, read_state
from tests.training.fitting.test_fit import SHAPE, dots
from tests.training.small import TINY

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Faster than tracing a step, for so few of them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_the_rate_goes_on_for_an_optimizer_that_begins_later() -> None:
    settings = FittingSettings(learning_rate=1.0)
    whole, later = LearningRate(settings, 100), LearningRate(settings, 100, first_step=40)
    assert float(later(7)) == pytest.approx(float(whole(47)))


def test_stages_know_when_patches_grew_and_parts_thawed() -> None:
    names = {
        "epochs": 6,
        "patch": [24, 24, 24],
        "first_patch": [8, 8, 8],
        "grow_epochs": 4,
        "init": "model.h5",
        "freeze": ["enc"],
        "freeze_epochs": 3,
    }
    stages = stages_of(settings_from({**TINY, **names}))
    assert [(stage.first, stage.grown, stage.thawed_at) for stage in stages] == [
        (0, False, 0),
        (2, True, 0),
        (3, False, 3),
        (4, True, 3),
    ]


@pytest.mark.usefixtures("eagerly")
def test_the_best_epoch_is_one_of_the_last_patch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses on patches of other sizes are lower or higher for no merit of the network."""
    names = {"epochs": 2, "steps_per_epoch": 1, "batch_size": 1, "patch": [13, 13, 11]}
    names |= {"grid": list(SHAPE), "first_patch": [8, 8, 8], "grow_epochs": 1, "augmentation": "none"}
    settings = settings_from({**TINY, "network": {"name": "plain_unet", "filters": [2]}, **names})
    job = FoldJob(tmp_path, [dots("a", 0)], [dots("b", 1)], seed=0)
    monkeypatch.setattr("shiva_cmb.training.fitting.at_work.judged_loss", lambda _: larger_on_larger_patches)
    fit_fold(job, settings, FitOptions(), lambda figures: None, pytest.fail)
    state = read_state(tmp_path / STATE_NAME)
    first, last = (row["val_data_loss"] for row in state.history)
    assert first < last
    assert state.best_epoch == 2


def larger_on_larger_patches(_: Any, output: Any) -> Any:
    return keras.ops.ones_like(output[:, 0, 0, 0, 0]) * output.shape[1]


larger_on_larger_patches.__name__ = "data_loss"  # as the log has it


def test_averaged_weights_are_in_the_model_only_for_a_while() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(make_optimizer(FittingSettings(ema=0.5, learning_rate=0.1, schedule="constant"), 2), "mse")
    seen = []
    for _ in range(2):
        model.optimizer.build(model.trainable_variables)
        model.optimizer.apply([keras.ops.ones((1, 1))], model.trainable_variables)
        seen.append(model.get_weights()[0].item())
    with averaged_weights(model):
        inside = model.get_weights()[0].item()
    assert inside == pytest.approx(np.mean(seen))
    assert model.get_weights()[0].item() == seen[-1]


def test_half_precision_scales_the_loss() -> None:
    optimizer = make_optimizer(FittingSettings(precision="f16", ema=0.5), 10)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert optimizer.inner_optimizer.use_ema


def test_half_precision_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(UsageError, match="precision: f16 needs a GPU"):
        require_precision("f16")
    require_precision("bf16")


def test_networks_that_need_a_size_refuse_others() -> None:
    deep = {"name": "residual_unet", "filters": [2, 2, 2, 2, 2]}
    with pytest.raises(UsageError, match="instance normalisation"):
        settings_from({**TINY, "network": deep})
    with pytest.raises(UsageError, match="plateau_factor"):
        settings_from({**TINY, "plateau_factor": 1.0})
