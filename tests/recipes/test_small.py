"""Every recipe end to end, in its small version: the ways work; the networks are of no use."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes import ablation, anatomy, microbleeds, site
from shiva_cmb.anatomy.head_network import load_head_network
from shiva_cmb.ensemble import find_model
from shiva_cmb.synthesis.head_map import BUNDLED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labelmaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One head under the names of seven, of which `recipes/anatomy.yaml` holds out four."""
    folder = tmp_path_factory.mktemp("labelmaps")
    for number in range(8, 15):
        shutil.copy(BUNDLED, folder / f"head_{number:02d}.nii.gz")
    return folder


def done(recipe: Callable[[list[str]], int], *arguments: object) -> None:
    assert recipe([str(argument) for argument in arguments]) == 0


def test_the_ensemble(labelmaps: Path, tmp_path: Path) -> None:
    done(microbleeds.main, labelmaps, "-o", tmp_path, "--small")
    assert len(find_model(tmp_path / "small" / "model").folds) == 3


def test_the_anatomy_network(labelmaps: Path, tmp_path: Path) -> None:
    done(anatomy.main, labelmaps, "-o", tmp_path, "--small")
    assert load_head_network(tmp_path / "anatomy").sha256


def test_the_ablation_and_that_it_keeps_what_is_done(labelmaps: Path, tmp_path: Path) -> None:
    given = (labelmaps, "-o", tmp_path, "--small", "--seeds", 1, "--variants", "no veins")
    done(ablation.main, *given)
    table = tmp_path / "small" / "ablation.md"
    assert "| no veins | 1 |" in table.read_text()
    runs = tmp_path / "small" / "runs"
    assert {one.name for one in runs.iterdir()} == {"start", "no_veins-0"}
    run = runs / "no_veins-0"
    before = (run / "figures.csv").stat().st_mtime_ns
    done(ablation.main, *given)
    assert (run / "figures.csv").stat().st_mtime_ns == before


def test_the_fine_tuning(labelmaps: Path, tmp_path: Path) -> None:
    done(site.main, labelmaps, "-o", tmp_path, "--small")
    assert len((tmp_path / "small" / "site.md").read_text().splitlines()) == 5
