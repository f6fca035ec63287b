"""A few small generated heads, and settings that train on them in seconds."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.imaging import write_volume
from tests.phantom import PhantomSettings, make_head

SMALL_HEAD = PhantomSettings(
    spacing_mm=(1.0, 1.2, 2.0),
    head_mm=(62.0, 70.0, 64.0),
    bleeds=(3, 5),
    bleed_diameter_mm=(3.0, 5.0),
    vessels=6,
)
TINY: dict[str, Any] = {
    "folds": 2,
    "epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 2,
    "patch": [16, 16, 16],
    "grid": [32, 37, 30],
    "spacing_mm": [2.0, 2.0, 2.0],
    "network": {"name": "plain_unet", "filters": [2, 3], "convs": 1},
}


def small_dataset(folder: Path, cases: int, seed: int = 4, patients: Sequence[int] = ()) -> Path:
    """Write heads and their list; each is a patient of its own if not said otherwise."""
    rng = np.random.default_rng(seed)
    table = folder / "cases.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "mask", "patient"])
        for number in range(cases):
            head = make_head(rng, SMALL_HEAD)
            names = [f"{number}_{kind}.nii.gz" for kind in ("swi", "bleeds", "brain")]
            for name, volume in zip(names, (head.image, head.bleeds, head.brain), strict=True):
                write_volume(volume, folder / name)
            writer.writerow([*names, f"P{patients[number] if patients else number}"])
    return table
