"""Where in the brain a lesion is: lobar, deep or infratentorial, and on which side, by an atlas."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import DataError
from shiva_cmb.tables import is_missing, read_table

Side = Literal["left", "right", "midline"]


@dataclass(frozen=True)
class Place:
    """A region and its side."""

    region: str
    """`lobar`, `deep` or `infratentorial` in `FREESURFER`; any name in other atlases."""
    side: Side | None
    """None where the atlas does not tell."""


_PAIRED: dict[str, tuple[tuple[int, int], ...]] = {
    "lobar": (
        *((2, 41), (3, 42)),  # cerebral white matter, cortex
        *((17, 53), (18, 54), (96, 97)),  # hippocampus and amygdala: temporal lobe
        *((19, 55), (20, 56)),  # insula, operculum
        *((78, 79), (81, 82)),  # hypointensities on T1
    ),
    "deep": (
        *((9, 48), (10, 49)),  # thalamus, in older and newer lists
        *((11, 50), (12, 51), (13, 52), (26, 58), (136, 137)),  # caudate, putamen, pallidum, accumbens
        *((155, 156), (157, 158), (138, 139)),  # internal capsule, claustrum
        *((28, 60), (4, 43), (5, 44), (31, 63)),  # ventral diencephalon, lateral ventricle, choroid plexus
        (5001, 5002),  # white matter more than 5 mm from the cortex, in wmparc
    ),
    "infratentorial": (
        *((6, 45), (7, 46), (8, 47)),  # cerebellum
        (27, 59),  # substantia nigra: midbrain
    ),
}
"""Left and right label, by region."""
_MIDLINE: dict[str, tuple[int, ...]] = {
    "lobar": (77, 80),  # hypointensities on T1 whose side is not told
    "deep": (14, 72, 85, 192, 250, 251, 252, 253, 254, 255),  # third ventricle, chiasm, fornix, callosum
    "infratentorial": (
        15,
        16,
        170,
        172,
        173,
        174,
        175,
        177,
        178,
        182,
    ),  # fourth ventricle, brain stem, vermis
}
_CORTEX: tuple[tuple[range, Side], ...] = (
    *((range(1000, 1036), "left"), (range(2000, 2036), "right")),  # aparc, 34 gyri a side
    *((range(3000, 3036), "left"), (range(4000, 4036), "right")),  # the white matter below them, wmparc
    *((range(11101, 11176), "left"), (range(12101, 12176), "right")),  # aparc.a2009s
)
_NOT_CORTEX = frozenset({1000, 2000, 3000, 4000, 11142, 12142})
"""Labels of `unknown` and of the medial wall."""
_CALLOSUM = frozenset({1004, 2004, 3004, 4004})
"""The corpus callosum among the gyri: deep in MARS."""


def _freesurfer() -> dict[int, Place]:
    places: dict[int, Place] = {}
    for region, pairs in _PAIRED.items():
        for left, right in pairs:
            places[left], places[right] = Place(region, "left"), Place(region, "right")
    for region, labels in _MIDLINE.items():
        places |= dict.fromkeys(labels, Place(region, "midline"))
    for labels_of_side, side in _CORTEX:
        for label in labels_of_side:
            if label not in _NOT_CORTEX:
                places[label] = Place("deep" if label in _CALLOSUM else "lobar", side)
    return places


FREESURFER: dict[int, Place] = _freesurfer()
"""FreeSurfer's labels, which SynthSeg uses too: aseg, aparc, aparc.a2009s, wmparc (FreeSurferColorLUT).

Regions as in MARS (Gregoire 2009): hippocampus, amygdala and insula are lobar. MARS counts deep and
periventricular white matter as deep; aseg and SynthSeg have one label for all cerebral white matter, and
there it is lobar. Cerebrospinal fluid outside the ventricles, vessels and lesions have no place of their own.
"""

VENTRICLES = frozenset((4, 5, 14, 15, 31, 43, 44, 63, 72))
"""FreeSurfer's labels of ventricles and choroid plexus: a place next to tissue, and no tissue."""

NO_REGION = frozenset(
    (
        *(24, 25, 30, 57, 62, 130, 163, 164, 165, *range(257, 263)),  # fluid, lesions, vessels, skull
        *(502, 506, 507, 508, 509, 511, 512, 514, 515, 516, 530),  # SynthSeg's training maps: the head around
    )
)
"""Labels that such maps may well hold though they are no region of a bleed."""

COARSE: dict[int, Place] = {
    1: Place("lobar", "left"),
    2: Place("lobar", "right"),
    3: Place("deep", "left"),
    4: Place("deep", "right"),
    5: Place("infratentorial", "midline"),
}
"""Values of the coarse regions that the anatomy network gives and generated heads have. 6, ventricles, and 7,
fluid around the brain, are no place of a lesion: it belongs to the tissue next to it."""


def place_of(labels: NDArray[np.generic], names: Mapping[int, Place] = FREESURFER) -> Place | None:
    """The place of the most frequent known label; of equally frequent ones the smallest label's.

    Votes are counted by region first and by side within it, so that a lesion across several gyri stays lobar.

    Args:
        labels: the atlas' values in the voxels of a lesion, any shape; whole numbers.
        names: what the values mean.

    Returns:
        None if no voxel has a known label.
    """
    values, counts = np.unique(np.rint(np.asarray(labels, np.float64)), return_counts=True)
    regions: dict[str, int] = {}
    places: dict[Place, int] = {}
    for value, count in zip(values, counts.tolist(), strict=True):
        place = names.get(int(value)) if np.isfinite(value) else None
        if place is not None:
            regions[place.region] = regions.get(place.region, 0) + count
            places[place] = places.get(place, 0) + count
    if not regions:
        return None
    region = max(regions, key=regions.__getitem__)
    return max((place for place in places if place.region == region), key=places.__getitem__)


def read_region_names(path: str | Path) -> dict[int, Place]:
    """Read what the labels of another atlas mean.

    Args:
        path: a table with the columns `value` and `region`, and if wanted `side` (left, right, midline, in
            full or by the first letter).

    Raises:
        DataError: if it cannot be read, a column is missing, a value is no whole number or comes twice, or a
            side is another; the message names the line.
    """
    table = read_table(path, what="table of regions", lower_case=True, required=("value", "region"))
    places: dict[int, Place] = {}
    for line, row in table.rows:
        try:
            value = int(row["value"])
        except ValueError as error:
            raise DataError(
                f"{path}, line {line}: expected a whole number as value, got {row['value']!r}"
            ) from error
        if value in places:
            raise DataError(f"{path}, line {line}: the value {value} is there already")
        if is_missing(row["region"]):
            raise DataError(f"{path}, line {line}: the region is missing")
        cell = row.get("side", "")
        side = next((side for side in get_args(Side) if cell.lower() in (side, side[0])), None)
        if side is None and not is_missing(cell):
            raise DataError(f"{path}, line {line}: expected left, right or midline as side, got {cell!r}")
        places[value] = Place(row["region"], side)
    if not places:
        raise DataError(f"{path}: there is no region below the header")
    return places
