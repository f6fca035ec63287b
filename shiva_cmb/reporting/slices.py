"""Drawing slices of a volume, shared by all pictures: their directions, greys, outlines and letters."""

from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.imaging.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOUND_COLOUR, TRUTH_COLOUR = "#ffd500", "#00e5ff"
"""Yellow and cyan: told apart by every kind of colour vision, and seen on grey."""

PLANES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Horizontal, vertical and through-plane axis of a right-anterior-superior array."""

# Radiological view: the patient's right is on the left of the picture, and the nose of a sagittal slice too.
_LETTERS = {0: ("R", "L"), 1: ("A", "P"), 2: ("S", "I")}


def turned(volume: Volume) -> Volume:
    """The same volume with its array axes nearest to right, anterior, superior: a view, not resampled."""
    turn = io_orientation(volume.affine)
    affine = volume.affine @ inv_ornt_aff(turn, volume.shape)
    return Volume(apply_orientation(volume.data, turn), affine)


def grey_window(image: Volume) -> tuple[float, float]:
    """Intensities to show black and white."""
    head = image.data[::2, ::2, ::2]
    head = head[np.isfinite(head)]
    if head.size:
        head = head[head > head.mean() / 4.0]  # leaves out air, which would use up half of the grey levels
    low, high = np.percentile(head, (1.0, 99.5)) if head.size else (0.0, 1.0)
    return float(min(low, 0.0)), float(max(high, low + 1e-6))


def plane_of(data: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """A plane of a turned array with the vertical axis first, as pictures have it: a view."""
    across, up, through = PLANES[plane]
    return data.transpose(through, up, across)[index]


def draw_outline(
    axes: "Axes",
    mask: NDArray[np.bool_],
    spacing: ArrayLike,
    *,
    colour: str = FOUND_COLOUR,
    corner: ArrayLike = (0.0, 0.0),
    line_width: float = 1.0,
    dashed: bool = False,
) -> None:
    """Draw the edges of voxels between mask and rest: exact, where a contour would cut corners.

    Args:
        axes: where to draw, in mm.
        mask: a plane, shape (up, across).
        spacing: mm per voxel, across and up.
        colour: of the lines.
        corner: where the centre of the first voxel lies, in mm, across and up.
        line_width: in points.
        dashed: dashed lines leave what lies below them visible.
    """
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1).astype(np.int8)
    flat = _runs(np.diff(padded, axis=0)[:, 1:-1] != 0)
    upright = _runs((np.diff(padded, axis=1)[1:-1] != 0).T)[..., ::-1]
    lines = (np.concatenate((flat, upright)) - 0.5) * np.asarray(spacing) + np.asarray(corner)
    if len(lines):
        style = (0, (2.0, 2.0)) if dashed else "solid"
        axes.add_collection(
            LineCollection(list(lines), colors=colour, linewidths=line_width, linestyles=[style])
        )


def _runs(edges: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Both ends of every unbroken row of edges, shape (runs, 2, 2) as (across, up)."""
    turns = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    return np.stack([np.argwhere(turns == turn)[:, ::-1] for turn in (1, -1)], axis=1)


def draw_ticks(axes: "Axes", x: float, y: float, *, inner: float, colour: str = TRUTH_COLOUR) -> None:
    """Four short lines that point at a place without covering it; `inner` is the gap in mm."""
    from matplotlib.collections import LineCollection

    outer = 1.6 * inner
    directions = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
    lines = np.array([x, y]) + np.stack((directions * inner, directions * outer), axis=1)
    for shade, width in (("black", 2.6), (colour, 1.2)):  # the rim keeps them visible on bright tissue
        axes.add_collection(LineCollection(list(lines), colors=shade, linewidths=width))


def draw_letters(axes: "Axes", plane: str, *, size: float = 8) -> None:
    """The anatomical directions at the four edges of a plane."""
    from matplotlib.patheffects import withStroke

    across, up, _ = PLANES[plane]
    (left, right), (top, bottom) = _LETTERS[across], _LETTERS[up]
    edges = ((0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.98, top), (0.5, 0.02, bottom))
    for x, y, letter in edges:
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            color="white",
            path_effects=[withStroke(linewidth=2.0, foreground="black")],
            fontsize=size,
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="bottom" if y < 0.1 else "top" if y > 0.9 else "center",
        )
