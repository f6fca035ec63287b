"""The model card of a bundle that was trained on generated scans, from evaluations of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shiva_cmb.ensemble.bundle import Bundle
from shiva_cmb.ensemble.bundled import CARD_FIGURES_NAME, CARD_NAME
from shiva_cmb.errors import NOT_CLINICAL, DataError, UsageError
from shiva_cmb.files import replacing, write_json
from shiva_cmb.reporting.evaluation_tables import TextTable, evaluation_tables, markdown_table
from shiva_cmb.reporting.false_positives import NO_MIMIC, WITHIN_MM, MimicCounts, count_mimics

HEADLINE = ("sensitivity", "precision", "f1", "fp_per_scan", "fp_per_lesion_free_scan")
"""Figures of the overview, pooled over all scans."""
STRATA = ("size", "region")
"""What the figures are given by."""

WHAT_IT_MEANS = (
    "Heads have their shapes from label maps of real heads; every image, every bleed and everything that"
    " looks like a bleed was simulated, for training and for all figures below. The figures tell how well the"
    " model does on simulations, and how well it carries over from one simulation to another that was written"
    " independently. They do not tell how often it is right in patients: expect it to be worse there, by an"
    " amount that has not been measured. Before you rely on it, judge it on labelled scans of your own"
    " (`shiva-cmb evaluate`); `shiva-cmb selftest` gives an upper bound for your scanner without labels."
)
LIMITS = (
    "Bleeds and calcifications look alike on one magnitude image or SWI; only the phase, or CT, tells them"
    " apart.",
    "Tumours, surgery, large haemorrhages and most infarcts were not simulated; cavernomas and superficial"
    " siderosis may be reported as microbleeds.",
    "Sequences other than SWI and T2*-weighted gradient echo were not simulated.",
    "Probabilities are not calibrated for any population: the rate of bleeds in the simulations is not that"
    " of patients.",
)


@dataclass(frozen=True)
class Validation:
    """One kind of scans that the model was judged on."""

    name: str
    """What it is called in the card's headings and tables."""
    about: str
    """What the scans are and what the model knows of them, in a sentence or two."""
    evaluations: Mapping[str, Path]
    """Folders that `shiva-cmb evaluate` wrote, by the rule they were judged by; the first is the main one."""
    scans: Path | None = None
    """Folder of the scans, with the tables of their mimics; None leaves these out."""


@dataclass(frozen=True)
class CardText:
    """What a card says that no file tells."""

    title: str
    """Name and version of the model."""
    command: str
    """The one command that gives all figures again."""
    training: Sequence[str] = ()
    """Sentences on what it was trained on."""
    limits: Sequence[str] = field(default=LIMITS)
    """What it must not be expected to do."""


def write_card(bundle: Bundle, validations: Sequence[Validation], text: CardText, folder: Path) -> Path:
    """Write `MODEL_CARD.md`, and its main figures as `MODEL_CARD.json`; both belong into the bundle.

    Args:
        bundle: the model.
        validations: in the order of the card; the first figures are those that are looked at first.
        text: what no file tells.
        folder: an existing folder, the bundle's or another.

    Raises:
        DataError: if an evaluation cannot be read.
        UsageError: if there is no validation, or one without evaluation.
        OutputError: if the files cannot be written.
    """
    read = [(each, _read(each)) for each in validations]
    card = model_card(bundle, read, text)
    figures = {each.name: _headline(next(iter(metrics.values()))) for each, metrics in read}
    with replacing() as pending:
        pending.path(folder / CARD_NAME).write_text(card, encoding="utf-8")
        write_json(figures, pending.path(folder / CARD_FIGURES_NAME))
    return folder / CARD_NAME


def model_card(
    bundle: Bundle, validations: Sequence[tuple[Validation, Mapping[str, Mapping[str, Any]]]], text: CardText
) -> str:
    """The card as Markdown.

    Args:
        bundle: the model.
        validations: each with what its evaluations' `metrics.json` hold, by the same names.
        text: what no file tells.

    Raises:
        DataError: if a table of lesions or mimics cannot be read.
        UsageError: if there is no validation.
    """
    if not validations:
        raise UsageError("a model card needs at least one validation")
    parts = [
        f"# {text.title}",
        f"**No scan of a real patient was used to train or to validate this model. {NOT_CLINICAL}**",
        WHAT_IT_MEANS,
        "## The model\n\n" + _bullets(_model_lines(bundle)),
        "## What it was trained on\n\n" + _bullets([*text.training, *_training_lines(bundle)]),
        "## How it was judged",
        _how(validations),
        _overview(validations),
    ]
    for validation, metrics in validations:
        parts += _section(validation, metrics)
    parts += [
        "## Limits\n\n" + _bullets(text.limits),
        f"## These figures again\n\n```console\n$ {text.command}\n```",
        NOT_CLINICAL,
    ]
    return "\n\n".join(parts) + "\n"


