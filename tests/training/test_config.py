"""Settings by plain names: from files, flags and bundles, and back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.named_settings import assignments, merged
from shiva_cmb.networks import ARCHITECTURES, PUBLISHED, PlainUNet
from shiva_cmb.training.augmentation.settings import AUGMENTATIONS
from shiva_cmb.training.config import (
    PRESET_KEYS,
    as_names,
    differences,
    names_of_settings,
    read_config,
    settings_from,
    with_absolute_paths,
)
from shiva_cmb.training.sampling.settings import PRESETS
from shiva_cmb.training.settings import TrainingSettings


def test_names_say_everything() -> None:
    changed = settings_from(
        {
            "folds": 3,
            "patch": "whole",
            "grid": [40, 48, 40],
            "scaling": "zscore",
            "lesion_values": [1, 2],
            "network": {"name": "plain_unet", "filters": [4, 8]},
            "augmentation": {"preset": "heavy", "flip": {"probability": 0.25}},
            "loss": "dice",
            "pick": "fp:0.5",
            "channels": ["swi", "t1"],
        }
    )
    assert changed.sampling.patch is None
    assert changed.patch == (40, 48, 40)
    assert changed.network == PlainUNet(filters=(4, 8))
    assert changed.augmentation.flip.probability == 0.25
    heavy = replace(AUGMENTATIONS["heavy"], flip=changed.augmentation.flip)
    assert changed.augmentation == heavy
    assert changed.values.lesion == (1, 2)
    through_json = json.loads(json.dumps(as_names(changed)))
    assert settings_from(through_json) == changed
    assert {name for name, _, _ in differences(TrainingSettings(), changed)} == {
        *("folds", "patch", "grid", "scaling", "lesion_values", "network", "augmentation", "loss", "pick"),
        "channels",
    }


@pytest.mark.parametrize("name", [*ARCHITECTURES, *PUBLISHED])
def test_every_network_has_its_name(name: str) -> None:
    settings = settings_from({"network": name, "patch": "whole"})
    assert settings_from(as_names(settings)) == settings


@pytest.mark.parametrize("name", PRESETS)
def test_a_sampling_preset_can_be_changed(name: str) -> None:
    settings = settings_from({"sampling": name, "batch_size": 3})
    for field, value in PRESETS[name].items():
        assert getattr(settings.sampling, field) == (3 if field == "batch_size" else value)


def test_names_are_unique() -> None:
    names = names_of_settings()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch': did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs: .*integer.*got 'many'"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        (
            {"patch": [16, 16]},
            r"patch: expected 3 numbers, such as 160,214,176, or one for all, got \[16, 16\]",
        ),
        ({"patch": [16.5, 16, 16]}, "patch: .*integer"),
        ({"augmentation": {"gamma": {"log_range": 1}}}, "augmentation.gamma"),
        ({"sampling": {"patch": 16}}, "patch in place of sampling.patch"),
        ({"seed": -1}, "seed: expected 0 to 2147483647, got -1"),
        ({"seed": 2**31}, "seed: expected 0 to 2147483647"),
        ({"augmentation": "wild"}, "augmentation: expected one of none, "),
        ({"augmentation": {"gama": {}}}, r"augmentation\.gama: unknown"),
        ({"augmentation": {"gamma": {"probability": 2}}}, "probability"),
        ({"sampling": "all"}, "sampling: expected one of whole"),
        ({"network": "vgg"}, "network: expected one of "),
        ({"network": {"name": "segresnet", "depth": 3}}, "network: unknown argument 'depth' of segresnet"),
        ({"schedule": "sawtooth"}, "schedule: "),
    ],
)
def test_slips_are_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings_from(given)


def test_files_count_paths_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: cases.csv\nepochs: 3\naugmentation: {preset: none}\n")
    read = read_config(tmp_path / "a.yaml")
    assert read == {
        "data": str(tmp_path / "cases.csv"),
        "epochs": 3,
        "augmentation": {"preset": "none"},
    }
    (tmp_path / "a.json").write_text(json.dumps({"init": "../model", "cache": None}))
    assert read_config(tmp_path / "a.json") == {"init": str(tmp_path.parent / "model"), "cache": None}


def test_a_configuration_means_the_same_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.yaml").write_text("init: model.h5\noutput: out\n")
    read = read_config(tmp_path / "a.yaml")
    assert read == {"init": str(tmp_path / "model.h5"), "output": str(tmp_path / "out")}
    monkeypatch.chdir(tmp_path / "below")
    assert read_config("../a.yaml") == read
    assert with_absolute_paths({"init": "../model.h5", "epochs": 3}) == {"init": read["init"], "epochs": 3}


def test_a_bundled_models_name_is_no_path_unless_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("init: microbleeds\n")
    assert read_config(tmp_path / "a.yaml") == {"init": "microbleeds"}
    # as the command line gives it
    assert with_absolute_paths({"init": Path("microbleeds")}, tmp_path) == {"init": "microbleeds"}
    (tmp_path / "microbleeds").mkdir()
    assert read_config(tmp_path / "a.yaml") == {"init": str(tmp_path / "microbleeds")}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (
            {"patch": 16, "first_patch": 8, "grow_epochs": 1},
            {"patch": [16] * 3, "first_patch": [8] * 3, "grow_epochs": 1},
        ),
        ({"grid": "64,72,64", "patch": "16x24x16"}, {"grid": [64, 72, 64], "patch": [16, 24, 16]}),
        ({"grid": 64, "spacing_mm": 2.0}, {"grid": [64, 64, 64], "spacing_mm": [2.0, 2.0, 2.0]}),
        ({"stratify": "site", "channels": "t2s"}, {"stratify": ["site"], "channels": ["t2s"]}),
        (
            {"init": "/m", "freeze": "enc", "init_channels": 0},
            {"init": "/m", "freeze": ["enc"], "init_channels": [0]},
        ),
        ({"lesion_values": 1, "ignore_values": "2,3"}, {"lesion_values": [1], "ignore_values": [2, 3]}),
        ({"channels": [1, "a"]}, {"channels": ["1", "a"]}),
    ],
)
def test_one_value_stands_for_several(given: dict[str, object], meant: dict[str, object]) -> None:
    assert settings_from(given) == settings_from(meant)


@pytest.mark.parametrize("text", ["- 1\n", "epocs: 3\n", "a: [", ""])
def test_bad_files_are_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"bad\.yaml") as caught:
        read_config(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_later_names_go_first_and_nested_ones_are_merged() -> None:
    base = {"network": "plain_unet", "augmentation": {"preset": "light", "gamma": {"probability": 0.1}}}
    given = assignments(
        ["network.filters=[4, 8]", "augmentation.gamma.probability=0.5", "epochs=3"], PRESET_KEYS
    )
    both = merged(base, given, PRESET_KEYS)
    assert both == {
        "network": {"name": "plain_unet", "filters": [4, 8]},
        "augmentation": {"preset": "light", "gamma": {"probability": 0.5}},
        "epochs": 3,
    }
    assert settings_from(both).network == PlainUNet(filters=(4, 8))
    assert merged(both, {"network": "segresnet"}, PRESET_KEYS)["network"] == "segresnet"
    in_turn = assignments(["augmentation=heavy", "augmentation.gamma.probability=0.5"], PRESET_KEYS)
    assert in_turn == {"augmentation": {"preset": "heavy", "gamma": {"probability": 0.5}}}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        assignments(["epochs"])


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.yaml")))
def test_the_documented_configurations_are_right(path: Path) -> None:
    settings = settings_from(read_config(path))
    assert settings.network.architecture == "residual_unet"
