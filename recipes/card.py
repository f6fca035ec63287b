"""Judges a model on generated scans and writes its card: `python -m recipes.card LABELMAPS -o OUT`.

OUT/scans, OUT/predictions and OUT/evaluations are kept; a run that was stopped goes on from there.
OUT/MODEL_CARD.md and OUT/MODEL_CARD.json belong into the model's folder.
"""

import argparse
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from recipes.commands import BALL_OF_2_MM_MM3, predict_scans, shiva_cmb
from shiva_cmb.anatomy.regions import Place
from shiva_cmb.dataset.cases import read_cases
from shiva_cmb.ensemble import Bundle, bundled, named_model, open_bundle
from shiva_cmb.errors import ShivaCmbError
from shiva_cmb.evaluation import EvaluationSettings, MatchRule, evaluate, pair_cases
from shiva_cmb.reporting.evaluation_report import save_evaluation
from shiva_cmb.reporting.model_card import CardText, Validation, write_card
from shiva_cmb.synthesis.head_map import REGION_NAMES
from shiva_cmb.synthesis.scan import LIST_NAME
from shiva_cmb.synthesis.visible import IGNORED
from shiva_cmb.tables import write_tsv

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
        "Scans by the generator of the training scans: what is easiest for the model.",
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
    try:
        bundle = open_bundle(named_model(given.model))
        validations = [judge(kind, bundle, given) for kind in KINDS]
        print(write_card(bundle, validations, _text(bundle, given), given.output))
    except ShivaCmbError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


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
    cases = read_cases(scans / LIST_NAME)
    truth = scans / "truth.tsv"
    columns = ("case", "patient", "truth", "regions", *STRATA)
    rows = [
        {
            "case": case.name,
            "patient": case.patient,
            "truth": case.label,
            "regions": scans / f"{case.name}_regions.nii.gz",
            **{name: case.columns.get(name) for name in STRATA},
        }
        for case in cases
    ]
    write_tsv(truth, columns, rows)
    evaluations = {}
    for number, (rule, settings) in enumerate(RULES.items()):
        folder = given.output / "evaluations" / f"{kind.name}_{number}"
        evaluations[rule] = folder
        if folder.exists():
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        paired = pair_cases(truth, found, note=_say)
        names = {value: Place(*place) for value, place in REGION_NAMES.items()}  # type: ignore[arg-type]
        result = evaluate(paired, settings, region_names=names, processes=given.processes, note=_say)
        save_evaluation(result, folder, gallery=number == 0, note=_say)
    which = f"the heads {given.heads}, which the model has not seen" if given.heads else "all label maps"
    return Validation(kind.title, f"{kind.about} Made of {which}.", evaluations, scans)


def _text(bundle: Bundle, given: argparse.Namespace) -> CardText:
    options = ["-m", given.model, "--scans", given.scans, "--seed", given.seed]
    options += ["--heads", given.heads] if given.heads else []
    command = shlex.join(["python", "-m", "recipes.card", "LABELMAPS", "-o", "OUT", *map(str, options)])
    version = bundle.descriptor.version
    title = f"Model card: {bundle.folder.name}{f' {version}' if version else ''}"
    training = ["Scans that `shiva-cmb synthesize` made of label maps of heads, three of ten without bleeds."]
    return CardText(title, command, training)


def _say(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
