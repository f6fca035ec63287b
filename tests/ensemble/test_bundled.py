"""Models that come with the package are found by name, and by no name at all."""

from pathlib import Path

import pytest

from shiva_cmb.ensemble import bundled, find_model
from shiva_cmb.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "models")
    return tmp_path / "models"


def _add(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "model_info.json").write_text("{}")
    return folder / name


def test_without_weights_it_is_said_in_one_line(folder: Path) -> None:
    for call in (bundled.bundled_model, lambda: find_model(None), lambda: find_model("microbleeds")):
        with pytest.raises(ModelError, match=r"^no model is bundled with this version .* name one with -m$"):
            call()
    assert bundled.bundled_names() == ()


def test_names_mean_folders_and_paths_come_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(folder, "another")
    ours = _add(folder, "microbleeds")
    (folder / "anatomy").mkdir()  # no bundle
    assert bundled.bundled_names() == ("microbleeds", "another")
    assert bundled.bundled_model() == bundled.named_model("microbleeds") == ours
    with pytest.raises(
        ModelError, match=r"no bundled model is called nope: there are microbleeds, another, anatomy$"
    ):
        bundled.bundled_model("nope")
    monkeypatch.chdir(tmp_path)
    assert bundled.named_model("something") == Path("something")
    (tmp_path / "microbleeds").mkdir()  # the user's own
    assert bundled.named_model("microbleeds") == Path("microbleeds")


def test_the_anatomy_network_is_no_model_of_folds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(folder, "microbleeds")
    (folder / "anatomy").mkdir()
    monkeypatch.chdir(tmp_path)
    for call in (bundled.named_model, find_model):
        with pytest.raises(ModelError, match=r"^anatomy finds the brain .* it cannot be exported or named"):
            call("anatomy")
