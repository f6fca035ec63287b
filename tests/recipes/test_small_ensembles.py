"""The ensemble and its fine-tuning, in small versions end to end: the networks are of no use."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes import microbleeds, site
from shiva_cmb.ensemble import find_model

pytestmark = pytest.mark.slow

Done = Callable[..., None]


def test_the_ensemble(labelmaps: Path, tmp_path: Path, done: Done) -> None:
    done(microbleeds.main, labelmaps, "-o", tmp_path, "--small", "--processes", 1)
    assert len(find_model(tmp_path / "small" / "model").folds) == 3


def test_the_fine_tuning(labelmaps: Path, tmp_path: Path, done: Done) -> None:
    done(site.main, labelmaps, "-o", tmp_path, "--small", "--processes", 1)
    assert len((tmp_path / "small" / "site.md").read_text().splitlines()) == 5
