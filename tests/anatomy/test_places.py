import numpy as np

from shiva_cmb.anatomy.places import lesion_places
from shiva_cmb.anatomy.regions import COARSE, Place
from shiva_cmb.imaging import Volume
from tests.imaging.samples import make_grid, world_coordinates

NATIVE = make_grid((40, 44, 20), (1.0, 1.0, 2.0), "LPS", (10, -5, 3))
REGIONS = make_grid((24, 26, 24), (2.0, 2.0, 2.0))


def regions():
    """Lobar left and right of x = 3, ventricle in a slab about it, infratentorial below z = 0."""
    world = world_coordinates(REGIONS)
    values = np.where(world[..., 0] < 3, 1, 2)
    values[np.abs(world[..., 0] - 3) < 6] = 6
    values[world[..., 2] < 0] = 5
    return Volume(values.astype(np.uint8), REGIONS.affine)


def lesions(*places_mm, radius_mm=1.6):
    labels = np.zeros(NATIVE.shape, np.int16)
    for number, place in enumerate(places_mm, start=1):
        labels[np.linalg.norm(world_coordinates(NATIVE) - np.array(place), axis=-1) < radius_mm] = number
    return Volume(labels, NATIVE.affine)


def test_lesions_are_placed_across_grids_by_world_coordinates() -> None:
    found = lesion_places(lesions((-12, -7, 18), (17, -7, 18), (3, -7, -5)), regions(), COARSE)
    assert found == (Place("lobar", "left"), Place("lobar", "right"), Place("infratentorial", "midline"))


def test_in_the_ventricle_the_nearest_tissue_within_5_mm_counts() -> None:
    assert lesion_places(lesions((0, -7, 18)), regions(), COARSE) == (Place("lobar", "left"),)
    assert lesion_places(lesions((6.5, -7, 18)), regions(), COARSE) == (Place("lobar", "right"),)
    wide = regions()
    wide.data[np.abs(world_coordinates(REGIONS)[..., 0] - 3) < 14] = 7
    assert lesion_places(lesions((3, -7, 18)), wide, COARSE) == (None,)


def test_other_atlases_and_maps_that_end_before_the_lesion() -> None:
    names = {1: Place("frontal", None), 5: Place("pons", None)}
    assert lesion_places(lesions((-12, -7, 18)), regions(), names) == (Place("frontal", None),)
    far = Volume(regions().data, REGIONS.affine + np.array([[0, 0, 0, 500.0], *[[0.0] * 4] * 3]))
    assert lesion_places(lesions((-12, -7, 18)), far, COARSE) == (None,)
    as_float = Volume(regions().data.astype(np.float32), REGIONS.affine)
    assert lesion_places(lesions((-12, -7, 18)), as_float, COARSE) == (Place("lobar", "left"),)


def test_a_number_without_voxels_has_no_place() -> None:
    labels = lesions((-12, -7, 18), (17, -7, 18))
    labels.data[labels.data == 1] = 0
    assert lesion_places(labels, regions(), COARSE) == (None, Place("lobar", "right"))
