"""What a training shows: a live table of the folds on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiva_cmb.training import EpochReport, Progress, TrainingSettings

SHOWN = {"loss": "loss", "val_data_loss": "validation", "val_lesion_f1": "lesion F1", "val_dice": "Dice"}


@contextmanager
def showing_folds(settings: "TrainingSettings") -> "Iterator[Progress]":
    """Show how far a training is, on standard error.

    Args:
        settings: of the training.

    Yields:
        Takes what happens.
    """
    from rich.console import Console
    from rich.live import Live

    from shiva_cmb.training import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(_print_cases, lambda report: _print_epoch(report, settings), _print_step)
        return
    table = _FoldTable(settings)
    with Live(get_renderable=table.render, console=console, refresh_per_second=2):
        yield Progress(on_case=table.on_case, on_epoch=table.on_epoch, on_step=table.on_step)


def _print_cases(done: int, total: int) -> None:
    """Every tenth part of them."""
    if done * 10 // total > (done - 1) * 10 // total:
        print(f"preparing the cases: {done} of {total}", file=sys.stderr)


def _print_step(name: str) -> None:
    print(name, file=sys.stderr)


def _print_epoch(report: "EpochReport", settings: "TrainingSettings") -> None:
    figures = ", ".join(
        f"{told} {report.figures[name]:.4g}" for name, told in SHOWN.items() if name in report.figures
    )
    print(f"fold {report.fold} epoch {report.epoch}/{settings.fitting.epochs}: {figures}", file=sys.stderr)


class _FoldTable:
    """Remembers what was reported, and draws it."""

    def __init__(self, settings: "TrainingSettings") -> None:
        self._settings = settings
        self._step = "reading the cases"
        self._last: dict[int, EpochReport] = {}
        self._began: dict[int, tuple[float, int]] = {}

    def on_case(self, done: int, total: int) -> None:
        self._step = f"preparing the cases: {done} of {total}"

    def on_step(self, name: str) -> None:
        self._step = name

    def on_epoch(self, report: "EpochReport") -> None:
        self._last[report.fold] = report
        self._began.setdefault(report.fold, (time.monotonic(), report.epoch))

    def render(self) -> Any:
        from rich.table import Table

        table = Table(title=self._step, title_justify="left")
        shown = [n for n in SHOWN if any(n in report.figures for report in self._last.values())]
        for heading in ("fold", "epoch", *(SHOWN[name] for name in shown), "best epoch", "time left"):
            table.add_column(heading, justify="right")
        for fold in range(self._settings.folds):
            report = self._last.get(fold)
            if report is None:
                table.add_row(str(fold), "-", *("" for _ in shown), "", "")
                continue
            figures = [f"{report.figures[n]:.4g}" if n in report.figures else "" for n in shown]
            epochs = f"{report.epoch}/{self._settings.fitting.epochs}"
            table.add_row(
                str(fold), epochs, *figures, str(report.best_epoch), self._time_left(fold, report.epoch)
            )
        return table

    def _time_left(self, fold: int, epoch: int) -> str:
        since, first = self._began[fold]
        left = self._settings.fitting.epochs - epoch
        if epoch == first or not left:
            return ""
        seconds = int((time.monotonic() - since) / (epoch - first) * left)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
