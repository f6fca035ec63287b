"""`shiva-cmb train` and `train_folds.py`: from a list of cases to a bundle."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli import values
from shiva_cmb.cli.failing import run_command
from shiva_cmb.cli.screen import native_messages_hidden, print_note
from shiva_cmb.cli.training_table import showing_folds
from shiva_cmb.errors import UsageError

if TYPE_CHECKING:
    from shiva_cmb.training import RunOptions, TrainingSettings

DATA, RUN, NETWORK, FITTING, SAMPLING = "Data", "Run", "Network", "Fitting", "Sampling and augmentation"
LATER = "Weights to start from, and the threshold in the end"


def train(
    data: Annotated[
        Path | None,
        typer.Option(help="CSV, TSV or JSON: image, label, [mask], [patient], ...", rich_help_panel=DATA),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model's folder.", rich_help_panel=DATA)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON with any of these names; flags go first.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting: NAME=VALUE, such as augmentation.gamma.probability=0.3."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped.", rich_help_panel=RUN)
    ] = False,
    fold: Annotated[
        int | None, typer.Option(help="Train this fold only (from 0), and no model yet.", rich_help_panel=RUN)
    ] = None,
    folds_file: Annotated[
        Path | None, typer.Option(help="Folds of an earlier training.", rich_help_panel=RUN)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for cases on the model grid, kept.", rich_help_panel=RUN)
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Cases prepared and judged at once.", rich_help_panel=RUN)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that cut patches.", rich_help_panel=RUN)
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="GPUs that share each batch.", rich_help_panel=RUN)
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="Train folds side by side: 0,1 or cpu,cpu.", rich_help_panel=RUN)
    ] = None,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard", help="Logs for TensorBoard too.", rich_help_panel=RUN)
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Networks; each leaves out its patients. [5]", rich_help_panel=DATA)
    ] = None,
    stratify: Annotated[
        list[str] | None, typer.Option(help="Column to share out evenly (repeat).", rich_help_panel=DATA)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the split, weights, patches. [0]", rich_help_panel=DATA)
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Model grid in voxels. [160,214,176]", rich_help_panel=DATA)
    ] = None,
    spacing_mm: Annotated[
        str | None, typer.Option("--spacing-mm", help="Its voxel size. [1]", rich_help_panel=DATA)
    ] = None,
    scaling: Annotated[
        str | None, typer.Option(help="p99, shivai or zscore. [p99]", rich_help_panel=DATA)
    ] = None,
    mask_input: Annotated[
        bool | None,
        typer.Option("--mask-input", help="Zero outside the brain mask.", rich_help_panel=DATA),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="swi or t2s. [the column's, or swi]", rich_help_panel=DATA)
    ] = None,
    lesion_values: Annotated[
        str | None, typer.Option(help="Label values that are bleeds. [all]", rich_help_panel=DATA)
    ] = None,
    ignore_values: Annotated[
        str | None, typer.Option(help="Label values that count neither way.", rich_help_panel=DATA)
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Unet3Dv2-10.7.2-1.8 or ResUnet3D-8.9.2-1.5 (published SHIVA networks), plain_unet, "
            "residual_unet, monai_unet, segresnet, attention_unet or unetr (with --patch whole).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    filters: Annotated[
        int | None, typer.Option(help="SHIVA networks: filters of the first level.", rich_help_panel=NETWORK)
    ] = None,
    levels: Annotated[
        int | None, typer.Option(help="SHIVA networks: levels of resolution.", rich_help_panel=NETWORK)
    ] = None,
    growth: Annotated[
        float | None, typer.Option(help="SHIVA networks: filters per level.", rich_help_panel=NETWORK)
    ] = None,
    residual: Annotated[
        bool | None,
        typer.Option("--residual/--plain", help="SHIVA networks: blocks.", rich_help_panel=NETWORK),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Rounds. [200]", rich_help_panel=FITTING)] = None,
    steps_per_epoch: Annotated[
        int | None,
        typer.Option("--steps", "--steps-per-epoch", help="Batches. [50]", rich_help_panel=FITTING),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Patches per batch. [4]", rich_help_panel=FITTING)
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Terms joined by +, each [WEIGHT*]NAME[:NUMBERS]: dice, tversky:0.3,0.7, "
            "focal_tversky:0.3,0.7,3, bce, ce:5, focal:0.25,2, dicece. [ce:5+dice]",
            rich_help_panel=FITTING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--lr", "--learning-rate", help="The highest one. [0.001]", rich_help_panel=FITTING),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam or adamw. [adam]", rich_help_panel=FITTING)
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="cosine, polynomial, plateau, constant. [cosine]", rich_help_panel=FITTING),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="f32, bf16 or f16. [f32]", rich_help_panel=FITTING)
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Chooses the best epoch: loss, lesion_f1, dice. [loss]", rich_help_panel=FITTING),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many epochs without progress.", rich_help_panel=FITTING)
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option("--deterministic", help="Same seed, same weights.", rich_help_panel=FITTING),
    ] = None,
    patch: Annotated[
        str | None, typer.Option(help="Voxels, or `whole`. [48]", rich_help_panel=SAMPLING)
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(help="whole, random_3d, per_lesion, pos_neg, roi.", rich_help_panel=SAMPLING),
    ] = None,
    augmentation: Annotated[
        str | None, typer.Option(help="none, light, medium, heavy. [light]", rich_help_panel=SAMPLING)
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Model or H5 whose weights to start from.", rich_help_panel=LATER)
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="Stage that does not learn (repeat).", rich_help_panel=LATER)
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(help="Threshold by: f1, or fp:0.5 (FP per scan). [f1]", rich_help_panel=LATER),
    ] = None,
    temperature: Annotated[
        bool | None,
        typer.Option("--temperature", help="Calibrate the probabilities.", rich_help_panel=LATER),
    ] = None,
) -> None:
    """Train one network per fold and save them as a model that `predict` takes."""
    given = {name: value for name, value in locals().items() if value is not None}
    names, run = _names(given)
    from shiva_cmb.dataset import read_dataset
    from shiva_cmb.training import train_folds
    from shiva_cmb.training.config import settings_from
    from shiva_cmb.training.run import Run, stored_cases, stored_settings

    if "output" not in run:
        raise UsageError("-o is missing: name a folder for the model")
    folder = Run(Path(run["output"]).absolute())
    going_on = folder.is_begun and (resume or fold is not None)
    base: TrainingSettings | None = stored_settings(folder) if going_on else None
    if "data" in run:
        dataset = read_dataset(run["data"])
        cases = dataset.cases
        names = _of_dataset(dataset) | names
    elif going_on:
        cases = stored_cases(folder)
    else:
        raise UsageError("--data is missing: name a table of cases; see the README, Train your own")
    settings = settings_from(names, base)
    with native_messages_hidden(), showing_folds(settings) as progress:
        train_folds(
            cases,
            folder.output,
            settings,
            _options(run, resume, fold),
            note=print_note,
            progress=progress,
        )
    _say_what_to_expect(folder)
    print(folder.output)


def _names(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Names of the settings, and those of the run: of the configuration, then flags, then `--set`."""
    from shiva_cmb.training.config import RUN_NAMES, assignments, merged, read_config

    config, assigned = flags.pop("config", None), flags.pop("set_", [])
    given = {name: value for name, value in flags.items() if name not in ("resume", "fold")}
    if "modality" in given:
        given["channels"] = [given.pop("modality")]
    for name, read in _READERS.items():
        if name in given:
            given[name] = read(given[name])
    shiva = {new: given.pop(old) for old, new in _SHIVA.items() if old in given}
    if shiva:
        given = merged(given, {"network": shiva})
    names = merged(merged(read_config(config) if config else {}, given), assignments(assigned))
    return (
        {name: value for name, value in names.items() if name not in RUN_NAMES},
        {name: value for name, value in names.items() if name in RUN_NAMES},
    )


