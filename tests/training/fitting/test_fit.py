"""Every architecture learns on patches and is saved for the whole grid, alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.ensemble.keras_files import refuse_foreign_code
from shiva_cmb.networks import (
    UNETR,
    AttentionUNet,
    MonaiUNet,
    NetworkSettings,
    PlainUNet,
    ResidualUNet,
    SegResNet,
    build_network,
)
from shiva_cmb.training import TrainingSettings
from shiva_cmb.training.fitting import fit
from shiva_cmb.training.fitting.fit import FIRST_PROBABILITY, fit_fold, start_from_rarity
from shiva_cmb.training.fitting.losses import training_loss

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")

SHAPE = (13, 19, 11)
NETWORKS: dict[str, NetworkSettings] = {
    "plain": PlainUNet(filters=(4, 6)),
    "residual": ResidualUNet(filters=(4, 6, 8), encoder_convs=2, decoder_convs=1, deep_supervision=1),
    "monai": MonaiUNet(filters=(4, 6)),
    "segresnet": SegResNet(first_filters=4, groups=2, blocks_down=(1, 1), blocks_up=(1,)),
    "attention": AttentionUNet(filters=(4, 6)),
    "unetr": UNETR(first_filters=2, hidden=6, mlp=8, heads=2, layers=3, taps=(0, 1, 2)),
}


def dots(name: str, seed: int) -> PreparedCase:
    """A bright head with dark dots of 8 voxels."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0.8, 1.0, SHAPE).astype(np.float32)
    label = np.zeros(SHAPE, np.uint8)
    bleeds = np.array([[3, 4, 3], [8, 13, 7]], np.intp)
    for x, y, z in bleeds:
        label[x : x + 2, y : y + 2, z : z + 2] = 1
    image[label > 0] = 0.1
    box = np.array([[0, 0, 0], [n - 1 for n in SHAPE]], np.intp)
    return PreparedCase(name, image, label, bleeds, box)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Tracing the graph of a training step takes longer than some steps without one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_learns_and_is_saved_for_the_grid(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    settings = TrainingSettings(
        shape=SHAPE,
        patch=None if network.fixed_size else (12, 12, 9),
        network=network,
        epochs=2,
        steps_per_epoch=2,
        batch_size=10,
        learning_rate=1e-2,
    )
    losses: list[float] = []
    result = fit_fold(
        [dots("a", 0), dots("b", 1)],
        [dots("c", 2)],
        settings,
        0,
        tmp_path / "fold.h5",
        lambda epoch, loss, checked: losses.append(checked),
    )
    assert losses[1] < losses[0]
    assert result.validation_loss == pytest.approx(losses[1])
    assert [path.name for path in tmp_path.iterdir()] == ["fold.h5"]
    refuse_foreign_code(tmp_path / "fold.h5")
    model = keras.models.load_model(tmp_path / "fold.h5")
    assert model.output_shape == (None, *SHAPE, 1)
    assert model.layers[-1].name == "probability"
    probability = np.asarray(model(dots("d", 3).image[None, ..., None]))
    assert 0 < probability.min() < probability.max() < 1


@pytest.mark.parametrize("name", NETWORKS)
def test_untrained_outputs_are_near_the_first_probability(name: str) -> None:
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]
    model = build_network(network.architecture, network.as_arguments(), (*SHAPE, 1), training=True)
    start_from_rarity(model)
    outputs = np.asarray(keras.ops.sigmoid(model(dots("a", 0).image[None, ..., None])))
    means = outputs.mean(axis=(0, 1, 2, 3))
    assert (means > FIRST_PROBABILITY / 10).all()
    assert (means < FIRST_PROBABILITY * 10).all()


@pytest.mark.usefixtures("eagerly")
def test_the_best_weights_are_the_saved_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation loss that is reported can be had again from the saved network, not from a later one."""
    # the last epoch of three batches goes astray
    steps = keras.optimizers.schedules.PiecewiseConstantDecay([5], [1e-2, 5.0])
    monkeypatch.setattr(fit, "learning_rate", lambda settings: steps)
    settings = TrainingSettings(
        shape=SHAPE,
        patch=None,
        network=replace(NETWORKS["plain"], l2=0.0),
        loss="focal_tversky+2*bce",
        epochs=3,
        steps_per_epoch=3,
        batch_size=1,
        learning_rate=1e-2,
    )
    checked = dots("c", 2)
    path = tmp_path / "fold.h5"
    result = fit_fold([dots("a", 0)], [checked], settings, 0, path, lambda *_: None)
    assert result.best_epoch < settings.epochs
    model = keras.models.load_model(path)
    loss = training_loss(settings.loss_settings)
    probability = np.asarray(model(checked.image[None, ..., None]), np.float64)
    again = loss(checked.label[None, ..., None], np.log(probability) - np.log1p(-probability))
    assert result.validation_loss == pytest.approx(float(again[0]), rel=1e-3)
