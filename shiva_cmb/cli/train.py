"""`shiva-cmb train` and `train_folds.py`: from a list of cases to a bundle."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from shiva_cmb.cli import values
from shiva_cmb.cli.failing import run_command
from shiva_cmb.cli.screen import native_messages_hidden, print_note
from shiva_cmb.errors import UsageError


def train(
    data: Annotated[
        Path, typer.Option("--data", help="CSV with the columns image, label, [mask], [patient].")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model's folder, made new.")],
    folds: Annotated[int, typer.Option(help="How many networks; each leaves out its share of patients.")] = 5,
    epochs: Annotated[int | None, typer.Option(help="Rounds per fold.")] = None,
    steps: Annotated[int | None, typer.Option(help="Batches per round.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches per batch.")] = None,
    patch: Annotated[
        str | None, typer.Option(help="Voxels of a patch, or `whole` for whole volumes.")
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Model grid in voxels. Default 160,214,176.")] = None,
    spacing_mm: Annotated[str | None, typer.Option("--spacing-mm", help="Its voxel size. Default 1.")] = None,
    scaling: Annotated[str | None, typer.Option(help="p99, shivai or zscore. Default p99.")] = None,
    mask_input: Annotated[
        bool, typer.Option("--mask-input", help="Set everything outside the brain mask to zero.")
    ] = False,
    network: Annotated[
        str | None,
        typer.Option(
            help="Unet3Dv2-10.7.2-1.8 or ResUnet3D-8.9.2-1.5 (published SHIVA networks), plain_unet, "
            "residual_unet, monai_unet, segresnet, attention_unet or unetr (with --patch whole)."
        ),
    ] = None,
    filters: Annotated[int | None, typer.Option(help="SHIVA networks: filters of the first level.")] = None,
    levels: Annotated[int | None, typer.Option(help="SHIVA networks: levels of resolution.")] = None,
    growth: Annotated[
        float | None, typer.Option(help="SHIVA networks: factor of the filters from level to level.")
    ] = None,
    residual: Annotated[
        bool | None, typer.Option("--residual/--plain", help="SHIVA networks: residual blocks.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Terms joined by +, each [WEIGHT*]NAME[:NUMBERS]: dice, tversky:0.3,0.7, "
            "focal_tversky:0.3,0.7,3, bce, ce:5, focal:0.25,2, dicece. Default ce:5+dice."
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Learning rate at the start.")] = None,
    modality: Annotated[str | None, typer.Option(help="swi or t2s. Default swi.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the patches.")] = 0,
) -> None:
    """Train one network per fold and save them as a model that `predict` takes."""
    given = {
        "epochs": epochs,
        "steps_per_epoch": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "loss": loss,
        "modality": modality,
        "shape": None if grid is None else values.three_counts(grid, "--grid"),
        "spacing_mm": None if spacing_mm is None else values.three(spacing_mm, "--spacing-mm"),
    }
    architecture = {
        "first_filters": filters,
        "levels": levels,
        "growth": growth,
        "residual": residual,
    }
    settings = _settings(given, architecture, network, patch, scaling)
    settings = replace(settings, folds=folds, seed=seed, mask_input=mask_input)

    from shiva_cmb.dataset import read_cases
    from shiva_cmb.training import Progress, train_folds

    cases = read_cases(data)
    with native_messages_hidden(), _Bars(settings) as (on_case, on_epoch):
        folder = train_folds(
            cases, output, settings, note=print_note, progress=Progress(on_case=on_case, on_epoch=on_epoch)
        )
    print(folder)


def _settings(
    given: dict[str, Any],
    architecture: dict[str, Any],
    network: str | None,
    patch: str | None,
    scaling: str | None,
) -> Any:
    from shiva_cmb.imaging import Scaling
    from shiva_cmb.training import TrainingSettings

    base = TrainingSettings()
    changes = {name: value for name, value in given.items() if value is not None}
    changes["network"] = _network(base.network, network, architecture)
    if patch == "whole":
        changes["patch"] = None
    elif patch is not None:
        changes["patch"] = values.three_counts(patch, "--patch")
    if scaling is not None:
        changes["scaling"] = Scaling(scheme=scaling)  # type: ignore[arg-type]  # checked there
    return replace(base, **changes)


def _network(default: Any, name: str | None, changes: dict[str, Any]) -> Any:
    """The settings of the network of that name, with the given ones replaced."""
    from shiva_cmb.networks import ARCHITECTURES, PUBLISHED, ShivaUNet

    known = {**PUBLISHED, **{key: settings() for key, settings in ARCHITECTURES.items()}}
    if name is not None and name not in known:
        raise UsageError(f"--network {name}: expected one of {', '.join(known)}")
    chosen = default if name is None else known[name]
    given = {key: value for key, value in changes.items() if value is not None}
    if given and not isinstance(chosen, ShivaUNet):
        raise UsageError(f"--filters, --levels, --growth and --residual are not for {name}")
    return replace(chosen, **given)


class _Bars:
    """Progress bars on a terminal, nothing elsewhere."""

    def __init__(self, settings: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._total = settings.folds * settings.epochs
        self._cases: Any = None
        self._epochs: Any = None

    def __enter__(self) -> tuple[Any, Any]:
        self._bar.start()
        return self._on_case, self._on_epoch

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def _on_case(self, done: int, total: int) -> None:
        if self._cases is None:
            self._cases = self._bar.add_task("preparing the cases", total=total, state="")
        self._bar.update(self._cases, completed=done)

    def _on_epoch(self, report: Any) -> None:
        if self._epochs is None:
            self._epochs = self._bar.add_task("training", total=self._total, state="")
        state = (
            f"fold {report.fold} epoch {report.epoch}: loss {report.loss:.3f}, "
            f"validation {report.validation_loss:.3f}"
        )
        self._bar.update(self._epochs, advance=1, state=state)


def main() -> int:
    """`train_folds.py`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    given = sys.argv[1:]
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    return run_command(lambda: app(given, prog_name="train_folds.py"), debug)
