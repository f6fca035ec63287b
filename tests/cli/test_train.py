"""What the flags of `train` mean, up to where the work would begin."""

import json
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import shiva_cmb.cli.train
import shiva_cmb.dataset
import shiva_cmb.training
from shiva_cmb.cli.main import main
from shiva_cmb.cli.train import train
from shiva_cmb.dataset.cases import Dataset
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.errors import UsageError
from shiva_cmb.named_settings import assignments
from shiva_cmb.networks import ARCHITECTURES, PUBLISHED
from shiva_cmb.training import RunOptions, TrainingSettings, settings_from
from shiva_cmb.training.config import RUN_NAMES, names_of_settings
from shiva_cmb.training.run import Run, begin

Capture = pytest.CaptureFixture[str]
NO_CONFIG_NAMES = {
    *("config", "set_", "resume", "fold"),  # of this call alone
    "modality",  # one of `channels`
    *("filters", "levels", "growth", "residual"),  # of `network`
}
"""Flags that are no names of a configuration."""


class Calls:
    """Runs the command with flags, up to where the work would begin."""

    def __init__(self) -> None:
        self.dataset = Dataset(Path("cases.csv"), ("image",), (), LabelValues())
        self.settings: TrainingSettings
        self.options: RunOptions
        self.output: Path
        self.cases: Any

    def train_folds(
        self, cases: Any, output: Path, settings: TrainingSettings, options: RunOptions, **_: Any
    ) -> Path:
        self.cases, self.output, self.settings, self.options = cases, output, settings, options
        return output

    def __call__(self, *flags: str) -> TrainingSettings:
        assert main(["train", "--data", "cases.csv", "-o", "model", *flags]) == 0
        return self.settings


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Gives the settings that the training would have had."""
    calls = Calls()
    monkeypatch.setattr(shiva_cmb.dataset, "read_dataset", lambda path: calls.dataset)
    monkeypatch.setattr(shiva_cmb.training, "train_folds", calls.train_folds)
    return calls


def test_without_flags_the_defaults_hold(settings_of: Calls) -> None:
    assert settings_of() == TrainingSettings()
    assert settings_of.options == RunOptions()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_its_name(name: str, settings_of: Calls) -> None:
    settings = settings_of("--network", name, "--patch", "whole")
    assert settings.network == ARCHITECTURES[name]()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_can_be_changed(name: str, settings_of: Calls) -> None:
    settings = settings_of("--network", name, "--levels", "4")
    assert settings.network.levels == 4
    assert settings.network.growth == PUBLISHED[name].growth


def test_loss_is_taken(settings_of: Calls) -> None:
    fitting = settings_of("--loss", "focal_tversky:0.3,0.7,3+ce:5,0.1").fitting
    assert fitting.loss_settings.terms[1].arguments == (5, 0.1)


def test_flags_are_settings(settings_of: Calls) -> None:
    flags = (
        "--folds 3 --stratify site --stratify field --seed 7 --grid 40,48,32 --spacing-mm 2 --scaling zscore"
    )
    flags += " --mask-input --modality t2s --lesion-values 1,2 --ignore-values 3 --filters 4 --residual"
    flags += " --epochs 9 --steps 5 --batch-size 2 --lr 0.01 --optimizer adamw --schedule plateau"
    flags += (
        " --precision bf16 --metric dice --patience 4 --deterministic --patch 16,24,16 --sampling per_lesion"
    )
    flags += " --augmentation heavy --init first --freeze enc0 --freeze enc1 --pick fp:0.5 --temperature"
    expected = settings_from(
        {
            "folds": 3,
            "stratify": ["site", "field"],
            "seed": 7,
            "grid": [40, 48, 32],
            "spacing_mm": [2, 2, 2],
            "scaling": "zscore",
            "mask_input": True,
            "channels": ["t2s"],
            "lesion_values": [1, 2],
            "ignore_values": [3],
            "network": {"first_filters": 4, "residual": True},
            "epochs": 9,
            "steps_per_epoch": 5,
            "batch_size": 2,
            "learning_rate": 0.01,
            "optimizer": "adamw",
            "schedule": "plateau",
            "precision": "bf16",
            "metric": "dice",
            "patience": 4,
            "deterministic": True,
            "patch": [16, 24, 16],
            "sampling": "per_lesion",
            "augmentation": "heavy",
            "init": str(Path("first").resolve()),
            "freeze": ["enc0", "enc1"],
            "pick": "fp:0.5",
            "temperature": True,
        }
    )
    assert settings_of(*flags.split()) == expected


def test_how_the_work_is_done_is_no_setting(settings_of: Calls, tmp_path: Path) -> None:
    flags = "--resume --fold 1 --folds-file f.json --cache c --processes 2 --workers 3 --tensorboard"
    assert settings_of(*flags.split()) == TrainingSettings()
    assert settings_of.options == RunOptions(
        resume=True,
        fold=1,
        folds_file=Path("f.json").absolute(),
        cache=Path("c").absolute(),
        processes=2,
        workers=3,
        tensorboard=True,
    )
    (tmp_path / "c.yaml").write_text("devices: [0, 1]\ncache: kept\nfolds_file: f.json\n")
    for flag in (["--devices", "0,1"], ["--config", str(tmp_path / "c.yaml")]):
        settings_of(*flag)
        assert settings_of.options.devices == ("0", "1")
    assert settings_of.options.cache == tmp_path / "kept"
    assert settings_of.options.folds_file == tmp_path / "f.json"


def test_set_goes_before_flags_and_flags_before_the_configuration(settings_of: Calls, tmp_path: Path) -> None:
    config = {
        "epochs": 3,
        "seed": 3,
        "patch": [16, 16, 16],
        "augmentation": {"preset": "light", "flip": {"probability": 0.25}},
        "network": {"name": "plain_unet", "convs": 1},
    }
    (tmp_path / "c.json").write_text(json.dumps(config))
    flags = ["--epochs", "4", "--seed", "4", "--set", "seed=5", "--set", "augmentation.gamma.probability=0.5"]
    settings = settings_of("--config", str(tmp_path / "c.json"), *flags, "--set", "network.filters=[4, 8]")
    assert settings == settings_from(
        {
            "epochs": 4,
            "seed": 5,
            "patch": [16, 16, 16],
            "augmentation": {
                "preset": "light",
                "flip": {"probability": 0.25},
                "gamma": {"probability": 0.5},
            },
            "network": {"name": "plain_unet", "convs": 1, "filters": [4, 8]},
        }
    )


def test_a_configuration_may_say_everything(settings_of: Calls, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: cases.csv\noutput: model\nepochs: 3\n")
    assert main(["train", "--config", str(tmp_path / "c.yaml")]) == 0
    assert settings_of.settings == settings_from({"epochs": 3})
    assert settings_of.output == tmp_path / "model"


def test_the_list_of_cases_says_what_its_images_and_values_are(settings_of: Calls) -> None:
    settings_of.dataset = Dataset(Path("d.json"), ("swi", "t1"), (), LabelValues((2,), (3,)))
    expected = {"channels": ["swi", "t1"], "lesion_values": [2], "ignore_values": [3]}
    assert settings_of() == settings_from(expected)
    assert settings_of("--lesion-values", "4") == settings_from(expected | {"lesion_values": [4]})


def test_what_was_begun_goes_on_without_data(settings_of: Calls, tmp_path: Path, capsys: Capture) -> None:
    settings = settings_from({"epochs": 3, "network": "plain_unet", "augmentation": "heavy"})
    begin(Run(tmp_path / "model"), settings, ())
    assert main(["train", "-o", str(tmp_path / "model"), "--resume"]) == 0
    assert settings_of.settings == settings
    assert settings_of.options.resume
    assert main(["train", "-o", str(tmp_path / "new"), "--resume"]) == 2
    assert capsys.readouterr().err.startswith("error: --data is missing")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-o", "model"], "error: --data is missing: name a table of cases"),
        (["--data", "cases.csv"], "error: -o is missing: name a folder for the model"),
    ],
)
def test_what_is_missing_is_one_line(flags: list[str], message: str, capsys: Capture) -> None:
    assert main(["train", *flags]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--network", "vnet"], "network: expected one of Unet3Dv2-10.7.2-1.8, ResUnet3D-8.9.2-1.5, "),
        (["--network", "segresnet", "--levels", "3"], "unknown argument 'levels' of segresnet"),
        (["--network", "unetr"], "train it on whole volumes (patch whole)"),
        (["--loss", "dice+"], "unknown loss ''"),
        (["--loss", "ce:-1"], "expected a positive_weight above 0, got -1.0"),
        (["--grid", "40,48"], "grid: expected 3 numbers, such as 160,214,176, or one for all, got '40,48'"),
        (["--patch", "16.5"], "patch: input should be a valid integer, got '16.5'"),
        (["--lesion-values", "a"], "lesion_values: input should be a valid integer, got 'a'"),
        (["--set", "epochs"], "--set epochs: expected NAME=VALUE"),
        (["--set", "epoch=3"], "unknown setting 'epoch': did you mean 'epochs'?"),
        (["--pick", "best"], "pick: "),
    ],
)
def test_wrong_flags_are_named(flags: list[str], message: str, settings_of: Calls, capsys: Capture) -> None:
    assert main(["train", "--data", "cases.csv", "-o", "model", *flags]) == 2
    shown = capsys.readouterr().err
    assert message in shown.replace("\n", " ")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    "slip",
    [
        *("processes=abc", "workers=null", "replicas=0", "tensorboard=maybe", "devices=null", "devices={}"),
        *("network=5", "network=null", "network=[1]", "network={name: [1]}", "network={name: null}"),
        *("augmentation=5", "augmentation=null", "augmentation={preset: [1]}", "augmentation={gamma: 1}"),
        *("sampling=[1]", "sampling={}", "sampling=null", "sampling.patch=3"),
        *("scaling=5", "scaling={scheme: [1]}", "grid=null", "stratify=null", "freeze={}", "channels=[[1]]"),
        *(
            "output=5",
            "data=5",
            "cache=5",
            "folds_file=5",
            "init=5",
            "output=[a]",
            "cache=~nobody_of_this_name/a",
        ),
        *("seed=-1", "seed=1e99", "epochs.x=1", "epochs=2020-01-01", "epochs=.inf", "lesion_values=a,b"),
    ],
)
def test_slips_are_one_line(slip: str, settings_of: Calls, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(assignments([slip])))
    for flags in (
        ["--set", slip],
        ["--config", str(tmp_path / "c.yaml")],
        ["--set", "epochs=3", "--set", slip],
    ):
        assert main(["train", "--data", "cases.csv", "-o", "model", *flags]) == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert slip.partition("=")[0].partition(".")[0] in shown


def test_devices_and_switches_are_taken_as_meant(settings_of: Calls) -> None:
    for written in ("0", "cpu", "cpu,0", "[cpu, 0]"):
        settings_of("--set", f"devices={written}", "--set", "tensorboard='no'")
        assert settings_of.options.devices == tuple(written.strip("[]").replace(" ", "").split(","))
        assert not settings_of.options.tensorboard


def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` hands on what it is given by its parameters' names."""
    arrived: dict[str, Any] = {}

    def names(flags: dict[str, Any]) -> Any:
        arrived.update(flags)
        raise UsageError("that will do")

    monkeypatch.setattr(shiva_cmb.cli.train, "_names", names)
    app = typer.Typer(add_completion=False)
    app.command()(train)
    flags, expected = [], {}
    for number, parameter in enumerate(typer.main.get_command(app).params, start=1):
        is_switch = getattr(parameter, "is_flag", False)
        flags += [parameter.opts[0]] + ([] if is_switch else [str(number)])
        expected[parameter.name] = "True" if is_switch else str(number)
    assert main(["train", *flags]) == 2
    given = {name: value[0] if isinstance(value, list) else value for name, value in arrived.items()}
    assert {name: str(value).removesuffix(".0") for name, value in given.items()} == expected
    assert len(expected) == len(signature(train).parameters)


def test_flags_and_names_of_a_configuration_are_the_same() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(train)
    flags = {parameter.name for parameter in typer.main.get_command(app).params} - NO_CONFIG_NAMES
    assert flags >= set(RUN_NAMES)
    assert flags <= {*names_of_settings(), *RUN_NAMES}
