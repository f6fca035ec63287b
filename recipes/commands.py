"""What the recipes share: the package's commands, and figures of a model on a folder of generated scans."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from shiva_cmb.cli.main import main
from shiva_cmb.dataset import read_cases
from shiva_cmb.errors import DataError
from shiva_cmb.evaluation import EvaluationSettings, evaluate, pair_cases
from shiva_cmb.evaluation.resampling import Figure
from shiva_cmb.files import replacing
from shiva_cmb.synthesis.scan import LIST_NAME
from shiva_cmb.synthesis.visible import IGNORED
from shiva_cmb.tables import write_tsv

BALL_OF_2_MM_MM3 = 4.19
"""Smaller bleeds are no microbleeds by definition; they count neither way in the main figures."""


def shiva_cmb(*arguments: object) -> None:
    """A command of the package, in this process.

    Raises:
        DataError: if it fails.
    """
    if main([str(argument) for argument in arguments]):
        raise DataError(f"shiva-cmb {arguments[0]} failed; see above")


def predict_scans(model: str | Path, scans: Path, found: Path) -> None:
    """Predict every scan of a folder that `shiva-cmb synthesize` made; those that are there are kept."""
    cases = read_cases(scans / LIST_NAME)
    to_do = [case.images[0] for case in cases if not (found / f"{case.name}_provenance.json").is_file()]
    if to_do:
        found.mkdir(parents=True, exist_ok=True)
        shiva_cmb("predict", *to_do, "-m", model, "-o", found)


def pooled_figures(model: str | Path, scans: Path, found: Path) -> Mapping[str, Figure]:
    """Detection figures of a model on a folder of generated scans, bleeds of 2 mm and more."""
    predict_scans(model, scans, found)
    truth = scans / "truth.tsv"
    cases = read_cases(scans / LIST_NAME)
    rows = [{"case": case.name, "patient": case.patient, "truth": case.label} for case in cases]
    write_tsv(truth, ("case", "patient", "truth"), rows)
    settings = EvaluationSettings(ignored_values=(IGNORED,), ignore_below_mm3=BALL_OF_2_MM_MM3)
    return evaluate(pair_cases(truth, found), settings).groups["detection.micro"]


def write_markdown(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    with replacing() as pending:
        text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        pending.path(path).write_text(text, encoding="utf-8")
