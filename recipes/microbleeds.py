"""Trains the microbleed ensemble anew: `python -m recipes.microbleeds LABELMAPS -o OUT`.

OUT/scans are the training scans, OUT/model is the bundle. A run that was stopped goes on from where it was.
The last heads of the folder are left out: the model card is measured on them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.commands import shiva_cmb
from shiva_cmb.errors import ShivaCmbError, UsageError
from shiva_cmb.synthesis.head_map import names_of_head_maps

HERE = Path(__file__).parent
SEED = 20261121
SCANS = 240
HELD_OUT = 4
"""Heads that are never trained on."""
FEWEST_HEADS = 3
"""To train on: one for each fold."""
SMALL_SCANS = 6
COARSE = (
    *("--set", "protocol.in_plane_mm=[1.6,2.0]", "--set", "protocol.swi_slice_mm=[1.8,2.4]"),
    *("--set", "protocol.t2s_slice_mm=[2,3]"),
)
SMALL = (
    *("--grid", "80,107,88", "--spacing-mm", "2", "--epochs", "2", "--steps-per-epoch", "4"),
    *("--patch", "32,32,32", "--set", "first_patch=null", "--set", "grow_epochs=0", "--batch-size", "2"),
    *("--set", "network.filters=[8,12]"),
)
"""Every step of the work in minutes; the networks are of no use."""


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
    try:
        heads = names_of_head_maps(given.labelmaps)
        if len(heads) < FEWEST_HEADS + HELD_OUT:
            raise UsageError(
                f"{given.labelmaps}: expected at least {FEWEST_HEADS + HELD_OUT} label maps "
                f"({FEWEST_HEADS} to train on, {HELD_OUT} to judge by), found {len(heads)}"
            )
        train(given, heads[:-HELD_OUT])
    except ShivaCmbError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def train(given: argparse.Namespace, heads: Sequence[str]) -> None:
    """Scans of these heads, then the folds on them."""
    scans, model = given.output / "scans", given.output / "model"
    count, coarse, small = (SMALL_SCANS, COARSE, SMALL) if given.small else (SCANS, (), ())
    many = ("--processes", given.processes)
    source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--config", given.scans_config)
    shiva_cmb(*source, "-o", scans, "-n", count, "--seed", SEED, *many, *coarse)
    if (model / "model_info.json").exists():
        return
    started = ("--resume",) if (model / "training").exists() else ()
    how = ("--config", given.config, *many, *started, *small)
    shiva_cmb("train", "--data", scans / "cases.json", "-o", model, *how)


if __name__ == "__main__":
    sys.exit(main())