def _read(validation: Validation) -> dict[str, Mapping[str, Any]]:
    """What was measured, by rule."""
    if not validation.evaluations:
        raise UsageError(f"the validation {validation.name!r} has no evaluation")
    found = {}
    for rule, folder in validation.evaluations.items():
        path = folder / "metrics.json"
        try:
            found[rule] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}): expected what `evaluate` writes") from error
    return found


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The main figures that are defined."""
    figures = metrics["detection"]["micro"]
    return {name: figures[name] for name in HEADLINE if (figures.get(name) or {}).get("value") is not None}


def _model_lines(bundle: Bundle) -> Iterator[str]:
    part, point = bundle.part, bundle.part.operating_point
    size = " x ".join(f"{n}" for n in part.input.shape)
    spacing = " x ".join(f"{n:g}" for n in part.input.spacing_mm)
    count = len(bundle.descriptor.files)
    yield f"Finds {bundle.descriptor.target} on {', '.join(part.channels)}."
    if part.architecture is not None:
        yield f"{count} networks (`{part.architecture.name}`), averaged, on {size} voxels of {spacing} mm."
    peak = "" if point.peak_threshold is None else f" whose highest is above {point.peak_threshold:g}"
    least = "" if point.min_volume_mm3 is None else f", of {point.min_volume_mm3:g} mm3 or more"
    yield f"A lesion is a component of probabilities above {point.threshold:g}{peak}{least}."
    if part.licence:
        yield f"Licence: {part.licence}."


def _training_lines(bundle: Bundle) -> Iterator[str]:
    known = bundle.part.training
    facts = [f"{known[name]} {name}" for name in ("cases", "patients", "bleeds") if name in known]
    if facts:
        yield f"Training list: {', '.join(facts)} (here a patient is a head that label maps were made of)."


def _how(validations: Sequence[tuple[Validation, Mapping[str, Mapping[str, Any]]]]) -> str:
    """The kinds of scans, the rules, and where the intervals come from."""
    lines = [f"**{validation.name}**: {validation.about}" for validation, _ in validations]
    rules: dict[str, str] = {}
    for _, metrics in validations:
        for rule, found in metrics.items():
            texts = found["definitions"]
            rules.setdefault(rule, f"*{rule}*: {texts['match']} {texts['ignored']}")
    _, metrics = validations[0]
    interval = next(iter(metrics.values()))["definitions"]["interval"]
    return _bullets([*lines, *rules.values(), f"In brackets: {interval} A patient is a head."])


def _overview(validations: Sequence[tuple[Validation, Mapping[str, Mapping[str, Any]]]]) -> str:
    """The main figures of each kind of scans, by the main rule."""
    methods = {each.name: _kept(next(iter(metrics.values())), strata=()) for each, metrics in validations}
    return _markdown(evaluation_tables(methods))


def _section(validation: Validation, metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    main = next(iter(metrics.values()))
    cases = main["cases"]
    yield f"## {validation.name}"
    yield (
        f"{cases['judged']} scans of {cases['patients']} heads, {main['lesions']['truth_count']} bleeds that"
        f" count and {main['lesions']['ignored_truth']} that are ignored."
    )
    by_rule = {rule: _kept(found, strata=STRATA) for rule, found in metrics.items()}
    yield _markdown(evaluation_tables(by_rule))
    if validation.scans is not None:
        lesions = next(iter(validation.evaluations.values())) / "lesions.tsv"
        yield _mimics_text(count_mimics(lesions, validation.scans), cases["judged"])


def _kept(metrics: Mapping[str, Any], strata: Sequence[str]) -> dict[str, Any]:
    """The figures of a card out of all that were measured."""
    by = metrics.get("strata") or {}
    micro = {name: metrics["detection"]["micro"].get(name) for name in HEADLINE}
    return {"detection": {"micro": micro}, "strata": {name: by[name] for name in strata if name in by}}


def _markdown(tables: Sequence[TextTable]) -> str:
    return "\n\n".join(f"### {table.title}\n\n{markdown_table(table)}" for table in tables)


def _mimics_text(counts: Sequence[MimicCounts], scans: int) -> str:
    """Which mimics were taken for bleeds."""
    rows = []
    for each in counts:
        none = each.kind == NO_MIMIC
        share = "-" if not each.drawn else f"{100 * each.false_positives / each.drawn:.1f}"
        rows.append(
            (
                "nothing that was drawn" if none else each.kind,
                "-" if none else f"{each.drawn / scans:.1f}",
                str(each.false_positives),
                f"{each.false_positives / scans:.2f}",
                share,
            )
        )
    header = ("Nearest mimic", "Drawn per scan", "False positives", "Per scan", "Per 100 drawn")
    title = f"False positives by the mimic within {WITHIN_MM:g} mm"
    return _markdown([TextTable(title, header, tuple(rows))])


def _bullets(lines: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)
