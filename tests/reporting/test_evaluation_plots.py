"""Plots of an evaluation: what is in them; how they look is a matter for eyes."""

import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from shiva_cmb.errors import OutputError, UsageError
from shiva_cmb.reporting.curve_plots import (
    Line,
    plot_froc,
    plot_precision_recall,
    plot_reliability,
    plot_thresholds,
)
from shiva_cmb.reporting.evaluation_plots import plot_bland_altman, plot_levels, plot_per_case, plot_violins
from shiva_cmb.reporting.figure_names import stratum_name, stratum_title
from shiva_cmb.reporting.plot_style import save_plot, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAN = np.full(3, np.nan)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def texts(figure: "Figure") -> list[str]:
    figure.draw_without_rendering()
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return [text for text in found if text]


def said(figure: "Figure", words: str) -> bool:
    return any(words in text for text in texts(figure))


def tick_labels(figure: "Figure") -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def figure_of(value: float | None, n: float = 5) -> dict[str, float | None]:
    return {"value": value, "low": None if value is None else value - 0.1, "high": value, "n": n}


def test_froc_has_all_thresholds_from_zero_on() -> None:
    line = Line(
        np.array([4.0, 0.5, 0.0]), np.array([0.9, 0.6, 0.1]), [0.8, 0.5, 0.0], [1, 0.7, 0.2], marked=1
    )
    figure = plot_froc({"ours": line})
    curve, ring = figure.axes[0].get_lines()
    assert np.array_equal(curve.get_xydata(), [[4, 0.9], [0.5, 0.6], [0, 0.1]])
    assert np.array_equal(ring.get_xydata(), [[0.5, 0.6]])
    assert tick_labels(figure) == ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"]
    assert said(figure, "per scan (all scans)")
    assert said(figure, "Not for clinical use")


@pytest.mark.parametrize("most", [0.0, 0.01, 8.0, 9.0, 1000.0, 1e6])
def test_froc_reaches_as_far_as_the_curve(most: float) -> None:
    figure = plot_froc({"ours": Line([most, 0.0], [0.9, 0.1])})
    assert figure.axes[0].get_xlim()[1] >= max(most, 8.0)
    assert len(tick_labels(figure)) <= 14


def test_several_methods_differ_in_more_than_colour() -> None:
    lines = {f"method {k}": Line([1.0, 2.0], [0.5, 0.6]) for k in range(4)}
    for figure in (plot_froc(lines), plot_precision_recall(lines), plot_thresholds(lines)):
        drawn = [line for line in figure.axes[0].get_lines() if line.get_marker() not in ("None", None)]
        assert len({(line.get_linestyle(), line.get_marker()) for line in drawn}) == 4
        assert said(figure, "method 3")


@pytest.mark.parametrize("plot", [plot_froc, plot_precision_recall, plot_thresholds])
def test_curves_without_values_say_so(plot: type) -> None:
    assert said(plot({"x": Line(NAN, NAN, NAN, NAN, marked=1)}), "undefined at every threshold")
    assert said(plot({}), "undefined at every threshold")
    with pytest.raises(UsageError, match="one length to plot, got lengths 1, 2"):
        plot({"x": Line([1.0], [1.0, 2.0])})


def test_names_of_methods_may_be_anything() -> None:
    names = ("_hidden", "100 $ and $x_{", "x" * 200, "two\nlines")
    figure = plot_levels({name: {"a": figure_of(0.5)} for name in names})
    assert said(figure, "_hidden")
    assert all(len(text) < 100 for text in texts(figure))


def test_bland_altman_by_hand() -> None:
    # Differences 1, -1, 3: bias 1, standard deviation (n - 1) 2, so limits 1 -+ 3.92.
    figure = plot_bland_altman([1, 3, 4], [2, 2, 7])
    heights = {round(float(line.get_ydata()[0]), 2) for line in figure.axes[0].get_lines()}
    assert heights == {0.0, 1.0, -2.92, 4.92}
    assert said(figure, "n = 3; bias +1.00; dashed: 1.96 SD, -2.92 to +4.92")
    spots = figure.axes[0].collections[0].get_offsets()
    assert np.array_equal(spots, [[1.5, 1], [2.5, -1], [5.5, 3]])


def test_bland_altman_draws_equal_cases_once_but_larger() -> None:
    discs = plot_bland_altman([0, 0, 0, 1], [0, 0, 0, 1]).axes[0].collections[0]
    assert len(discs.get_offsets()) == 2
    assert discs.get_sizes()[0] == 3 * discs.get_sizes()[1]


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([3], [2]), ([0, 0], [0, 0]), ([np.nan], [1])])
def test_bland_altman_of_few_cases(truth: Sequence[float], predicted: Sequence[float]) -> None:
    figure = plot_bland_altman(truth, predicted)
    assert not said(figure, "1.96")
    assert said(figure, "no cases") == (not np.isfinite(truth).any())


def test_levels_with_intervals_and_without_values() -> None:
    levels = {"<2 mm": figure_of(0.4, 30), "2-5 mm": figure_of(None, 0)}
    figure = plot_levels({"ours": levels, "theirs": {"2-5 mm": figure_of(0.7, 9)}})
    assert tick_labels(figure) == ["<2 mm\nn = 30", "2-5 mm\nn = 0"]
    ours, theirs = figure.axes[0].get_lines()
    assert np.array_equal(ours.get_ydata(), [0.4, np.nan], equal_nan=True)
    assert theirs.get_ydata()[1] == 0.7
    assert texts(figure).count("n/a") == 2
    assert said(figure, "Sensitivity by size (equivalent diameter)")
    assert said(plot_levels({}), "no levels")


