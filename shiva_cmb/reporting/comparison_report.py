"""A comparison of methods written to a folder and summed up on a screen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shiva_cmb.errors import NOT_CLINICAL
from shiva_cmb.evaluation import Comparison, Evaluation, EvaluationSettings
from shiva_cmb.evaluation.record import evaluation_record, figure_record, plain
from shiva_cmb.files import new_directory
from shiva_cmb.prediction.provenance import describe_software
from shiva_cmb.reporting.curve_plots import Line, plot_froc, plot_precision_recall
from shiva_cmb.reporting.evaluation_plots import plot_levels
from shiva_cmb.reporting.evaluation_report import SOFTWARE, write_json
from shiva_cmb.reporting.evaluation_tables import TextTable, evaluation_tables, figure_text, latex, markdown
from shiva_cmb.reporting.plot_style import save_plot
from shiva_cmb.tables import write_tsv

_TESTS = (
    "Intervals: the same bootstrap samples of patients for all methods. P values: two-sided permutation tests"
    " that exchange each patient's results of the two methods; corrected by Holm for all rows."
)


def save_comparison(
    comparison: Comparison, runs: Mapping[str, Sequence[Evaluation]], folder: str | Path
) -> Path:
    """Write `comparison.json`, `comparison.tsv`, tables in Markdown and LaTeX, and plots of the first runs.

    Args:
        comparison: what came out.
        runs: the evaluations it was made of.
        folder: made new; it appears when all of it is there.

    Raises:
        OutputError: if the folder is there already, or cannot be written.
    """
    first = {name: evaluations[0] for name, evaluations in runs.items()}
    settings = next(iter(first.values())).settings
    records = {name: evaluation_record(evaluation) for name, evaluation in first.items()}
    tables = [*comparison_tables(comparison), *evaluation_tables(records, level=settings.level)]
    with new_directory(folder) as temporary:
        write_json(comparison_json(comparison, settings), temporary / "comparison.json")
        columns = ("figure", "first", "second", "difference", "low", "high", "n", "p", "p_holm")
        write_tsv(temporary / "comparison.tsv", columns, _rows(comparison))
        title = f"Comparison of {', '.join(runs)}"
        (temporary / "tables.md").write_text(markdown(tables, title), encoding="utf-8")
        (temporary / "tables.tex").write_text(latex(tables), encoding="utf-8")
        (temporary / "plots").mkdir()
        _draw(first, records, temporary / "plots")
    return Path(folder)


def comparison_json(comparison: Comparison, settings: EvaluationSettings) -> dict[str, Any]:
    """What `comparison.json` holds."""
    record = {
        "notice": NOT_CLINICAL,
        "software": describe_software(SOFTWARE),
        "settings": asdict(settings),
        "definitions": {"match": settings.rule.definition, "tests": _TESTS},
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
    }
    return dict(plain(record))


def comparison_tables(comparison: Comparison) -> list[TextTable]:
    """Figures by method, then the differences of every pair."""
    several = any(len(one.runs) > 1 for named in comparison.methods.values() for one in named.values())
    methods = list(comparison.methods)
    names = list(next(iter(comparison.methods.values())))
    rows = []
    for name in names:
        cells = []
        for method in methods:
            one = comparison.methods[method][name]
            text = figure_text(figure_record(one.figure))
            cells.append(f"{text}, SD of {len(one.runs)} runs {one.runs_sd:.3f}" if several else text)
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


def comparison_text(comparison: Comparison) -> str:
    """Both tables as plain text, for a screen."""
    parts = [_aligned(table) for table in comparison_tables(comparison)]
    if comparison.left_out:
        parts.append(f"left out, not judged for every run: {', '.join(comparison.left_out[:5])}")
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


def _draw(first: Mapping[str, Evaluation], records: Mapping[str, Any], folder: Path) -> None:
    """Sensitivity by size, and the curves of those methods that have some."""
    sizes = {
        name: {level: groups["detection"]["micro"]["sensitivity"] for level, groups in sizes.items()}
        for name, record in records.items()
        if (sizes := record["strata"]["size"])
    }
    level = next(iter(first.values())).settings.level
    if sizes:
        save_plot(plot_levels(sizes, level=level), folder, "sensitivity_by_size")
    curves = {name: one.curves for name, one in first.items() if one.curves is not None}
    if curves:
        froc = {name: Line(c.fp_per_scan, c.sensitivity) for name, c in curves.items()}
        save_plot(plot_froc(froc), folder, "froc")
        recall = {name: Line(c.sensitivity, c.precision) for name, c in curves.items()}
        save_plot(plot_precision_recall(recall), folder, "precision_recall")
