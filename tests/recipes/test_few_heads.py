"""Recipes say at once when there are too few label maps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes import ablation, anatomy, microbleeds, site


@pytest.mark.parametrize("recipe", [ablation.main, microbleeds.main, site.main])
def test_too_few_label_maps_are_told_at_once(
    recipe: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        (tmp_path / f"head_{number}.nii.gz").touch()
    out = tmp_path / "out"
    assert recipe([str(tmp_path), "-o", str(out)]) == 2
    assert "expected at least 7 label maps (3 to train on, 4 to judge by), found 4" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_without_label_maps_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert anatomy.main([str(tmp_path / "none"), "-o", str(tmp_path / "out")]) in (1, 2)
    assert str(tmp_path / "none") in capsys.readouterr().err
