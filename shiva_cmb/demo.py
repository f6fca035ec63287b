"""The whole way in minutes: make heads, train two folds, predict an unseen head, compare with the truth."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import Note
from shiva_cmb.evaluation.assignment import match_points
from shiva_cmb.files import replacing
from shiva_cmb.imaging import write_volume
from shiva_cmb.lesions import LesionTable
from shiva_cmb.prediction import Prediction, predict
from shiva_cmb.reporting import write_overlay
from shiva_cmb.synthesis import Phantom, PhantomSettings, TrueBleed, make_head
from shiva_cmb.training import Progress, settings_from, train_folds

TRAINING_HEADS = 6
QUICK = {
    "folds": 2,
    "epochs": 6,
    "steps_per_epoch": 80,
    "batch_size": 2,
    "patch": [32, 32, 32],
    "learning_rate": 3e-3,
    "network": {
        "name": "shiva_unet",
        "first_filters": 8,
        "levels": 3,
        "growth": 2.0,
        "dropout_first": 0.0,
        "dropout": 0.0,
        "pool_deepest": False,
        "wide_decoder": False,
        "head_filters": 0,
        "activation": "relu",
    },
}
"""A small network that learns plain dark dots in about a minute a fold on two cores."""
NEAR_MM = 3.0
"""A lesion and a bleed that lie closer than this are the same one: larger than half of the largest bleed."""


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo did."""

    prediction: Prediction
    """Of the unseen head."""
    truth: tuple[TrueBleed, ...]
    """The bleeds that were put into it."""
    partners: dict[int, int]
    """Index of a true bleed to index of the lesion that found it."""
    image: Path
    """The unseen head."""
    model: Path
    """The trained bundle."""
    picture: Path
    """Lesions and truth, as PNG."""
    files: dict[str, Path]
    """The prediction's files."""


def run_demo(
    folder: Path, *, seed: int, progress: Progress, on_step: Callable[[str], None], note: Note
) -> DemoResult:
    """Do all of it.

    Args:
        folder: an existing empty folder for everything that is made.
        seed: of the heads and the training.
        progress: told how far the training is.
        on_step: told what is being done.
        note: told of repairs and guesses.
    """
    rng = np.random.default_rng(seed)
    settings = PhantomSettings()
    on_step(f"making {TRAINING_HEADS + 1} heads of {' x '.join(map(str, settings.spacing_mm))} mm")
    heads = [make_head(rng, settings) for _ in range(TRAINING_HEADS + 1)]
    unseen = heads.pop()
    table = _write_cases(folder, heads)
    on_step("training two folds of a small network")
    model = train_folds(
        read_cases(table), folder / "model", settings_from(QUICK), note=note, progress=progress
    )
    on_step("predicting a head the networks have not seen")
    image, mask = folder / "unseen_swi.nii.gz", folder / "unseen_brain.nii.gz"
    write_volume(unseen.image, image)
    write_volume(unseen.brain, mask)
    prediction = predict(image, model=model, mask=mask, note=note)
    files = prediction.save(folder, "unseen_swi")
    picture = folder / "unseen_swi_lesions.png"
    with replacing() as pending:
        write_overlay(
            pending.path(picture),
            unseen.image,
            prediction.labels,
            truth_mm=[bleed.centre_mm for bleed in unseen.truth],
            title="Demo: generated head, lesions found and true bleeds",
        )
    partners = pair_with_truth(prediction.lesions, unseen.truth)
    return DemoResult(prediction, unseen.truth, partners, image, model, picture, files)


def pair_with_truth(lesions: LesionTable, truth: Sequence[TrueBleed]) -> dict[int, int]:
    """One lesion at most for each bleed, within `NEAR_MM`, as many as can be and then as near as can be.

    Returns:
        Index of the bleed to index of the lesion, both from 0.
    """
    found = [(lesion.x_mm, lesion.y_mm, lesion.z_mm) for lesion in lesions]
    pairs = match_points([bleed.centre_mm for bleed in truth], found, NEAR_MM)
    return dict(pairs.tolist())


def _write_cases(folder: Path, heads: Sequence[Phantom]) -> Path:
    table = folder / "cases.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "mask", "patient"])
        for number, head in enumerate(heads):
            names = [f"head_{number}_{kind}.nii.gz" for kind in ("swi", "bleeds", "brain")]
            for name, volume in zip(names, (head.image, head.bleeds, head.brain), strict=True):
                write_volume(volume, folder / name)
            writer.writerow([*names, f"head_{number}"])
    return table
