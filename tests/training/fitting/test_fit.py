"""Every architecture learns on patches and is saved for the whole grid, alone."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.ensemble.keras_files import refuse_foreign_code
from shiva_cmb.errors import DataError
from shiva_cmb.evaluation.lesion_set import lesions_of_mask
from shiva_cmb.imaging import Grid
from shiva_cmb.networks import (
    UNETR,
    AttentionUNet,
    MonaiUNet,
    NetworkSettings,
    PlainUNet,
    ResidualUNet,
    SegResNet,
    ShivaUNet,
    StemUNet,
    build_network,
)
from shiva_cmb.training import TrainingSettings, settings_from
from shiva_cmb.training.fitting import at_work
from shiva_cmb.training.fitting.fit import FitOptions, FitResult, FoldJob, fit_fold
from shiva_cmb.training.fitting.losses import training_loss
from shiva_cmb.training.fitting.model import FIRST_PROBABILITY, start_from_rarity
from shiva_cmb.training.sampling.hard_negatives import NO_HARD_NEGATIVES, HardNegatives

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")

SHAPE = (13, 19, 11)
NETWORKS: dict[str, NetworkSettings] = {
    "shiva": ShivaUNet(first_filters=4, levels=2, convs=1, growth=1.5, dropout=0.0, head_filters=2),
    "shiva_residual": ShivaUNet(
        first_filters=4, levels=2, growth=1.5, residual=True, dropout=0.0, pool_deepest=False, head_filters=0
    ),
    "plain": PlainUNet(filters=(4, 6)),
    "residual": ResidualUNet(filters=(4, 6, 8), encoder_convs=2, decoder_convs=1, deep_supervision=1),
    "monai": MonaiUNet(filters=(4, 6)),
    "segresnet": SegResNet(first_filters=4, groups=2, blocks_down=(1, 1), blocks_up=(1,)),
    "attention": AttentionUNet(filters=(4, 6)),
    "stem": StemUNet(filters=(6, 8)),
    "unetr": UNETR(first_filters=2, hidden=6, mlp=8, heads=2, layers=3, taps=(0, 1, 2)),
}


def dots(name: str, seed: int) -> PreparedCase:
    """A bright head with dark dots of 8 voxels."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0.8, 1.0, SHAPE).astype(np.float32)
    label = np.zeros(SHAPE, np.uint8)
    for x, y, z in ((3, 4, 3), (8, 13, 7)):
        label[x : x + 2, y : y + 2, z : z + 2] = 1
    image[label > 0] = 0.1
    return PreparedCase(
        name=name,
        patient=name,
        image=image[..., None],
        brain=np.ones(SHAPE, np.uint8),
        label=label,
        lesions=lesions_of_mask(label == 1, Grid(SHAPE, np.eye(4))),
        brain_box=np.array([[0, 0, 0], [n - 1 for n in SHAPE]], np.intp),
        fingerprint=name,
    )


def settings_for(network: NetworkSettings, **names: Any) -> TrainingSettings:
    """Few and fast steps on the dots."""
    usual = {
        "grid": SHAPE,
        "patch": "whole" if network.fixed_size else (12, 12, 9),
        "network": {"name": network.architecture, **network.as_arguments()},
        "augmentation": "none",
        "epochs": 2,
        "steps_per_epoch": 2,
        "batch_size": 4,
        "learning_rate": 1e-2,
    }
    return settings_from(usual | names)


def fit(folder: Path, settings: TrainingSettings, init: Path | None = None) -> tuple[FitResult, list[Any]]:
    """Train on two cases; what came out, and the figures of each epoch."""
    rows: list[Mapping[str, float]] = []
    folder.mkdir(exist_ok=True)
    job = FoldJob(folder, [dots("a", 0), dots("b", 1)], [dots("c", 2)], seed=0, init=init)
    notes = pytest.fail if init is None else list[str]().append
    return fit_fold(job, settings, FitOptions(), rows.append, notes), rows


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Tracing the graph of a training step takes longer than some steps without one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_learns_and_is_saved_for_the_grid(name: str, tmp_path: Path) -> None:
    result, rows = fit(tmp_path / "fold_0", settings_for(NETWORKS[name]))
    first, second = (row["val_data_loss"] for row in rows)
    assert second < first
    assert result.best_epoch == 2
    assert {**result.figures, "best_epoch": 2} == rows[1]
    names = {path.name for path in (tmp_path / "fold_0").iterdir()}
    assert names == {"fold.h5", "state.npz", "log.csv", "best_2.weights.h5"}
    with (tmp_path / "fold_0" / "log.csv").open() as file:
        logged = [float(row["val_data_loss"]) for row in csv.DictReader(file)]
    assert logged == pytest.approx([first, second], rel=1e-4)
    refuse_foreign_code(result.path)
    model = keras.models.load_model(result.path)
    assert model.output_shape == (None, *SHAPE, 1)
    assert model.layers[-1].name == "probability"
    probability = np.asarray(model(dots("d", 3).image[None]))
    assert 0 < probability.min() < probability.max() < 1


