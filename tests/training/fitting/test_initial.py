"""Trained weights get to where they mean the same, and what became of each is told."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from shiva_cmb.ensemble import FoldFile, write_bundle
from shiva_cmb.ensemble.descriptor import ShivaCmbPart
from shiva_cmb.errors import ModelError, UsageError
from shiva_cmb.networks import build_network
from shiva_cmb.training.fitting.initial import freeze, initial_weights, source_of_fold, stages
from shiva_cmb.training.fitting.initial_settings import InitialSettings
from tests.networks.one_function import trained_looking

SHAPE = (6, 5, 7)
PLAIN = {"filters": [2, 3]}
ANY = InitialSettings(init="some.h5")

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")


def plain(channels: int = 1, *, training: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_network("plain_unet", PLAIN, (*SHAPE, channels), training=training)


def foreign(
    path: Path, *, classes: int = 1, last: str = "softmax", names: bool = True, mixed: bool = False
) -> keras.Model:
    """A trained network like `plain`, whose end is another; without names it is that of some other tool."""
    trained = trained_looking("plain_unet", PLAIN, SHAPE)
    features = trained.layers[-2].output
    if mixed:
        features = layers.Conv3D(2, 1, name="mix")(features)
    outputs = layers.Conv3D(classes, 1, name="probability")(features)
    model = keras.Model(trained.input, layers.Activation(last, name="end")(outputs))
    rng = np.random.default_rng(7)
    kernel, bias = rng.normal(size=(1, 1, 1, 2, classes)), rng.normal(size=classes)
    model.get_layer("probability").set_weights([kernel, bias])
    if not names:
        weights = model.get_weights()
        model = keras.models.clone_model(model, clone_function=_renamed)
        model.set_weights(weights)
    model.save(path)
    return model


def _renamed(layer: layers.Layer) -> layers.Layer:
    return type(layer).from_config(layer.get_config() | {"name": f"x_{layer.name}_{layer.name[::-1]}"})


def image(channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((2, *SHAPE, channels), dtype=np.float32)


def answer(model: keras.Model, given: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(model(given, training=False)))


def test_the_same_network_is_taken_as_it_is(tmp_path: Path) -> None:
    trained = trained_looking("plain_unet", PLAIN, SHAPE)
    trained.save(tmp_path / "fold_0.h5")
    network = plain(training=True)
    transfer = initial_weights(tmp_path / "fold_0.h5", network, ANY)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-answer(network, image()))), answer(trained, image()), atol=1e-6
    )
    assert transfer.lines == (f"13 of 13 layers with weights start as they are in {tmp_path / 'fold_0.h5'}",)
    assert set(transfer.as_dict()["layers"].values()) == {"taken"}


def test_two_classes_become_one_exactly(tmp_path: Path) -> None:
    source = foreign(tmp_path / "two.keras", classes=2)
    network = plain()
    transfer = initial_weights(tmp_path / "two.keras", network, ANY)
    np.testing.assert_allclose(answer(network, image())[..., 0], answer(source, image())[..., 1], atol=1e-6)
    assert transfer.as_dict()["layers"]["probability"] == "class 1 against 0 of 2"
    assert transfer.lines[1:] == ("probability: class 1 against 0 of 2",)


def test_of_five_exclusive_classes_two_are_compared(tmp_path: Path) -> None:
    source = foreign(tmp_path / "five.h5", classes=5)
    network = plain()
    initial_weights(tmp_path / "five.h5", network, InitialSettings(init_class=3, init_background=4))
    given = answer(source, image())
    expected = given[..., 3] / (given[..., 3] + given[..., 4])
    np.testing.assert_allclose(answer(network, image())[..., 0], expected, atol=1e-6)


def test_of_several_independent_classes_one_is_taken(tmp_path: Path) -> None:
    source = foreign(tmp_path / "three.h5", classes=3, last="sigmoid")
    network = plain()
    transfer = initial_weights(tmp_path / "three.h5", network, InitialSettings(init_class=2))
    np.testing.assert_allclose(answer(network, image())[..., 0], answer(source, image())[..., 2], atol=1e-6)
    assert transfer.as_dict()["layers"]["probability"] == "class 2 of 3"
    with pytest.raises(UsageError, match="init_class: expected 0 to 2, as the source has 3 classes, got 5"):
        initial_weights(tmp_path / "three.h5", plain(), InitialSettings(init_class=5))


def test_more_channels_share_the_weights_of_one(tmp_path: Path) -> None:
    trained = trained_looking("plain_unet", PLAIN, SHAPE)
    trained.save(tmp_path / "one.h5")
    network = plain(channels=3)
    transfer = initial_weights(tmp_path / "one.h5", network, ANY)
    thrice = np.repeat(image(), 3, axis=-1)
    np.testing.assert_allclose(answer(network, thrice), answer(trained, image()), atol=1e-6)
    assert transfer.as_dict()["layers"]["enc0_conv0"] == "channels 1 -> 3 (each from 0, 0, 0)"


def test_channels_are_chosen_at_the_image_alone(tmp_path: Path) -> None:
    """Two channels exchanged; inner layers have two channels as well."""
    trained = plain(channels=2)
    trained.save(tmp_path / "two.h5")
    network = plain(channels=2)
    transfer = initial_weights(tmp_path / "two.h5", network, InitialSettings(init_channels=(1, 0)))
    given = image(channels=2)
    np.testing.assert_allclose(answer(network, given[..., ::-1]), answer(trained, given), atol=1e-6)
    assert [layer for layer, how in transfer.origins if how != "taken"] == ["enc0_conv0"]
    # The other channel of a source of two has been 0, as in training with a missing one.
    one = plain(channels=1)
    initial_weights(tmp_path / "two.h5", one, InitialSettings(init_channels=(1,)))
    given[..., 0] = 0
    np.testing.assert_allclose(answer(one, given[..., 1:]), answer(trained, given), atol=1e-6)
    with pytest.raises(UsageError, match=r"init_channels: expected 1 numbers .* from 0 to 1 .*got"):
        initial_weights(tmp_path / "two.h5", one, InitialSettings(init_channels=(2,)))


def test_every_layer_that_sees_the_image_is_changed(tmp_path: Path) -> None:
    """MONAI's network has two, behind what makes odd sizes even."""
    trained = trained_looking("monai_unet", PLAIN, SHAPE)
    trained.save(tmp_path / "one.h5")
    network = build_network("monai_unet", PLAIN, (*SHAPE, 2))
    initial_weights(tmp_path / "one.h5", network, ANY)
    np.testing.assert_allclose(
        answer(network, np.repeat(image(), 2, axis=-1)), answer(trained, image()), atol=1e-6
    )


