"""Shape and first-order intensity features of one lesion, by the names that radiomics uses.

Sources: the Image Biomarker Standardisation Initiative's reference manual (IBSI; Zwanenburg et al., Radiology
2020, 295:328-338) and the feature list of PyRadiomics (van Griethuysen et al., Cancer Research 2017,
77:e104-e107). Where the two differ, PyRadiomics is followed, and the definition says so.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.lesions import shape

SHAPE_FEATURES = {
    "mesh_volume_mm3": "volume V inside the surface mesh (IBSI RNU0)",
    "voxel_volume_mm3": "number of voxels times the volume of one (IBSI YEKZ)",
    "surface_area_mm2": "area A of the surface mesh (IBSI C0JK)",
    "surface_volume_ratio_per_mm": "A / V (IBSI 2PR5)",
    "sphericity": "(36 pi V^2)^(1/3) / A: 1 for a ball, less for all else (IBSI QCFX)",
    "max_3d_diameter_mm": "largest distance between two vertices of the mesh (IBSI L0JK)",
    "max_2d_diameter_slice_mm": "the same within one plane of the third array axis (PyRadiomics)",
    "max_2d_diameter_column_mm": "the same within one plane of the second array axis (PyRadiomics)",
    "max_2d_diameter_row_mm": "the same within one plane of the first array axis (PyRadiomics)",
    "major_axis_mm": "4 sqrt(l1), l1 >= l2 >= l3 the principal variances of the voxel centres (IBSI TDIC)",
    "minor_axis_mm": "4 sqrt(l2) (IBSI P9VJ)",
    "least_axis_mm": "4 sqrt(l3) (IBSI 7J51)",
    "elongation": "sqrt(l2 / l1): 1 is round, 0 a line, undefined for a single voxel (IBSI Q3CK)",
    "flatness": "sqrt(l3 / l1): 1 is round, 0 flat, undefined for a single voxel (IBSI N17B)",
}
"""What `shape_features` gives, one definition each."""

FIRST_ORDER_FEATURES = {
    "energy": "sum of the squared values (IBSI N8CA)",
    "total_energy": "energy times the volume of a voxel in mm3 (PyRadiomics)",
    "entropy": "-sum of p log2 p over bins of fixed width that begin at a multiple of it (IBSI TLU2)",
    "minimum": "lowest value (IBSI 1GSF)",
    "percentile_10": "10th percentile, interpolated linearly (IBSI QG58)",
    "percentile_90": "90th percentile (IBSI 8DWT)",
    "maximum": "highest value (IBSI 84IY)",
    "mean": "mean (IBSI Q4LE)",
    "median": "median (IBSI Y12H)",
    "interquartile_range": "75th less 25th percentile (IBSI SALO)",
    "range": "maximum less minimum (IBSI 2OJQ)",
    "mean_absolute_deviation": "mean distance from the mean (IBSI 4FUA)",
    "robust_mean_absolute_deviation": "the same of the values from 10th to 90th percentile, undefined of"
    " two different values (IBSI 1128)",
    "root_mean_square": "square root of the mean square (IBSI 5ZWQ)",
    "skewness": "third central moment / variance^1.5, 0 where all values are equal (IBSI KE2A)",
    "kurtosis": "fourth central moment / variance^2, a normal distribution has 3 (PyRadiomics; IBSI IPH6"
    " takes 3 off), 0 where all values are equal",
    "variance": "mean squared distance from the mean (IBSI ECT3)",
    "uniformity": "sum of p^2 over the bins of the entropy (IBSI BJ5W)",
}
"""What `first_order_features` gives, one definition each. The unit is that of the image, or its powers."""


def shape_features(inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> dict[str, float]:
    """The 14 shape features, see `SHAPE_FEATURES`.

    The mesh is marching cubes at one half (Lewiner et al., J. Graphics Tools 2003, 8:1-15). It cuts off edges
    and corners, so that a single voxel has a `mesh_volume_mm3` of 1/6 of its volume, and joins voxels that
    share an edge (PyRadiomics parts some of them), but not those that share only a corner.

    `elongation` takes voxels as points, as both sources do; the `elongation` of the lesion table adds their
    extent.

    Args:
        inside: the lesion in its bounding box, shape (x, y, z); in one or several pieces.
        affine: 4 x 4, voxels to world mm; only its linear part matters. It may be oblique and anisotropic.

    Returns:
        Values in the order of `SHAPE_FEATURES`; NaN where undefined.

    Raises:
        ImageError: if there is no voxel inside, or the box or the affine has another shape.
    """
    inside, linear = _checked(inside, affine)
    volume, area = _mesh(inside, linear)
    centres_mm = np.argwhere(inside) @ linear.T
    offsets_mm = centres_mm - centres_mm.mean(axis=0)
    # Rounding can take the variance of a flat body below zero.
    variances = np.linalg.eigvalsh(offsets_mm.T @ offsets_mm / len(offsets_mm))[::-1]
    variances[variances < 1e-9 * max(variances[0], 1e-9)] = 0.0
    major, minor, least = (float(axis) for axis in 4.0 * np.sqrt(variances))
    values = (
        volume,
        float(len(centres_mm) * abs(np.linalg.det(linear))),
        area,
        area / volume,
        _sphericity(volume, area),
        shape.max_diameter_mm(inside, affine),
        *(shape.max_diameter_in_plane_mm(inside, affine, axis) for axis in (2, 1, 0)),
        major,
        minor,
        least,
        minor / major if major > 0 else float("nan"),
        least / major if major > 0 else float("nan"),
    )
    return dict(zip(SHAPE_FEATURES, values, strict=True))


def sphericity(inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> float:
    """The one of `shape_features`, with the same arguments and errors, in a tenth of the time."""
    return _sphericity(*_mesh(*_checked(inside, affine)))


def first_order_features(
    values: NDArray[np.generic], voxel_volume_mm3: float, bin_width: float = 25.0
) -> dict[str, float]:
    """The 18 first-order features, see `FIRST_ORDER_FEATURES`.

    Args:
        values: the image inside the lesion, shape (V,), V >= 1.
        voxel_volume_mm3: volume of one voxel.
        bin_width: width of the bins for entropy and uniformity, in units of the image.

    Returns:
        Values in the order of `FIRST_ORDER_FEATURES`; NaN where undefined.

    Raises:
        ImageError: if there are no values, or some are not finite.
        UsageError: if the bin width is not positive.
    """
    if not bin_width > 0:
        raise UsageError(f"expected a positive bin width, got {bin_width:g}")
    x = np.asarray(values, np.float64).ravel()
    if not x.size or not np.isfinite(x).all():
        raise ImageError(f"expected finite values inside a lesion, got {x.size} of which some may be NaN")
    energy = float(x @ x)
    mean = float(x.mean())
    away = x - mean
    variance = float(np.mean(away**2))
    p10, p25, median, p75, p90 = (float(p) for p in np.percentile(x, (10, 25, 50, 75, 90)))
    core = x[(x >= p10) & (x <= p90)]
    # Bins begin at multiples of the width, so that the same value is in the same bin in every lesion.
    share = np.unique(np.floor(x / bin_width), return_counts=True)[1] / x.size
    flat = bool(x.min() == x.max())
    features = (
        energy,
        energy * voxel_volume_mm3,
        float(scipy.stats.entropy(share, base=2)),
        float(x.min()),
        p10,
        p90,
        float(x.max()),
        mean,
        median,
        p75 - p25,
        float(np.ptp(x)),
        float(np.abs(away).mean()),
        float(np.abs(core - core.mean()).mean()) if core.size else float("nan"),
        float(np.sqrt(energy / x.size)),
        0.0 if flat else float(np.mean(away**3)) / variance**1.5,
        0.0 if flat else float(np.mean(away**4)) / variance**2,
        variance,
        float(share @ share),
    )
    return dict(zip(FIRST_ORDER_FEATURES, features, strict=True))


def _checked(
    inside: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The lesion, and the linear part of the affine."""
    inside = np.asarray(inside, bool)
    if inside.ndim != 3 or not inside.any():
        raise ImageError(f"expected a lesion of at least one voxel in a 3-D box, got shape {inside.shape}")
    if np.shape(affine) != (4, 4):
        raise ImageError(f"expected a 4 x 4 affine, got shape {np.shape(affine)}")
    return inside, np.asarray(affine, np.float64)[:3, :3]


def _sphericity(volume: float, area: float) -> float:
    return float(np.cbrt(36.0 * np.pi * volume**2)) / area


def _mesh(inside: NDArray[np.bool_], linear: NDArray[np.float64]) -> tuple[float, float]:
    """Volume in mm3 and area in mm2 of the surface mesh; voxels beyond the box count as outside."""
    from skimage.measure import marching_cubes

    vertices, triangles, *_ = marching_cubes(np.pad(inside, 1).astype(np.float32), 0.5)
    a, b, c = np.moveaxis((vertices.astype(np.float64) @ linear.T)[triangles], 1, 0)
    # The tetrahedra between the triangles and the origin add up to the volume, with the sign of the
    # triangles' orientation, which an affine with a mirror image turns.
    volume = abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6.0
    return volume, float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2.0
