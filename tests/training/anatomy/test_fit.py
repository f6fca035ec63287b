import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.anatomy.head_network import load_head_network
from shiva_cmb.anatomy.window import folded, scaled, unfolded
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.training.anatomy.settings import AnatomyTrainingSettings
from shiva_cmb.training.anatomy.shape import coded
from tests.training.anatomy.heads import small_head

SETTINGS = AnatomyTrainingSettings(
    widths=(4, 6),
    window=(32, 40, 32),
    small_window=(32, 32, 24),
    small_share=0.5,
    steps=4,
    warmup_steps=2,
    check_every=2,
    check_images=2,
    held_out=("head_b",),
    mixed_precision=False,
)
HEADS = [coded(small_head("head_a")), coded(small_head("head_b"))]


def weights(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "last.npz") as kept:
        return {name: kept[name] for name in kept.files}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shiva_cmb.training.anatomy.fit import fit

    folder = tmp_path_factory.mktemp("run")
    fit(HEADS, folder, SETTINGS, report=lambda line: None)
    return folder


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(run: Path, tmp_path: Path) -> None:
    from shiva_cmb.training.anatomy.fit import fit

    class StoppedError(Exception):
        pass

    def stop(line: dict[str, float]) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        fit(HEADS, tmp_path, SETTINGS, report=stop)
    fit(HEADS, tmp_path, SETTINGS, report=lambda line: None)
    whole, parts = weights(run), weights(tmp_path)
    assert int(parts["step"]) == 4
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"loss", "brain_dice", "region_accuracy"} <= lines[0].keys()


def test_the_exported_network_answers_as_the_trained_one(run: Path, tmp_path: Path) -> None:
    from shiva_cmb.training.anatomy.export import export_network
    from shiva_cmb.training.anatomy.fit import trained_network

    network = trained_network(run, SETTINGS)
    export_network(network, tmp_path / "anatomy", SETTINGS, ["head_a"], {"brain_dice": 0.5})
    shipped = load_head_network(tmp_path / "anatomy")
    assert shipped.window == SETTINGS.window
    image = np.random.default_rng(0).random(SETTINGS.window, np.float32)
    inside = np.ones(image.shape, bool)
    inside[:4] = False
    ours = shipped.probabilities(image, inside)
    theirs = unfolded(np.asarray(network(folded(scaled(image, inside))[None]))[0])
    np.testing.assert_allclose(ours[4:], theirs[4:], atol=5e-3)  # weights in half precision
    assert (ours[:4, ..., 0] == 1).all()
    about = json.loads((tmp_path / "anatomy" / "anatomy.json").read_text())
    assert about["trained_on"] == ["head_a"]
    assert about["settings"]["drawing"]["rotation_deg"] == SETTINGS.drawing.rotation_deg
    assert about["classes"]["3"] == ["deep", "left"]


def test_heads_must_be_on_both_sides(tmp_path: Path) -> None:
    from shiva_cmb.training.anatomy.fit import fit

    for held_out in ((), ("head_a", "head_b")):
        with pytest.raises(UsageError, match="held_out: expected some of the heads"):
            fit(HEADS, tmp_path, replace(SETTINGS, held_out=held_out), report=lambda line: None)


def test_a_run_with_other_settings_is_refused(run: Path) -> None:
    from shiva_cmb.training.anatomy.fit import fit

    for settings in (replace(SETTINGS, widths=(4, 8)), replace(SETTINGS, held_out=("head_a",))):
        with pytest.raises(DataError, match=r"was begun with another (widths|held_out): name a new folder"):
            fit(HEADS, run, settings, report=lambda line: None)


def test_a_run_that_is_not_done_is_not_exported(run: Path) -> None:
    from shiva_cmb.training.anatomy.fit import trained_network

    with pytest.raises(DataError, match="expected 8 steps, got 4: train on"):
        trained_network(run, replace(SETTINGS, steps=8))
