"""Trains the microbleed ensemble anew: `python -m recipes.microbleeds LABELMAPS -o OUT`.

OUT/scans are the training scans, OUT/model is the bundle, whose operating point the scans in OUT/point chose.
A run that was stopped goes on from where it was. The last heads of the folder are left out of the training:
the operating point is chosen on them, and the model card is measured on other scans of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.commands import (
    BALL_OF_2_MM_MM3,
    predict_scans,
    run,
    shared_out,
    shiva_cmb,
    write_truth,
)
from shiva_cmb.synthesis.visible import IGNORED

HERE = Path(__file__).parent
SEED = 20261121
SCANS = 240
POINT_SCANS = 40
"""By which the operating point is chosen."""
SMALL_SCANS = 6
COARSE = (
    *("--set", "protocol.in_plane_mm=[1.6,2.0]", "--set", "protocol.swi_slice_mm=[1.8,2.4]"),
    *("--set", "protocol.t2s_slice_mm=[2,3]"),
)
COARSE_PHYSICAL = ("--set", "fine_mm=1.5")
"""The same for scans of the physical generator."""
SMALL = (
    *("--grid", "80,107,88", "--spacing-mm", "2", "--epochs", "2", "--steps-per-epoch", "4"),
    *("--patch", "32,32,32", "--set", "first_patch=null", "--set", "grow_epochs=0", "--batch-size", "2"),
)
"""Every step of the work in minutes; the networks are of no use."""
SMALL_NETWORK = ("--set", "network.filters=[8,12]")


def main(arguments: list[str] | None = None) -> int:
    """Make the scans and train the folds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labelmaps", type=Path, help="folder of label maps")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "microbleeds.yaml", help="of the training")
    parser.add_argument("--scans-config", type=Path, default=HERE / "scans.yaml", help="of the scans")
    parser.add_argument("--small", action="store_true", help="try all of it in minutes")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    return run(lambda: train(given))


def train(given: argparse.Namespace) -> None:
    """Scans of the heads to train on, the folds on them, the operating point."""
    heads, judged = shared_out(given.labelmaps)
    scans, model = given.output / "scans", given.output / "model"
    count, coarse, small = (SMALL_SCANS, COARSE, (*SMALL, *SMALL_NETWORK)) if given.small else (SCANS, (), ())
    many = ("--processes", given.processes)
    source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--config", given.scans_config)
    shiva_cmb(*source, "-o", scans, "-n", count, "--seed", SEED, *many, *coarse)
    if not (model / "model_info.json").exists():
        started = ("--resume",) if (model / "training").exists() else ()
        how = ("--config", given.config, *many, *started, *small)
        shiva_cmb("train", "--data", scans / "cases.json", "-o", model, *how)
    if not given.small:  # such networks find nothing to choose by
        choose_point(given, judged, model)


def choose_point(given: argparse.Namespace, heads: Sequence[str], model: Path) -> None:
    """The operating point, by scans of heads that were not trained on, with bleeds and mimics as in patients.

    The training scans have ten times as many bleeds, and larger ones: what is best there asks for too much.
    """
    scans, found, figures = (given.output / name for name in ("point", "point_found", "point_figures"))
    if figures.exists():
        return
    source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--seed", SEED + 1)
    shiva_cmb(*source, "-o", scans, "-n", POINT_SCANS, "--processes", given.processes)
    predict_scans(model, scans, found)
    judged = ("--truth", write_truth(scans, found), "--pred", found, "--ignore-value", IGNORED)
    chosen = ("--ignore-below-mm3", BALL_OF_2_MM_MM3, "--pick", "f1", "--update-model", model)
    shiva_cmb("evaluate", *judged, *chosen, "-o", figures, "--no-gallery")


if __name__ == "__main__":
    sys.exit(main())
