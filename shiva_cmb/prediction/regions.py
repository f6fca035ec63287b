"""Which map says in what region a lesion lies: the user's, else the anatomy network's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy import Anatomy, segment_head
from shiva_cmb.anatomy.places import lesion_places
from shiva_cmb.anatomy.quality import LEAST_FOUND_CM3
from shiva_cmb.anatomy.regions import COARSE, FREESURFER, NO_REGION, Place
from shiva_cmb.errors import ImageError, Note
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.lesions import FoundLesions, LesionTable
from shiva_cmb.prediction.inputs import ESTIMATED, ImageLike, Subject, read_image, volume_name

LARGEST_COARSE = 7
"""Value of the maps that `predict` writes itself, the fluid's."""
FREESURFER_RIGHT = 41
"""The right half's white matter: a map of FreeSurfer's without this or a higher value is another atlas'."""
MOST_UNKNOWN = 0.1
"""Of a map's voxels that are not 0, how many may have values that no list knows."""
WHOLE = 0.01
"""A label may be as far from a whole number as this, from a header's scale factor."""
LEAST_COMMON = 0.7
"""Dice of the user's mask and the network's from which the network's regions are believed."""


@dataclass(frozen=True, eq=False)
class RegionMap:
    """A map of regions and what its values mean."""

    volume: Volume | None = None
    """On its own grid; None where no map is known."""
    names: Mapping[int, Place] = field(default_factory=dict)
    """What its values mean; others are no region."""
    source: str = "none"
    """Where it came from, or why there is none."""
    anatomy: Anatomy | None = None
    """What the anatomy network found, where the map is its own."""


def estimated_regions(subject: Subject) -> RegionMap:
    """The anatomy network's map; no map where its brain is not the mask's."""
    if subject.anatomy is not None:
        return _coarse(subject, subject.anatomy)
    if float(subject.brain.sum()) * subject.grid.voxel_volume_mm3 / 1000 < LEAST_FOUND_CM3:
        return RegionMap(source="none: the brain mask is too small for the anatomy network")
    try:
        anatomy = segment_head(subject.channels[0], _quiet)
    except ImageError as error:
        return RegionMap(source=f"none: {error}")
    common = np.count_nonzero(anatomy.brain & subject.brain)
    dice = 2 * common / (np.count_nonzero(anatomy.brain) + np.count_nonzero(subject.brain))
    if dice < LEAST_COMMON:
        return RegionMap(
            source=f"none: the anatomy network found another brain than the mask (Dice {dice:.2f})"
        )
    return _coarse(subject, anatomy)


def given_regions(given: ImageLike, names: Mapping[int, Place] | None, image: Grid, note: Note) -> RegionMap:
    """The user's map of regions.

    Args:
        given: on any grid in the image's space.
        names: what its values mean; if left out FreeSurfer's, or ours in a map that `predict` has written.
        image: the grid of the image that it is for.
        note: told of repairs.

    Raises:
        ImageError: if it cannot be read, none of its values has a name, it does not overlap the image, or,
            where `names` is left out, it looks like a mask or a scan.
    """
    name = volume_name(given)
    volume = read_image(given, index=None, note=note)
    values, counts = np.unique(volume.data[_labelled(volume.data)], return_counts=True)
    meaning = names
    if meaning is None:
        meaning = FREESURFER if (values > LARGEST_COARSE).any() else COARSE
        _require_right_half(values, name)
    if not np.isin(np.rint(values), list(meaning)).any():
        raise ImageError(
            f"{name}: none of its values is a known region: give FreeSurfer's or SynthSeg's labels, or a "
            "table of what the values mean"
        )
    if names is None:
        _require_parcellation(values, counts, name)
    if not _overlaps(volume, image):
        raise ImageError(f"{name}: the map of regions does not overlap the image: is it in its space?")
    return RegionMap(volume, meaning, name)


def _require_right_half(values: NDArray[Any], name: str) -> None:
    """An atlas of a few regions, such as MARS, has small numbers that mean something else in FreeSurfer's."""
    if values.size and LARGEST_COARSE < values.max() < FREESURFER_RIGHT:
        raise ImageError(
            f"{name}: values up to {values.max():g} are not FreeSurfer's or SynthSeg's labels (their "
            f"right half begins at {FREESURFER_RIGHT}): give a table of what the values mean"
        )


def _require_parcellation(values: NDArray[Any], counts: NDArray[Any], name: str) -> None:
    """Refuse masks and scans. `values` are the map's, but for 0, and `counts` how often they are there."""
    advice = "give FreeSurfer's or SynthSeg's labels, or a table of what the values mean"
    whole = np.rint(values)
    if {*np.unique(whole).tolist()} in ({1}, {0, 1}, {255}):
        raise ImageError(f"{name}: looks like a mask (0 and {whole.max():g}), not like regions: {advice}")
    label = (np.abs(values - whole) <= WHOLE) & np.isin(whole, [*COARSE, *FREESURFER, *NO_REGION])
    unknown = counts[~label].sum() / counts.sum()
    if unknown > MOST_UNKNOWN:
        raise ImageError(
            f"{name}: {unknown:.0%} of its voxels have values that are no labels of regions (is it a scan?): "
            f"{advice}"
        )


def _labelled(data: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(data) & (data != 0))


def _overlaps(regions: Volume, image: Grid) -> bool:
    """Whether a voxel of the map that is not 0 lies in the image's field of view."""
    for number, plane in enumerate(regions.data):
        voxels = np.insert(np.argwhere(_labelled(plane)), 0, number, axis=1)
        at = np.rint(image.to_voxel(regions.grid.to_world(voxels)))
        if np.all((at >= 0) & (at < image.shape), axis=1).any():
            return True
    return False


def with_places(found: FoundLesions, regions: RegionMap) -> FoundLesions:
    """The same lesions, with region and side."""
    if regions.volume is None:
        return found
    places = lesion_places(found.labels, regions.volume, regions.names)
    lesions = tuple(
        lesion if place is None else replace(lesion, region=place.region, side=place.side)
        for lesion, place in zip(found.table, places, strict=True)
    )
    return replace(found, table=LesionTable(lesions))


def _coarse(subject: Subject, anatomy: Anatomy) -> RegionMap:
    if anatomy.regions is None:
        return RegionMap(source="none: the anatomy network found no brain")
    return RegionMap(Volume(anatomy.regions, subject.grid.affine), COARSE, ESTIMATED, anatomy)


def _quiet(line: str) -> None:
    """The user's mask says where the brain is; what is doubtful about the estimate matters little."""
