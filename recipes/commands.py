"""What the recipes share: the package's commands, and figures of a model on a folder of generated scans."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shiva_cmb.anatomy.head_network import bundled_network
from shiva_cmb.anatomy.regions import Place
from shiva_cmb.cli.failing import run_command
from shiva_cmb.cli.main import main
from shiva_cmb.dataset import read_cases
from shiva_cmb.ensemble import find_model
from shiva_cmb.ensemble.bundle import DESCRIPTOR_NAME
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.evaluation import Evaluation, EvaluationSettings, evaluate, pair_cases
from shiva_cmb.evaluation.resampling import Figure
from shiva_cmb.files import replacing
from shiva_cmb.synthesis.head_map import REGION_NAMES, names_of_head_maps
from shiva_cmb.synthesis.scan import LIST_NAME
from shiva_cmb.synthesis.visible import IGNORED
from shiva_cmb.tables import write_tsv

BALL_OF_2_MM_MM3 = 4.19
"""Smaller bleeds are no microbleeds by definition; they count neither way in the main figures."""
DETECTION = EvaluationSettings(ignored_values=(IGNORED,), ignore_below_mm3=BALL_OF_2_MM_MM3)
"""How detection is judged: bleeds of 2 mm and more, any overlap, one-to-one."""
HELD_OUT = 4
"""The last heads of a folder: never trained on."""
FEWEST_HEADS = 3
"""To train on: one for each fold."""


def run(work: Callable[[], None]) -> int:
    """Do the work of a recipe: an error is one line and an exit code."""
    return run_command(work, debug=False)


def shared_out(labelmaps: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the heads to train on, and of those to judge by.

    Raises:
        UsageError: if there are too few.
    """
    heads = names_of_head_maps(labelmaps)
    if len(heads) < FEWEST_HEADS + HELD_OUT:
        raise UsageError(
            f"{labelmaps}: expected at least {FEWEST_HEADS + HELD_OUT} label maps "
            f"({FEWEST_HEADS} to train on, {HELD_OUT} to judge by), found {len(heads)}"
        )
    return heads[:-HELD_OUT], heads[-HELD_OUT:]


def shiva_cmb(*arguments: object) -> None:
    """A command of the package, in this process.

    Raises:
        DataError: if it fails.
    """
    if main([str(argument) for argument in arguments]):
        raise DataError(f"shiva-cmb {arguments[0]} failed; see above")


def trained(data: Path, model: Path, *how: object) -> None:
    """Train a bundle that is not there yet, or go on with it.

    Args:
        data: the list of its scans.
        model: its folder.
        how: options of `shiva-cmb train`.

    Raises:
        DataError: if it fails.
    """
    if not (model / DESCRIPTOR_NAME).exists():
        resumed = ("--resume",) if (model / "training").exists() else ()
        shiva_cmb("train", "--data", data, "-o", model, *how, *resumed)


def say(line: str) -> None:
    """Tell of what was repaired, guessed or left out."""
    print(f"note: {line}", file=sys.stderr)


def unpredicted(model: str | Path, scans: Path, found: Path) -> list[Path]:
    """The scans of a folder that `shiva-cmb synthesize` made of which there is no prediction by this model.

    What another model predicted does not count, nor what this one did at another operating point.
    """
    source = find_model(model, note=say)
    made_by = (
        [fold.sha256 for fold in source.folds],
        asdict(source.part.lesion_criteria()),
        bundled_network().sha256,
    )
    cases = read_cases(scans / LIST_NAME)
    return [case.images[0] for case in cases if _made_by(found, case.name) != made_by]


def _made_by(found: Path, name: str) -> tuple[Any, ...] | None:
    """Checksums of the folds, criteria and checksum of the anatomy network; None without both files."""
    provenance = found / f"{name}_provenance.json"
    if not (provenance.is_file() and _searched(found, name).is_file()):
        return None
    record = json.loads(provenance.read_text(encoding="utf-8"))
    folds = [fold["sha256"] for fold in record["model"]["folds"]]
    return folds, record["criteria"], (record["anatomy"] or {}).get("network_sha256")


def _searched(found: Path, name: str) -> Path:
    """Where lesions could be, as `predict --anatomy` writes it."""
    return found / f"{name}_searched.nii.gz"


def predict_scans(model: str | Path, scans: Path, found: Path) -> None:
    """Predict the scans of a folder; what this model has predicted is kept, what another has is replaced."""
    to_do = unpredicted(model, scans, found)
    if to_do:
        found.mkdir(parents=True, exist_ok=True)
        shiva_cmb("predict", *to_do, "-m", model, "-o", found, "--anatomy")


def write_truth(scans: Path, found: Path, strata: Sequence[str] = ()) -> Path:
    """The table of a folder's cases and their truth that `shiva-cmb evaluate` takes, beside the predictions.

    With where lesions could be by the predictions in `found`, so that the curves drop what `predict` drops.
    """
    truth, scans = found / "truth.tsv", scans.absolute()  # paths in a table count from its folder
    rows = [
        {
            "case": case.name,
            "patient": case.patient,
            "truth": case.label.absolute(),
            "regions": scans / f"{case.name}_regions.nii.gz",
            "mask": searched.absolute() if (searched := _searched(found, case.name)).is_file() else None,
            **{name: case.columns.get(name) for name in strata},
        }
        for case in read_cases(scans / LIST_NAME)
    ]
    write_tsv(truth, ("case", "patient", "truth", "regions", "mask", *strata), rows)
    return truth


def write_region_names(path: Path) -> Path:
    """The table of what the values of generated maps of regions mean, as `shiva-cmb evaluate` takes it."""
    rows = [
        {"value": value, "region": region, "side": side} for value, (region, side) in REGION_NAMES.items()
    ]
    write_tsv(path, ("value", "region", "side"), rows)
    return path


def evaluate_scans(
    scans: Path, found: Path, settings: EvaluationSettings, *, processes: int = 1
) -> Evaluation:
    """Judge the predictions of a folder of generated scans, by the truth that lies with them."""
    paired = pair_cases(write_truth(scans, found, settings.strata), found, note=say)
    names = {value: Place(*place) for value, place in REGION_NAMES.items()}
    return evaluate(paired, settings, region_names=names, processes=processes, note=say)


def pooled_figures(model: str | Path, scans: Path, found: Path) -> Mapping[str, Figure]:
    """Detection figures of a model on a folder of generated scans, bleeds of 2 mm and more.

    At the model's operating point, and those of the whole curve, which depend on no point.
    """
    predict_scans(model, scans, found)
    groups = evaluate_scans(scans, found, DETECTION).groups
    return {**groups["detection.micro"], **groups["detection.curves"]}


def write_markdown(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    with replacing() as pending:
        text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        pending.path(path).write_text(text, encoding="utf-8")
