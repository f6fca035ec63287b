"""Settings that cannot work are refused before any work."""

import subprocess
import sys
from typing import Any

import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.training import TrainingSettings, settings_from
from shiva_cmb.training.fitting.loss_spec import parse_loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 1}, "folds: expected at least 2, got 1"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"lesion_fraction": 1.5}, "lesion_fraction: expected 0 to 1, got 1.5"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number above 0, got nan"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "sizes above 0"),
        ({"patch": (200, 32, 32)}, r"up to the model grid \(160, 214, 176\), got \(200, 32, 32\)"),
        ({"patch": (4, 32, 32)}, "patch: expected three sizes of at least 8, got"),
        ({"loss": "dice+cross"}, "unknown loss 'cross'"),
        ({"positive_weight": float("inf")}, "loss ce: expected a positive_weight above 0, got inf"),
        ({"network": "unetr"}, "unetr learns a weight for each place: train it on whole volumes"),
    ],
)
def test_bad_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings_from(change)


def test_whole_volumes_are_as_large_as_the_grid() -> None:
    assert settings_from({"patch": "whole"}).patch == (160, 214, 176)


def test_the_weight_of_bleeds_is_for_losses_that_name_none() -> None:
    assert TrainingSettings().fitting.loss_settings == parse_loss("ce:5+dice")
    fitting = settings_from({"loss": "ce+2*ce:7", "positive_weight": 3.0}).fitting
    assert [term.named["positive_weight"] for term in fitting.loss_settings.terms] == [3.0, 7.0]


def test_importing_the_room_leaves_heavy_libraries_alone() -> None:
    heavy = "{'keras', 'tensorflow', 'sklearn'}"
    code = f"import sys, shiva_cmb.training; raise SystemExit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
