"""The anatomy network and the ablation, in small versions end to end: the networks are of no use."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes import ablation, anatomy
from shiva_cmb.anatomy.head_network import load_head_network

pytestmark = pytest.mark.slow

Done = Callable[..., None]


def test_the_anatomy_network(labelmaps: Path, tmp_path: Path, done: Done) -> None:
    done(anatomy.main, labelmaps, "-o", tmp_path, "--small")
    assert load_head_network(tmp_path / "anatomy").sha256


def test_the_ablation_and_that_it_keeps_what_is_done(labelmaps: Path, tmp_path: Path, done: Done) -> None:
    only = ("--small", "--seeds", 1, "--variants", "no veins", "--processes", 1)
    done(ablation.main, labelmaps, "-o", tmp_path, *only)
    table = tmp_path / "small" / "ablation.md"
    assert "| no veins | 1 |" in table.read_text()
    runs = tmp_path / "small" / "runs"
    assert {one.name for one in runs.iterdir()} == {"start", "no_veins-0"}
    before = (runs / "no_veins-0" / "figures.csv").stat().st_mtime_ns
    done(ablation.main, labelmaps, "-o", tmp_path, *only)
    assert (runs / "no_veins-0" / "figures.csv").stat().st_mtime_ns == before
