"""What all plots of an evaluation share: look, names, saving."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import NOT_CLINICAL, Note, UsageError
from shiva_cmb.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by every kind of colour vision (Okabe and Ito 2008), the first three in grey too."""
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Lines and markers differ as well, so that colour is never needed."""

GREY, FAINT = "#595959", "#d0d0d0"

_DPI = 150


def new_figure(
    title: str, rows: int = 1, *, width: float = 6.0, height: float = 4.4, ratios: Sequence[float] = ()
) -> tuple["Figure", list["Axes"]]:
    """A white figure with a headline, one column of axes, and what it must not be used for.

    Args:
        title: the headline.
        rows: how many axes.
        width: in inches.
        height: in inches.
        ratios: heights of the axes to one another.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    grid = {"height_ratios": list(ratios)} if ratios else {}
    axes = figure.subplots(rows, 1, squeeze=False, gridspec_kw=grid)[:, 0].tolist()
    axes[0].set_title(plain(title, 72), loc="left", fontsize=11)
    figure.supxlabel(NOT_CLINICAL, x=0.99, ha="right", fontsize=7, color=GREY)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=9)
        one.set_axisbelow(True)
    return figure, axes


def style(number: int) -> dict[str, Any]:
    """Colour, line and marker of the curve with a number (from 0)."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.6,
    }


def plain(text: str, longest: int = 40) -> str:
    """A name for a picture: one line, the middle of long ones left out, and nothing read as a formula."""
    text = " ".join(text.split())
    if len(text) > longest:
        tail = (longest - 1) // 2
        text = f"{text[: longest - 1 - tail]}\u2026{text[-tail:]}"
    text = text.replace("$", r"\$")
    return f"\u200a{text}" if text.startswith("_") else text  # matplotlib hides names that begin so


def legend(axes: "Axes") -> None:
    """Names of the curves below the axes, where they hide nothing, if there is more than one."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure()
    if len(handles) > 1 and figure is not None:
        columns = 2 if max(map(len, labels)) > 20 else 4
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=8, frameon=False)


def subtitle(axes: "Axes", text: str) -> None:
    """A line in small grey letters between the headline and the axes."""
    if text:
        axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=11, pad=18)
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            va="bottom",
            fontsize=8,
            color=GREY,
        )


def say(axes: "Axes", text: str) -> None:
    """A remark in the middle of axes that have nothing to show."""
    box = {"facecolor": "white", "edgecolor": "none"}
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=GREY,
        fontsize=10,
        bbox=box,
    )


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Names that fit; what all of them begin or end with goes first, so that they stay apart."""
    if max((len(name) for name in names), default=0) <= longest or len(names) < 2:
        return [plain(name, longest) for name in names]
    head = _shared([name[:-1] for name in names])  # leaves a letter of the shortest
    tail = _shared([name[head + 1 :][::-1] for name in names])
    before, after = "\u2026" * (head > 0), "\u2026" * (tail > 0)
    return [plain(f"{before}{name[head : len(name) - tail]}{after}", longest) for name in names]


def _shared(names: Sequence[str]) -> int:
    """How many first letters all names have in common."""
    columns = enumerate(zip(*names, strict=False))
    return next((k for k, letters in columns if len(set(letters)) > 1), min(map(len, names)))


def of_same_length(*values: ArrayLike) -> list[NDArray[np.float64]]:
    """All as flat arrays of floats.

    Raises:
        UsageError: if their lengths differ.
    """
    arrays = [np.asarray(one, np.float64).ravel() for one in values]
    if len({len(array) for array in arrays}) > 1:
        lengths = ", ".join(str(len(array)) for array in arrays)
        raise UsageError(f"expected arrays of one length to plot, got lengths {lengths}")
    return arrays


def save_plot(figure: "Figure", folder: str | Path, name: str) -> Mapping[str, Path]:
    """Write `NAME.png` and `NAME.svg`, both or none. The same figure gives the same bytes.

    Args:
        figure: what to save.
        folder: must exist.
        name: of the files, without extension.

    Returns:
        The files by extension.

    Raises:
        OutputError: if they cannot be written.
    """
    import matplotlib as mpl

    paths = {extension: Path(folder) / f"{name}.{extension}" for extension in ("png", "svg")}
    with replacing() as pending, mpl.rc_context({"svg.hashsalt": "shiva_cmb"}):
        for extension, path in paths.items():
            no_date = {"Date": None} if extension == "svg" else {"Software": None}
            figure.savefig(pending.path(path), format=extension, dpi=_DPI, metadata=no_date)
    return paths


def save_or_note(make: Callable[[], "Figure"], folder: str | Path, name: str, note: Note) -> None:
    """Draw and save one plot; if that fails, say so and go on.

    Args:
        make: draws the plot.
        folder: must exist.
        name: of the files, without extension.
        note: told why there is no such plot.
    """
    try:
        save_plot(make(), folder, name)
    except Exception as error:
        # isolation: a plot only shows what the tables have, and hours of computing may be behind those
        note(f"the plot {name} could not be drawn ({type(error).__name__}: {error})")
