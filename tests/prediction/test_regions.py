import numpy as np
import pytest

from shiva_cmb.anatomy.regions import Place
from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.prediction.regions import RegionMap, given_regions

IMAGE = Grid((60, 20, 20), np.eye(4))


def map_of(*values: float, at_mm: float = 0.0) -> Volume:
    affine = np.eye(4)
    affine[0, 3] = at_mm
    kind = np.int16 if np.equal(values, np.rint(values)).all() else np.float32
    return Volume(np.array(values, kind).reshape(-1, 1, 1), affine)


def read(regions: Volume, names: dict[int, Place] | None = None) -> RegionMap:
    return given_regions(regions, names, IMAGE, note=pytest.fail)


def test_a_map_that_predict_wrote_has_its_own_names() -> None:
    ours = read(map_of(0, 1, 2, 3, 4, 5, 6, 7))
    assert ours.names[1] == Place("lobar", "left")
    assert ours.names[4] == Place("deep", "right")
    assert 7 not in ours.names


def test_a_map_with_larger_values_is_freesurfers() -> None:
    theirs = read(map_of(0, 2, 4, 41, 10))
    assert theirs.names[4] == Place("deep", "left")
    assert theirs.names[41] == Place("lobar", "right")


def test_a_table_of_names_wins() -> None:
    names = {1: Place("frontal", None)}
    assert read(map_of(0, 1), names).names == names
    assert read(map_of(0, 1, 900, 901, 902), names).names == names


def test_a_map_of_nothing_known_is_refused() -> None:
    with pytest.raises(ImageError, match="none of its values is a known region"):
        read(map_of(0, 9999))
    with pytest.raises(ImageError, match="none of its values is a known region"):
        read(map_of(0, 0))


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 0.4, 0.9, 1)])
def test_a_mask_is_no_map_of_regions(values: tuple[float, ...]) -> None:
    with pytest.raises(ImageError, match="looks like a mask"):
        read(map_of(*values))


def test_a_scan_is_refused_though_some_of_its_values_are_labels() -> None:
    noise = np.random.default_rng(0).integers(1, 30, 30)
    with pytest.raises(
        ImageError, match=r"50% of its voxels have values that are no labels of regions .is it a scan"
    ):
        read(map_of(*(noise % 3 + 2), *range(600, 630)))
    with pytest.raises(ImageError, match="no labels of regions"):
        read(map_of(0, 0.3, 1.2, 2.0, 3.4, 4.6))


def test_fluid_skull_and_skin_are_known_labels_though_no_regions() -> None:
    """As in SynthSeg's training maps, of which most voxels lie outside of the brain; and a few odd values."""
    theirs = read(map_of(*(24, 258, 502, 511, 515, 516) * 4, 2, 41, 999))
    assert theirs.names[41] == Place("lobar", "right")


def test_a_map_that_lies_elsewhere_is_refused() -> None:
    with pytest.raises(ImageError, match="does not overlap the image"):
        read(map_of(2, 41, 10, at_mm=500))
    with pytest.raises(ImageError, match="does not overlap the image"):
        read(map_of(2, 41, 0, 0, at_mm=-2))  # only its 0 reaches the image
    assert read(map_of(2, 41, 10, at_mm=-2)).names


def test_a_small_atlas_needs_a_table_of_its_values() -> None:
    """MARS has 13 regions: FreeSurfer's list would call them something else."""
    with pytest.raises(ImageError, match=r"values up to 13 are not FreeSurfer's.*give a table"):
        read(map_of(*range(14)))
    assert read(map_of(*range(14)), {13: Place("brainstem", None)}).names
