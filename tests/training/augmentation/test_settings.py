"""Settings of augmentation: what is refused, and that they are read without Keras."""

import subprocess
import sys
from dataclasses import fields, replace

import pytest
from pydantic import TypeAdapter

from shiva_cmb.errors import UsageError
from shiva_cmb.training.augmentation.settings import (
    AUGMENTATIONS,
    Affine,
    AugmentationSettings,
    Elastic,
    Flip,
    Gamma,
    GaussianNoise,
    Implant,
    ThickSlices,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Gamma(1.5), r"Gamma\.probability: expected a number from 0 to 1, got 1\.5"),
        (lambda: Gamma(float("nan")), r"Gamma\.probability"),
        (lambda: Gamma(0.1, exponent=(1.5, 0.7)), r"Gamma\.exponent: .*smallest and a largest"),
        (lambda: Gamma(0.1, exponent=(0.0, 2.0)), r"Gamma\.exponent"),
        (lambda: Gamma(0.1, exponent=(0.5, 1.0, 2.0)), r"Gamma\.exponent"),
        (lambda: Implant(0.1, bleeds=(0, 3)), r"Implant\.bleeds: .*from 1 to 20, got \(0, 3\)"),
        (lambda: Implant(0.1, diameter_mm=(6.0, 2.0)), r"Implant\.diameter_mm"),
        (lambda: GaussianNoise(0.1, std_fraction=(-0.1, 0.1)), r"GaussianNoise\.std_fraction"),
        (lambda: ThickSlices(0.1, thickness_mm=(0.0, 3.0)), r"ThickSlices\.thickness_mm"),
        (lambda: Affine(0.1, rotation_degrees=-5.0), r"Affine\.rotation_degrees"),
        (lambda: Elastic(0.1, displacement_mm=5.0, smoothness_mm=10.0), r"displacement_mm: .*folds, got 5"),
        (lambda: Flip(0.5, axes=(0, 3)), r"Flip\.axes: .*got \(0, 3\)"),
        (lambda: Flip(0.5, axes=(1, 1)), r"Flip\.axes"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_presets_grow_stronger_and_none_does_nothing() -> None:
    changes = [field.name for field in fields(AugmentationSettings) if field.name != "implant"]
    often = {
        name: [getattr(preset, change).probability for change in changes]
        for name, preset in AUGMENTATIONS.items()
    }
    assert list(often) == ["none", "light", "medium", "heavy"]
    assert not any(often["none"])
    assert sum(p > 0 for p in often["light"]) == 2
    assert all(often["heavy"])
    assert not any(preset.implant.probability for preset in AUGMENTATIONS.values())


def test_settings_are_read_from_plain_values() -> None:
    reader = TypeAdapter(AugmentationSettings)
    for preset in AUGMENTATIONS.values():
        assert reader.validate_json(reader.dump_json(preset)) == preset
    read = reader.validate_python({"gamma": {"probability": 0.2, "exponent": [0.8, 1.2]}})
    assert read == replace(AUGMENTATIONS["none"], gamma=Gamma(0.2, (0.8, 1.2)))


def test_settings_need_no_keras() -> None:
    code = (
        "import sys, shiva_cmb.training.augmentation.settings as s;"
        "assert s.AUGMENTATIONS; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
