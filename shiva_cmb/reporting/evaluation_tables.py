"""Tables of an evaluation for papers and reports, in Markdown and LaTeX, from what `metrics.json` holds."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiva_cmb.errors import NOT_CLINICAL, UsageError
from shiva_cmb.reporting.figure_names import figure_label, stratum_name, stratum_title

Metrics = Mapping[str, Any]
"""As in `metrics.json`: groups (`detection` -> `micro`) of figures by name, each a mapping of `value`, `low`,
`high` and `n`, None or NaN where undefined. `strata` leads to strata, these to levels, these to groups."""

DASH = "-"
"""Stands for what is undefined."""

_GROUPS = {
    "detection.micro": "Detection, lesions of all scans pooled (micro)",
    "detection.macro": "Detection, per scan (macro)",
    "detection.curves": "Detection along the thresholds",
    "segmentation": "Segmentation, per scan",
    "counts": "Number of lesions per scan",
    "calibration": "Calibration",
}
_SCAN_FIGURES = ("sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "auc")
_STRATUM_FIGURES = ("sensitivity", "precision", "f1", "fp_per_scan")
_WHOLE = frozenset({"tp", "fp", "fn", "tn"})


@dataclass(frozen=True)
class TextTable:
    """One table of text; the first column names the row."""

    title: str
    """What it shows."""
    header: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, as many as there are columns."""


def evaluation_tables(methods: Mapping[str, Metrics], level: float = 0.95) -> tuple[TextTable, ...]:
    """Tables of detection, segmentation, counts, scan classification, calibration and strata.

    Figures with intervals read `0.84 (0.78-0.90)`, undefined ones `-`. Groups that are not there are left
    out.

    Args:
        methods: metrics by the name of the method. With one method, a column has the numbers of lesions or
            scans that the figures rest on; with several, there is a column or row for each.
        level: of the intervals, for the headers.

    Raises:
        UsageError: if there is no method.
    """
    if not methods:
        raise UsageError("expected the metrics of at least one method")
    interval = f", with {100 * level:g} % intervals"
    tables = []
    for key, title in _GROUPS.items():
        groups = {name: _group(metrics, key) for name, metrics in methods.items()}
        if any(groups.values()):
            tables.append(_rows_of_figures(f"{title}{interval}", groups))
    classified = _scan_classification(methods)
    if classified:
        tables.append(
            _table_of_levels(
                f"Scans with at least so many lesions{interval}", "Lesions", classified, _SCAN_FIGURES
            )
        )
    for stratum in dict.fromkeys(
        name for metrics in methods.values() for name in metrics.get("strata") or ()
    ):
        levels = _levels(methods, stratum)
        if levels:
            name = stratum_name(stratum)
            title = f"Detection by {name}, pooled{interval}"
            tables.append(_table_of_levels(title, stratum_title(stratum), levels, _STRATUM_FIGURES))
    return tuple(tables)


def figure_text(figure: Mapping[str, Any] | None, decimals: int = 2) -> str:
    """`0.84 (0.78-0.90)`; `-0.10 (-0.50 to 0.30)` where an end is negative; a dash if there is no value.

    Args:
        figure: `value`, `low` and `high`; None, NaN and missing keys are undefined.
        decimals: digits behind the point.
    """
    value, low, high = (_number(figure, key) for key in ("value", "low", "high"))
    if value is None:
        return DASH
    text = _decimal(value, decimals)
    if low is None or high is None:
        return text
    join = " to " if min(value, low, high) < 0 else "-"
    return f"{text} ({_decimal(low, decimals)}{join}{_decimal(high, decimals)})"


def markdown(tables: Iterable[TextTable], title: str = "Evaluation") -> str:
    """A Markdown document of the tables, readable as plain text too."""
    parts = [f"# {_markdown_text(title)}"]
    parts += [f"## {_markdown_text(table.title)}\n\n{markdown_table(table)}" for table in tables]
    parts.append(NOT_CLINICAL)
    return "\n\n".join(parts) + "\n"


