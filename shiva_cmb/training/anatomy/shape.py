"""Heads of random shape, place and rotation on the network's window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.anatomy.head_network import MIRRORED
from shiva_cmb.anatomy.window import SPACING_MM
from shiva_cmb.imaging.interpolation import apply_along_axes, interpolation_matrix
from shiva_cmb.synthesis.head_map import MUCOSA, OUTSIDE, DeformedHead
from shiva_cmb.training.anatomy.settings import RandomHeadSettings

KNOT_MM = 32.0
NEAR_AIR_MM = 10.0
_REGION_BIT = 5
"""A code is the tissue's number in the lower five bits, and the region in the upper three."""
_TISSUE_BITS = np.uint8(31)
_OFFSETS = 0.5 * np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], np.float32)
"""Where in a voxel of 2 mm tissues are looked at, in mm: partial volumes of a quarter."""


@dataclass(frozen=True, eq=False)
class CodedHead:
    """A head ready to be drawn many times."""

    name: str
    """Of the subject."""
    codes: NDArray[np.uint8]
    """Tissue and region of each voxel of 1 mm, axes right, anterior, superior."""
    middle: NDArray[np.float32]
    """Of the brain's bounding box, in voxels."""
    near_air: NDArray[np.int16]
    """Voxels of the brain close to air or mucosa at its base, shape (n, 3): where signal drops out."""


@dataclass(frozen=True, eq=False)
class PlacedHead:
    """A head in the window."""

    codes: tuple[NDArray[np.uint8], ...]
    """Tissues at four points of each voxel; the whole head is in each."""
    regions: NDArray[np.uint8]
    """Coarse region of each voxel."""
    inside: NDArray[np.bool_]
    """Where the label map reaches."""
    near_air: NDArray[np.float32]
    """Where signal drops out, in voxels of the window, shape (n, 3)."""


def coded(head: DeformedHead) -> CodedHead:
    """Prepare a head: its own shape, `deform(rng, head, strength=0)`."""
    brain = head.brain
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    middle = np.array([(s.start + s.stop - 1) / 2 for s in box], np.float32)
    skull = ndimage.binary_fill_holes(head.tissues != OUTSIDE)
    airy = (head.tissues == MUCOSA) | (skull & (head.tissues == OUTSIDE))
    near = ndimage.distance_transform_edt(~airy) <= NEAR_AIR_MM
    low = np.arange(brain.shape[2]) < middle[2]
    near_air = np.argwhere(brain & near & low)[::7].astype(np.int16)
    codes = head.tissues | (head.regions << _REGION_BIT)
    return CodedHead(head.name, codes.astype(np.uint8), middle, near_air)


def placed(
    rng: np.random.Generator, head: CodedHead, window: tuple[int, int, int], settings: RandomHeadSettings
) -> PlacedHead:
    """Draw a shape and a place.

    Args:
        rng: where they come from.
        head: the head.
        window: voxels of 2 mm.
        settings: how far they may go.
    """
    flipped = rng.random() < 0.5
    codes = head.codes[::-1] if flipped else head.codes
    middle = head.middle.copy()
    if flipped:
        middle[0] = codes.shape[0] - 1 - middle[0]
    matrix = _random_matrix(rng, settings)
    nearness = 1.0 if rng.random() < 0.5 else 1 / 6
    shift = rng.uniform(-1, 1, 3) * settings.shift_mm * nearness
    places = _places(rng, window, matrix, middle - matrix @ shift, settings.bend_mm)
    taken = []
    for number, offset in enumerate(np.concatenate([np.zeros((1, 3), np.float32), _OFFSETS])):
        flat, inside = _flat_index(places, (matrix @ offset).astype(np.float32), codes.shape)
        found = np.take(codes, flat)
        found[~inside] = 0
        taken.append(found)
        if number == 0:
            reached = inside
    regions = (taken[0] >> _REGION_BIT).astype(np.uint8)
    if flipped:
        regions = np.array(MIRRORED, np.uint8)[regions]
    near = head.near_air.astype(np.float32)
    if flipped:
        near[:, 0] = codes.shape[0] - 1 - near[:, 0]
    # the bend is left out: these places are rough
    back = (near - middle) @ np.linalg.inv(matrix).T + shift
    in_window = back / SPACING_MM + (np.array(window) - 1) / 2
    return PlacedHead(
        tuple((found & _TISSUE_BITS).astype(np.uint8) for found in taken[1:]),
        regions,
        reached,
        in_window.astype(np.float32),
    )


def smooth_field(
    rng: np.random.Generator, window: tuple[int, int, int], knot_mm: float, spread: float
) -> NDArray[np.float32]:
    """Cubic splines through random values that lie `knot_mm` apart, with standard deviation `spread`."""
    counts = [max(int(np.ceil(n * SPACING_MM / knot_mm)), 1) + 3 for n in window]
    knots = rng.normal(0, spread, counts).astype(np.float32)
    matrices: list[NDArray[np.float32] | None] = [
        interpolation_matrix(count, 1 + (np.arange(n) * (count - 3) + rng.uniform(0, 0.5)) / n, 3, "edge")
        for n, count in zip(window, counts, strict=True)
    ]
    return apply_along_axes(knots, matrices)


def _random_matrix(rng: np.random.Generator, settings: RandomHeadSettings) -> NDArray[np.float64]:
    """From millimetres in the window to those in the head: rotation, size, a little shear."""
    spread = settings.rotation_deg * (1.0 if rng.random() < 0.5 else 0.3)
    x, y, z = np.deg2rad(rng.uniform(-spread, spread, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    size = np.exp(rng.normal(0, settings.scale_spread) + rng.normal(0, settings.scale_spread / 2, 3))
    shear = np.eye(3) + np.triu(rng.normal(0, 0.03, (3, 3)), 1)
    return np.asarray(about_x @ about_y @ about_z @ shear @ np.diag(size))


def _places(
    rng: np.random.Generator,
    window: tuple[int, int, int],
    matrix: NDArray[np.float64],
    middle: NDArray[np.floating],
    bend_mm: float,
) -> list[NDArray[np.float32]]:
    """Where in the head (voxels of 1 mm) each voxel of the window lies, one array per axis."""
    axes = [((np.arange(n) - (n - 1) / 2) * SPACING_MM).astype(np.float32) for n in window]
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    places = []
    for row, start in zip(matrix.astype(np.float32), middle, strict=True):
        place = smooth_field(rng, window, KNOT_MM, bend_mm)
        place += row[0] * x + np.float32(start)
        place += row[1] * y + row[2] * z
        places.append(place)
    return places


def _flat_index(
    places: list[NDArray[np.float32]], offset: NDArray[np.float32], shape: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Index of the nearest voxel in the flattened head, and whether it is in there."""
    flat = np.zeros(places[0].shape, np.int32)
    inside = np.ones(places[0].shape, bool)
    for place, by, n in zip(places, offset, shape, strict=True):
        index = np.rint(place + by).astype(np.int32)
        inside &= (index >= 0) & (index < n)
        np.clip(index, 0, n - 1, out=index)
        flat *= n
        flat += index
    return flat, inside
