from pathlib import Path

import pytest

from shiva_cmb.anatomy.head_network import ABOUT, GRAPH, WEIGHTS, load_head_network
from shiva_cmb.errors import ModelError


def test_a_missing_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read") as caught:
        load_head_network(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_changed_file_is_refused_by_its_checksum(tmp_path: Path) -> None:
    (tmp_path / GRAPH).write_text("<net/>")
    (tmp_path / WEIGHTS).write_bytes(b"1234")
    (tmp_path / ABOUT).write_text(
        '{"window": [16, 16, 16], "sha256": {"head_unet.xml": "0", "head_unet.bin": "0"}}'
    )
    with pytest.raises(ModelError, match=r"head_unet.xml is not the file that anatomy.json describes"):
        load_head_network(tmp_path)
