"""Judges a model on generated scans and writes its card: `python -m recipes.card LABELMAPS -o OUT`.

OUT/scans and OUT/predictions are kept; a run that was stopped goes on from there. What another model
predicted is made anew.
OUT/MODEL_CARD.md and OUT/MODEL_CARD.json belong into the model's folder.
"""

import argparse
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from recipes.commands import (
    BALL_OF_2_MM_MM3,
    evaluate_scans,
    predict_scans,
    run,
    say,
    shiva_cmb,
)
from shiva_cmb.ensemble import Bundle, bundled, named_model, open_bundle
from shiva_cmb.evaluation import EvaluationSettings, MatchRule
from shiva_cmb.reporting.evaluation_report import save_evaluation
from shiva_cmb.reporting.model_card import CardText, Validation, write_card
from shiva_cmb.synthesis.visible import IGNORED

STRATA = ("sequence", "field_t")


@dataclass(frozen=True)
class Kind:
    """One kind of scans to judge by."""

    name: str
    """Of its folders."""
    title: str
    """In the card."""
    about: str
    """In the card; behind it comes which heads they are made of."""
    options: tuple[str, ...] = ()
    """Of `shiva-cmb synthesize`."""


KINDS = (
    Kind(
        "physical",
        "Another generator",
        "Scans by a second generator, written independently and never used for training. It simulates the"
        " magnetic field of all tissue, veins, bleeds and calcifications at 0.5 mm, with dephasing inside the"
        " voxels, and reduces the signal to the scan's voxels.",
        ("--generator", "physical"),
    ),
    Kind(
        "heads",
        "Other heads, same generator",
        "Scans by the generator of the training scans, as it is without settings: with fewer bleeds than"
        " those, and a quarter of them with brightnesses at random.",
    ),
    Kind(
        "mimics",
        "Mimics without bleeds",
        "Scans by the second generator without any bleed, and with half as many mimics again: each finding is"
        " wrong.",
        ("--generator", "physical", "--set", "lesion_free_share=1", "--set", "mimic_density=1.5"),
    ),
)
RULES = {
    "any overlap": EvaluationSettings(
        ignored_values=(IGNORED,), ignore_below_mm3=BALL_OF_2_MM_MM3, strata=STRATA
    ),
    "VALDO": EvaluationSettings(
        rule=MatchRule("valdo"), ignored_values=(IGNORED,), ignore_below_mm3=BALL_OF_2_MM_MM3, strata=STRATA
    ),
    "any overlap, under 2 mm too": EvaluationSettings(ignored_values=(IGNORED,), strata=STRATA),
}
"""How predictions are judged; the first is the main one."""


def main(arguments: list[str] | None = None) -> int:
    """Generate, predict, evaluate, write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("labelmaps", type=Path, help="folder of label maps")
    add("-o", "--output", type=Path, required=True)
    add("-m", "--model", default=bundled.DEFAULT_NAME, help="a bundle, or a bundled model's name")
    add("--heads", help="names of label maps that the model has not seen: head_11,head_12 (default: all)")
    add("--scans", type=int, default=100, help="of each kind")
    add("--seed", type=int, default=2026)
    add("--processes", type=int, default=1)
    given = parser.parse_args(arguments)
    return run(lambda: make_card(given))


def make_card(given: argparse.Namespace) -> None:
    """All kinds of scans, then the card."""
    bundle = open_bundle(named_model(given.model))
    validations = [judge(kind, bundle, given) for kind in KINDS]
    print(write_card(bundle, validations, _text(bundle, given), given.output))


def judge(kind: Kind, bundle: Bundle, given: argparse.Namespace) -> Validation:
    """Make the scans of one kind, predict them, evaluate by each rule.

    Raises:
        DataError: if one of the steps fails.
    """
    scans, found = given.output / "scans" / kind.name, given.output / "predictions" / kind.name
    numbers = ["-n", given.scans, "--seed", given.seed, "--processes", given.processes]
    heads = ["--heads", given.heads] if given.heads else []
    shiva_cmb("synthesize", given.labelmaps, "-o", scans, *numbers, *heads, *kind.options)
    predict_scans(bundle.folder, scans, found)
    judged = given.output / "evaluations"
    shutil.rmtree(judged / kind.name, ignore_errors=True)  # of other scans or predictions, perhaps
    evaluations = {rule: judged / kind.name / str(number) for number, rule in enumerate(RULES)}
    (judged / kind.name).mkdir(parents=True)
    for number, (rule, folder) in enumerate(evaluations.items()):
        result = evaluate_scans(scans, found, RULES[rule], processes=given.processes)
        save_evaluation(result, folder, gallery=number == 0, note=say)
    which = f"the heads {given.heads}, which no network was trained on" if given.heads else "all label maps"
    return Validation(kind.title, f"{kind.about} Made of {which}.", evaluations, scans)


def _text(bundle: Bundle, given: argparse.Namespace) -> CardText:
    options = ["-m", given.model, "--scans", given.scans, "--seed", given.seed]
    options += ["--heads", given.heads] if given.heads else []
    command = shlex.join(["python", "-m", "recipes.card", "LABELMAPS", "-o", "OUT", *map(str, options)])
    version = bundle.descriptor.version
    title = f"Model card: {bundle.folder.name}{f' {version}' if version else ''}"
    training = ["Scans that `shiva-cmb synthesize` made of label maps of heads, three of ten without bleeds."]
    start = bundle.part.training and bundle.part.training.get("initial_weights")
    if start:
        training.append(
            "It had learned before: it started from an ensemble that had learned on scans of the same heads,"
            " with the same heads in each fold."
        )
    training.append(
        "The operating point (half a false positive per scan) was chosen on other scans of the heads that it"
        " is judged on here, by the second generator: that much it knows of it."
    )
    return CardText(title, command, training)


if __name__ == "__main__":
    sys.exit(main())
