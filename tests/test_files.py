"""JSON files."""

import json
from pathlib import Path

import numpy as np

from shiva_cmb.files import write_json


def test_json_is_strict_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = {
        "path": Path("scan é.nii"),
        "undecodable": "scan\udce9.nii",  # a file name in Latin-1, as Python reads it
        "array": np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32),
        "numbers": (np.int16(3), np.float32(0.5), float("nan"), float("inf"), np.bool_(True)),
    }
    write_json(content, path)

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = path.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refused) == {
        "path": "scan é.nii",
        "undecodable": "scan\udce9.nii",
        "array": [[1.5, None], ["inf", "-inf"]],
        "numbers": [3, 0.5, None, "inf", True],
    }
    assert "scan é.nii" in text
