"""Tables of an evaluation."""

import math
import re

import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.reporting.evaluation_tables import (
    TextTable,
    evaluation_tables,
    figure_text,
    latex,
    markdown,
)


def figure(value: float | None, low: float | None = None, high: float | None = None, n: float = 40) -> dict:
    return {"value": value, "low": low, "high": high, "n": n}


METRICS = {
    "detection": {
        "micro": {
            "sensitivity": figure(0.836, 0.781, 0.902, 253),
            "precision": figure(None, n=0),
            "tp": figure(25.0, 18.0, 33.0),
        },
        "macro": {
            "f1": figure(0.5, math.nan, math.nan),
            "f1_median": figure(0.5),
            "f1_q25": figure(0.25),
            "f1_q75": figure(1.0),
        },
        "curves": {"sensitivity_at_0.125_fp_per_scan": figure(0.1, 0, 0.2)},
    },
    "segmentation": {"hd95_mm_median": figure("inf", 3.0, "inf"), "dice_mean": figure(0.61, 0.5, 0.7)},
    "counts": {"error_mean": figure(-0.1, -0.5, 0.3), "bland_altman_low": figure(-0.001, -3.0, -1.0)},
    "scan_classification": {
        "11": {"sensitivity": figure(1.0, 1.0, 1.0, 2), "npv": figure(0.9)},
        "1": {"sensitivity": figure(0.96, 0.9, 1.0, 26), "specificity": figure(0.75, 0.6, 0.9, 56)},
    },
    "strata": {
        "size": {
            "<2 mm": {"detection": {"micro": {"sensitivity": figure(0.3, 0.1, 0.5, 9), "f1": figure(0.4)}}}
        },
        "site_A&B": {"50% <b>|x": {"detection": {"micro": {"sensitivity": figure(None, n=0)}}}},
    },
    "definitions": {"a": "b"},
}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (figure(0.836, 0.781, 0.902), "0.84 (0.78-0.90)"),
        (figure(-0.1, -0.5, 0.3), "-0.10 (-0.50 to 0.30)"),
        (figure(-0.001, -0.004, 0.3), "0.00 (0.00 to 0.30)"),
        (figure(0.5), "0.50"),
        (figure(0.5, math.nan, 1.0), "0.50"),
        (figure(None), "-"),
        (figure(math.nan, 0.1, 0.2), "-"),
        (figure(math.inf, 3.0, math.inf), "inf (3.00-inf)"),
        (figure("inf", 3, "inf"), "inf (3.00-inf)"),
        (None, "-"),
        ({}, "-"),
    ],
)
def test_figures_as_text(given: dict | None, text: str) -> None:
    assert figure_text(given) == text


def test_tables_of_one_method() -> None:
    tables = {
        table.title.removesuffix(", with 95 % intervals"): table
        for table in evaluation_tables({"ours": METRICS})
    }
    assert list(tables) == [
        "Detection, lesions of all scans pooled (micro)",
        "Detection, per scan (macro)",
        "Detection along the thresholds",
        "Segmentation, per scan",
        "Number of lesions per scan",
        "Scans with at least so many lesions",
        "Detection by size (equivalent diameter), pooled",
        "Detection by site_A&B, pooled",
    ]
    micro = tables["Detection, lesions of all scans pooled (micro)"]
    assert micro.header == ("Figure", "Value", "n")
    assert micro.rows == (
        ("Sensitivity", "0.84 (0.78-0.90)", "253"),
        ("Precision", "-", "0"),
        ("True positives", "25 (18-33)", "40"),
    )
    assert tables["Detection, per scan (macro)"].rows[-1][:2] == ("F1, quartiles", "0.25 to 1.00")
    assert (
        tables["Detection along the thresholds"].rows[0][0] == "Sensitivity at 0.125 false positives per scan"
    )
    assert [row[0] for row in tables["Segmentation, per scan"].rows] == ["HD95 (mm), median", "Dice, mean"]
    scans = tables["Scans with at least so many lesions"]
    assert scans.header == ("Lesions", "Sensitivity", "Specificity", "NPV", "n (sensitivity)")
    assert scans.rows[0] == (">=1", "0.96 (0.90-1.00)", "0.75 (0.60-0.90)", "-", "26")
    assert scans.rows[1][0] == ">=11"
    assert tables["Detection by size (equivalent diameter), pooled"].rows == (
        ("<2 mm", "0.30 (0.10-0.50)", "0.40", "9"),
    )


def test_tables_of_two_methods() -> None:
    other = {"detection": {"micro": {"sensitivity": figure(0.5, 0.4, 0.6), "f1": figure(0.1)}}}
    micro, *_, scans, _size, _site = evaluation_tables({"A": METRICS, "B": other}, level=0.9)
    assert micro.title.endswith(", with 90 % intervals")
    assert micro.header == ("Figure", "A", "B")
    assert micro.rows[0] == ("Sensitivity", "0.84 (0.78-0.90)", "0.50 (0.40-0.60)")
    assert micro.rows[1] == ("Precision", "-", "-")
    assert micro.rows[3] == ("F1", "-", "0.10")
    assert scans.rows[0][0] == ">=1"


def test_no_method_and_no_figures() -> None:
    with pytest.raises(UsageError, match="at least one method"):
        evaluation_tables({})
    assert evaluation_tables({"ours": {}}) == ()
    assert "Not for clinical use" in markdown([])
    assert "Not for clinical use" in latex([])


def test_markdown_has_as_many_cells_in_every_row() -> None:
    text = markdown(evaluation_tables({"ours": METRICS}))
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1
    assert "| Sensitivity    | 0.84 (0.78-0.90) | 253 |" in text
    assert r"50% \<b>\|x" in text
    assert text.endswith("Research software. Not for clinical use.\n")


def test_latex_is_escaped() -> None:
    text = latex(evaluation_tables({"ours": METRICS}))
    assert r"Sensitivity & 0.84 (0.78--0.90) & 253 \\" in text
    assert r"Detection by site\_A\&B, pooled, with 95 \% intervals" in text
    assert r"50\% $<$b$>$|x" in text
    assert r"$\geq$11" in text
    assert r"$\infty$ (3.00--$\infty$)" in text
    assert r"$-$0.10 ($-$0.50 to 0.30)" in text
    assert r"Precision & -- & 0 \\" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 8
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    for row in re.findall(r"^.* \\\\$", bare, re.MULTILINE):
        assert row.count("$") % 2 == 0


def test_every_special_character() -> None:
    table = TextTable("t", ("a\\b", "{x}~^"), (("1 #", "2\nlines"),))
    text = latex([table])
    assert r"a\textbackslash{}b & \{x\}\textasciitilde{}\textasciicircum{} \\" in text
    assert r"1 \# & 2 lines \\" in text