def test_layers_of_other_names_are_taken_in_order(tmp_path: Path) -> None:
    source = foreign(tmp_path / "other.h5", classes=2, names=False)
    network = plain()
    transfer = initial_weights(tmp_path / "other.h5", network, ANY)
    np.testing.assert_allclose(answer(network, image())[..., 0], answer(source, image())[..., 1], atol=1e-6)
    how = transfer.as_dict()["layers"]
    assert how["enc0_conv0"] == "taken by order from x_enc0_conv0_0vnoc_0cne"
    assert how["probability"].endswith(", class 1 against 0 of 2")


def test_only_ends_stand_for_ends_and_beginnings_for_beginnings(tmp_path: Path) -> None:
    """Even if layers within have as many channels as the image, or as many filters as there are classes."""
    foreign(tmp_path / "other.h5", classes=2, names=False, mixed=True)
    how = initial_weights(tmp_path / "other.h5", plain(channels=2), ANY).as_dict()["layers"]
    assert how["enc0_conv0"].startswith("taken by order from x_enc0_conv0_")
    assert how["enc0_conv0"].endswith(", channels 1 -> 2 (each from 0, 0)")
    assert how["enc0_conv1"].startswith("taken by order from x_enc0_conv1_")
    assert how["probability"].startswith("taken by order from x_probability_")


