"""Pictures of what an evaluation found wrong: missed lesions and false alarms, a row each, three planes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shiva_cmb.errors import ImageError, Note, ShivaCmbError, warn_user
from shiva_cmb.files import replacing
from shiva_cmb.imaging.volume import Volume
from shiva_cmb.reporting import slices
from shiva_cmb.reporting.gallery_page import GalleryEntry, GalleryKind, Panel, write_page
from shiva_cmb.reporting.slices import PLANES

__all__ = ["GalleryEntry", "GalleryKind", "GalleryVolumes", "write_gallery"]

ROWS_PER_PAGE = 20
"""At most so many rows in one picture."""
MAX_PAGES = 5
"""At most so many pictures of each kind; what is left is counted in the headline."""
HALF_WIDTH_MM = 12.0
"""From the lesion to the edge of a panel."""

_FILES: dict[GalleryKind, str] = {"missed": "misses", "false alarm": "false_alarms"}
_HEADLINES: dict[GalleryKind, str] = {"missed": "Missed lesions", "false alarm": "False alarms"}


@dataclass(frozen=True, eq=False)
class GalleryVolumes:
    """What is drawn of one case."""

    image: Volume | None
    """Intensities; left out where they are missing or on another grid than the truth."""
    truth: Volume
    """Not zero where a lesion is."""
    prediction: Volume | None
    """Not zero where a lesion was predicted, on the grid of the truth; None for a missing prediction."""


def write_gallery(
    folder: str | Path,
    entries: Iterable[GalleryEntry],
    load: Callable[[str], GalleryVolumes],
    *,
    note: Note = warn_user,
) -> list[Path]:
    """Write `misses_01.png`, ... and `false_alarms_01.png`, ...: one row per entry, in their order.

    Each row shows the lesion in three planes, every plane twice: as it is, and with truth and prediction
    outlined and ticks around the place. Without an image the first of the two shows the masks, filled. The
    right of the patient is on the left; slices follow the array axes, so that on an oblique image the letters
    name the nearest direction. Voxels keep their proportions.

    Each case is loaded once, in the order of its first entry, and only windows of its slices are kept.

    Args:
        folder: where the pictures go; it exists. All are written or none.
        entries: what is shown.
        load: gives the volumes of a case by its name. If it raises a `ShivaCmbError`, the case is left out.
        note: takes a line on every case that was left out or lost its image.

    Returns:
        The pictures, none of a kind without entries.

    Raises:
        OutputError: if they cannot be written.
    """
    rows: dict[GalleryKind, list[GalleryEntry]] = {"missed": [], "false alarm": []}
    for entry in entries:
        rows[entry.kind].append(entry)
    most = ROWS_PER_PAGE * MAX_PAGES
    shown = [entry for of_kind in rows.values() for entry in of_kind[:most]]
    panels = _panels(shown, load, note)
    paths = []
    with replacing() as pending:
        for kind, of_kind in rows.items():
            drawn = [(entry, panels[id(entry)]) for entry in of_kind[:most] if id(entry) in panels]
            pages = math.ceil(len(drawn) / ROWS_PER_PAGE)
            for page in range(pages):
                first = page * ROWS_PER_PAGE
                part = drawn[first : first + ROWS_PER_PAGE]
                title = f"{_HEADLINES[kind]} {first + 1} to {first + len(part)} of {len(of_kind)}"
                if page == pages - 1 and len(of_kind) > len(drawn):
                    title += f", {len(of_kind) - len(drawn)} not drawn"
                path = Path(folder) / f"{_FILES[kind]}_{page + 1:02d}.png"
                write_page(pending.path(path), title, part, first, HALF_WIDTH_MM)
                paths.append(path)
    return paths


def _panels(
    entries: Sequence[GalleryEntry],
    load: Callable[[str], GalleryVolumes],
    note: Note,
) -> dict[int, list[Panel]]:
    """The windows of every entry by its `id`, one case in memory at a time."""
    by_case: dict[str, list[GalleryEntry]] = {}
    for entry in entries:
        by_case.setdefault(entry.case, []).append(entry)
    panels: dict[int, list[Panel]] = {}
    for case, of_case in by_case.items():
        try:
            panels |= _panels_of_case(case, of_case, load, note)
        except ShivaCmbError as error:
            note(f"{case}: left out of the gallery ({error})")
    return panels


def _panels_of_case(
    case: str,
    entries: Sequence[GalleryEntry],
    load: Callable[[str], GalleryVolumes],
    note: Note,
) -> dict[int, list[Panel]]:
    """The windows of the entries of one case; its volumes are let go of before the next is loaded."""
    volumes = _upright(case, load(case), note)
    window = (0.0, 1.0) if volumes.image is None else slices.grey_window(volumes.image)
    return {
        id(entry): [_panel(volumes, plane, entry.place_mm, window) for plane in PLANES] for entry in entries
    }


def _upright(case: str, volumes: GalleryVolumes, note: Note) -> GalleryVolumes:
    """The volumes with their array axes turned alike, without an image that lies elsewhere."""
    grid = volumes.truth.grid
    image, prediction = volumes.image, volumes.prediction
    if prediction is not None and not prediction.grid.matches(grid):
        raise ImageError(
            f"the prediction ({prediction.shape}) is not on the grid of the truth ({volumes.truth.shape})"
        )
    if image is not None and not image.grid.matches(grid):
        note(f"{case}: the image ({image.shape}) is not on the grid of the truth, so the gallery lacks it")
        image = None
    # All by the affine of the truth: where an axis lies between two directions, rounding must not part them.
    return GalleryVolumes(
        image=None if image is None else slices.turned(volumes.truth.with_data(image.data)),
        truth=slices.turned(volumes.truth),
        prediction=None if prediction is None else slices.turned(volumes.truth.with_data(prediction.data)),
    )


def _panel(
    volumes: GalleryVolumes,
    plane: str,
    place_mm: tuple[float, float, float],
    window: tuple[float, float],
) -> Panel:
    """One plane through a place, cut to what can be seen."""
    across, up, through = PLANES[plane]
    grid = volumes.truth.grid
    voxel = grid.to_voxel(place_mm)
    index = int(np.clip(np.rint(voxel[through]), 0, grid.shape[through] - 1))
    box, corner = [], []
    for axis in (up, across):
        reach = HALF_WIDTH_MM / grid.spacing_mm[axis] + 1.0
        first = int(np.clip(np.floor(voxel[axis] - reach), 0, grid.shape[axis]))
        last = int(np.clip(np.ceil(voxel[axis] + reach) + 1, first, grid.shape[axis]))
        box.append(slice(first, last))
        corner.append((first - float(voxel[axis])) * grid.spacing_mm[axis])
    cut = (box[0], box[1])
    truth = slices.plane_of(volumes.truth.data, plane, index)[cut] != 0
    prediction, image = np.zeros_like(truth), None
    if volumes.prediction is not None:
        prediction = slices.plane_of(volumes.prediction.data, plane, index)[cut] != 0
    if volumes.image is not None:
        # A copy: a view would keep the whole image.
        image = slices.plane_of(volumes.image.data, plane, index)[cut].astype(np.float32)
    return Panel(
        image=image,
        truth=truth,
        prediction=prediction,
        spacing=(grid.spacing_mm[across], grid.spacing_mm[up]),
        corner=(corner[1], corner[0]),
        window=window,
    )
