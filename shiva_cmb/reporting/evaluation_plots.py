"""Plots of an evaluation: each function takes plain numbers and gives a matplotlib Figure.

Figures are made without pyplot, so that nothing is kept and threads do not meet; `save_plot` writes them.
Whatever is undefined is left out, and that is said in the plot.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.counts import LIMIT_DEVIATIONS, agreement
from shiva_cmb.reporting.figure_names import stratum_name, stratum_title
from shiva_cmb.reporting.plot_style import (
    FAINT,
    GREY,
    legend,
    new_figure,
    of_same_length,
    plain,
    say,
    short_names,
    style,
    subtitle,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAMES = 40
"""More cases than this are not named below their bars."""
MAX_BARS = 200
"""More cases than this are one area: thousands of single bars take seconds and cannot be told apart."""


def plot_bland_altman(truth_count: ArrayLike, predicted_count: ArrayLike) -> "Figure":
    """Difference of the counts against their mean, with bias and limits of agreement.

    Args:
        truth_count: true lesions of each case, shape (N,).
        predicted_count: predicted lesions of each case, shape (N,).

    Raises:
        UsageError: if the numbers of cases differ.

    Source: Bland and Altman 1986; bias and limits are those of `counts.agreement`.
    """
    truth, predicted = of_same_length(truth_count, predicted_count)
    defined = np.isfinite(truth) & np.isfinite(predicted)
    means, differences = (truth + predicted)[defined] / 2, (predicted - truth)[defined]
    figure, (axes,) = new_figure("Number of lesions per scan")
    axes.set_xlabel("Mean of true and predicted number of lesions")
    axes.set_ylabel("Predicted - true number of lesions")
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    if not len(means):
        say(axes, "no cases")
        return figure
    # Counts are whole numbers: cases on one spot are drawn as one larger disc.
    spots, cases = np.unique(np.column_stack((means, differences)), axis=0, return_counts=True)
    sizes = 24.0 * np.minimum(cases, 50)
    axes.scatter(spots[:, 0], spots[:, 1], s=sizes, color="#0072b2", alpha=0.75, edgecolor="white")
    found = agreement(truth[defined], predicted[defined])
    bias, low, high = (float(found[f"bland_altman_{name}"].value) for name in ("bias", "low", "high"))
    spread = low < high  # not of one case, nor where all differences are the same
    remark = f"n = {len(means)}; bias {bias:+.2f}"
    axes.axhline(bias, color="black", linewidth=1.2)
    if spread:
        for height in (low, high):
            axes.axhline(height, color="black", linewidth=1.0, linestyle="--")
        remark += f"; dashed: {LIMIT_DEVIATIONS:g} SD, {low:+.2f} to {high:+.2f}"
    subtitle(axes, remark + ("; larger discs: several cases" if cases.max() > 1 else ""))
    heights = [*differences, low, high] if spread else differences
    ends = (np.min(heights), np.max(heights))
    room = max(1.0, 0.08 * (ends[1] - ends[0]))
    axes.set_ylim(ends[0] - room, ends[1] + room)
    axes.set_xlim(-0.5 - 0.03 * means.max(), means.max() * 1.05 + 0.5)
    axes.locator_params(integer=True)
    return figure


def plot_levels(
    methods: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    *,
    stratum: str = "size",
    level: float = 0.95,
    title: str | None = None,
) -> "Figure":
    """Sensitivity by stratum, with its intervals.

    Args:
        methods: by method and level, the figure as `metrics.json` has it: `value`, `low`, `high` and `n`.
        stratum: what the levels are of; see `figure_names`.
        level: of the intervals.
        title: the headline; made of the names if left out.
    """
    names = list(dict.fromkeys(name for levels in methods.values() for name in levels))
    turned = _must_turn(names)
    each = max(0.4 if turned else 1.1, 0.25 * len(methods))
    figure, (axes,) = new_figure(
        title or f"Sensitivity by {stratum_name(stratum)}",
        width=min(14.0, max(6.0, each * len(names) + 1.0)),
        height=6.2 if turned else 4.4,
    )
    axes.set_ylim(0, 1.05)
    axes.set_ylabel(f"Sensitivity ({100 * level:g} % interval)")
    axes.set_xlabel(plain(stratum_title(stratum)))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    if not names:
        say(axes, "no levels")
        axes.set_xticks([])
        return figure
    offsets = (np.arange(len(methods)) - (len(methods) - 1) / 2) * min(0.18, 0.7 / len(methods))
    for number, (method, levels) in enumerate(methods.items()):
        look = style(number) | {"linestyle": "none", "markersize": 6}
        values, lows, highs = (_column(levels, names, key) for key in ("value", "low", "high"))
        x = np.arange(len(names)) + offsets[number]
        axes.plot(x, values, label=plain(method), **look)
        axes.vlines(x, lows, highs, color=look["color"], linewidth=1.4)
        for place in x[np.isnan(values)]:
            axes.text(place, 0.02, "n/a", ha="center", fontsize=8, color=look["color"])
    labels = [_level_label(name, _count(name, methods), turned=turned) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90 if turned else 0)
    axes.set_xlim(*_room(len(names)))
    legend(axes)
    return figure


def plot_per_case(names: Sequence[str], values: ArrayLike) -> "Figure":
    """Bars of the Dice of each case, highest first, with the median; an area above `MAX_BARS` cases.

    Args:
        names: of the cases.
        values: shape (N,); cases without a value (NaN) are counted in words, not drawn.

    Raises:
        UsageError: if the numbers of names and values differ.
    """
    given = np.asarray(values, np.float64).ravel()
    if len(names) != len(given):
        raise UsageError(f"expected one value per case, got {len(names)} names and {len(given)} values")
    defined = np.flatnonzero(np.isfinite(given))
    order = defined[np.argsort(-given[defined], kind="stable")]
    named = len(order) <= MAX_NAMES
    width = min(14.0, max(6.0, 0.22 * len(order) + 1.5)) if named else 10.0
    figure, (axes,) = new_figure("Dice per case", width=width, height=5.4 if named else 4.4)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("Dice")
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    remarks = [f"n = {len(order)}"]
    if len(order):
        heights = given[order]
        if len(order) > MAX_BARS:
            axes.stairs(heights, np.arange(len(order) + 1) - 0.5, fill=True, color="#56b4e9")
        else:
            axes.bar(range(len(order)), heights, width=0.8 if named else 1.0, color="#56b4e9")
        median = float(np.median(heights))
        axes.axhline(median, color="black", linestyle="--", linewidth=1.0)
        remarks.append(f"dashed: median, {median:.2f}")
        if not heights[-1]:
            remarks.append(f"{np.count_nonzero(heights == 0)} at 0")
    else:
        say(axes, "no case has a value")
    if len(order) < len(given):
        remarks.append(f"{len(given) - len(order)} more without a value")
    subtitle(axes, "; ".join(remarks))
    axes.set_xlim(-0.8, max(len(order), 4) - 0.2)
    if named:
        axes.set_xticks(
            range(len(order)), short_names([names[k] for k in order], 32), rotation=90, fontsize=7
        )
    else:
        axes.set_xlabel("Cases, highest first")
    return figure


def plot_violins(
    values: Mapping[str, ArrayLike],
    *,
    figure_name: str = "Dice",
    stratum: str = "",
) -> "Figure":
    """The spread of a figure in [0, 1] over the cases of each level: violin, cases, median and quartiles.

    Args:
        values: the cases' values by level, each shape (n,); NaN is left out. A violin needs five cases.
        figure_name: what is drawn.
        stratum: what the levels are of; see `figure_names`.
    """
    names = list(values)
    turned = _must_turn(names)
    by = f" by {stratum_name(stratum)}" if stratum else ""
    figure, (axes,) = new_figure(
        f"{figure_name} per case{by}",
        width=min(14.0, max(5.0, (0.7 if turned else 1.1) * len(names) + 1.5)),
        height=6.2 if turned else 4.4,
    )
    axes.set_ylim(-0.02, 1.04)
    axes.set_ylabel(f"{figure_name} per case")
    axes.set_xlabel(plain(stratum_title(stratum)))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    labels = []
    for place, name in enumerate(names):
        ours = np.asarray(values[name], np.float64).ravel()
        ours = np.sort(ours[np.isfinite(ours)])
        labels.append(_level_label(name, len(ours), turned=turned))
        _draw_violin(axes, place, ours)
    axes.set_xticks(range(len(names)), labels, rotation=90 if turned else 0)
    axes.set_xlim(*_room(len(names)))
    if names:
        subtitle(axes, "points: cases; circle: median; bar: quartiles")
    else:
        say(axes, "no levels")
    return figure


def _draw_violin(axes: "Axes", place: int, values: NDArray[np.float64]) -> None:
    """One level: outline, cases, median and quartiles. `values` are sorted."""
    if not len(values):
        axes.text(place, 0.02, "n/a", ha="center", fontsize=8, color=GREY)
        return
    if len(values) >= 5 and values[0] < values[-1]:
        drawn = axes.violinplot([values], [place], widths=0.75, showextrema=False)
        for body in drawn["bodies"]:  # type: ignore[attr-defined]
            body.set(facecolor="#56b4e9", edgecolor="#0072b2", alpha=0.45, linewidth=1.0)
    # Golden-ratio steps spread neighbours sideways without chance.
    sideways = 0.3 * ((np.arange(len(values)) * 0.6180339887) % 1.0 - 0.5) * (len(values) > 1)
    axes.plot(place + sideways, values, "o", color="#0072b2", ms=2.5, alpha=0.7, mew=0)
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    axes.vlines(place, low, high, color="black", linewidth=3.0)
    axes.plot(place, median, "o", color="white", mec="black", ms=5, zorder=5)


def _must_turn(names: Sequence[str]) -> bool:
    """Whether names of levels need to be written upright to fit."""
    return len(names) > 8 or max((len(name) for name in names), default=0) > 14


def _room(levels: int) -> tuple[float, float]:
    """Limits of the horizontal axis; a level alone is not drawn as wide as the picture."""
    margin = max(0.6, (3 - levels) / 2)
    return -margin, levels - 1 + margin


def _level_label(name: str, count: float, *, turned: bool) -> str:
    return f"{plain(name, 30)} (n = {count:.0f})" if turned else f"{plain(name, 30)}\nn = {count:.0f}"


def _count(name: str, methods: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> float:
    """The number of lesions in a level; with several methods, that of the first that has it."""
    counts = [levels[name].get("n") for levels in methods.values() if name in levels]
    return next((count for count in counts if count is not None and math.isfinite(count)), 0.0)


def _column(
    levels: Mapping[str, Mapping[str, float | None]], names: Sequence[str], key: str
) -> NDArray[np.float64]:
    cells = [levels.get(name, {}).get(key) for name in names]
    return np.array([math.nan if cell is None else float(cell) for cell in cells])