@pytest.mark.parametrize("name", NETWORKS)
def test_untrained_outputs_are_near_the_first_probability(name: str) -> None:
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]
    model = build_network(network.architecture, network.as_arguments(), (*SHAPE, 1), training=True)
    start_from_rarity(model)
    outputs = np.asarray(keras.ops.sigmoid(model(dots("a", 0).image[None])))
    means = outputs.mean(axis=(0, 1, 2, 3))
    assert (means > FIRST_PROBABILITY / 10).all()
    assert (means < FIRST_PROBABILITY * 10).all()


def going_astray(monkeypatch: pytest.MonkeyPatch, rate: float, **names: Any) -> TrainingSettings:
    """Settings of three epochs of three batches, of which the last goes astray."""
    steps = keras.optimizers.schedules.PiecewiseConstantDecay([5], [1e-2, rate])
    monkeypatch.setattr(at_work, "make_optimizer", lambda *_: keras.optimizers.Adam(steps))
    return settings_for(
        replace(PlainUNet(filters=(4, 6)), l2=0.0),
        patch="whole",
        loss="focal_tversky+2*bce",
        epochs=3,
        steps_per_epoch=3,
        batch_size=1,
        **names,
    )


@pytest.mark.usefixtures("eagerly")
def test_the_best_weights_are_the_saved_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation loss that is reported can be had again from the saved network, not from a later one."""
    settings = going_astray(monkeypatch, 5.0)
    result, _ = fit(tmp_path / "fold_0", settings)
    assert result.best_epoch < settings.fitting.epochs
    model = keras.models.load_model(result.path)
    loss = training_loss(settings.fitting.loss_settings)
    checked = dots("c", 2)
    probability = np.asarray(model(checked.image[None]), np.float64)
    again = loss(checked.label[None, ..., None], np.log(probability) - np.log1p(-probability))
    assert result.figures["val_data_loss"] == pytest.approx(float(again[0]), rel=1e-3)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("metric", ["loss", "lesion_f1"])
def test_a_fold_that_goes_astray_names_its_last_good_checkpoint(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = going_astray(monkeypatch, 1e30, metric=metric)
    with pytest.raises(DataError, match="in epoch 3: try a tenth of the learning rate") as caught:
        fit(tmp_path / "fold_0", settings)
    message = str(caught.value)
    assert "\n" not in message
    state = tmp_path / "fold_0" / "state.npz"
    (best,) = (tmp_path / "fold_0").glob("best_*.weights.h5")
    assert f"of epoch 2, is {state}" in message
    assert str(best) in message
    assert not (tmp_path / "fold_0" / "fold.h5").exists()
    with np.load(state) as stored:
        assert all(np.isfinite(stored[name]).all() for name in stored.files if name != "state")


@pytest.mark.usefixtures("eagerly")
def test_patches_grow_and_false_positives_are_looked_for(tmp_path: Path) -> None:
    """Stages of other patches go on with the same weights, and keep what they found."""
    settings = settings_for(
        NETWORKS["plain"],
        patch=(12, 16, 8),
        first_patch=(8, 8, 8),
        grow_epochs=2,
        epochs=4,
        batch_size=2,
        hard_negative_fraction=0.5,
        mine_every_epochs=3,
        mine_threshold=0.001,
        ema=0.5,
    )
    result, rows = fit(tmp_path / "fold_0", settings)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["val_data_loss"] < rows[0]["val_data_loss"]
    found = (tmp_path / "fold_0").glob("hard_negatives_*.json")
    assert [path.name for path in found] == ["hard_negatives_3.json"]
    assert keras.models.load_model(result.path).input_shape == (None, *SHAPE, 1)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("freeze_epochs", [None, 1])
def test_frozen_parts_stay_as_they_are_until_they_thaw(
    freeze_epochs: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """False positives are looked for right then, when there are no averages of the thawed weights yet."""
    maps = []

    def look(_: Any, predict: Callable[[PreparedCase], Any], *__: Any) -> HardNegatives:
        maps.append(predict(dots("d", 3)))
        return NO_HARD_NEGATIVES

    monkeypatch.setattr(at_work, "mine", look)
    source = tmp_path / "source.h5"
    network = NETWORKS["plain"]
    keras.utils.set_random_seed(9)
    build_network(network.architecture, network.as_arguments(), (*SHAPE, 1)).save(source)
    settings = settings_for(
        network,
        init=str(source),
        freeze=["encoder"],
        freeze_epochs=freeze_epochs,
        batch_size=2,
        hard_negative_fraction=0.5,
        mine_every_epochs=1,
        ema=0.5,
    )
    result, _ = fit(tmp_path / "fold_0", settings, source)
    before, after = (keras.models.load_model(path, compile=False) for path in (source, result.path))
    changed = {
        layer.name: any(
            not np.array_equal(one, other)
            for one, other in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True)
        )
        for layer in before.layers
        if layer.trainable_weights
    }
    encoder = [value for name, value in changed.items() if name.startswith("enc")]
    assert encoder
    assert all(encoder) if freeze_epochs else not any(encoder)
    assert all(value for name, value in changed.items() if not name.startswith("enc"))
    assert result.transfer is not None
    (mined,) = maps
    assert mined.std() > 0  # a network of zeros says the same everywhere
