"""Regions from atlas labels."""

from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.anatomy.regions import FREESURFER, Place, place_of, read_region_names
from shiva_cmb.errors import DataError


@pytest.mark.parametrize(
    ("label", "region", "side"),
    [
        *((2, "lobar", "left"), (42, "lobar", "right"), (17, "lobar", "left"), (54, "lobar", "right")),
        *((10, "deep", "left"), (49, "deep", "right"), (13, "deep", "left"), (251, "deep", "midline")),
        *((16, "infratentorial", "midline"), (8, "infratentorial", "left"), (46, "infratentorial", "right")),
        *(
            (1035, "lobar", "left"),
            (2001, "lobar", "right"),
            (1004, "deep", "left"),
            (12175, "lobar", "right"),
        ),
    ],
)
def test_freesurfer_labels(label: int, region: str, side: str) -> None:
    assert FREESURFER[label] == Place(region, side)


def test_both_sides_have_the_same_regions() -> None:
    for left, right in ((1000, 2000), (3000, 4000), (11100, 12100)):
        for offset in range(76):
            ours, theirs = FREESURFER.get(left + offset), FREESURFER.get(right + offset)
            assert (ours and ours.region) == (theirs and theirs.region)
    assert not FREESURFER.keys() & {0, 24, 30, 62, 1000, 11142}


def test_the_region_with_most_voxels_counts_and_unknown_labels_do_not() -> None:
    assert place_of(np.array([0, 0, 0, 24, 10, 10, 2])) == Place("deep", "left")
    # Three lobar voxels in three gyri against two of the thalamus; two of the three are right.
    assert place_of(np.array([[1001, 2002, 2003], [10, 10, 0]])) == Place("lobar", "right")
    assert place_of(np.array([16.0, np.nan])) == Place("infratentorial", "midline")
    assert place_of(np.array([0, 24])) is None
    assert place_of(np.zeros(0)) is None
    assert place_of(np.array([2, 10])) == Place("lobar", "left")  # a tie: the smaller label


def test_names_of_another_atlas(tmp_path: Path) -> None:
    path = tmp_path / "atlas.tsv"
    path.write_text("value\tRegion\tside\tnote\n1\tpons\tM\t\n2\tthalamus\tleft\tx\n3\tvermis\tn/a\t\n")
    names = read_region_names(path)
    assert names == {1: Place("pons", "midline"), 2: Place("thalamus", "left"), 3: Place("vermis", None)}
    assert place_of(np.array([2, 2, 1]), names) == Place("thalamus", "left")
    path.write_text("value,region\n1,pons\n")
    assert read_region_names(path) == {1: Place("pons", None)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("value,name\n1,x\n", "the column 'region' is missing"),
        ("value,region\nx,pons\n", "line 2: expected a whole number as value, got 'x'"),
        ("value,region\n1,pons\n1,pons\n", "line 3: the value 1 is there already"),
        ("value,region\n1,\n", "line 2: the region is missing"),
        ("value,region,side\n1,pons,up\n", "line 2: expected left, right or midline as side, got 'up'"),
        ("value,region\n", "no region below the header"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "atlas.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_region_names(tmp_path / "atlas.csv")
