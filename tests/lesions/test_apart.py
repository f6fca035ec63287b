"""Lesions that do not touch on their own grid do not touch on another, as far as that can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from shiva_cmb.imaging import Grid
from shiva_cmb.lesions.apart import PlacedLesions, lesions_on_grid

TARGET = Grid((24, 24, 24), np.diag([1.0, 1.0, 1.0, 1.0]))


def turned_grid(spacing_mm: tuple[float, float, float], angles: tuple[float, float, float]) -> Grid:
    """A field of about 14 mm around the middle of the target, turned."""
    shape = tuple(max(3, round(14 / size)) for size in spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = 11.5 - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def random_lesions(native: Grid, seed: int) -> list[np.ndarray]:
    """Blobs and specks, thrown in at random: the components of what results."""
    rng = np.random.default_rng(seed)
    spots = np.zeros(native.shape)
    around = rng.integers(0, native.shape)  # crowded together, so that they get in each other's way
    for _ in range(rng.integers(2, 12)):
        spots[tuple(np.clip(around + rng.integers(-4, 5, 3), 0, np.array(native.shape) - 1))] = 1
    mask = ndimage.binary_dilation(spots, iterations=rng.integers(1, 3)) if rng.random() < 0.4 else spots > 0
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return [np.argwhere(labels == number) for number in range(1, count + 1)]


def components(placed: PlacedLesions) -> int:
    mask = np.zeros(TARGET.shape, bool)
    for voxels in placed.voxels:
        mask[tuple(voxels.T)] = True
    return ndimage.label(mask, np.ones((3, 3, 3)))[1]


grids = st.builds(
    turned_grid,
    st.tuples(st.floats(0.4, 2.0), st.floats(0.4, 2.0), st.floats(0.5, 4.0)),
    st.tuples(*[st.floats(-180, 180)] * 3),
)


@settings(deadline=None, max_examples=40)
@given(native=grids, seed=st.integers(0, 10**6))
def test_none_is_lost_broken_or_joined_unless_it_is_said(native: Grid, seed: int) -> None:
    lesions = random_lesions(native, seed)
    placed = lesions_on_grid(lesions, native, TARGET)
    everything = [tuple(voxel) for own in placed.voxels for voxel in own.tolist()]
    assert len(set(everything)) == len(everything)  # no voxel belongs to two
    for own in placed.voxels:  # the target surrounds the native field: all lie on it
        mask = np.zeros(TARGET.shape, bool)
        mask[tuple(own.T)] = True
        assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1
    touching = {frozenset(pair) for pair in placed.touching}
    trees = [cKDTree(own) for own in placed.voxels]
    for a in range(len(lesions)):
        for b in range(a):
            nearest = trees[a].query(placed.voxels[b], p=np.inf)[0].min()
            assert (nearest <= 1) == (frozenset((a, b)) in touching)
    if not touching:
        assert components(placed) == len(lesions)


@settings(deadline=None, max_examples=25)
@given(native=grids, seed=st.integers(0, 10**6))
def test_those_two_voxels_apart_never_touch_and_keep_their_volume(native: Grid, seed: int) -> None:
    parts = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    kept: list[np.ndarray] = []
    kept_mm: list[np.ndarray] = []
    for voxels in random_lesions(native, seed):
        places = native.to_world((voxels[:, None] + parts).reshape(-1, 3))
        if all(cKDTree(places).query(other, p=np.inf)[0].min() > 2.0 for other in kept_mm):
            kept.append(voxels)
            kept_mm.append(places)
    placed = lesions_on_grid(kept, native, TARGET)
    assert not placed.touching
    assert components(placed) == len(kept)
    for voxels, own in zip(kept, placed.voxels, strict=True):
        assert len(own) == pytest.approx(max(1.0, len(voxels) * native.voxel_volume_mm3), abs=0.51)


def test_the_larger_of_two_near_ones_gives_way() -> None:
    fine = Grid((48, 48, 48), np.diag([0.5, 0.5, 0.5, 1.0]))
    large = np.argwhere(np.ones((8, 8, 8))) + 8
    speck = np.array([[17, 11, 11]])  # one fine voxel of gap
    placed = lesions_on_grid([large, speck], fine, TARGET)
    assert components(placed) == 2
    assert placed.voxels[1].tolist() == [[8, 5, 5]]  # where it is without the other
    assert len(placed.voxels[0]) == pytest.approx(64, abs=10)


def test_a_neighbour_makes_room() -> None:
    # the short one comes first and would lie at x = 11, next to every voxel of the long one; it can lie at 12
    fine = Grid((48, 48, 48), np.diag([0.5, 0.5, 0.5, 1.0]))
    short = np.array([[22, 20, 20], [23, 20, 20]])
    long = np.array([[20, y, 20] for y in range(18, 23)])
    assert lesions_on_grid([short], fine, TARGET).voxels[0].tolist() == [[11, 10, 10]]
    placed = lesions_on_grid([short, long], fine, TARGET)
    assert not placed.touching
    assert [own.tolist() for own in placed.voxels] == [[[12, 10, 10]], [[10, 10, 10]]]


def test_too_near_for_the_grid_is_said_and_both_keep_a_voxel() -> None:
    fine = Grid((48, 48, 48), np.diag([0.5, 0.5, 0.5, 1.0]))
    three = [np.array([[20 + 2 * k, 20, 20]]) for k in range(3)]
    placed = lesions_on_grid(three, fine, TARGET)
    assert placed.touching
    assert [len(own) for own in placed.voxels] == [1, 1, 1]


def test_in_one_voxel_each_still_gets_one_of_its_own() -> None:
    coarse = Grid((4, 4, 4), np.diag([6.0, 6.0, 6.0, 1.0]))
    fine = Grid((48, 48, 48), np.diag([0.5, 0.5, 0.5, 1.0]))
    two = [np.array([[12, 12, 12]]), np.array([[14, 12, 12]])]
    placed = lesions_on_grid(two, fine, coarse)
    assert placed.touching == ((0, 1),)
    assert len({tuple(own[0]) for own in placed.voxels}) == 2
