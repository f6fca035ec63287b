import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import Bundle
from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.lesions import LesionTable
from shiva_cmb.prediction.inputs import Subject
from shiva_cmb.prediction.regions import RegionMap
from shiva_cmb.selftest import ImplantedBleed, SelfTestSettings, Sensitivity, run, run_selftest
from shiva_cmb.synthesis.bleeds.implant import ScannerSettings
from shiva_cmb.synthesis.scan import TrueBleed
from shiva_cmb.tables import read_table


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions by hand: the upper half is lobar, the lower one infratentorial."""

    def halves(subject: Subject, *others: object) -> RegionMap:
        regions = np.full(subject.grid.shape, 5, np.uint8)
        regions[:, :, regions.shape[2] // 2 :] = 1
        return RegionMap(Volume(regions, subject.grid.affine))

    monkeypatch.setattr(run, "estimated_regions", halves)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bright ball of 27 mm with one dark dot, as files: the scan and its mask."""
    n = 64
    places = np.indices((n, n, n)) - (n - 1) / 2
    brain = np.sqrt((places**2).sum(axis=0)) < 27
    signal = np.where(brain, 1000.0, 0.0)
    signal[np.sqrt(((places - 8) ** 2).sum(axis=0)) < 2.5] = 100.0
    rng = np.random.default_rng(0)
    noisy = np.hypot(signal + rng.normal(0, 20, signal.shape), rng.normal(0, 20, signal.shape))
    folder = tmp_path_factory.mktemp("scan")
    write_volume(Volume(noisy.astype(np.int16), np.eye(4)), folder / "swi.nii.gz")
    write_volume(Volume(brain.astype(np.uint8), np.eye(4)), folder / "brain.nii.gz")
    return folder / "swi.nii.gz", folder / "brain.nii.gz"


def test_a_detector_of_dots_finds_large_bleeds_and_what_was_there_does_not_count(
    scan: tuple[Path, Path], dot_bundle: Bundle, tmp_path: Path
) -> None:
    settings = SelfTestSettings(bleeds=5, repeats=2, diameter_mm=(4.5, 6.0), keep_images=True)
    notes: list[str] = []
    result = run_selftest(
        scan[0], model=dot_bundle.folder, mask=scan[1], settings=settings, note=notes.append
    )
    assert result.untouched_lesions == 1
    assert result.false_alarms == 0
    assert len(result.bleeds) == result.overall.visible == 10
    assert result.overall.found >= 8
    assert len(set(notes)) == len(notes)
    assert set(result.by_region) <= {"lobar", "infratentorial"}
    assert sum(one.visible for one in result.by_size.values()) == 10
    dot = np.array([31.5 + 8] * 3)
    assert all(
        np.linalg.norm(np.array([b.truth.x_mm, b.truth.y_mm, b.truth.z_mm]) - dot) > 5 for b in result.bleeds
    )

    written = result.save(tmp_path, "swi", images=True)
    rows = read_table(written["tsv"]).rows
    assert len(rows) == 10
    assert {row["found"] for _, row in rows} <= {"yes", "no"}
    record = json.loads(written["json"].read_text())
    assert record["overall"]["found"] == result.overall.found
    assert "Not for clinical use" in record["notice"]
    text = written["txt"].read_text()
    assert "simulated" in text
    assert "Not for clinical use" in text
    label = read_volume(written["2_label"]).data
    assert ndimage.label(label == 1, np.ones((3, 3, 3)))[1] == 5


def test_a_blind_model_finds_nothing(
    scan: tuple[Path, Path], dot_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run.predict

    def blind(image: Volume, **others: object) -> object:
        from dataclasses import replace

        seen = real(image, **others)  # type: ignore[arg-type]
        return replace(seen, labels=seen.labels.with_data(0 * seen.labels.data), lesions=LesionTable())

    monkeypatch.setattr(run, "predict", blind)
    settings = SelfTestSettings(bleeds=3, repeats=1, diameter_mm=(4, 5))
    result = run_selftest(
        scan[0], model=dot_bundle.folder, mask=scan[1], settings=settings, note=lambda _: None
    )
    assert result.overall == Sensitivity(0, 3)
    assert result.false_alarms == 0
    assert result.copies == ()


def test_new_lesions_away_from_bleeds_are_false_alarms(
    scan: tuple[Path, Path], dot_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = run.predict, []

    def dreaming(image: Volume, **others: object) -> object:
        from dataclasses import replace

        seen = real(image, **others)  # type: ignore[arg-type]
        calls.append(1)
        data = seen.labels.data.copy()
        if len(calls) > 1:
            data[0, 0, :2] = data.max() + 1
        return replace(seen, labels=seen.labels.with_data(data))

    monkeypatch.setattr(run, "predict", dreaming)
    settings = SelfTestSettings(bleeds=2, repeats=2, diameter_mm=(4, 5))
    result = run_selftest(
        scan[0], model=dot_bundle.folder, mask=scan[1], settings=settings, note=lambda _: None
    )
    assert result.false_alarms == 2


def test_the_command_prints_a_table_and_writes_its_files(
    scan: tuple[Path, Path], dot_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["selftest", str(scan[0]), "-m", str(dot_bundle.folder), "-b", str(scan[1]), "-o", str(out)]
    command += ["--bleeds", "3", "--repeats", "1", "--diameter-mm", "4", "5", "--magnitude", "--te-ms", "25"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "Not for clinical use" in shown
    assert "simulated" in shown
    assert sorted(path.name for path in out.iterdir()) == [
        f"swi_selftest.{e}" for e in ("json", "tsv", "txt")
    ]
    record = json.loads((out / "swi_selftest.json").read_text())
    assert record["scanner"] == {"te_ms": 25.0, "field_t": 3.0, "phase_mask": False}
    assert main([*command, "--bleeds", "0"]) == 2


@pytest.mark.parametrize(
    ("found", "of", "low", "high"),
    [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (8, 10, 0.490, 0.943), (0, 0, 0.0, 1.0)],
)
def test_intervals_are_wilsons(found: int, of: int, low: float, high: float) -> None:
    assert Sensitivity(found, of).interval == pytest.approx((low, high), abs=1e-3)


def test_size_classes_begin_at_their_cuts() -> None:
    truth = TrueBleed(1, 0, 0, 0, 2.0, 1.0, 4.2, "lobar", "left", 0.9, 20.0, True)
    assert ImplantedBleed(1, truth, False).size == "2-3 mm"
    assert ScannerSettings().phase_mask
    with pytest.raises(UsageError, match="repeat"):
        SelfTestSettings(repeats=0)
    with pytest.raises(UsageError, match="diameters"):
        SelfTestSettings(diameter_mm=(5.0, 2.0))


@pytest.mark.parametrize("bleeds", [0, 1001])
def test_as_many_bleeds_as_can_be_implanted(bleeds: int) -> None:
    with pytest.raises(UsageError, match=f"bleeds: expected 1 to 1000, got {bleeds}"):
        SelfTestSettings(bleeds=bleeds)
