"""Features against bodies whose values can be computed by hand, and against PyRadiomics if it is there."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from scipy.stats import kurtosis, skew

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.lesions import shape
from shiva_cmb.lesions.features import (
    FIRST_ORDER_FEATURES,
    SHAPE_FEATURES,
    first_order_features,
    shape_features,
    sphericity,
)


def oblique(seed: int, spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = (-20.0, 30.0, 5.0)
    return affine


def ball(radius: float) -> NDArray[np.bool_]:
    ticks = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    x, y, z = np.meshgrid(ticks, ticks, ticks, indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


def test_a_single_voxel_is_an_octahedron_with_no_axes() -> None:
    found = shape_features(np.ones((1, 1, 1), bool), np.eye(4))
    # Vertices half a voxel from the centre: 8 tetrahedra of (1/2)^3 / 6, so 1/6 in all.
    assert found["mesh_volume_mm3"] == pytest.approx(1 / 6)
    assert found["voxel_volume_mm3"] == pytest.approx(1.0)
    # 8 equilateral triangles of side sqrt(1/2), area sqrt(3)/4 * 1/2 each: sqrt(3).
    assert found["surface_area_mm2"] == pytest.approx(np.sqrt(3))
    assert found["surface_volume_ratio_per_mm"] == pytest.approx(6 * np.sqrt(3))
    # (36 pi / 36)^(1/3) / sqrt(3).
    assert found["sphericity"] == pytest.approx(np.cbrt(np.pi) / np.sqrt(3))
    assert found["max_3d_diameter_mm"] == found["max_2d_diameter_row_mm"] == pytest.approx(1.0)
    assert found["major_axis_mm"] == found["least_axis_mm"] == 0.0
    assert np.isnan(found["elongation"])
    assert np.isnan(found["flatness"])


def test_a_box_has_the_values_of_its_chamfered_mesh() -> None:
    found = shape_features(np.ones((4, 3, 2), bool), np.diag([1.0, 1.0, 1.0, 1.0]))
    # Full volume 24. Of each of the 4 edges along an axis of n voxels, a prism of cross-section 1/8 and
    # length n - 1 is cut off: 4/8 * (3 + 2 + 1) = 3. Of each corner's octant of 1/8 a tetrahedron of 1/48
    # is left: 8 * (1/8 - 1/48) = 5/6.
    assert found["mesh_volume_mm3"] == pytest.approx(24 - 3 - 5 / 6)
    # Faces (n - 1)(m - 1): 2 * (3*2 + 3*1 + 2*1) = 22; strips of width sqrt(1/2): 4 * (3 + 2 + 1) of them;
    # corners sqrt(3) together, as in the single voxel.
    area = 22 + 24 * np.sqrt(0.5) + np.sqrt(3)
    assert found["surface_area_mm2"] == pytest.approx(area)
    assert found["sphericity"] == pytest.approx(np.cbrt(36 * np.pi * (24 - 3 - 5 / 6) ** 2) / area)
    # Face centres furthest apart are on opposite faces across the longest axis: 4 along it, and the other
    # coordinates differ by n - 1 at most: sqrt(16 + 4 + 1).
    assert found["max_3d_diameter_mm"] == pytest.approx(np.sqrt(21))
    # At a fixed third index: sqrt(16 + 4); second: sqrt(16 + 1); first: max(sqrt(9 + 1), sqrt(4 + 4)).
    assert found["max_2d_diameter_slice_mm"] == pytest.approx(np.sqrt(20))
    assert found["max_2d_diameter_column_mm"] == pytest.approx(np.sqrt(17))
    assert found["max_2d_diameter_row_mm"] == pytest.approx(np.sqrt(10))
    # Variance of n points one apart: (n^2 - 1) / 12 = 15/12, 8/12, 3/12.
    assert found["major_axis_mm"] == pytest.approx(4 * np.sqrt(15 / 12))
    assert found["minor_axis_mm"] == pytest.approx(4 * np.sqrt(8 / 12))
    assert found["least_axis_mm"] == pytest.approx(4 * np.sqrt(3 / 12))
    assert found["elongation"] == pytest.approx(np.sqrt(8 / 15))
    assert found["flatness"] == pytest.approx(np.sqrt(3 / 15))


def test_a_large_ball_is_nearly_a_ball() -> None:
    found = shape_features(ball(20.0), np.diag([0.25, 0.25, 0.25, 1.0]))  # radius 5 mm
    assert found["mesh_volume_mm3"] == pytest.approx(4 / 3 * np.pi * 125, rel=0.02)
    assert found["voxel_volume_mm3"] == pytest.approx(4 / 3 * np.pi * 125, rel=0.02)
    # The steps between voxels make the area about 9 % larger, at any resolution.
    assert found["surface_area_mm2"] == pytest.approx(1.09 * 4 * np.pi * 25, rel=0.02)
    assert found["sphericity"] == pytest.approx(1 / 1.09, rel=0.02)
    # The variance of a full ball along any axis is r^2 / 5.
    assert found["major_axis_mm"] == pytest.approx(4 * np.sqrt(25 / 5), rel=0.01)
    assert found["flatness"] == pytest.approx(1.0, abs=1e-6)
    for name in ("max_3d_diameter_mm", "max_2d_diameter_slice_mm", "max_2d_diameter_row_mm"):
        assert found[name] == pytest.approx(10.0, abs=0.3)


def test_lines_and_planes_are_long_and_flat() -> None:
    line = shape_features(np.ones((400, 1, 1), bool), oblique(1, (0.5, 1.0, 1.0)))
    assert line["max_3d_diameter_mm"] == line["max_2d_diameter_slice_mm"] == pytest.approx(200.0)
    # Points of one plane across the line: the four side faces of a voxel, opposite ones 1 mm apart.
    assert line["max_2d_diameter_row_mm"] == pytest.approx(1.0)
    assert line["elongation"] == line["flatness"] == 0.0
    plane = shape_features(np.ones((1, 5, 5), bool), oblique(2, (0.5, 1.0, 1.0)))
    assert plane["elongation"] == pytest.approx(1.0)
    assert plane["flatness"] == plane["least_axis_mm"] == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_turning_mirroring_and_shifting_change_nothing(seed: int) -> None:
    inside = np.random.default_rng(seed).random((4, 5, 3)) < 0.5
    inside[1, 2, 1] = True
    spacing = (0.5, 0.8, 2.0)
    straight = shape_features(inside, np.diag([*spacing, 1.0]))
    assert sphericity(inside, np.diag([*spacing, 1.0])) == straight["sphericity"]
    turned = shape_features(np.pad(inside, 2), oblique(seed, spacing))
    mirrored = shape_features(inside, np.diag([-0.5, 0.8, 2.0, 1.0]))
    for other in (turned, mirrored):
        assert list(other) == list(SHAPE_FEATURES)
        np.testing.assert_allclose(list(other.values()), list(straight.values()), rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), axis=st.integers(0, 2))
def test_the_diameter_in_a_plane_is_that_of_all_pairs(seed: int, axis: int) -> None:
    inside = np.random.default_rng(seed).random((5, 4, 5)) < 0.4
    inside[2, 2, 2] = True
    affine = oblique(seed, (0.5, 0.7, 2.0))
    padded = np.pad(inside, 1)
    faces = []
    for across in range(3):
        for voxel in np.argwhere(padded):
            for step in (-0.5, 0.5):
                neighbour = voxel.copy()
                neighbour[across] += int(2 * step)
                if not padded[tuple(neighbour)]:
                    face = voxel.astype(float)
                    face[across] += step
                    faces.append(face)
    points = np.array(faces)
    expected = max(
        pdist(points[points[:, axis] == place] @ affine[:3, :3].T).max(initial=0.0)
        for place in np.unique(points[:, axis])
    )
    assert shape.max_diameter_in_plane_mm(inside, affine, axis) == pytest.approx(expected)


def test_first_order_features_by_hand() -> None:
    found = first_order_features(np.array([4, 1, 100, 3, 2], np.int16), voxel_volume_mm3=0.5)
    assert list(found) == list(FIRST_ORDER_FEATURES)
    assert found["energy"] == 1 + 4 + 9 + 16 + 10000
    assert found["total_energy"] == 10030 / 2
    # Bins of 25: four values from 0 to 25, one from 100 to 125.
    assert found["entropy"] == pytest.approx(-0.8 * np.log2(0.8) - 0.2 * np.log2(0.2))
    assert found["uniformity"] == pytest.approx(0.8**2 + 0.2**2)
    assert (found["minimum"], found["maximum"], found["range"]) == (1, 100, 99)
    # Between the sorted values 1, 2, 3, 4, 100 at places 0 to 4: place 0.4 and 3.6.
    assert found["percentile_10"] == pytest.approx(1.4)
    assert found["percentile_90"] == pytest.approx(4 + 0.6 * 96)
    assert found["interquartile_range"] == pytest.approx(4 - 2)
    assert (found["mean"], found["median"]) == (22, 3)
    assert found["mean_absolute_deviation"] == pytest.approx((21 + 20 + 19 + 18 + 78) / 5)
    assert found["robust_mean_absolute_deviation"] == pytest.approx((1 + 0 + 1) / 3)  # of 2, 3 and 4
    assert found["root_mean_square"] == pytest.approx(np.sqrt(10030 / 5))
    assert found["variance"] == pytest.approx((21**2 + 20**2 + 19**2 + 18**2 + 78**2) / 5)
    x = np.array([1.0, 2, 3, 4, 100])
    assert found["skewness"] == pytest.approx(skew(x))
    assert found["kurtosis"] == pytest.approx(kurtosis(x, fisher=False))


def test_bins_begin_at_multiples_of_their_width() -> None:
    # 24 and 26 are apart, 26 and 49 together, below zero as well.
    assert first_order_features(np.array([24.0, 26.0]), 1.0)["entropy"] == pytest.approx(1.0)
    assert first_order_features(np.array([26.0, 49.0]), 1.0)["entropy"] == 0.0
    assert first_order_features(np.array([-1.0, 1.0]), 1.0)["uniformity"] == pytest.approx(0.5)
    # Values far apart do not make an array of all bins between.
    assert first_order_features(np.array([0.0, 1e12]), 1.0, bin_width=1e-3)["entropy"] == pytest.approx(1.0)


def test_equal_values_have_no_skewness() -> None:
    found = first_order_features(np.full(7, 0.1), 1.0)
    assert found["skewness"] == found["kurtosis"] == found["entropy"] == 0.0
    assert found["uniformity"] == 1.0


def test_two_values_have_no_core() -> None:
    # 10th and 90th percentile lie between them.
    assert np.isnan(first_order_features(np.array([1.0, 2.0]), 1.0)["robust_mean_absolute_deviation"])
    assert first_order_features(np.array([1.0, 1.0]), 1.0)["robust_mean_absolute_deviation"] == 0.0


def test_what_is_no_lesion_is_refused() -> None:
    with pytest.raises(ImageError, match="at least one voxel"):
        shape_features(np.zeros((2, 2, 2), bool), np.eye(4))
    with pytest.raises(ImageError, match="4 x 4"):
        shape_features(np.ones((2, 2, 2), bool), np.eye(3))
    with pytest.raises(ImageError, match="finite"):
        first_order_features(np.array([]), 1.0)
    with pytest.raises(ImageError, match="finite"):
        first_order_features(np.array([1.0, np.nan]), 1.0)
    with pytest.raises(UsageError, match="bin width"):
        first_order_features(np.array([1.0]), 1.0, bin_width=0.0)


_PYRADIOMICS = {
    "mesh_volume_mm3": "MeshVolume",
    "voxel_volume_mm3": "VoxelVolume",
    "surface_area_mm2": "SurfaceArea",
    "surface_volume_ratio_per_mm": "SurfaceVolumeRatio",
    "sphericity": "Sphericity",
    "max_3d_diameter_mm": "Maximum3DDiameter",
    "max_2d_diameter_slice_mm": "Maximum2DDiameterSlice",
    "max_2d_diameter_column_mm": "Maximum2DDiameterColumn",
    "max_2d_diameter_row_mm": "Maximum2DDiameterRow",
    "major_axis_mm": "MajorAxisLength",
    "minor_axis_mm": "MinorAxisLength",
    "least_axis_mm": "LeastAxisLength",
    "elongation": "Elongation",
    "flatness": "Flatness",
    "energy": "Energy",
    "total_energy": "TotalEnergy",
    "entropy": "Entropy",
    "minimum": "Minimum",
    "percentile_10": "10Percentile",
    "percentile_90": "90Percentile",
    "maximum": "Maximum",
    "mean": "Mean",
    "median": "Median",
    "interquartile_range": "InterquartileRange",
    "range": "Range",
    "mean_absolute_deviation": "MeanAbsoluteDeviation",
    "robust_mean_absolute_deviation": "RobustMeanAbsoluteDeviation",
    "root_mean_square": "RootMeanSquared",
    "skewness": "Skewness",
    "kurtosis": "Kurtosis",
    "variance": "Variance",
    "uniformity": "Uniformity",
}
_OF_THE_MESH = {"mesh_volume_mm3", "surface_area_mm2", "surface_volume_ratio_per_mm", "sphericity"}


@pytest.mark.parametrize("seed", range(12))
def test_pyradiomics_agrees(seed: int) -> None:
    radiomics = pytest.importorskip("radiomics", exc_type=ImportError)
    import SimpleITK
    from radiomics.firstorder import RadiomicsFirstOrder
    from radiomics.shape import RadiomicsShape

    radiomics.logger.setLevel(logging.ERROR)
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(np.arange(9), np.arange(8), np.arange(7), indexing="ij"), axis=-1)
    convex = seed % 2 == 0
    if convex:
        inside = np.linalg.norm((places - (4, 3.5, 3)) / rng.uniform(1.2, 3.5, 3), axis=-1) <= 1
    else:  # several rugged pieces, touching by edges and corners
        noise = gaussian_filter(rng.normal(size=(9, 8, 7)), 1.0)
        inside = noise > np.quantile(noise, 0.9)
    spacing = tuple(rng.uniform(0.4, 3.0, 3))
    affine = oblique(seed, spacing)
    values = rng.normal(300.0, 80.0, inside.shape)
    pictures = []
    for array in (values, inside.astype(np.uint8)):
        picture = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
        picture.SetSpacing(spacing)
        picture.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        pictures.append(picture)
    expected: dict[str, float] = {}
    for kind in (RadiomicsShape, RadiomicsFirstOrder):
        extractor = kind(*pictures, label=1, binWidth=25)
        extractor.enableAllFeatures()
        expected |= extractor.execute()
    found = shape_features(inside, affine)
    found |= first_order_features(values[inside], float(np.prod(spacing)))
    for name, value in found.items():
        # Where voxels touch by an edge only, its mesh parts them and the one used here joins them.
        tolerance = 0.1 if name in _OF_THE_MESH and not convex else 1e-9
        assert value == pytest.approx(float(expected[_PYRADIOMICS[name]]), rel=tolerance), name
