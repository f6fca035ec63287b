"""What the flags of `train` mean, up to where the work would begin."""

from pathlib import Path
from typing import Any

import pytest

import shiva_cmb.dataset
import shiva_cmb.training
from shiva_cmb.cli.main import main
from shiva_cmb.networks import ARCHITECTURES, PUBLISHED
from shiva_cmb.training import TrainingSettings

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command with flags and gives the settings that the training would have had."""
    seen: list[TrainingSettings] = []

    def pretend(cases: Any, output: Path, settings: TrainingSettings, **_: Any) -> Path:
        seen.append(settings)
        return output

    monkeypatch.setattr(shiva_cmb.dataset, "read_cases", lambda path: [])
    monkeypatch.setattr(shiva_cmb.training, "train_folds", pretend)

    def run(*flags: str) -> TrainingSettings:
        assert main(["train", "--data", "cases.csv", "-o", "model", *flags]) == 0
        return seen[-1]

    return run


def test_without_flags_the_defaults_hold(settings_of: Any) -> None:
    assert settings_of() == TrainingSettings()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_its_name(name: str, settings_of: Any) -> None:
    settings = settings_of("--network", name, "--patch", "whole")
    assert settings.network == ARCHITECTURES[name]()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_can_be_changed(name: str, settings_of: Any) -> None:
    settings = settings_of("--network", name, "--levels", "4")
    assert settings.network.levels == 4
    assert settings.network.growth == PUBLISHED[name].growth


def test_loss_is_taken(settings_of: Any) -> None:
    assert settings_of("--loss", "focal_tversky:0.3,0.7,3+ce:5,0.1").loss_settings.terms[1].arguments == (
        5,
        0.1,
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--network", "vnet"], "--network vnet: expected one of Unet3Dv2-10.7.2-1.8, ResUnet3D-8.9.2-1.5, "),
        (["--network", "segresnet", "--levels", "3"], "--residual are not for segresnet"),
        (["--network", "unetr"], "train it on whole volumes (patch whole)"),
        (["--loss", "dice+"], "unknown loss ''"),
        (["--loss", "ce:-1"], "expected a positive_weight above 0, got -1.0"),
    ],
)
def test_wrong_flags_are_named(flags: list[str], message: str, capsys: Capture) -> None:
    assert main(["train", "--data", "cases.csv", "-o", "model", *flags]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