def test_what_does_not_fit_is_left_and_told(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    build_network("residual_unet", {"filters": [2, 3, 4]}, (*SHAPE, 1)).save(tmp_path / "narrow.h5")
    wide = {"filters": [2, 3, 5], "deep_supervision": 1}
    network = build_network("residual_unet", wide, (*SHAPE, 1), training=True)
    before = network.get_layer("enc2_0_conv").get_weights()[0]
    how = initial_weights(tmp_path / "narrow.h5", network, ANY).as_dict()["layers"]
    assert how["enc2_0_conv"] == "left as initialised (shapes (3, 3, 3, 3, 5) vs (3, 3, 3, 3, 4))"
    assert how["probability_1"] == "left as initialised (not in the source)"
    assert how["enc1_0_conv"] == "taken"
    np.testing.assert_array_equal(network.get_layer("enc2_0_conv").get_weights()[0], before)


def test_a_file_that_fits_nowhere_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((*SHAPE, 1))
    keras.Model(inputs, layers.Conv3D(1, 5)(inputs)).save(tmp_path / "other.h5")
    with pytest.raises(ModelError, match=r"no layer of .*other.h5 fits the network plain_unet"):
        initial_weights(tmp_path / "other.h5", plain(), ANY)


def bundle(folder: Path, *validation: tuple[str, ...]) -> Path:
    plain().save(folder / "x.h5")
    folds = [FoldFile(folder / "x.h5", validation_cases=names) for names in validation]
    return write_bundle(folder / "model", folds, ShivaCmbPart()).folder


def test_a_fold_starts_from_one_that_has_not_seen_its_validation_cases(tmp_path: Path) -> None:
    folder = bundle(tmp_path, ("a", "b"), ("c", "d"), ("e",))
    for fold, validation, expected in [(1, ["c", "d"], 1), (0, ["c"], 1), (4, ["new"], 1), (2, ["new"], 2)]:
        source = source_of_fold(str(folder), fold, validation, note=pytest.fail)
        assert source == folder / f"fold_{expected}.h5"
    notes: list[str] = []
    assert source_of_fold(str(folder), 2, ["a", "c", "d", "z"], note=notes.append) == folder / "fold_1.h5"
    assert len(notes) == 1
    assert "fold 2 starts from" in notes[0]
    assert "trained on 1 of its 4 validation cases (a)" in notes[0]


def test_sources_that_do_not_say_what_they_saw_are_named(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = bundle(tmp_path, (), ())
    assert source_of_fold(str(folder), 1, ["a"], note=notes.append) == folder / "fold_1.h5"
    assert source_of_fold(str(tmp_path / "x.h5"), 1, ["a"], note=notes.append) == tmp_path / "x.h5"
    assert all("does not say which cases" in text for text in notes)
    assert len(notes) == 2
    with pytest.raises(ModelError, match="nowhere"):
        source_of_fold(str(tmp_path / "nowhere"), 0, [])


def test_frozen_parts_do_not_learn(tmp_path: Path) -> None:
    network = plain()
    assert stages(network) == ("enc0", "enc1", "dec0", "probability")
    freeze(network, ("enc1", "probability"))
    assert {variable.path.split("_")[0] for variable in network.trainable_variables} == {"enc0", "dec0"}
    before = network.get_layer("enc1_norm0").moving_mean.numpy()
    network(image(), training=True)
    np.testing.assert_array_equal(network.get_layer("enc1_norm0").moving_mean.numpy(), before)
    assert network.get_layer("enc0_norm0").moving_mean.numpy().any()


def test_all_of_a_kind_can_be_frozen() -> None:
    for name in ("enc", "encoder"):
        network = plain()
        freeze(network, (name,))
        assert {variable.path.split("_")[0] for variable in network.trainable_variables} == {
            "dec0",
            "probability/kernel",
            "probability/bias",
        }


def test_what_cannot_be_frozen_is_said() -> None:
    with pytest.raises(UsageError, match="no part 'enc7': it has enc0, enc1, dec0, probability"):
        freeze(plain(), ("enc0", "enc7"))
    with pytest.raises(UsageError, match="nothing of plain_unet would be left to learn"):
        freeze(plain(), ("encoder", "decoder", "probability"))
