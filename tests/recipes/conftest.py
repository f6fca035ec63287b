"""What the small runs of the recipes share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shiva_cmb.synthesis.head_map import BUNDLED


@pytest.fixture(scope="package")
def labelmaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One head under the names of seven, of which `recipes/anatomy.yaml` holds out four."""
    folder = tmp_path_factory.mktemp("labelmaps")
    for number in range(8, 15):
        shutil.copy(BUNDLED, folder / f"head_{number:02d}.nii.gz")
    return folder


@pytest.fixture
def done() -> Callable[..., None]:
    """Runs a recipe, which must succeed."""

    def run(recipe: Callable[[list[str]], int], *arguments: object) -> None:
        assert recipe([str(argument) for argument in arguments]) == 0

    return run
