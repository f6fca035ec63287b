"""Trains the microbleed ensemble anew: `python -m recipes.microbleeds LABELMAPS -o OUT`.

It learns twice: OUT/first on OUT/scans, and from there OUT/model on OUT/more_scans, other scans of the same
heads in the same folds. OUT/model is the bundle, whose operating point the scans in OUT/point chose. A run
that was stopped goes on from where it was. The last heads of the folder are left out of the training: the
operating point is chosen on them, and the model card is measured on other scans of them.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.commands import (
    BALL_OF_2_MM_MM3,
    predict_scans,
    run,
    shared_out,
    shiva_cmb,
    trained,
    write_region_names,
    write_truth,
)
from shiva_cmb.dataset import read_cases
from shiva_cmb.ensemble import open_bundle
from shiva_cmb.ensemble.bundle import DESCRIPTOR_NAME
from shiva_cmb.errors import DataError
from shiva_cmb.files import replacing, write_json
from shiva_cmb.synthesis.scan import LIST_NAME
from shiva_cmb.synthesis.visible import IGNORED

HERE = Path(__file__).parent
SEED = 20261121
SCANS = 240
POINT_SCANS, POINT_SEED = 24, 31
"""By which the operating point is chosen; the ablation judges by the same."""
POINT_SETTINGS = ("--generator", "physical", "--set", "fewest_bleeds=6")
"""By another generator than the training scans, whose many mimics ask for too much; and with more bleeds than
patients have, so that few scans tell how many are found."""
PICK = "fp:0.5"
"""The most bleeds at half a false positive per scan, whatever the number of bleeds."""
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
    parser.add_argument("--small", action="store_true", help="try all of it in minutes")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.small:
        given.output /= "small"  # its scans and models are not to be mixed with the others
    return run(lambda: train(given))


def train(given: argparse.Namespace) -> None:
    """Scans of the heads to train on, the folds on them, once and again, then the operating point."""
    heads, judged = shared_out(given.labelmaps)
    first, model = given.output / "first", given.output / "model"
    if (model / DESCRIPTOR_NAME).exists() and not (first / DESCRIPTOR_NAME).exists():
        raise DataError(f"{model} was made by another recipe than this: name a new folder with -o")
    scans = synthesized(given, "scans", heads, "scans.yaml", SEED)
    small = (*SMALL, *SMALL_NETWORK) if given.small else ()
    how = (*small, "--processes", given.processes)
    trained(scans, first, "--config", HERE / "microbleeds.yaml", *how)
    more = synthesized(given, "more_scans", heads, "more_scans.yaml", SEED + 2)
    folds = same_folds(first, scans, more, given.output / "folds.json")
    start = ("--init", first, "--folds-file", folds)
    trained(more, model, "--config", HERE / "microbleeds_again.yaml", *start, *how)
    if not given.small:  # such networks find nothing to choose by
        choose_point(given, judged, model)


def synthesized(given: argparse.Namespace, name: str, heads: Sequence[str], config: str, seed: int) -> Path:
    """The list of the scans in a folder, which are made if they are not there."""
    scans, coarse = given.output / name, COARSE if given.small else ()
    source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--config", HERE / config)
    many = ("-n", SMALL_SCANS if given.small else SCANS, "--processes", given.processes)
    shiva_cmb(*source, "-o", scans, "--seed", seed, *many, *coarse)
    return scans / LIST_NAME


def same_folds(model: Path, scans: Path, more: Path, path: Path) -> Path:
    """A file of folds for other scans, in which every head is in the fold that it has in a model."""
    head_of = {case.name: case.patient for case in read_cases(scans)}
    heads = [{head_of[case] for case in fold.validation_cases} for fold in open_bundle(model).part.folds]
    folds = [{"validation": [c.name for c in read_cases(more) if c.patient in some]} for some in heads]
    with replacing() as pending:
        write_json({"folds": folds}, pending.path(path))
    return path


def choose_point(given: argparse.Namespace, heads: Sequence[str], model: Path) -> None:
    """The operating point, by scans of heads that were not trained on, by the generator that was not either.

    The training scans have ten times as many bleeds, and more mimics: what is best there asks for too much.
    """
    scans, found, figures = (given.output / name for name in ("point", "point_found", "point_figures"))
    chosen_for, folds = given.output / "point_chosen_for.txt", _checksums(model)
    if chosen_for.exists() and chosen_for.read_text(encoding="utf-8") == folds:
        return
    shutil.rmtree(figures, ignore_errors=True)  # of other folds, or without the choice
    source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--seed", POINT_SEED)
    shiva_cmb(*source, *POINT_SETTINGS, "-o", scans, "-n", POINT_SCANS, "--processes", given.processes)
    predict_scans(model, scans, found)
    judged = ("--truth", write_truth(scans, found), "--pred", found, "--ignore-value", IGNORED)
    chosen = ("--ignore-below-mm3", BALL_OF_2_MM_MM3, "--pick", PICK, "--update-model", model)
    named = ("--region-names", write_region_names(given.output / "region_names.tsv"))
    shiva_cmb("evaluate", *judged, *chosen, *named, "-o", figures, "--no-gallery")
    with replacing() as pending:
        pending.path(chosen_for).write_text(folds, encoding="utf-8")


def _checksums(model: Path) -> str:
    """Of the folds of a bundle, a line each."""
    return "".join(f"{fold.sha256}\n" for fold in open_bundle(model).part.folds)


if __name__ == "__main__":
    sys.exit(main())
