"""What a training cannot start from is said."""

from typing import Any

import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.training.fitting.initial_settings import InitialSettings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"init_class": -1}, "init_class: expected 0 or more, got -1"),
        ({"init_class": 0}, "init_class: expected another class than init_background, got 0"),
        ({"init_channels": (0, -1)}, r"init_channels: expected numbers from 0, got \(0, -1\)"),
        ({"freeze": ("enc0",)}, "freeze: random weights must learn"),
        ({"init": "a.h5", "freeze": ("",)}, "freeze: expected names"),
        ({"freeze_epochs": 0}, "freeze_epochs: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_said(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        InitialSettings(**wrong)
