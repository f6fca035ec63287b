import json
from pathlib import Path

import numpy as np
import pytest

import shiva_cmb
from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import Bundle, bundled, write_bundle
from shiva_cmb.ensemble.bundle import FoldFile, Identity
from shiva_cmb.imaging import read_volume, write_volume

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def installed(dot_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dot finder as the bundled ensemble, in a folder that cannot be written."""
    folder = tmp_path / "site-packages" / "models"
    folder.mkdir(parents=True)
    part = dot_bundle.part.model_copy(
        update={"licence": "Apache-2.0", "metrics": {"sensitivity": 0.8, "sensitivity_low": 0.7}}
    )
    files = [FoldFile(path) for path in dot_bundle.fold_paths]
    write_bundle(folder / "microbleeds", files, part, Identity(version="1.0"))
    (folder / "microbleeds" / "MODEL_CARD.md").write_text("# Card\n")
    monkeypatch.setattr(bundled, "FOLDER", folder)
    paths = [folder / "microbleeds", folder]
    for path in paths:
        path.chmod(0o555)
    yield folder
    for path in reversed(paths):
        path.chmod(0o755)


def test_what_is_there_is_listed(installed: Path, capsys: Capture) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = r"microbleeds: CMB on swi; version 1.0; 2 folds, 0.0 MB; threshold 0.5, from 2 mm3; Apache-2.0"
    assert lines[0] == expected
    assert lines[1].strip() == "cross-validated: Sensitivity 0.80"
    assert lines[-1].endswith("Not for clinical use.")
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["name"] == "microbleeds"


def test_a_cards_figures_win(installed: Path, capsys: Capture) -> None:
    (installed / "microbleeds").chmod(0o755)
    figures = {
        "physical generator": {
            "sensitivity": {"value": 0.9},
            "f1": {"value": 0.84, "low": 0.78, "high": 0.9},
        },
        "no bleeds": {"precision": {"value": 0.0}, "f1": {"value": 0.0}, "fp_per_scan": {"value": 1.3}},
    }
    (installed / "microbleeds" / "MODEL_CARD.json").write_text(json.dumps(figures))
    assert main(["models", "microbleeds"]) == 0
    shown = capsys.readouterr().out
    assert "physical generator Sensitivity 0.90, F1 0.84 (0.78-0.90)\n" in shown
    assert "no bleeds         False positives per scan 1.30\n" in shown
    assert "licence           Apache-2.0\n" in shown
    assert "cross-validated: " not in shown


def test_one_of_them_is_shown(installed: Path, capsys: Capture) -> None:
    assert main(["models", "microbleeds", "--path"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert json.loads((folder / "model_info.json").read_text())["target"] == "CMB"
    assert main(["models", "microbleeds", "--card"]) == 0
    assert capsys.readouterr().out == "# Card\n"
    assert main(["models", "nothing"]) == 1
    assert "no bundled model is called nothing: there are microbleeds" in capsys.readouterr().err
    assert main(["models", "--card"]) == 2
    assert main(["model", "verify", "microbleeds"]) == 0
    assert capsys.readouterr().out.count("ok ") == 2


def test_predict_takes_it_where_none_is_named(
    installed: Path, saved_ball: tuple[Path, Path, object], tmp_path: Path, capsys: Capture
) -> None:
    """From Python and from the command line; the conversion is kept elsewhere."""
    image, mask, _ = saved_ball
    brain = read_volume(mask)
    regions, out = tmp_path / "regions.nii.gz", tmp_path / "o"
    write_volume(brain.with_data((2 * brain.data).astype(np.uint8)), regions)
    assert main(["predict", str(image), "-b", str(mask), "--regions", str(regions), "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith("swi.nii.gz: 3 microbleeds")
    assert json.loads((out / "swi_provenance.json").read_text())["model"]["version"] == "1.0"
    assert len(shiva_cmb.predict(image, mask=mask, regions=regions).lesions) == 3
    assert [path.name for path in installed.iterdir()] == ["microbleeds"]
    assert len(list((installed / "microbleeds").iterdir())) == 4


def test_without_weights_predict_says_so(
    saved_ball: tuple[Path, Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "nothing")
    assert main(["predict", str(saved_ball[0]), "-o", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error == ["error: no model is bundled with this version of the package: name one with -m"]
    assert not (tmp_path / "o").exists()
    assert main(["models"]) == 0
    assert "No model is bundled" in capsys.readouterr().out


def test_the_anatomy_network_has_no_card_and_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "models" / "anatomy").mkdir(parents=True)
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    commands = {
        "error: anatomy has no model card: docs/anatomy.md tells how good it is": "models anatomy --card",
        "error: no bundled model is called nope: there are anatomy": "models nope",
        "error: anatomy finds the brain and its regions": "model export anatomy -o out --format onnx",
    }
    for expected, command in commands.items():
        assert main(command.split()) == 1
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(expected)
