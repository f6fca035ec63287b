"""Tables as text."""

import math
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import DataError
from shiva_cmb.tables import as_number, as_text, is_missing, read_table, write_tsv


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_cells_come_with_their_lines(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Case | TE\na | 10\n\n |\nb | 20\n".replace("|", delimiter), encoding=encoding)
    table = read_table(path)
    assert table.columns == ("Case", "TE")
    assert table.rows == ((2, {"Case": "a", "TE": "10"}), (5, {"Case": "b", "TE": "20"}))
    assert read_table(path, lower_case=True).columns == ("case", "te")


def test_windows_line_ends_and_quoted_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'case,site\r\n"a,1","x ""y"""\r\n')
    assert read_table(path).rows == ((2, {"case": "a,1", "site": 'x "y"'}),)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", {}, "line 3: expected 2 values, got 3"),
        ("a,a\n1,2\n", {}, "named twice"),
        ("A,a\n1,2\n", {"lower_case": True}, "named twice"),
        ("a,b\n", {"required": ("c",)}, "'c' is missing; the header names: a, b"),
        ("", {"required": ("c",)}, "'c' is missing; the header names: none"),
        ("a,b\n", {"known": ("a",)}, "unknown column 'b'; the known ones are a"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, options: dict, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path, **options)
    assert "t.csv" in str(caught.value)


def test_a_table_that_is_none_is_named_by_its_purpose(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("t.csv", "absent.csv"):
        with pytest.raises(DataError, match=f"cannot read the list of sheep .*{name}"):
            read_table(tmp_path / name, what="list of sheep")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [
        {"case": "a", "f1": 1 / 3, "n": np.int64(3), "ok": True, "more": 1},
        {"case": "tab\there", "f1": math.nan, "n": None, "ok": np.bool_(False)},
    ]
    write_tsv(tmp_path / "t.tsv", ("case", "f1", "n", "ok"), rows)
    assert (tmp_path / "t.tsv").read_text().splitlines()[0] == "case\tf1\tn\tok"
    assert [row for _, row in read_table(tmp_path / "t.tsv", delimiter="\t").rows] == [
        {"case": "a", "f1": "0.333333", "n": "3", "ok": "true"},
        {"case": "tab\there", "f1": "n/a", "n": "n/a", "ok": "false"},
    ]


def test_numbers_as_text() -> None:
    assert [as_text(value) for value in (1234567.0, 0.0, math.inf, np.float32(0.5), np.nan, "x")] == [
        *("1.23457e+06", "0", "inf", "0.5", "n/a", "x"),
    ]
    assert [as_number(cell) for cell in ("3", " 2.5 ", "nan", "1_000", "x", "")] == [3.0, 2.5, *[None] * 4]
    assert all(map(is_missing, (None, "", " ", "n/a", "NA", "NaN")))
    assert not any(map(is_missing, ("0", "x", "-")))
