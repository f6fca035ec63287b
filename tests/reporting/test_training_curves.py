"""The picture of a training: what is in it; how it looks is a matter for eyes."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import NOT_CLINICAL, OutputError, UsageError
from shiva_cmb.reporting.training_curves import FoldCurve, draw_training_curves, plot_training


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def fold(name: str, epochs: int, best: int | None = None, **more: list[float]) -> FoldCurve:
    falling = [1.0 / (k + 1) for k in range(epochs)]
    rate = [10.0 ** -(k / 10) for k in range(epochs)]
    values = {"loss": falling, "val_loss": falling, "learning_rate": rate, **more}
    return FoldCurve(name, range(1, epochs + 1), values, best)


def texts(folds: list[FoldCurve], **options: str) -> str:
    figure = plot_training(folds, **options)
    figure.draw_without_rendering()
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return "\n".join(artist.get_text() for artist in found)


def test_every_fold_has_a_curve_in_each_panel_and_a_ring_at_its_best_epoch() -> None:
    f1 = [0.0, 0.2, 0.5, 0.4]
    folds = [fold("fold 0", 4, 3, val_lesion_f1=f1), fold("fold 1", 2, 1, val_lesion_f1=f1[:2])]
    figure = plot_training(folds)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Training loss",
        "Validation loss",
        "Lesion F1",
        "Learning rate",
    ]
    for axes in figure.axes:
        curves = [line for line in axes.lines if not line.get_label().startswith("_")]
        assert [len(line.get_xdata()) for line in curves] == [4, 2]
        rings = [line.get_xdata().tolist() for line in axes.lines if line.get_markersize() == 11]
        assert rings == [[3], [1]]
    assert figure.axes[2].get_ylim() == (0.0, 1.02)
    said = texts(folds)
    assert "fold 0" in said
    assert "fold 1" in said
    assert NOT_CLINICAL in said
    assert "weights were kept" in said


def test_what_was_not_measured_is_said_and_gaps_are_left_out() -> None:
    curve = FoldCurve("fold 0", [1, 2, 3], {"loss": [1.0, 0.5, 0.3], "val_loss": [np.nan, 0.7, np.nan]}, 2)
    figure = plot_training([curve])
    assert len(figure.axes) == 3, "nobody measured the metric"
    assert figure.axes[1].lines[0].get_xdata().tolist() == [2]
    assert texts([curve]).count("not measured") == 1
    assert texts([]).count("not measured") == 3


def test_a_loss_as_the_metric_has_one_panel() -> None:
    assert len(plot_training([fold("a", 3)], metric="val_loss").axes) == 3


def test_wide_spans_are_drawn_by_their_logarithm() -> None:
    losses, rates = (plot_training([fold("a", 19)]).axes[k] for k in (0, 2))
    assert losses.get_yscale() == "linear"
    assert rates.get_yscale() == "log"


def test_it_is_one_png_and_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    folds = [fold("fold 0", 40, 7), fold("fold 1", 1)]
    first = draw_training_curves(tmp_path / "curves.png", folds)
    assert first.read_bytes().startswith(b"\x89PNG")
    bytes_before = first.read_bytes()
    draw_training_curves(tmp_path / "curves.png", folds)
    assert first.read_bytes() == bytes_before
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lengths 3, 2"):
        draw_training_curves(tmp_path / "c.png", [FoldCurve("a", [1, 2, 3], {"loss": [1.0, 2.0]})])
    with pytest.raises(UsageError, match=r"best epoch of a: .*got 9"):
        draw_training_curves(tmp_path / "c.png", [fold("a", 3, 9)])
    with pytest.raises(OutputError):
        draw_training_curves(tmp_path / "none" / "c.png", [fold("a", 3)])
    assert not list(tmp_path.iterdir())
