import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

import shiva_cmb.ensemble
from shiva_cmb import demo
from shiva_cmb.anatomy import Anatomy
from shiva_cmb.cli.main import main
from shiva_cmb.demo import NEAR_MM, pair_with_truth
from shiva_cmb.ensemble import EngineOptions, Ensemble, OperatingPoint, bundled, bundled_names, loading
from shiva_cmb.ensemble.descriptor import InputPart, ShivaCmbPart
from shiva_cmb.ensemble.loading import ModelSource
from shiva_cmb.errors import Note, UsageError
from shiva_cmb.imaging import Volume, read_volume
from shiva_cmb.lesions import LesionTable, find_lesions
from shiva_cmb.prediction import inputs, provenance
from shiva_cmb.synthesis import TrueBleed, VesselSettings
from shiva_cmb.tables import read_table
from tests.synthesis.small_heads import small_head

Capture = pytest.CaptureFixture[str]
FEW_VESSELS = VesselSettings(pial_veins=10, cortical_veins=0, medullary_veins=0, infratentorial_veins=0)


def _bleed(x: float, y: float, z: float, visible: bool = True) -> TrueBleed:
    return TrueBleed(1, x, y, z, 4.0, 2.0, 33.0, "lobar", "left", 0.6, 20.0, visible)


def _lesions_at(*places: tuple[int, int, int]) -> LesionTable:
    data = np.zeros((40, 40, 40), np.float32)
    for x, y, z in places:
        data[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = 0.9
    return find_lesions(Volume(data, np.eye(4))).table


def test_one_lesion_pairs_with_one_bleed_only() -> None:
    truth = [_bleed(10, 10, 10), _bleed(12, 10, 10), _bleed(30, 30, 30)]
    assert len(pair_with_truth(_lesions_at((11, 10, 10)), truth)) == 1


def test_as_many_pairs_as_can_be_are_made() -> None:
    # the nearer bleed of the first lesion is the only one within reach of the second
    truth = [_bleed(10, 10, 10), _bleed(10, 10, 10 + 2 * NEAR_MM - 1)]
    lesions = _lesions_at((10, 10, 15), (10, 10, 24))
    assert len(pair_with_truth(lesions, truth)) == 2


def test_nothing_pairs_with_nothing() -> None:
    assert pair_with_truth(LesionTable(), [_bleed(1, 2, 3)]) == {}
    assert pair_with_truth(_lesions_at((5, 5, 5)), []) == {}


def test_lesions_at_bleeds_too_faint_to_see_are_no_false_alarms() -> None:
    lesions = _lesions_at((10, 10, 10), (25, 25, 25), (10, 30, 30))
    bleeds = [_bleed(10, 10, 11), _bleed(25, 25, 27, visible=False)]
    assert demo.compare_with_truth(lesions, bleeds) == ({0: 0}, 1)


class DarkDots:
    """An engine whose one fold marks what is darker than its surroundings."""

    name, precision = "test", "f32"

    def fold_outputs(self, batch: np.ndarray) -> list[np.ndarray]:
        image = batch[0, ..., 0]
        darker = ndimage.uniform_filter(image, 7) - ndimage.uniform_filter(image, 3)
        return [(1 / (1 + np.exp(-40 * (darker - 0.15)))).astype(np.float32)]


def bright_is_brain(image: Volume, note: Note) -> Anatomy:
    brain = ndimage.binary_fill_holes(image.data > 0.3 * np.percentile(image.data, 95))
    return Anatomy(brain, brain.astype(np.uint8), (), 1.0, 70.0, brain)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small head that is scanned coarsely, a model without networks, and a brain that is found by light."""
    coarse = {"in_plane_mm": (1.5, 1.5), "swi_slice_mm": (1.5, 1.5), "t2s_slice_mm": (3.0, 3.0)}
    scans = {
        name: replace(settings, protocol=replace(settings.protocol, **coarse), vessels=FEW_VESSELS)
        for name, settings in demo.SCANS.items()
    }
    part = ShivaCmbPart(
        input=InputPart(shape=(48, 56, 48), spacing_mm=(1.5, 1.5, 1.5)),
        averaging="shiva_predict_multi",
        operating_point=OperatingPoint(threshold=0.5, min_volume_mm3=2.0),
    )
    monkeypatch.setattr(loading, "_start_engine", lambda *given: DarkDots())
    ensemble = Ensemble(ModelSource((), part, described=True, from_bundle=True), EngineOptions())
    monkeypatch.setattr(shiva_cmb.ensemble, "load_ensemble", lambda model, note: ensemble)
    monkeypatch.setattr(inputs, "segment_head", bright_is_brain)
    monkeypatch.setattr(provenance, "bundled_network", lambda: SimpleNamespace(sha256="0"))
    monkeypatch.setattr(demo, "bundled_head", small_head)
    monkeypatch.setattr(demo, "SCANS", scans)


def test_the_demo_tells_and_draws_what_a_model_finds(small: None, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", "-o", str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [scan["name"] for scan in result["scans"]] == ["swi", "t2s"]
    assert "nothing about accuracy on patients" in result["caveat"]
    assert "Not for clinical use" in result["notice"]
    for scan in result["scans"]:
        assert 3 <= scan["bleeds"] <= 7
        assert 0 < scan["found"] <= scan["bleeds"]
        assert Path(scan["picture"]).read_bytes().startswith(b"\x89PNG")
        image, labels = (read_volume(path) for path in (scan["image"], scan["files"]["labels"]))
        assert labels.grid.matches(image.grid)
        rows = [row for _, row in read_table(folder / "scans" / f"{scan['name']}_bleeds.tsv").rows]
        assert [row["visible"] for row in rows].count("yes") == scan["bleeds"]


def test_the_demo_shows_each_bleed_and_says_what_it_is_worth(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(demo, "SCANS", {"swi": demo.SCANS["swi"]})
    assert main(["demo", "-o", str(tmp_path / "demo"), "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert "lobar" in shown
    assert re.search(r"found \d of \d bleeds, \d+ false alarm", shown)
    assert shown.strip().endswith("patients. Research software. Not for clinical use.")


def test_without_a_bundled_model_the_demo_says_so_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "models")
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error == ["error: no model is bundled with this version of the package: name one with -m"]
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "new", "--seed", "-1"], 2, "--seed"),
        (["-o", "full"], 1, "full exists already: name a new folder"),
        (["-o", "none/new"], 1, "the output folder"),
    ],
)
def test_what_cannot_be_done_is_told_before_the_model_is_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(shiva_cmb.ensemble, "load_ensemble", lambda *given, **named: pytest.fail("loaded"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert main(["demo", *arguments]) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_negative_seed_is_refused_before_anything_is_made(small: None, tmp_path: Path) -> None:
    ensemble = shiva_cmb.ensemble.load_ensemble(None, note=pytest.fail)
    scans = demo.run_demo(ensemble, tmp_path, seed=-1, on_step=pytest.fail, note=pytest.fail)
    with pytest.raises(UsageError, match="seed: expected 0 or more, got -1"):
        next(scans)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not bundled_names(), reason="no model is bundled")
def test_the_bundled_model_finds_bleeds_of_the_demo(tmp_path: Path, capsys: Capture) -> None:
    assert main(["demo", "--json", "-o", str(tmp_path / "demo")]) == 0
    scans = json.loads(capsys.readouterr().out)["scans"]
    assert sum(scan["found"] for scan in scans) > 0.5 * sum(scan["bleeds"] for scan in scans)
    assert sum(scan["false_alarms"] for scan in scans) < 20
