"""The numbers of the published names, and what is said about wrong ones."""

import subprocess
import sys

import pytest

from shiva_cmb.errors import ModelError
from shiva_cmb.networks import PUBLISHED, ShivaUNet, build_network


def test_filters_follow_the_published_widths() -> None:
    assert PUBLISHED["Unet3Dv2-10.7.2-1.8"].filters == (10, 18, 32, 58, 104, 187, 337)


def test_residual_network_has_nine_levels() -> None:
    settings = PUBLISHED["ResUnet3D-8.9.2-1.5"]
    assert settings.residual
    assert settings.filters[:4] == (8, 12, 18, 27)
    assert len(settings.filters) == 9


def test_arguments_from_json_keep_the_defaults() -> None:
    settings = ShivaUNet.from_arguments({"first_filters": 8, "growth": 2})
    assert settings.filters[:3] == (8, 16, 32)
    assert settings.levels == ShivaUNet().levels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 8}, "unknown argument 'filters'"),
        ({"first_filters": "8"}, "expected int, got '8'"),
        ({"levels": True}, "expected int, got True"),
        ({"levels": 0}, "levels of shiva_unet: expected 1 to 9, got 0"),
        ({"dropout": 1.0}, "dropout"),
        ({"activation": "tanh"}, "swish or relu"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ShivaUNet.from_arguments(arguments)


def test_unknown_architecture_and_shape_are_named() -> None:
    with pytest.raises(ModelError, match="unknown architecture 'vnet'"):
        build_network("vnet", {}, (16, 16, 16, 1))
    with pytest.raises(ModelError, match=r"4 positive numbers .* got \(16, 16, 16\)"):
        build_network("shiva_unet", {}, (16, 16, 16))  # type: ignore[arg-type]


def test_importing_the_room_leaves_keras_alone() -> None:
    code = "import sys, shiva_cmb.networks; raise SystemExit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