def markdown_table(table: TextTable) -> str:
    """One table without its title, its columns padded to one width; no line break at the end."""
    cells = [[_markdown_text(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(table.header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def latex(tables: Iterable[TextTable]) -> str:
    r"""The tables for LaTeX; needs `\usepackage{booktabs}` and an encoding of UTF-8."""
    parts = [f"% {NOT_CLINICAL}\n% Needs \\usepackage{{booktabs}}."]
    for table in tables:
        columns = "l" + "r" * (len(table.header) - 1)
        lines = [" & ".join(_latex_text(cell) for cell in row) + r" \\" for row in table.rows]
        header = " & ".join(_latex_text(cell) for cell in table.header) + r" \\"
        parts.append(
            "\n".join(
                [
                    r"\begin{table}[ht]",
                    r"\centering\small",
                    rf"\caption{{{_latex_text(table.title)}. {_latex_text(NOT_CLINICAL)}}}",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    header,
                    r"\midrule",
                    *lines,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _rows_of_figures(title: str, groups: Mapping[str, Metrics]) -> TextTable:
    """One row per figure, one column per method."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    single = len(groups) == 1
    rows = []
    for name in names:
        if name.endswith("_q75") and name.removesuffix("_q75") + "_q25" in names:
            continue  # with the lower quartile
        cells = [_cell(group, name) for group in groups.values()]
        if single:
            cells.append(_count(next(iter(groups.values())).get(name)))
        rows.append((figure_label(name), *cells))
    header = ("Figure", "Value", "n") if single else ("Figure", *groups)
    return TextTable(title, header, tuple(rows))


def _cell(group: Metrics, name: str) -> str:
    """A figure; both quartiles in one cell."""
    if name.endswith("_q25"):
        ends = [group.get(name.removesuffix("_q25") + end) for end in ("_q25", "_q75")]
        values = [_number(figure, "value") for figure in ends]
        return DASH if None in values else " to ".join(_decimal(v, 2) for v in values if v is not None)
    figure = group.get(name)
    if name in _WHOLE or "_volume_" in name:
        return figure_text(figure, 0 if name in _WHOLE else 1)
    return figure_text(figure)


def _table_of_levels(
    title: str,
    first: str,
    levels: Mapping[str, Mapping[str, Metrics]],
    figures: Sequence[str],
) -> TextTable:
    """One row per level and method, one column per figure."""
    many = len({method for groups in levels.values() for method in groups}) > 1
    present = [name for name in figures if any(name in g for gs in levels.values() for g in gs.values())]
    rows = []
    for level, groups in levels.items():
        for method, group in groups.items():
            names = (level, method) if many else (level,)
            count = _count(group.get("sensitivity"))
            rows.append((*names, *(figure_text(group.get(name)) for name in present), count))
    labels = [figure_label(name) for name in present]
    header = (first, *(("Method",) if many else ()), *labels, "n (sensitivity)")
    return TextTable(title, header, tuple(rows))


def _scan_classification(methods: Mapping[str, Metrics]) -> dict[str, dict[str, Metrics]]:
    """Figures by number of lesions and method."""
    levels: dict[str, dict[str, Metrics]] = {}
    for method, metrics in methods.items():
        for least in metrics.get("scan_classification") or ():
            levels.setdefault(f">={least}", {})[method] = _group(metrics, f"scan_classification.{least}")
    return dict(sorted(levels.items(), key=lambda item: _digits(item[0])))


def _levels(methods: Mapping[str, Metrics], stratum: str) -> dict[str, dict[str, Metrics]]:
    """Pooled detection by level and method."""
    levels: dict[str, dict[str, Metrics]] = {}
    for method, metrics in methods.items():
        for level, groups in ((metrics.get("strata") or {}).get(stratum) or {}).items():
            group = _group(groups, "detection.micro")
            if group:
                levels.setdefault(level, {})[method] = group
    return levels


def _group(metrics: Metrics, key: str) -> Metrics:
    """A group of figures by its name, such as `detection.micro`; empty if it is not there."""
    found: Any = metrics
    for part in key.split("."):
        found = found.get(part) or {}
    return dict(found)


def _digits(text: str) -> int:
    return int(re.sub(r"\D", "", text) or 0)


def _number(figure: Mapping[str, Any] | None, key: str) -> float | None:
    value = None if figure is None else figure.get(key)
    number = math.nan if value is None else float(value)  # also the text `inf`, as JSON has no infinity
    return None if math.isnan(number) else number


def _count(figure: Mapping[str, Any] | None) -> str:
    count = _number(figure, "n")
    return DASH if count is None else f"{count:.0f}"


def _decimal(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _markdown_text(text: str) -> str:
    """Text that Markdown leaves alone."""
    return re.sub(r"([\\|*`\[\]]|<(?=[A-Za-z/!?]))", r"\\\1", " ".join(text.split()))


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    ">=": r"$\geq$",
    "<=": r"$\leq$",
    "<": "$<$",
    ">": "$>$",
    "mm3": "mm$^3$",
    "inf": r"$\infty$",
}
_LATEX_PATTERN = re.compile(r">=|<=|\bmm3\b|\binf\b|[&%$#_{}~^\\<>]")
_NUMBER_RANGE = re.compile(r"(?<=\d)-(?=(?:\$<\$)?\d|\$\\infty)")


def _latex_text(text: str) -> str:
    """Text with LaTeX's own characters written out, ranges with an en dash, minus signs as such."""
    escaped = _LATEX_PATTERN.sub(lambda match: _LATEX[match[0]], " ".join(text.split()))
    ranged = _NUMBER_RANGE.sub("--", escaped)
    if ranged == DASH:
        return "--"
    return re.sub(r"(?<![\w\-])-(?=[\d$])", "$-$", ranged)
