"""A comparison as files: all of them of the same cases, and open about what was missing."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shiva_cmb.evaluation import Comparison, Evaluation, compare
from shiva_cmb.evaluation.comparison import COMPARED
from shiva_cmb.evaluation.figures import DEFINITIONS
from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase
from shiva_cmb.evaluation.pipeline import evaluate
from shiva_cmb.reporting import comparison_report, draw_comparison
from shiva_cmb.reporting.comparison_report import comparison_json, comparison_text, save_comparison
from tests.evaluation.boxes import bar, dot
from tests.evaluation.cases import chances, labels, make_case, settings

ONE, OTHER, ALARM = bar(2, 3), bar(8, 9), dot(16)


def case(folder: Path, name: str, *hits: float) -> EvaluationCase:
    """Two lesions; `hits` are the probabilities of the first and the second."""
    return make_case(folder, name, labels(ONE, OTHER), chances(*zip((ONE, OTHER), hits, strict=False)))


def run(*cases: EvaluationCase, **lists: Any) -> Evaluation:
    return evaluate(CaseList(tuple(cases), **lists), settings(), note=lambda _: None)


def compared(runs: dict[str, Sequence[Evaluation]]) -> Comparison:
    return compare(runs, replicates=100, permutations=100)


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Sequence[Evaluation]]:
    """A found 3 of 4 lesions of the common cases, B too; on cases of their own A found all, B none."""
    a = run(case(tmp_path / "a", "c1", 0.9, 0.9), case(tmp_path / "a", "c2", 0.9),
            case(tmp_path / "a", "mine", 0.9, 0.9))  # fmt: skip
    missing = make_case(tmp_path / "b", "hers", labels(ONE, OTHER), None)
    b = run(case(tmp_path / "b", "c1", 0.9), case(tmp_path / "b", "c2", 0.9, 0.9), missing,
            missing=("hers",), extra=("odd",))  # fmt: skip
    return {"A": [a], "B": [b]}


def saved(runs: dict[str, Sequence[Evaluation]], folder: Path) -> tuple[dict[str, Any], list[str]]:
    notes: list[str] = []
    save_comparison(compared(runs), runs, folder, note=notes.append)
    return json.loads((folder / "comparison.json").read_text()), notes


def test_tables_and_plots_show_the_compared_cases(
    runs: dict[str, Sequence[Evaluation]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    titles: list[str] = []

    def watched(name: str) -> Callable[..., object]:
        plot = getattr(draw_comparison, name)

        def draw(given: Any, *, title: str, **more: Any) -> object:
            drawn[name] = given
            titles.append(title)
            return plot(given, title=title, **more)

        return draw

    for name in ("plot_levels", "plot_froc", "plot_precision_recall"):
        monkeypatch.setattr(draw_comparison, name, watched(name))
    _, notes = saved(runs, tmp_path / "out")
    assert notes == []
    text = (tmp_path / "out/tables.md").read_text()
    rows = re.findall(r"^\| +detection\.micro\.sensitivity .*|^\| Sensitivity.*", text, re.MULTILINE)
    # once as it is, once as a difference; nowhere the sensitivity of other cases (A: 5 of 6, B: 3 of 6)
    assert len(rows) == 2
    assert rows[0].count("0.75 (") == 2
    # two lesions of one size per case
    for method in ("A", "B"):
        (size,) = drawn["plot_levels"][method].values()
        assert (size["value"], size["n"]) == (0.75, 4)
        assert set(drawn["plot_froc"][method].y) == {0.75}
        assert set(drawn["plot_precision_recall"][method].x) == {0.75}
    assert titles == [
        "Sensitivity by size, 2 common cases",
        "Free-response ROC, 2 common cases",
        "Precision and recall, 2 common cases",
    ]
    plots = {path.name for path in (tmp_path / "out/plots").iterdir()}
    assert {"sensitivity_by_size.png", "froc.svg", "precision_recall.png"} <= plots


def test_plots_of_several_runs_say_which_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [run(case(tmp_path / f"{k}", "c1", 0.9, 0.9 if k else 0.1)) for k in range(2)]
    titles: list[str] = []

    def kept(*_: object, title: str, **__: object) -> None:
        titles.append(title)
        raise ValueError("enough")

    for name in ("plot_levels", "plot_froc", "plot_precision_recall"):
        monkeypatch.setattr(draw_comparison, name, kept)
    record, notes = saved({"net": both}, tmp_path / "out")
    assert [title.partition(", ")[2] for title in titles] == ["1 common case, run 1 of 2"] * 3
    assert notes[0] == "the plot sensitivity_by_size could not be drawn (ValueError: enough)"
    assert record["notes"] == notes


def test_every_run_tells_what_was_missing(runs: dict[str, Sequence[Evaluation]], tmp_path: Path) -> None:
    broken = case(tmp_path / "c", "c1", 0.9)
    assert broken.prediction is not None
    broken.prediction.write_bytes(b"nothing")
    lost = case(tmp_path / "c", "c3", 0.9)
    lost.truth.write_bytes(b"nothing")
    runs = {**runs, "C": [run(broken, case(tmp_path / "c", "c2", 0.9), lost)]}
    record, _ = saved(runs, tmp_path / "out")
    (b,), (c,) = record["runs"]["B"], record["runs"]["C"]
    assert b["cases"]["missing_predictions"] == ["hers"]
    assert b["cases"]["predictions_without_truth"] == ["odd"]
    assert list(c["cases"]["unreadable_predictions"]) == ["c1"]
    assert list(c["cases"]["not_judged"]) == ["c3"]
    assert any("c3: not judged" in note for note in c["notes"])
    shown = comparison_text(compared(runs), runs)
    for line in (
        "B: without a prediction, counted as empty: 1 (hers)",
        "B: predictions without a truth, left out: 1 (odd)",
        "C: with an unusable prediction, counted as empty: 1 (c1)",
        "C: not judged: 1 (c3)",
        "left out, not judged for every run: 3 (c3, hers, mine)",
    ):
        assert line in shown.splitlines()
    words = [re.split(r" {2,}", line) for line in shown.splitlines()]
    # judged, missing, unusable, not judged, without truth, remarks
    assert ["B", "3", "1", "0", "0", "1", "0"] in words
    assert ["C", "2", "0", "1", "1", "0", "2"] in words
    assert re.search(
        r"\| C +\| 2 +\| 0 +\| 1 +\| 1 +\| 0 +\| 2 +\|", (tmp_path / "out/tables.md").read_text()
    )


def test_no_standard_deviation_where_there_is_none(tmp_path: Path) -> None:
    both = [run(case(tmp_path / f"{k}", "c1", *hits)) for k, hits in enumerate(((0.9, 0.9), ()))]
    comparison = compared({"net": both})
    shown = comparison_text(comparison, {"net": both})
    # the second run has no prediction and so no precision; sensitivities 1 and 0: SD sqrt(1/2)
    assert "nan" not in shown
    (precision,) = [line for line in shown.splitlines() if line.startswith("detection.micro.precision")]
    assert precision.split() == ["detection.micro.precision", "-"]
    assert "0.50, SD of 2 runs 0.707" in re.sub(r" \([^)]*\)", "", shown)
    record = comparison_json(comparison, both[0].settings, {"net": both})
    assert record["methods"]["net"]["detection.micro.precision"]["runs_sd"] is None


def test_figures_are_defined(runs: dict[str, Sequence[Evaluation]]) -> None:
    record = comparison_json(compared(runs), runs["A"][0].settings, runs)
    assert list(record["definitions"]["figures"]) == list(record["methods"]["A"])
    every = [
        f"{group}.1.{name}" if group == "scan_classification" else f"{group}.{name}"
        for group, texts in DEFINITIONS.items()
        for name in texts
    ]
    assert set(COMPARED) <= set(every)
    for name in every:
        assert len(comparison_report._definition(name)) > 10
