"""Where lesions may lie, whoever says so: the user's mask, the user's regions, the anatomy network."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.anatomy import Anatomy
from shiva_cmb.anatomy.regions import COARSE, FREESURFER
from shiva_cmb.imaging import Volume
from shiva_cmb.lesions import LesionCriteria
from shiva_cmb.prediction.inputs import Subject
from shiva_cmb.prediction.regions import RegionMap
from shiva_cmb.prediction.searched import LARGEST_IN_FLUID_MM3, where_to_search

SHAPE = (20, 20, 20)
AFFINE = np.diag([1.0, 2.0, 1.0, 1.0])


def box(low: int, high: int) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[low:high, low:high, low:high] = True
    return mask


BRAIN, FLUID = box(2, 18), box(8, 12)
IMAGE = Volume(np.ones(SHAPE, np.float32), AFFINE)
ANATOMY = Anatomy(BRAIN, np.where(FLUID, 6, BRAIN).astype(np.uint8), (), 0.9, 5.0, BRAIN & ~FLUID)
NETWORKS = RegionMap(Volume(ANATOMY.regions, AFFINE), COARSE, "anatomy network", ANATOMY)


def subject(mask: NDArray[np.bool_] | None = None) -> Subject:
    if mask is None:
        return Subject((IMAGE,), BRAIN, None, ("swi",), "anatomy network", ANATOMY)
    return Subject((IMAGE,), mask, mask.astype(np.float32), ("swi",), "brain", None)


def test_the_users_mask_counts_alone_where_the_network_is_not_asked() -> None:
    found = where_to_search(subject(box(0, 20)), RegionMap())
    assert not found.by_network
    assert found.mask.all()


def test_of_the_users_mask_only_fluid_that_the_network_sees_in_the_brain_is_left_out() -> None:
    found = where_to_search(subject(box(0, 20)), NETWORKS)
    assert found.by_network
    np.testing.assert_array_equal(found.mask, ~FLUID)  # also where the network sees no brain at all


def test_without_a_mask_the_network_decides() -> None:
    for regions in (NETWORKS, RegionMap()):
        np.testing.assert_array_equal(where_to_search(subject(), regions).mask, BRAIN & ~FLUID)


@pytest.mark.parametrize(("label", "kept"), [(10, True), (4, False), (24, False)])
def test_what_the_users_map_calls_tissue_is_searched_but_not_its_ventricles_and_fluid(
    label: int, kept: bool
) -> None:
    labels = np.where(FLUID, label, 2).astype(np.int16)  # white matter, beyond the brain too
    found = where_to_search(subject(), RegionMap(Volume(labels, AFFINE), FREESURFER, "aseg"))
    assert found.mask[FLUID].all() == kept
    assert not found.mask[~BRAIN].any()


def test_a_large_finding_is_no_fluid() -> None:
    found = where_to_search(subject(), NETWORKS)
    small, large = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    small[8:11, 8:10, 8:10] = 0.9  # 24 mm3
    large[8:12, 8:12, 8:11] = 0.9  # 96 mm3
    assert 24 < LARGEST_IN_FLUID_MM3 < 96
    for map_, threshold, searched in ((small, 0.5, False), (large, 0.5, True), (large, 0.95, False)):
        criteria = LesionCriteria(threshold=threshold)
        mask = found.with_large(subject(), Volume(map_, AFFINE), criteria).mask
        assert mask[map_ > 0].all() == searched
        assert not mask[FLUID & (map_ == 0)].any()


def test_a_large_finding_outside_the_brain_stays_outside() -> None:
    outside = np.zeros(SHAPE, np.float32)
    outside[18:20] = 0.9
    found = where_to_search(subject(), NETWORKS).with_large(
        subject(), Volume(outside, AFFINE), LesionCriteria()
    )
    assert not found.mask[18:20].any()
