"""Curves of an evaluation along the thresholds, and reliability; `evaluation_plots` has the other plots."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from shiva_cmb.reporting.plot_style import (
    FAINT,
    GREY,
    legend,
    new_figure,
    of_same_length,
    plain,
    say,
    style,
    subtitle,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Line:
    """One curve along the thresholds, each array of shape (T,); NaN is left out."""

    x: ArrayLike
    """False positives per scan, recall, or the threshold."""
    y: ArrayLike
    """Sensitivity, precision, or a figure of the threshold."""
    low: ArrayLike | None = None
    """Lower end of the interval of `y`."""
    high: ArrayLike | None = None
    """Upper end."""
    marked: int | None = None
    """Index of the operating point."""


def plot_froc(lines: Mapping[str, Line], *, title: str = "Free-response ROC") -> "Figure":
    """Pooled sensitivity against false positives per scan, on a scale of powers of two that begins at 0.

    Args:
        lines: curves by the name of the method; x: false positives per scan over all scans, y: sensitivity.
        title: the headline.
    """
    figure, (axes,) = new_figure(title)
    most = max((float(np.nanmax(line.x, initial=0.0)) for line in lines.values()), default=0.0)
    last = max(8.0, 2.0 ** math.ceil(math.log2(max(most, 1.0))))
    doublings = round(math.log2(last / 0.125))
    step = 1 + doublings // 10
    ticks = [0.0, *(0.125 * 2.0**k for k in range(0, doublings + 1, step))]
    axes.set_xscale("symlog", base=2, linthresh=0.125, linscale=1.0)
    axes.set_xlim(0, last * 1.05)
    axes.set_xticks(ticks, [_fraction(tick) for tick in ticks])
    axes.minorticks_off()
    _draw_lines(axes, lines)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("False positives per scan (all scans)")
    axes.set_ylabel("Sensitivity (all lesions pooled)")
    axes.grid(color=FAINT, linewidth=0.5)
    return figure


def plot_precision_recall(lines: Mapping[str, Line], *, title: str = "Precision and recall") -> "Figure":
    """Pooled precision against recall, on lines of equal F1.

    Args:
        lines: curves by the name of the method; x: recall (sensitivity), y: precision.
        title: the headline.
    """
    figure, (axes,) = new_figure(title, width=5.0, height=5.0)
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1.0, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=FAINT, linewidth=0.8, zorder=0)
        axes.text(1.01, f1 / (2 - f1), f"F1 {f1:g}", color=GREY, fontsize=7, va="center")
    _draw_lines(axes, lines)
    axes.set_xlim(0, 1.0)
    axes.set_ylim(0, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("Recall = sensitivity (all lesions pooled)")
    axes.set_ylabel("Precision (all lesions pooled)")
    return figure


def plot_thresholds(lines: Mapping[str, Line]) -> "Figure":
    """Several figures against the probability threshold.

    Args:
        lines: curves by the name of the figure; x: thresholds, y: a figure in [0, 1]. `marked` of any of them
            draws the chosen threshold.
    """
    figure, (axes,) = new_figure("Figures along the threshold")
    _draw_lines(axes, lines)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("Probability threshold")
    axes.set_ylabel("Value (all lesions pooled)")
    axes.grid(color=FAINT, linewidth=0.5)
    return figure


def plot_reliability(bins: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]) -> "Figure":
    """Fraction that is true against mean probability, and how many there are in every bin.

    Args:
        bins: by name (for example `lesions`), mean probability, fraction that is true and number in each bin,
            each shape (bins,); NaN where a bin is empty.
    """
    figure, (axes, below) = new_figure("Reliability", 2, width=5.0, height=6.0, ratios=(3, 1))
    drawn = 0
    for number, (name, (probability, truth, count)) in enumerate(bins.items()):
        x, y, n = (np.asarray(one, np.float64).ravel() for one in (probability, truth, count))
        filled = np.isfinite(x) & np.isfinite(y)
        drawn += int(filled.sum())
        look = style(number)
        axes.plot(x[filled], y[filled], label=plain(name), **look)
        edges = np.linspace(0, 1, len(n) + 1)
        below.stairs(
            np.where(n > 0, n, np.nan),
            edges,
            baseline=0.5,
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.4,
        )
    if drawn:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=":")
        subtitle(axes, "dotted: true as often as the probability says")
    else:
        say(axes, "no probabilities")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("Fraction that is true")
    axes.grid(color=FAINT, linewidth=0.5)
    below.set_xlim(0, 1)
    below.set_yscale("log")
    below.minorticks_off()
    below.set_ylim(bottom=0.5, top=None if drawn else 10.0)
    below.set_ylabel("Number")
    below.set_xlabel("Predicted probability")
    legend(axes)
    return figure


def _draw_lines(axes: "Axes", lines: Mapping[str, Line]) -> None:
    """Curves with their intervals and operating points."""
    drawn = banded = 0
    for number, (name, line) in enumerate(lines.items()):
        x, y = of_same_length(line.x, line.y)
        defined = np.isfinite(x) & np.isfinite(y)
        look = style(number)
        if line.low is not None and line.high is not None:
            _, low, high = of_same_length(x, line.low, line.high)
            shown = defined & np.isfinite(low) & np.isfinite(high)
            banded += int(shown.sum())
            axes.fill_between(x[shown], low[shown], high[shown], color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(x[defined], y[defined], label=plain(name), clip_on=False, **look)
        if line.marked is not None and defined[line.marked]:
            spot = (x[line.marked], y[line.marked])
            axes.plot(*spot, "o", ms=11, mfc="none", mec=look["color"], mew=1.6, clip_on=False)
        drawn += int(defined.sum())
    if not drawn:
        say(axes, "undefined at every threshold")
    remarks = []
    if banded:
        remarks.append("band: interval")
    if any(line.marked is not None for line in lines.values()):
        remarks.append("ring: operating point")
    subtitle(axes, "; ".join(remarks))
    legend(axes)


def _fraction(value: float) -> str:
    return f"1/{round(1 / value)}" if 0 < value < 1 else f"{value:g}"
