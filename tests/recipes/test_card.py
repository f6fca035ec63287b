"""The recipe of the card, with a generator and a model of three lines each."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from recipes import card
from recipes import commands as commands_of_recipes
from shiva_cmb.anatomy.head_network import bundled_network
from shiva_cmb.ensemble import (
    Bundle,
    FoldFile,
    OperatingPoint,
    find_model,
    update_operating_point,
    write_bundle,
)
from shiva_cmb.ensemble.descriptor import ShivaCmbPart
from shiva_cmb.ensemble.loading import ModelSource
from shiva_cmb.evaluation import EvaluationSettings
from shiva_cmb.files import write_json
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.reporting import evaluation_report
from shiva_cmb.tables import write_tsv

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
MIMICS = ("kind", "x_mm", "y_mm", "z_mm", "length_mm", "diameter_mm")


class Commands:
    """Stands for `shiva-cmb`: scans with two bleeds, of which one is found, and a vein that is reported."""

    def __init__(self) -> None:
        self.called: list[list[str]] = []

    def __call__(self, words: Sequence[str]) -> int:
        self.called.append(list(words))
        output = Path(words[words.index("-o") + 1])
        output.mkdir(parents=True, exist_ok=True)
        if words[0] == "synthesize":
            self._scans(output, bleeds="lesion_free_share=1" not in words)
        else:
            model = words[words.index("-m") + 1]
            for image in words[1 : words.index("-m")]:
                self._maps(Path(image), output, find_model(model))
        return 0

    def _scans(self, folder: Path, bleeds: bool) -> None:
        entries = []
        for number in range(3):
            name = f"scan_{number:04d}"
            label, regions = np.zeros((2, 24, 24, 24), np.uint8)
            if bleeds:
                label[4:7, 4:7, 4:7] = label[15:18, 15:18, 15:18] = 1
                label[4:6, 18:20, 4:6] = 2  # found, but too faint to count
            regions[:12], regions[12:] = 1, 4
            marks = np.zeros(label.shape, np.int16)
            marks[10, 10, :] = 1
            volumes = {"": label, "_label": label, "_regions": regions, "_mimics": marks}
            for ending, data in volumes.items():
                write_volume(Volume(data, AFFINE), folder / f"{name}{ending}.nii.gz")
            row = {"kind": "vein", "x_mm": 10, "y_mm": 10, "z_mm": 12, "length_mm": 24, "diameter_mm": 1}
            write_tsv(folder / f"{name}_mimics.tsv", MIMICS, [row])
            files = {"images": {"swi": f"{name}.nii.gz"}, "label": f"{name}_label.nii.gz"}
            facts = {"sequence": "swi", "field_t": 3.0}
            entries.append({"case": name, "patient": f"head_{number}", **files, **facts})
        how = {"channels": ["swi"], "lesion_values": [1], "ignore_values": [2]}
        write_json({**how, "cases": entries}, folder / "cases.json")

    def _maps(self, image: Path, folder: Path, model: ModelSource) -> None:
        name = image.name.removesuffix(".nii.gz")
        labels = np.zeros((24, 24, 24), np.uint8)
        labels[4:7, 4:7, 4:6] = 1
        labels[10:12, 10:12, 20:22] = 2  # the vein
        labels[4:6, 18:20, 4:6] = 3
        write_volume(Volume(labels, AFFINE), folder / f"{name}_labels.nii.gz")
        write_volume(Volume(np.ones_like(labels), AFFINE), folder / f"{name}_searched.nii.gz")
        folds = [{"sha256": fold.sha256} for fold in model.folds]
        record = {
            "model": {"folds": folds},
            "criteria": asdict(model.part.lesion_criteria()),
            "anatomy": {"network_sha256": bundled_network().sha256},
        }
        write_json(record, folder / f"{name}_provenance.json")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """No fold is opened here."""
    return _bundle(tmp_path / "dots", b"weights")


def _bundle(folder: Path, weights: bytes) -> Bundle:
    fold = folder.with_name(f"{folder.name}.h5")
    fold.write_bytes(weights)
    part = ShivaCmbPart(operating_point=OperatingPoint(threshold=0.5, min_volume_mm3=2.0))
    return write_bundle(folder, [FoldFile(fold)], part)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    stand_in = Commands()
    for name in ("draw_plots", "write_gallery"):  # which take most of the time
        monkeypatch.setattr(evaluation_report, name, lambda *_, **__: None)
    monkeypatch.setattr(commands_of_recipes, "main", stand_in)
    rules = {
        name: EvaluationSettings(
            rule=settings.rule,
            ignored_values=settings.ignored_values,
            ignore_below_mm3=settings.ignore_below_mm3,
            strata=settings.strata,
            replicates=100,
        )
        for name, settings in card.RULES.items()
        if "too" not in name
    }
    monkeypatch.setattr(card, "RULES", rules)
    return stand_in


def test_the_card_says_what_was_measured(
    commands: Commands, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)  # folders may be named relative to where one is
    arguments = ["maps", "-o", "out", "-m", str(bundle.folder), "--heads", "head_0", "--scans", "3"]
    assert card.main(arguments) == 0
    text = (out / "MODEL_CARD.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "# Model card: dots"
    assert lines[2].startswith("**No scan of a real patient was used to train or to validate this model.")
    assert "Not for clinical use" in lines[2]
    assert "python -m recipes.card LABELMAPS -o OUT -m" in text
    assert "A lesion is a component of probabilities above 0.5, of 2 mm3 or more." in text

    figures = json.loads((out / "MODEL_CARD.json").read_text())
    assert list(figures) == [kind.title for kind in card.KINDS]
    physical, _, mimics = figures.values()
    assert physical["sensitivity"]["value"] == 0.5
    assert physical["fp_per_scan"]["value"] == 1.0
    assert "sensitivity" not in mimics  # undefined without bleeds
    assert mimics["fp_per_scan"]["value"] == 3.0

    section = text[text.index("## Another generator") : text.index("## Other heads")]
    assert "3 scans of 3 heads, 6 bleeds that count and 3 that are ignored." in section
    for words in ("| lobar ", "| deep ", "VALDO", "any overlap", "2-5 mm"):
        assert words in section, words
    row = next(line for line in section.splitlines() if line.startswith("| vein"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["vein", "1.0", "3", "1.00", "100.0"]

    # once more: what is there is kept
    commands.called.clear()
    assert card.main(arguments) == 0
    assert [words[0] for words in commands.called] == ["synthesize"] * 3  # which keeps what it finds
    assert (out / "MODEL_CARD.md").read_text() == text


def test_what_another_model_left_is_made_anew(
    commands: Commands, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "RULES", {"any overlap": card.RULES["any overlap"]})
    given = argparse.Namespace(
        labelmaps="maps", output=tmp_path / "out", scans=3, seed=1, processes=1, heads=None
    )

    def predicted(model: Bundle) -> int:
        """How many scans, in order to judge a model."""
        before = len(commands.called)
        card.judge(card.KINDS[0], model, given)
        again = [words for words in commands.called[before:] if words[0] == "predict"]
        return sum(words.index("-m") - 1 for words in again)

    assert predicted(bundle) == 3
    assert predicted(bundle) == 0
    assert predicted(_bundle(tmp_path / "others", b"other weights")) == 3
    assert predicted(bundle) == 3
    assert predicted(update_operating_point(bundle, OperatingPoint(threshold=0.7))) == 3
    (given.output / "predictions" / "physical" / "scan_0001_provenance.json").unlink()  # it was stopped
    assert predicted(bundle) == 1


def test_a_step_that_fails_is_told(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands_of_recipes, "main", lambda words: 1)
    assert card.main(["maps", "-o", str(tmp_path), "-m", str(bundle.folder)]) == 1
    assert "error: shiva-cmb synthesize failed" in capsys.readouterr().err
