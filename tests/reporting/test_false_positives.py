from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import DataError
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.reporting.false_positives import NO_MIMIC, MimicCounts, count_mimics, nearest_mimics
from shiva_cmb.tables import write_tsv

COLUMNS = ("kind", "x_mm", "y_mm", "z_mm", "length_mm", "diameter_mm")
VEIN = {"kind": "vein", "x_mm": 20.0, "y_mm": 10.0, "z_mm": 10.0, "length_mm": 40.0, "diameter_mm": 2.0}
CALCIUM = {
    "kind": "calcification",
    "x_mm": 30.0,
    "y_mm": 24.0,
    "z_mm": 10.0,
    "length_mm": 3.0,
    "diameter_mm": 3.0,
}
ROWS = [{name: str(value) for name, value in row.items()} for row in (VEIN, CALCIUM)]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def marks() -> Volume:
    """The vein along x, and the calcification; voxels of 2 mm."""
    data = np.zeros((22, 16, 16), np.int16)
    data[1:21, 5, 5] = 1
    data[15, 12, 5] = 2
    return Volume(data, AFFINE)


@pytest.mark.parametrize(
    ("point", "by_map", "by_table"),
    [
        ((20, 12, 10), "vein", "vein"),
        ((4, 12, 10), "vein", NO_MIMIC),  # near its end: only the map knows where it runs
        ((30, 21.5, 10), "calcification", "calcification"),
        ((30, 27.9, 10), NO_MIMIC, "calcification"),  # 3.9 mm from its middle, 2.4 mm from its border
        ((20, 10, 40), NO_MIMIC, NO_MIMIC),
    ],
)
def test_the_nearest_mimic_is_named(point: tuple[float, ...], by_map: str, by_table: str) -> None:
    assert nearest_mimics([point], ROWS, marks()) == (by_map,)
    assert nearest_mimics([point], ROWS) == (by_table,)


def test_no_points_and_no_mimics() -> None:
    assert nearest_mimics([], ROWS, marks()) == ()
    empty = Volume(np.zeros((4, 4, 4), np.int16), AFFINE)
    assert nearest_mimics([(0, 0, 0)], [], empty) == nearest_mimics([(0, 0, 0)], []) == (NO_MIMIC,)


def test_all_scans_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b.1"):
        write_tsv(tmp_path / f"{name}_mimics.tsv", COLUMNS, [VEIN, CALCIUM])
        write_volume(marks(), tmp_path / f"{name}_mimics.nii.gz")
    lesions = [
        {"case": "a", "status": "FP", "x_mm": 4, "y_mm": 12, "z_mm": 10},
        {"case": "a", "status": "TP", "x_mm": 4, "y_mm": 12, "z_mm": 10},
        {"case": "b.1", "status": "FP", "x_mm": 30, "y_mm": 24, "z_mm": 10},
        {"case": "b.1", "status": "FP", "x_mm": 31, "y_mm": 24, "z_mm": 10},
        {"case": "b.1", "status": "FP", "x_mm": 0, "y_mm": 0, "z_mm": 40},
    ]
    table = tmp_path / "lesions.tsv"
    write_tsv(table, tuple(lesions[0]), lesions)
    assert count_mimics(table, tmp_path) == (
        MimicCounts("calcification", 2, 2),
        MimicCounts("vein", 2, 1),
        MimicCounts(NO_MIMIC, 0, 1),
    )
    (tmp_path / "b.1_mimics.tsv").unlink()
    with pytest.raises(DataError, match=r"no table of mimics of the case b\.1"):
        count_mimics(table, tmp_path)
