"""A picture to check lesions by eye: one row per lesion, its whole slice and close-ups in three planes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import NOT_CLINICAL, ImageError
from shiva_cmb.imaging.volume import Volume
from shiva_cmb.reporting import slices
from shiva_cmb.reporting.slices import FOUND_COLOUR, PLANES, TRUTH_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOSE_UP_MM = 22.0
"""Half the width of the close-ups."""

MISSED_MM = 5.0
"""A true bleed further than this from every lesion gets a row of its own."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is drawn, with array axes turned to right, anterior, superior."""

    image: Volume
    labels: Volume
    truth: NDArray[np.float64]
    """True positions as fractional voxels, shape (n, 3)."""
    window: tuple[float, float]
    """Intensities shown black and white."""


@dataclass(frozen=True, eq=False)
class _Spot:
    """One row of the picture."""

    name: str
    voxel: NDArray[np.float64]
    """Where to look, fractional voxels."""
    colour: str


def write_overlay(
    path: str | Path,
    image: Volume,
    labels: Volume,
    *,
    truth_mm: ArrayLike | None = None,
    title: str = "Lesions found",
    max_rows: int = 12,
) -> None:
    """Write a PNG: found lesions outlined, true bleeds between ticks, missed ones with rows of their own.

    The right of the patient is on the left of the picture; letters say so. Slices follow the array axes of
    the image, so on an oblique image the letters name the nearest direction. Voxels keep their proportions.

    Args:
        path: where the PNG goes (written directly; use `files.replacing` around it).
        image: the image the lesions were found in.
        labels: lesion k where the value is k, on the grid of `image`.
        truth_mm: true positions in world millimetres (RAS), shape (n, 3), where they are known.
        title: the headline.
        max_rows: lesions beyond this many are counted in the headline but not drawn.

    Raises:
        ImageError: if the labels are not on the grid of the image.
        OSError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not labels.grid.matches(image.grid):
        raise ImageError(
            f"the labels ({labels.shape}) are not on the grid of the image ({image.shape}): resample them"
        )
    truth = np.asarray([] if truth_mm is None else truth_mm, np.float64).reshape(-1, 3)
    scene = _scene(image, labels, truth)
    spots = _spots(scene)
    if len(spots) > max_rows:
        title += f" (first {max_rows} of {len(spots)} rows)"
    spots = spots[:max_rows]
    height = 2.6 * len(spots) + 1.1
    figure = Figure(figsize=(10.4, height), facecolor="black")
    axes = figure.subplots(len(spots), 4, squeeze=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.45 / height, top=1 - 0.95 / height, wspace=0.03, hspace=0.16
    )
    for row, spot in zip(axes, spots, strict=True):
        _draw_plane(row[0], scene, spot, "axial", close_up=False)
        for axis, plane in zip(row[1:], PLANES, strict=True):
            _draw_plane(axis, scene, spot, plane, close_up=True)
    _caption(figure, title, height, with_truth=truth_mm is not None)
    figure.savefig(path, format="png", dpi=100, facecolor="black")


def _scene(image: Volume, labels: Volume, truth_mm: NDArray[np.float64]) -> _Scene:
    """Turn the array axes to right, anterior, superior, without resampling."""
    upright = slices.turned(image)
    return _Scene(
        image=upright,
        labels=slices.turned(image.with_data(labels.data)),
        truth=upright.grid.to_voxel(truth_mm) if len(truth_mm) else truth_mm,
        window=slices.grey_window(upright),
    )


def _spots(scene: _Scene) -> list[_Spot]:
    """Every lesion, then every true bleed far from all of them; the middle of the image if there are none."""
    voxels = np.argwhere(scene.labels.data)
    numbers = scene.labels.data[tuple(voxels.T)].astype(np.intp)
    spots = []
    for number in np.unique(numbers):
        centre = voxels[numbers == number].mean(axis=0)
        spots.append(_Spot(f"lesion {number}  {_place(scene, centre)}", centre, FOUND_COLOUR))
    found_mm = scene.image.grid.to_world(voxels)
    for number, voxel in enumerate(scene.truth, start=1):
        gaps_mm = np.linalg.norm(found_mm - scene.image.grid.to_world(voxel), axis=1)
        if not (gaps_mm <= MISSED_MM).any():
            name = f"missed: true bleed {number}  {_place(scene, voxel)}"
            spots.append(_Spot(name, voxel, TRUTH_COLOUR))
    return spots or [_Spot("no lesions", (np.array(scene.image.shape) - 1) / 2.0, "white")]


def _place(scene: _Scene, voxel: NDArray[np.float64]) -> str:
    """World position as text."""
    x, y, z = scene.image.grid.to_world(voxel)
    return f"({x:.0f}, {y:.0f}, {z:.0f}) mm"


def _draw_plane(axes: "Axes", scene: _Scene, spot: _Spot, plane: str, *, close_up: bool) -> None:
    """One slice through a spot, in millimetres along the array axes."""
    across, up, through = PLANES[plane]
    spacing = np.array(scene.image.spacing_mm)
    size_mm = np.array(scene.image.shape) * spacing
    index = int(np.clip(np.rint(spot.voxel[through]), 0, scene.image.shape[through] - 1))
    left, bottom = (-float(spacing[a]) / 2 for a in (across, up))
    extent = (left, left + float(size_mm[across]), bottom, bottom + float(size_mm[up]))
    low, high = scene.window
    pixels = slices.plane_of(scene.image.data, plane, index)
    axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, extent=extent, origin="lower")
    mask = slices.plane_of(scene.labels.data, plane, index) > 0
    here = spot.voxel * spacing
    if close_up:
        slices.draw_outline(axes, mask, spacing[[across, up]])
        centre = here
        half = np.full(3, CLOSE_UP_MM)
    else:
        # A lesion is a speck in the whole slice: a ring leads the eye to it.
        axes.plot(here[across], here[up], "o", ms=15, mfc="none", mec=spot.colour, mew=1.2)
        axes.set_title(spot.name, color=spot.colour, fontsize=8, pad=3, loc="left")
        centre = (size_mm - spacing) / 2.0
        half = np.full(3, size_mm[[across, up]].max() / 2.0)
    for place in scene.truth:
        if abs(place[through] - index) * spacing[through] <= max(1.5, spacing[through] / 2):
            slices.draw_ticks(axes, *(place * spacing)[[across, up]], inner=4.0 if close_up else 8.0)
    # Radiological: the horizontal axis runs from right to left, or from front to back.
    axes.set_xlim(centre[across] + half[across], centre[across] - half[across])
    axes.set_ylim(centre[up] - half[up], centre[up] + half[up])
    axes.set_axis_off()
    slices.draw_letters(axes, plane)


def _caption(figure: "Figure", title: str, height: float, *, with_truth: bool) -> None:
    """Headline, names of the columns, colours, and what this must not be used for."""
    figure.text(0.012, 1 - 0.22 / height, title, color="white", fontsize=12, va="center")
    for column, name in enumerate(("axial, whole slice", *PLANES)):
        where = 0.01 + 0.98 * (column + 0.5) / 4
        figure.text(where, 1 - 0.52 / height, name, color="0.7", fontsize=9, ha="center", va="center")
    figure.text(0.012, 0.2 / height, "outline: lesion found", color=FOUND_COLOUR, fontsize=9, va="center")
    if with_truth:
        figure.text(0.2, 0.2 / height, "ticks: true bleed", color=TRUTH_COLOUR, fontsize=9, va="center")
    figure.text(0.988, 0.2 / height, NOT_CLINICAL, color="#ff8080", fontsize=9, ha="right", va="center")
