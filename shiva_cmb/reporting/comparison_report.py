"""A comparison of methods written to a folder and summed up on a screen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shiva_cmb.errors import NOT_CLINICAL, Note, warn_user
from shiva_cmb.evaluation import Comparison, Evaluation, EvaluationSettings
from shiva_cmb.evaluation.figures import DEFINITIONS
from shiva_cmb.evaluation.record import figure_record, input_record
from shiva_cmb.files import new_directory, plain, write_json
from shiva_cmb.prediction.provenance import describe_software
from shiva_cmb.reporting.draw_comparison import draw_comparison
from shiva_cmb.reporting.evaluation_report import SOFTWARE, faults_of_input, some_names
from shiva_cmb.reporting.evaluation_tables import TextTable, figure_text, latex, markdown
from shiva_cmb.tables import write_tsv

_TESTS = (
    "Intervals: the same bootstrap samples of patients for all methods. P values: two-sided permutation tests"
    " that exchange each patient's results of the two methods; corrected by Holm for all rows."
)


Runs = Mapping[str, Sequence[Evaluation]]
"""The evaluations of each method, one per run."""


def save_comparison(
    comparison: Comparison, runs: Runs, folder: str | Path, *, note: Note = warn_user
) -> Path:
    """Write `comparison.json`, `comparison.tsv`, tables in Markdown and LaTeX, and plots.

    All of them show the cases that all runs were judged on.

    Args:
        comparison: what came out.
        runs: the evaluations it was made of.
        folder: made new; it appears when all of it is there.
        note: told what could not be drawn; it is in `comparison.json` too.

    Raises:
        OutputError: if the folder is there already, or cannot be written.
    """
    record = comparison_json(comparison, next(iter(runs.values()))[0].settings, runs)
    tables = [*comparison_tables(comparison), runs_table(runs)]

    def remark(line: str) -> None:
        record["notes"].append(line)
        note(line)

    with new_directory(folder) as temporary:
        columns = ("figure", "first", "second", "difference", "low", "high", "n", "p", "p_holm")
        write_tsv(temporary / "comparison.tsv", columns, _rows(comparison))
        title = f"Comparison of {', '.join(runs)}"
        (temporary / "tables.md").write_text(markdown(tables, title), encoding="utf-8")
        (temporary / "tables.tex").write_text(latex(tables), encoding="utf-8")
        (temporary / "plots").mkdir()
        draw_comparison(comparison, runs, temporary / "plots", remark)
        write_json(record, temporary / "comparison.json")  # last: it holds the remarks made on the way
    return Path(folder)


def comparison_json(comparison: Comparison, settings: EvaluationSettings, runs: Runs) -> dict[str, Any]:
    """What `comparison.json` holds.

    Args:
        comparison: what came out.
        settings: what the methods were judged by.
        runs: the evaluations it was made of; what was missing, unusable, left out or remarked on in each.
    """
    names = [name for figures in comparison.methods.values() for name in figures]
    record = {
        "notice": NOT_CLINICAL,
        "software": describe_software(SOFTWARE),
        "settings": asdict(settings),
        "definitions": {
            "match": settings.rule.definition,
            "tests": _TESTS,
            "figures": {name: _definition(name) for name in dict.fromkeys(names)},
        },
        "cases": list(comparison.cases),
        "left_out": list(comparison.left_out),
        "replicates": comparison.replicates,
        "permutations": comparison.permutations,
        "seed": comparison.seed,
        "methods": {
            method: {
                name: {**figure_record(one.figure), "runs": list(one.runs), "runs_sd": one.runs_sd}
                for name, one in figures.items()
            }
            for method, figures in comparison.methods.items()
        },
        "differences": [
            {
                "figure": one.name,
                "first": one.first,
                "second": one.second,
                "second_less_first": figure_record(one.difference),
                "p": one.p,
                "p_holm": one.p_holm,
            }
            for one in comparison.differences
        ],
        "runs": {method: [input_record(one) for one in evaluations] for method, evaluations in runs.items()},
        "notes": [],
    }
    return dict(plain(record))


def _definition(name: str) -> str:
    """What a figure means, by its full name: `counts.icc`, `scan_classification.1.auc`."""
    group = next(group for group in DEFINITIONS if name.startswith(f"{group}."))
    figure = name.removeprefix(f"{group}.")
    return DEFINITIONS[group][figure.partition(".")[2] if group == "scan_classification" else figure]


def runs_table(runs: Runs) -> TextTable:
    """How many cases each run was judged on, and how many predictions were missing or unusable."""
    several = any(len(evaluations) > 1 for evaluations in runs.values())
    rows = []
    for method, evaluations in runs.items():
        for number, evaluation in enumerate(evaluations, start=1):
            counts = (
                evaluation.results,
                evaluation.cases.missing,
                evaluation.unread,
                evaluation.failures,
                evaluation.cases.extra,
                evaluation.notes,
            )
            name = (method, str(number)) if several else (method,)
            rows.append((*name, *(str(len(counted)) for counted in counts)))
    header = ("Method", *(("Run",) if several else ()), "Judged", "Missing", "Unusable", "Not judged")
    title = "Cases of each run; a missing or unusable prediction counts as empty"
    return TextTable(title, (*header, "Without truth", "Remarks"), tuple(rows))


def comparison_tables(comparison: Comparison) -> list[TextTable]:
    """Figures by method, then the differences of every pair."""
    methods = list(comparison.methods)
    names = list(next(iter(comparison.methods.values())))
    rows = []
    for name in names:
        cells = []
        for method in methods:
            one = comparison.methods[method][name]
            text = figure_text(figure_record(one.figure))
            defined = one.runs_sd == one.runs_sd  # NaN for one run, and where a run has no such figure
            cells.append(f"{text}, SD of {len(one.runs)} runs {one.runs_sd:.3f}" if defined else text)
        rows.append((name, *cells))
    tables = [TextTable(f"Methods on {len(comparison.cases)} cases", ("Figure", *methods), tuple(rows))]
    differences = tuple(
        (
            one.name,
            f"{one.second} - {one.first}",
            figure_text(figure_record(one.difference), 3),
            _p(one.p),
            _p(one.p_holm),
        )
        for one in comparison.differences
    )
    if differences:
        header = ("Figure", "Methods", "Difference", "p", "p (Holm)")
        tables.append(TextTable("Differences", header, differences))
    return tables


def comparison_text(comparison: Comparison, runs: Runs) -> str:
    """The tables as plain text, and what was wrong with the input of each run, for a screen."""
    parts = [_aligned(table) for table in (*comparison_tables(comparison), runs_table(runs))]
    faults = []
    if comparison.left_out:
        faults.append(f"left out, not judged for every run: {some_names(comparison.left_out)}")
    for method, evaluations in runs.items():
        for number, evaluation in enumerate(evaluations, start=1):
            run = f"{method}, run {number}" if len(evaluations) > 1 else method
            faults += [f"{run}: {line}" for line in faults_of_input(evaluation)]
    if faults:
        parts.append("\n".join(faults))
    return "\n\n".join([*parts, f"{_TESTS}\n{NOT_CLINICAL}"])


def _aligned(table: TextTable) -> str:
    cells = (table.header, *table.rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([table.title, *(line.rstrip() for line in lines)])


def _p(value: float) -> str:
    if value != value:  # NaN: not tested
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "figure": one.name,
            "first": one.first,
            "second": one.second,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
            "n": one.difference.n,
            "p": one.p,
            "p_holm": one.p_holm,
        }
        for one in comparison.differences
    ]
