"""False positives of the current network: found, kept, read again."""

from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import DataError
from shiva_cmb.training.sampling.hard_negatives import mine, read_hard_negatives, write_hard_negatives
from tests.training.sampling.made_cases import GRID, make_case


def fire(*voxels: tuple[int, int, int, float]) -> np.ndarray:
    probability = np.full(GRID, 0.01, np.float32)
    for x, y, z, value in voxels:
        probability[x, y, z] = value
    return probability


CASES = [make_case("a", [((4, 4, 4), (2, 2, 2))], ignored=[(15, 15, 15)]), make_case("b")]
MAPS = {
    "a": fire(
        (5, 5, 5, 0.9),  # the lesion
        (6, 6, 6, 0.9),  # touches it
        (15, 15, 15, 0.9),  # ignored
        (16, 16, 16, 0.8),  # touches that
        (10, 2, 2, 0.5),
        (10, 2, 3, 0.7),  # its peak
        (2, 20, 20, 0.8),
        (18, 2, 2, 0.2),  # too weak
    ),
    "b": fire((3, 3, 3, 0.4), (9, 9, 9, 0.6)),
}


def test_only_what_touches_no_lesion_counts_and_the_strongest_come_first() -> None:
    found = mine(CASES, lambda case: MAPS[case.name], threshold=0.3, most_per_case=50)
    assert found.case.tolist() == [0, 0, 1, 1]
    assert found.voxel.tolist() == [[2, 20, 20], [10, 2, 3], [9, 9, 9], [3, 3, 3]]
    np.testing.assert_allclose(found.peak, [0.8, 0.7, 0.6, 0.4], atol=1e-6)
    assert mine(CASES, lambda case: MAPS[case.name], 0.3, 1).voxel.tolist() == [[2, 20, 20], [9, 9, 9]]
    assert len(mine(CASES, lambda case: MAPS[case.name], 0.95, 1)) == 0


def test_what_was_mined_is_read_again_by_the_names_of_the_cases(tmp_path: Path) -> None:
    found = mine(CASES, lambda case: MAPS[case.name], 0.3, 50)
    write_hard_negatives(found, CASES, tmp_path / "hard.json")
    again = read_hard_negatives(tmp_path / "hard.json", CASES[::-1])
    assert again.case.tolist() == [1, 1, 0, 0]
    np.testing.assert_array_equal(again.voxel, found.voxel)
    np.testing.assert_array_equal(again.peak, found.peak)
    with pytest.raises(DataError, match=r"hard.json: 'b' is missing there or no case of this fold"):
        read_hard_negatives(tmp_path / "hard.json", CASES[:1])
    (tmp_path / "hard.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*hard.json"):
        read_hard_negatives(tmp_path / "hard.json", CASES)
