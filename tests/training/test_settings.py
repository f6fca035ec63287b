"""Settings that cannot work are refused before any work."""

import json
import subprocess
import sys
from typing import Any

import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.networks import ARCHITECTURES, UNETR, ShivaUNet
from shiva_cmb.training import QUICK, TrainingSettings
from shiva_cmb.training.fitting.loss_spec import parse_loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 1}, "folds: expected at least 2, got 1"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"lesion_fraction": 1.5}, "lesion_fraction: expected 0 to 1, got 1.5"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": float("nan")}, "above 0"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "sizes above 0"),
        ({"patch": (200, 32, 32)}, r"up to the model grid \(160, 214, 176\), got \(200, 32, 32\)"),
        ({"patch": (4, 32, 32)}, "expected 8 voxels up to"),
        ({"loss": "dice+cross"}, "unknown loss 'cross'"),
        ({"positive_weight": float("inf")}, "loss ce: expected a positive_weight above 0, got inf"),
        ({"network": UNETR()}, "unetr learns a weight for each place: train it on whole volumes"),
    ],
)
def test_bad_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingSettings(**change)


def test_whole_volumes_are_as_large_as_the_grid() -> None:
    assert TrainingSettings(patch=None).patch_shape == (160, 214, 176)


def test_settings_fit_into_a_json() -> None:
    settings = json.loads(json.dumps(QUICK.as_dict()))
    assert settings["patch"] == [32, 32, 32]
    assert settings["scaling"]["scheme"] == "p99"
    assert settings["architecture"] == "shiva_unet"
    assert ShivaUNet.from_arguments(settings["network"]) == QUICK.network


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_network_fits_into_a_json(name: str) -> None:
    settings = TrainingSettings(network=ARCHITECTURES[name](), patch=None)
    plain = settings.as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["architecture"] == name


def test_the_weight_of_bleeds_is_for_losses_that_name_none() -> None:
    assert TrainingSettings().loss_settings == parse_loss("ce:5+dice")
    settings = TrainingSettings(loss="ce+2*ce:7", positive_weight=3.0)
    assert [term.named["positive_weight"] for term in settings.loss_settings.terms] == [3.0, 7.0]


def test_importing_the_room_leaves_heavy_libraries_alone() -> None:
    code = "import sys, shiva_cmb.training; raise SystemExit(bool({'keras', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
