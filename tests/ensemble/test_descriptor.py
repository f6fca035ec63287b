import json
import math
from pathlib import Path
from typing import Any

import pytest

from shiva_cmb.ensemble.descriptor import (
    ArchitecturePart,
    Descriptor,
    FoldPart,
    OperatingPoint,
    ScalingPart,
    ShivaCmbPart,
    parse_descriptor,
    read_descriptor,
)
from shiva_cmb.errors import ModelError

MD5 = "0" * 32


def content(**part: Any) -> dict[str, Any]:
    return {
        "version": "v9",
        "release date": "21/11/2026",
        "target": "CMB",
        "modalities": ["swi"],
        "files": [{"name": "m/fold_0.h5", "md5": MD5}],
        "shiva_cmb": {"schema_version": 1, **part},
    }


def test_a_descriptor_survives_writing_and_reading(tmp_path: Path) -> None:
    part = ShivaCmbPart(
        channels=("swi", "t1"),
        architecture=ArchitecturePart(name="shiva_unet", arguments={"growth": 1.8, "channels": None}),
        folds=(
            FoldPart(file="m/fold_0.h5", sha256="a" * 64, validation_cases=("c1",), metrics={"dice": 0.5}),
        ),
        operating_point=OperatingPoint(threshold=0.3, curve=({"threshold": 0.3, "sensitivity": 0.8},)),
    )
    written = Descriptor(release_date="x", files=[{"name": "m/fold_0.h5", "md5": MD5}], shiva_cmb=part)
    path = tmp_path / "model_info.json"
    path.write_text(written.to_json())
    assert read_descriptor(path) == written
    assert json.loads(path.read_text())["release date"] == "x"


def test_keys_that_shivai_ignores_are_kept() -> None:
    given = {**content(), "architecture": "ResUnet3D"}
    given["files"][0]["weight"] = 2
    kept = json.loads(parse_descriptor(given, "x").to_json())
    assert kept["architecture"] == "ResUnet3D"
    assert kept["files"][0]["weight"] == 2


def test_a_figure_that_is_not_defined_is_written_as_null() -> None:
    part = ShivaCmbPart(metrics={"precision": math.nan, "sensitivity": 1.0})
    assert part.metrics == {"precision": None, "sensitivity": 1.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (content(treshold=0.5), r"unknown key 'shiva_cmb\.treshold'"),
        (content(scaling={"scheme": "p99", "percentil": 99}), r"unknown key 'shiva_cmb\.scaling\.percentil'"),
        (content(scaling={"scheme": "minmax"}), r"shiva_cmb\.scaling\.scheme: .* received 'minmax'"),
        (content(input={"shape": [160, 214]}), r"shiva_cmb\.input\.shape"),
        (content(folds=[{"file": "m/other.h5"}]), "shiva_cmb.folds names"),
        (content(operating_point={"threshold": 1}), r"shiva_cmb\.operating_point\.threshold: .*received '1'"),
        (
            content(operating_point={"threshold": 0.5, "peak_threshold": 0.4}),
            r"shiva_cmb\.operating_point\.peak_threshold: .* not below the threshold 0\.5, received '0\.4'",
        ),
        (content(operating_point={"peak_threshold": 1.0}), r"operating_point\.peak_threshold"),
        (content(channels=[]), r"shiva_cmb\.channels"),
        (content(schema_version=2), "newer shiva_cmb"),
        ({"version": "v1"}, "'files' is missing"),
        ({"files": []}, "files"),
        ({"files": [{"name": "a.h5"}, {"name": "a.h5"}]}, "same fold twice"),
        ([1], "expected a JSON object"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(given: object, message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        parse_descriptor(given, "model_info.json")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("model_info.json")


@pytest.mark.parametrize("name", ["/etc/passwd", "../fold.h5", "m/../../x", r"..\x", "C:/x", ""])
def test_folds_outside_the_model_folder_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="not a path inside the model folder"):
        parse_descriptor({"files": [{"name": name, "md5": MD5}]}, "x")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "model_info.json"
    path.write_bytes(text)
    with pytest.raises(ModelError, match="not a readable JSON"):
        read_descriptor(path)


def test_a_descriptor_for_shivai_alone_means_its_preprocessing_and_averaging() -> None:
    part = parse_descriptor({"files": [{"name": "a.h5", "md5": MD5}]}, "x").part
    assert (part.preprocessing, part.scaling.scheme, part.averaging) == (
        "shivai",
        "shivai",
        "shiva_predict_multi",
    )
    assert part.input.shape == (160, 214, 176)


def test_settings_reach_the_image_side() -> None:
    settings = ShivaCmbPart(
        scaling=ScalingPart(scheme="zscore"), preprocessing="shivai"
    ).preprocessing_settings()
    assert (settings.preset, settings.scaling.scheme) == ("shivai", "zscore")
    assert settings.shape == (160, 214, 176)


def test_the_operating_point_reaches_the_lesion_side() -> None:
    from shiva_cmb.lesions import LesionCriteria

    assert ShivaCmbPart().lesion_criteria() == LesionCriteria()
    point = OperatingPoint(threshold=0.2, peak_threshold=0.6, min_volume_mm3=7.0)
    criteria = ShivaCmbPart(operating_point=point).lesion_criteria()
    assert (criteria.threshold, criteria.peak_threshold, criteria.min_volume_mm3) == (0.2, 0.6, 7.0)