def _whole_numbers(flag: str) -> Any:
    def read(text: str) -> list[int]:
        try:
            return [int(number) for number in text.split(",")]
        except ValueError:
            raise UsageError(f"{flag} {text}: expected whole numbers such as 1,2") from None

    return read


_SHIVA = {"filters": "first_filters", "levels": "levels", "growth": "growth", "residual": "residual"}
_READERS = {
    "grid": lambda text: values.three_counts(text, "--grid"),
    "spacing_mm": lambda text: values.three(text, "--spacing-mm"),
    "patch": lambda text: text if text == "whole" else values.three_counts(text, "--patch"),
    "lesion_values": _whole_numbers("--lesion-values"),
    "ignore_values": _whole_numbers("--ignore-values"),
    "devices": lambda text: text.split(","),
    "init": str,
}


def _of_dataset(dataset: Any) -> dict[str, Any]:
    """What the list of cases says of the settings."""
    names: dict[str, Any] = {}
    if dataset.channels != ("image",):
        names["channels"] = list(dataset.channels)
    if dataset.values.lesion:
        names["lesion_values"] = list(dataset.values.lesion)
    if dataset.values.ignore:
        names["ignore_values"] = list(dataset.values.ignore)
    return names


def _options(run: dict[str, Any], resume: bool, fold: int | None) -> "RunOptions":
    from shiva_cmb.training import RunOptions

    given = {name: value for name, value in run.items() if name not in ("data", "output")}
    for name in ("folds_file", "cache"):
        if given.get(name) is not None:
            given[name] = Path(given[name])
    if "devices" in given:
        given["devices"] = tuple(map(str, given["devices"]))
    return RunOptions(resume=resume, fold=fold, **given)


def _say_what_to_expect(folder: Any) -> None:
    """The cross-validated figures of a finished model."""
    if not (folder.is_finished and folder.expected_path.is_file()):
        return
    print(folder.expected_path.read_text(encoding="utf-8"), end="", file=sys.stderr)


def main() -> int:
    """`train_folds.py`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    given = sys.argv[1:]
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    return run_command(lambda: app(given, prog_name="train_folds.py"), debug)
