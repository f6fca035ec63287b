"""One page of the gallery: rows of three planes, each plane as it is and with its outlines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import NOT_CLINICAL
from shiva_cmb.lesions.shape import equivalent_diameter_mm
from shiva_cmb.reporting import slices
from shiva_cmb.reporting.slices import FOUND_COLOUR, PLANES, TRUTH_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GalleryKind = Literal["missed", "false alarm"]
"""A lesion of the truth that was not found, or a predicted one that is none."""

# Of a page, in inches.
_PANEL, _GAP, _TEXT, _HEAD, _FOOT = 1.6, 0.05, 0.24, 0.72, 0.32

_COLOURS: dict[GalleryKind, str] = {"missed": TRUTH_COLOUR, "false alarm": FOUND_COLOUR}


@dataclass(frozen=True)
class GalleryEntry:
    """One row of the gallery."""

    case: str
    """The name of the case, for the loader and the caption."""
    kind: GalleryKind
    """What went wrong."""
    place_mm: tuple[float, float, float]
    """Where to look, world mm (RAS)."""
    volume_mm3: float
    """Size of the lesion."""
    score: float | None = None
    """Its highest probability, where there is one."""
    title: str = ""
    """Further words for the caption."""


@dataclass(frozen=True, eq=False)
class Panel:
    """A window of one plane of one case, with the vertical axis first."""

    image: NDArray[np.float32] | None
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    spacing: tuple[float, float]
    """mm per pixel, across and up."""
    corner: tuple[float, float]
    """Centre of the first pixel in mm from the place looked at, across and up."""
    window: tuple[float, float]
    """Intensities shown black and white."""


def write_page(
    path: Path,
    title: str,
    rows: Sequence[tuple[GalleryEntry, list[Panel]]],
    before: int,
    half_width_mm: float,
) -> None:
    """One picture; `before` rows were on the pages before it."""
    from matplotlib.figure import Figure

    pitch = _TEXT + _PANEL + _GAP
    width = 2 * len(PLANES) * (_PANEL + _GAP) + _GAP
    height = _HEAD + len(rows) * pitch + _FOOT
    figure = Figure(figsize=(width, height), facecolor="black")
    _write_frame(figure, title, width, height)
    for number, (entry, panels) in enumerate(rows):
        top = height - _HEAD - number * pitch
        figure.text(
            _GAP / width,
            (top - _TEXT / 2) / height,
            _caption(before + number + 1, entry),
            color=_COLOURS[entry.kind],
            fontsize=9,
            va="center",
            parse_math=False,
        )
        for column, plane in enumerate(np.repeat(list(PLANES), 2)):
            left = _GAP + column * (_PANEL + _GAP)
            bottom = top - _TEXT - _PANEL
            place = (left / width, bottom / height, _PANEL / width, _PANEL / height)
            axes = figure.add_axes(place, facecolor="black")
            outlined = column % 2 == 1
            _draw(axes, panels[column // 2], half_width_mm, outlined=outlined)
            if outlined:
                radius_mm = equivalent_diameter_mm(entry.volume_mm3) / 2.0
                inner = min(1.3 * radius_mm + 2.0, 0.55 * half_width_mm)
                slices.draw_ticks(axes, 0.0, 0.0, inner=inner, colour=_COLOURS[entry.kind])
            else:
                slices.draw_letters(axes, plane, size=7)
    figure.savefig(path, format="png", dpi=110, facecolor="black")


def _draw(axes: "Axes", panel: Panel, half_width_mm: float, *, outlined: bool) -> None:
    """One panel; the place looked at is in its middle."""
    (dx, dy), (x, y) = panel.spacing, panel.corner
    rows, columns = panel.truth.shape
    if panel.truth.size:
        extent = (x - dx / 2, x + (columns - 0.5) * dx, y - dy / 2, y + (rows - 0.5) * dy)
        if panel.image is None:
            pixels = _masks_in_colour(panel, filled=not outlined)
            axes.imshow(pixels, extent=extent, origin="lower", interpolation="nearest")
        else:
            low, high = panel.window
            axes.imshow(
                panel.image,
                cmap="gray",
                vmin=low,
                vmax=high,
                extent=extent,
                origin="lower",
                interpolation="nearest",
            )
    if outlined:
        outline = partial(slices.draw_outline, axes, spacing=(dx, dy), corner=(x, y))
        for mask in (panel.truth, panel.prediction):
            outline(mask, colour="black", line_width=2.2)
        outline(panel.truth, colour=TRUTH_COLOUR, line_width=1.3)
        # Dashes over a wider line: where the two run together, both are seen.
        outline(panel.prediction, colour=FOUND_COLOUR, line_width=1.1, dashed=True)
    # Radiological: the horizontal axis runs from right to left, or from front to back.
    axes.set(xlim=(half_width_mm, -half_width_mm), ylim=(-half_width_mm, half_width_mm))
    axes.set_aspect("equal")
    axes.set_axis_off()


def _masks_in_colour(panel: Panel, *, filled: bool) -> NDArray[np.float64]:
    """The field of view in dark grey, shape (up, across, 3), with the masks in their colours if wanted."""
    from matplotlib.colors import to_rgb

    pixels = np.full((*panel.truth.shape, 3), 0.16)
    if filled:
        pixels[panel.truth] = to_rgb(TRUTH_COLOUR)
        pixels[panel.prediction] = to_rgb(FOUND_COLOUR)
        pixels[panel.truth & panel.prediction] = 1.0
    return pixels


def _caption(number: int, entry: GalleryEntry) -> str:
    """The line above a row."""
    x, y, z = entry.place_mm
    parts = [
        f"{number}.  {_shortened(entry.case, 60)}",
        f"({x:.0f}, {y:.0f}, {z:.0f}) mm",
        f"{entry.volume_mm3:.3g} mm\N{SUPERSCRIPT THREE}",
    ]
    if entry.score is not None and not math.isnan(entry.score):
        parts.append(f"probability {entry.score:.2f}")
    if entry.title:
        parts.append(_shortened(entry.title, 60))
    return "     ".join(parts)


def _shortened(text: str, length: int) -> str:
    """At most so many characters on one line; the ends of a name tell more than its middle."""
    text = " ".join(text.split())
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def _write_frame(figure: "Figure", title: str, width: float, height: float) -> None:
    """Headline, names of the columns, colours, and what this must not be used for."""
    margin, foot = 0.06 / width, 0.16 / height
    figure.text(margin, 1 - 0.25 / height, title, color="white", fontsize=13, va="center")
    for column, plane in enumerate(PLANES):
        middle = (_GAP + (2 * column + 1) * (_PANEL + _GAP)) / width
        figure.text(middle, 1 - 0.57 / height, plane, color="0.7", fontsize=10, ha="center", va="center")
    figure.text(margin, foot, "solid: truth", color=TRUTH_COLOUR, fontsize=9, va="center")
    figure.text(1.1 / width, foot, "dashed: prediction", color=FOUND_COLOUR, fontsize=9, va="center")
    figure.text(1 - margin, foot, NOT_CLINICAL, color="#ff8080", fontsize=9, ha="right", va="center")
