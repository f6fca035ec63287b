"""Measures of one lesion: extent, elongation, contrast."""

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.lesions.table import SizeFlag

SHELL_MM = (2.0, 4.0)
"""Surroundings begin and end this far from the lesion's nearest voxel: beyond the bloom of a bleed's edge."""

Box = tuple[slice, slice, slice]


def equivalent_diameter_mm(volume_mm3: float) -> float:
    """Diameter of the ball of a volume."""
    return float(np.cbrt(6.0 * volume_mm3 / np.pi))


def size_flag(diameter_mm: float) -> SizeFlag:
    """Below, within or above the 2 to 10 mm that define a microbleed."""
    if diameter_mm < 2.0:
        return "<2 mm"
    return "2-10 mm" if diameter_mm <= 10.0 else ">10 mm"


def max_diameter_mm(inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> float:
    """Largest distance between two exposed voxel faces' centres, which are the vertices of a surface mesh.

    Args:
        inside: the lesion in its bounding box, at least one voxel.
        affine: 4 x 4; only its linear part matters.
    """
    points = _exposed_faces(inside) @ affine[:3, :3].T
    if len(points) > 300:
        points = points[scipy.spatial.ConvexHull(points).vertices]
    return float(scipy.spatial.distance.pdist(points).max())


def max_diameter_in_plane_mm(inside: NDArray[np.bool_], affine: NDArray[np.float64], axis: int) -> float:
    """Largest distance between two exposed voxel faces' centres that lie in one plane across an array axis.

    Args:
        inside: the lesion in its bounding box, at least one voxel.
        affine: 4 x 4; only its linear part matters.
        axis: the array axis along which the plane stays at one place, 0 to 2.
    """
    across, along = (a for a in range(3) if a != axis)
    faces = _exposed_faces(inside)
    # On every line along an axis only the two ends can be the furthest from anything.
    faces = faces[np.lexsort((faces[:, along], faces[:, across], faces[:, axis]))]
    new_line = np.any(np.diff(faces[:, (axis, across)], axis=0), axis=1)
    ends = faces[np.append(True, new_line) | np.append(new_line, True)]
    planes = np.split(ends @ affine[:3, :3].T, np.flatnonzero(np.diff(ends[:, axis])) + 1)
    return max(float(scipy.spatial.distance.pdist(plane).max(initial=0.0)) for plane in planes)


def _exposed_faces(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centres of the voxel faces between inside and outside, shape (faces, 3), in voxels."""
    padded = np.pad(inside, 1).astype(np.int8)
    faces = []
    for axis in range(3):
        place = np.argwhere(np.diff(padded, axis=axis)).astype(np.float64)
        place[:, axis] += 0.5
        faces.append(place)
    return np.concatenate(faces)


def elongation(covariance_mm2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of the second against the largest eigenvalue, shape (n,) for (n, 3, 3).

    Source: the Image Biomarker Standardisation Initiative's elongation, with the extent of a voxel already
    added to the covariance, so that a single voxel has a shape.
    """
    values = np.linalg.eigvalsh(covariance_mm2)
    return np.sqrt(np.clip(values[:, 1] / values[:, 2], 0.0, 1.0))


def elongations(
    voxels: NDArray[np.intp], sizes: NDArray[np.intp], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`elongation` of several lesions, shape (n,).

    Args:
        voxels: indices of all their voxels, grouped by lesion, shape (V, 3).
        sizes: number of voxels of each, at least one, shape (n,).
        affine: 4 x 4; only its linear part matters.
    """
    if not len(sizes):
        return np.zeros(0)
    linear, starts, counts = affine[:3, :3], np.cumsum(sizes) - sizes, sizes[:, None]
    centroids = np.add.reduceat(voxels.astype(np.float64), starts, axis=0) / counts
    offsets_mm = (voxels - np.repeat(centroids, sizes, axis=0)) @ linear.T
    products = np.add.reduceat(offsets_mm[:, :, None] * offsets_mm[:, None, :], starts, axis=0)
    # A voxel is a box, not a point: its own second moment is spacing^2 / 12 along each of its axes.
    return elongation(products / counts[:, :, None] + linear @ linear.T / 12.0)


def shell_box(box: Box, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> Box:
    """The lesion's bounding box, grown by the reach of its surroundings and kept in the image."""
    grown = []
    for part, size, step in zip(box, shape, spacing_mm, strict=True):
        reach = int(np.ceil(SHELL_MM[1] / step))
        grown.append(slice(max(part.start - reach, 0), min(part.stop + reach, size)))
    return grown[0], grown[1], grown[2]


def contrast(
    image: NDArray[np.generic],
    lesion: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> float | None:
    """How much darker the lesion is than its surroundings: (shell mean - lesion mean) / shell mean.

    Args:
        image: intensities around the lesion.
        lesion: where it is, same shape.
        usable: where surroundings may be taken from: brain that is in no lesion, same shape.
        spacing_mm: voxel size.

    Returns:
        At most 1, negative if the lesion is brighter; None if there are no surroundings to compare with.
    """
    distance_mm = scipy.ndimage.distance_transform_edt(~lesion, sampling=spacing_mm)
    shell = (distance_mm >= SHELL_MM[0]) & (distance_mm <= SHELL_MM[1]) & usable
    if not shell.any():
        return None
    around = float(image[shell].mean(dtype=np.float64))
    within = float(image[lesion].mean(dtype=np.float64))
    value = (around - within) / around if around > 0 else np.nan
    return float(value) if np.isfinite(value) else None