def test_bars_are_sorted_and_what_is_undefined_is_counted() -> None:
    figure = plot_per_case(["a", "b", "c", "d"], [0.2, np.nan, 0.8, 0.0])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.8, 0.2, 0.0]
    assert tick_labels(figure) == ["c", "a", "d"]
    assert said(figure, "n = 3; dashed: median, 0.20; 1 at 0; 1 more without a value")
    with pytest.raises(UsageError, match="got 1 names and 2 values"):
        plot_per_case(["a"], [1, 2])


def test_many_cases_are_not_named_and_none_is_said() -> None:
    figure = plot_per_case([f"case {k}" for k in range(200)], np.linspace(0, 1, 200))
    assert len(figure.axes[0].patches) == 200
    assert not said(figure, "case 7")
    # above 200 one area of the same heights, as thousands of single bars take seconds
    figure = plot_per_case([f"case {k}" for k in range(3000)], np.linspace(0, 1, 3000))
    (area,) = figure.axes[0].patches
    assert np.array_equal(area.get_data().values, np.linspace(0, 1, 3000)[::-1])
    assert (area.get_data().edges[0], area.get_data().edges[-1]) == (-0.5, 2999.5)
    assert area.get_fill()
    assert not said(figure, "case 7")
    assert said(plot_per_case(["a"], [np.nan]), "no case has a value")
    assert said(plot_per_case([], []), "no case has a value")


def test_long_names_stay_apart() -> None:
    names = [f"centre_{k % 3}/sub-{k:03d}_ses-baseline_acq-highres_run-01" for k in range(30)]
    assert len(set(short_names(names, 32))) == 30
    assert max(map(len, short_names(names, 32))) <= 32
    assert short_names(["a" * 30, "a" * 40], 20) == ["\u2026a", f"\u2026{'a' * 11}"]
    assert short_names(["short", "names"], 20) == ["short", "names"]


def test_violins_of_levels_with_too_few_cases() -> None:
    values = {"none": [np.nan], "two": [0.1, 0.9], "same": [0.5] * 9, "many": np.linspace(0, 1, 50)}
    figure = plot_violins(values, stratum="site")
    assert tick_labels(figure) == ["none\nn = 0", "two\nn = 2", "same\nn = 9", "many\nn = 50"]
    points = [line for line in figure.axes[0].get_lines() if line.get_markersize() == 2.5]
    assert [len(line.get_ydata()) for line in points] == [2, 9, 50]
    medians = [
        float(line.get_ydata()[0]) for line in figure.axes[0].get_lines() if len(line.get_ydata()) == 1
    ]
    assert medians == [0.5, 0.5, 0.5]
    assert said(figure, "n/a")
    assert said(plot_violins({}), "no levels")
    assert tick_labels(plot_violins({"x" * 80: [0.5]}))[0].endswith("(n = 1)")


def test_reliability_leaves_out_empty_bins() -> None:
    probability, truth, n = [0.1, np.nan, 0.9], [0.0, np.nan, 0.8], [10, 0, 5]
    figure = plot_reliability({"lesions": (probability, truth, n)})
    assert np.array_equal(figure.axes[0].get_lines()[0].get_xydata(), [[0.1, 0.0], [0.9, 0.8]])
    assert said(plot_reliability({"voxels": (NAN, NAN, np.zeros(3))}), "no probabilities")
    assert said(plot_reliability({}), "no probabilities")


def test_png_and_svg_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        figure = plot_per_case(["a", "b"], [0.5, 0.25])
        assert save_plot(figure, tmp_path, name) == {
            "png": tmp_path / f"{name}.png",
            "svg": tmp_path / f"{name}.svg",
        }
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("first.png", "first.svg", "second.png", "second.svg")
    ]
    for extension in ("png", "svg"):
        first, second = ((tmp_path / f"{name}.{extension}").read_bytes() for name in ("first", "second"))
        assert first == second
    assert first.startswith(b"<?xml")
    with pytest.raises(OutputError):
        save_plot(figure, tmp_path / "absent", "x")


def test_matplotlib_is_imported_late_and_pyplot_never() -> None:
    code = (
        "import sys; from shiva_cmb.reporting import curve_plots, evaluation_plots, evaluation_tables;"
        "assert 'matplotlib' not in sys.modules;"
        "evaluation_plots.plot_violins({'a': [1, 2, 3, 4, 5.]});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_strata_are_named_with_their_cuts() -> None:
    assert stratum_title("size:2,5") == "Size (equivalent diameter), cut at 2,5"
    assert (stratum_name("region"), stratum_title("region")) == ("region", "Region")
    assert stratum_title("te_ms:20") == "te_ms:20"


def test_a_band_is_named_only_where_there_is_one() -> None:
    with_band = plot_froc({"x": Line([1.0, 2.0], [0.5, 0.6], [0.4, 0.5], [0.6, 0.7])})
    assert said(with_band, "band: interval")
    assert not said(plot_froc({"x": Line([1.0, 2.0], [0.5, 0.6], [np.nan] * 2, [np.nan] * 2)}), "band")
