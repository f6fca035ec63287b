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
from shiva_cmb.training.fitting.callbacks import KeepState, averaged_weights
from shiva_cmb.training.fitting.devices import require_precision
from shiva_cmb.training.fitting.fit import FitOptions, FoldJob, fit_fold
from shiva_cmb.training.fitting.optimizer import LearningRate, make_optimizer
from shiva_cmb.training.fitting.settings import FittingSettings
from shiva_cmb.training.fitting.stages import settled_after, stages_of
from shiva_cmb.training.fitting.state import STATE_NAME, FitState, read_state
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


def test_want_of_progress_counts_when_everything_is_settled() -> None:
    def epochs(**names: Any) -> int:
        usual = {"epochs": 20, "steps_per_epoch": 3, "patch": [24, 24, 24], "warmup_fraction": 0.2}
        return settled_after(settings_from({**TINY, **usual, **names}))

    growing = {"first_patch": [8, 8, 8], "grow_epochs": 8}
    thawing = {"init": "model.h5", "freeze": ["enc"], "freeze_epochs": 6}
    assert epochs() == 4  # when the learning rate has risen
    assert epochs(warmup_fraction=0.21) == 4
    assert epochs(warmup_fraction=0.24) == 5
    assert epochs(**growing) == 8
    assert epochs(**thawing) == 6
    assert epochs(**growing, **thawing) == 8
    assert epochs(**growing, hard_negative_fraction=0.5, mine_every_epochs=10) == 8
    assert epochs(**thawing | {"freeze_epochs": None}) == 4


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("metric", ["loss", "lesion_f1"])
def test_the_best_epoch_is_one_of_the_last_patch_size(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses on patches of other sizes are lower or higher for no merit of the network.

    That there is no progress while patches are small does not end the fold.
    """
    names = {"epochs": 3, "steps_per_epoch": 1, "batch_size": 1, "patch": [13, 13, 11], "patience": 1}
    names |= {"grid": list(SHAPE), "first_patch": [8, 8, 8], "grow_epochs": 2, "augmentation": "none"}
    names |= {"metric": metric, "learning_rate": 1e-8}
    settings = settings_from({**TINY, "network": {"name": "plain_unet", "filters": [2]}, **names})
    job = FoldJob(tmp_path, [dots("a", 0)], [dots("b", 1)], seed=0)
    monkeypatch.setattr("shiva_cmb.training.fitting.at_work.judged_loss", lambda _: larger_on_larger_patches)
    fit_fold(job, settings, FitOptions(), lambda figures: None, pytest.fail)
    state = read_state(tmp_path / STATE_NAME)
    first, second, last = (row["val_data_loss"] for row in state.history)
    assert first == second < last
    assert state.best_epoch == 3


def larger_on_larger_patches(_: Any, output: Any) -> Any:
    return keras.ops.ones_like(output[:, 0, 0, 0, 0]) * output.shape[1]


larger_on_larger_patches.__name__ = "data_loss"  # as the log has it


def test_averaged_weights_are_in_the_model_only_for_a_while() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(make_optimizer(FittingSettings(ema=0.5, learning_rate=0.1, schedule="constant"), 2), "mse")
    model.optimizer.build(model.trainable_variables)
    first = model.get_weights()[0].item()
    with averaged_weights(model):  # of nothing yet
        assert model.get_weights()[0].item() == first
    seen = []
    for _ in range(2):
        model.optimizer.apply([keras.ops.ones((1, 1))], model.trainable_variables)
        seen.append(model.get_weights()[0].item())
    with averaged_weights(model):
        inside = model.get_weights()[0].item()
    assert inside == pytest.approx(np.mean(seen))
    assert model.get_weights()[0].item() == seen[-1]


@pytest.mark.parametrize(
    ("check_every", "figures", "losses", "best"),
    [
        (1, [0.0, 0.0, 0.0, 0.0], [4.0, 3.0, 2.0, 2.5], 3),
        (1, [0.5, 0.0, 0.5, 0.25], [2.0, 1.0, 3.0, 1.0], 1),
        (2, [0.0, 0.5, 0.5, 0.5], [4.0, 3.0, 2.0, 3.5], 2),  # the figure of epoch 3 is that of epoch 2
    ],
)
def test_the_loss_decides_between_equal_figures(
    check_every: int, figures: list[float], losses: list[float], best: int, tmp_path: Path
) -> None:
    settings = FittingSettings(metric="lesion_f1", check_every=check_every, epochs=4)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(make_optimizer(settings, 2), "mse")
    state = FitState()
    keeper = KeepState(tmp_path, model, settings, state, lambda figures: None)
    keeper.set_model(model)
    for epoch, (figure, loss) in enumerate(zip(figures, losses, strict=True)):
        keeper.on_epoch_end(epoch, {"val_lesion_f1": figure, "val_data_loss": loss})
    assert state.best_epoch == best
    assert [path.name for path in tmp_path.glob("best_*")] == [state.best_name]


def test_waiting_lasts_from_one_check_to_the_next() -> None:
    with pytest.raises(UsageError, match=r"patience: expected 0 or at least check_every \(5\).*, got 3"):
        FittingSettings(metric="lesion_f1", check_every=5, patience=3)
    with pytest.raises(UsageError, match=r"plateau_epochs: expected at least check_every \(5\).*, got 4"):
        FittingSettings(metric="dice", check_every=5, schedule="plateau", plateau_epochs=4)
    FittingSettings(metric="dice", check_every=5, patience=5, plateau_epochs=4)
    FittingSettings(check_volumes=True, check_every=5, patience=3)  # the loss is new after each epoch


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
