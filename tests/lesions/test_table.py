import json
from dataclasses import replace
from pathlib import Path

import pytest

from shiva_cmb.errors import DataError
from shiva_cmb.lesions import Lesion, LesionTable

ROW = Lesion(
    lesion=1,
    x_mm=-12.25,
    y_mm=30.5,
    z_mm=7.125,
    i=10.5,
    j=20.0,
    k=3.0,
    n_voxels=12,
    volume_mm3=8.64,
    equivalent_diameter_mm=2.54588,
    max_diameter_mm=3.5,
    mean_probability=0.75,
    max_probability=0.96875,
    folds_agreeing=2,
    folds=3,
    size_flag="2-10 mm",
    elongation=0.875,
    contrast=0.5,
    region="deep",
    side="left",
)
BARE = replace(ROW, lesion=2, folds_agreeing=None, folds=None, contrast=None, size_flag="<2 mm")


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = LesionTable((ROW, BARE))
    table.write_tsv(tmp_path / "lesions.tsv")
    assert LesionTable.read_tsv(tmp_path / "lesions.tsv") == table


def test_the_file_is_plain_tab_separated_text_with_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "lesions.tsv"
    LesionTable((ROW, BARE)).write_tsv(path)
    header, first, second = path.read_text().splitlines()
    cells = dict(zip(header.split("\t"), second.split("\t"), strict=True))
    assert header.startswith("lesion\tx_mm\ty_mm\tz_mm\ti\tj\tk\tn_voxels\tvolume_mm3")
    assert first.startswith("1\t-12.25\t30.5\t7.125")
    assert cells["contrast"] == "n/a"
    assert cells["size_flag"] == "<2 mm"


def test_no_lesions_is_a_header_alone(tmp_path: Path) -> None:
    LesionTable().write_tsv(tmp_path / "none.tsv")
    assert len((tmp_path / "none.tsv").read_text().splitlines()) == 1
    assert len(LesionTable.read_tsv(tmp_path / "none.tsv")) == 0


def test_records_go_through_json() -> None:
    records = LesionTable((ROW, BARE)).as_records()
    assert json.loads(json.dumps(records))[1]["contrast"] is None


def test_columns_of_others_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "more.tsv"
    LesionTable((ROW,)).write_tsv(path)
    path.write_text("".join(line.rstrip("\n") + "\textra\n" for line in path.open()))
    assert LesionTable.read_tsv(path)[0] == ROW


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n1\t2\n", "no column lesion"),
        ("", "no column"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        LesionTable.read_tsv(path)
    assert str(path) in str(caught.value)


def test_tables_from_before_there_were_regions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.tsv"
    LesionTable((ROW,)).write_tsv(path)
    lines = [line.split("\t")[:-2] for line in path.read_text().splitlines()]
    path.write_text("".join("\t".join(cells) + "\n" for cells in lines))
    assert LesionTable.read_tsv(path)[0] == replace(ROW, region=None, side=None)


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.tsv"
    LesionTable((ROW, BARE)).write_tsv(path)
    path.write_text(path.read_text().replace("8.64", "large"))
    with pytest.raises(DataError, match="line 2: expected a number in column volume_mm3, got 'large'"):
        LesionTable.read_tsv(path)


def test_a_cut_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.tsv"
    LesionTable((ROW,)).write_tsv(path)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match="line 2"):
        LesionTable.read_tsv(path)


def test_a_missing_or_binary_file_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "binary.tsv").write_bytes(b"\x1f\x8b\xff\xfe")
    for name in ("binary.tsv", "absent.tsv"):
        with pytest.raises(DataError, match=name):
            LesionTable.read_tsv(tmp_path / name)
