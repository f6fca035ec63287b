import numpy as np
import pytest

from shiva_cmb.anatomy.regions import Place
from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Volume
from shiva_cmb.prediction.regions import given_regions


def map_of(*values: int) -> Volume:
    return Volume(np.array(values, np.int16).reshape(-1, 1, 1), np.eye(4))


def test_a_map_that_predict_wrote_has_its_own_names() -> None:
    ours = given_regions(map_of(0, 1, 2, 3, 4, 5, 6, 7), None, note=pytest.fail)
    assert ours.names[1] == Place("lobar", "left")
    assert ours.names[4] == Place("deep", "right")
    assert 7 not in ours.names


def test_a_map_with_larger_values_is_freesurfers() -> None:
    theirs = given_regions(map_of(0, 2, 4, 41, 10), None, note=pytest.fail)
    assert theirs.names[4] == Place("deep", "left")
    assert theirs.names[41] == Place("lobar", "right")


def test_a_table_of_names_wins() -> None:
    names = {1: Place("frontal", None)}
    assert given_regions(map_of(0, 1), names, note=pytest.fail).names == names


def test_a_map_of_nothing_known_is_refused() -> None:
    with pytest.raises(ImageError, match="none of its values is a known region"):
        given_regions(map_of(0, 9999), None, note=pytest.fail)
