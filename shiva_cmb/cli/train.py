"""`shiva-cmb train` and `train_folds.py`: from a list of cases to a bundle."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from shiva_cmb.cli.failing import run_command
from shiva_cmb.cli.screen import native_messages_hidden, print_note
from shiva_cmb.cli.training_table import showing_folds
from shiva_cmb.errors import UsageError

if TYPE_CHECKING:
    from shiva_cmb.training import RunOptions, TrainingSettings

DATA, RUN, NETWORK, FITTING, SAMPLING, LATER = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in (
        *("Data", "Run", "Network", "Fitting", "Sampling and augmentation"),
        "Weights to start from, and the threshold in the end",
    )
)
"""Flags, by what they are shown with."""


def train(
    data: Annotated[
        Path | None,
        DATA(help="List of cases (CSV, TSV, JSON): columns image and label, if wanted mask, patient, ..."),
    ] = None,
    output: Annotated[
        Path | None,
        DATA("-o", "--output", help="Folder of the model: a new one, or the one that --resume goes on with."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in YAML or JSON, such as epochs: 50; flags go before it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any setting as NAME=VALUE, such as augmentation.gamma.probability=0.3; goes before "
            "flags (repeat).",
        ),
    ] = None,
    resume: Annotated[bool, RUN("--resume", help="Go on with the training in -o that was stopped.")] = False,
    fold: Annotated[
        int | None, RUN(help="Train this fold only (from 0); a later call with --resume makes the model.")
    ] = None,
    folds_file: Annotated[
        Path | None, RUN(help="Folds (JSON) of `dataset split` or of another training.")
    ] = None,
    cache: Annotated[
        Path | None, RUN(help="Folder that keeps prepared cases for other trainings. [in -o until the end]")
    ] = None,
    processes: Annotated[int | None, RUN(help="Cases prepared and judged at once. [1]")] = None,
    workers: Annotated[int | None, RUN(help="Threads that cut patches. [1]")] = None,
    replicas: Annotated[int | None, RUN(help="GPUs that share each batch. [1]")] = None,
    devices: Annotated[
        str | None, RUN(help="Train a fold on each at once: numbers of GPUs such as 0,1, or cpu,cpu.")
    ] = None,
    tensorboard: Annotated[bool | None, RUN("--tensorboard", help="Write logs for TensorBoard too.")] = None,
    folds: Annotated[
        int | None,
        DATA(help="Networks, each tried on a share of the patients that it did not learn from. [5]"),
    ] = None,
    stratify: Annotated[
        list[str] | None, DATA(help="Column of --data to share out evenly to the folds (repeat).")
    ] = None,
    seed: Annotated[int | None, DATA(help="Of everything random: split, weights, patches. [0]")] = None,
    grid: Annotated[
        str | None, DATA(help="Voxels that images are brought to; one number: along each axis. [160,214,176]")
    ] = None,
    spacing_mm: Annotated[str | None, DATA("--spacing-mm", help="Their size. [1]")] = None,
    scaling: Annotated[str | None, DATA(help="Of intensities: p99, shivai or zscore. [p99]")] = None,
    mask_input: Annotated[
        bool | None, DATA("--mask-input", help="Set everything outside the brain mask to zero.")
    ] = None,
    modality: Annotated[
        str | None, DATA(help="Kind of image: swi or t2s. [as in image_t2s, a column of --data, or swi]")
    ] = None,
    lesion_values: Annotated[
        str | None, DATA(help="Label values that are bleeds, such as 1,2. [all above 0.5]")
    ] = None,
    ignore_values: Annotated[
        str | None, DATA(help="Label values of voxels that count neither way. [none]")
    ] = None,
    network: Annotated[
        str | None,
        NETWORK(
            help="Unet3Dv2-10.7.2-1.8 or ResUnet3D-8.9.2-1.5 (published SHIVA networks), plain_unet, "
            "residual_unet, monai_unet, segresnet, attention_unet, stem_unet or unetr (with --patch whole). "
            "[a SHIVA network for patches]"
        ),
    ] = None,
    filters: Annotated[int | None, NETWORK(help="SHIVA networks: filters of the first level. [16]")] = None,
    levels: Annotated[int | None, NETWORK(help="SHIVA networks: levels of resolution. [4]")] = None,
    growth: Annotated[
        float | None, NETWORK(help="SHIVA networks: times as many filters per level. [2]")
    ] = None,
    residual: Annotated[
        bool | None, NETWORK("--residual/--plain", help="SHIVA networks: with shortcuts or without. [plain]")
    ] = None,
    epochs: Annotated[int | None, FITTING(help="Rounds, each of --steps batches. [200]")] = None,
    steps_per_epoch: Annotated[
        int | None, FITTING("--steps", "--steps-per-epoch", help="Batches per epoch. [50]")
    ] = None,
    batch_size: Annotated[int | None, FITTING(help="Patches per batch. [4]")] = None,
    loss: Annotated[
        str | None,
        FITTING(
            help="Terms joined by +, each [WEIGHT*]NAME[:NUMBERS]: dice, tversky:0.3,0.7, "
            "focal_tversky:0.3,0.7,3, bce, ce:5, focal:0.25,2, dicece, lesion_ce:60. [ce:5+dice]"
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, FITTING("--lr", "--learning-rate", help="The highest learning rate. [0.001]")
    ] = None,
    optimizer: Annotated[str | None, FITTING(help="adam or adamw. [adam]")] = None,
    schedule: Annotated[
        str | None,
        FITTING(help="How the learning rate falls: cosine, polynomial, plateau, constant. [cosine]"),
    ] = None,
    precision: Annotated[str | None, FITTING(help="Of the computation: f32, bf16 or f16. [f32]")] = None,
    metric: Annotated[
        str | None, FITTING(help="Chooses the best epoch: loss, lesion_f1, dice. [loss]")
    ] = None,
    patience: Annotated[
        int | None, FITTING(help="End a fold after so many epochs without progress. [never]")
    ] = None,
    deterministic: Annotated[
        bool | None, FITTING("--deterministic", help="The same seed gives the same weights; slower.")
    ] = None,
    patch: Annotated[
        str | None, SAMPLING(help="Voxels the network sees at a time: 48, or 64,64,48, or whole. [48]")
    ] = None,
    sampling: Annotated[
        str | None,
        SAMPLING(help="Published ways to take patches: whole, random_3d, per_lesion, pos_neg, roi."),
    ] = None,
    augmentation: Annotated[
        str | None, SAMPLING(help="Random changes of the patches: none, light, medium, heavy. [light]")
    ] = None,
    init: Annotated[
        Path | None,
        LATER(help="Trained model whose weights to start from: its folder, H5 or .keras, or a bundled one."),
    ] = None,
    freeze: Annotated[
        list[str] | None, LATER(help="Part that does not learn, such as encoder or enc0 (repeat).")
    ] = None,
    pick: Annotated[
        str | None,
        LATER(help="Threshold for the best f1, or for at most 0.5 false positives per scan: fp:0.5. [f1]"),
    ] = None,
    temperature: Annotated[
        bool | None, LATER("--temperature", help="Calibrate the probabilities (temperature scaling).")
    ] = None,
) -> None:
    """Train one network per fold and save them as a model that `predict` takes."""
    given = {name: value for name, value in locals().items() if value is not None}
    names, run = _names(given)
    run_options = _options(run, resume, fold)
    from shiva_cmb.dataset import read_dataset
    from shiva_cmb.training import train_folds
    from shiva_cmb.training.config import settings_from
    from shiva_cmb.training.run import Run, stored_cases, stored_settings

    if run.get("output") is None:
        raise UsageError("-o is missing: name a folder for the model")
    folder = Run(Path(run["output"]))
    going_on = folder.is_begun and (resume or fold is not None)
    base: TrainingSettings | None = stored_settings(folder) if going_on else None
    if run.get("data") is not None:
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
            run_options,
            note=print_note,
            progress=progress,
        )
    _say_what_to_expect(folder)
    print(folder.output)


def _names(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Names of the settings, and those of the run: of the configuration, then flags, then `--set`."""
    from shiva_cmb.named_settings import assignments, merged
    from shiva_cmb.training.config import PRESET_KEYS, RUN_NAMES, read_config, with_absolute_paths

    config, assigned = flags.pop("config", None), flags.pop("set_", [])
    given = {name: value for name, value in flags.items() if name not in ("resume", "fold")}
    if "modality" in given:
        given["channels"] = [given.pop("modality")]
    shiva = {new: given.pop(old) for old, new in _SHIVA.items() if old in given}
    if shiva:
        given = merged(given, {"network": shiva}, PRESET_KEYS)
    names = merged(read_config(config) if config else {}, given, PRESET_KEYS)
    names = merged(names, assignments(assigned, PRESET_KEYS), PRESET_KEYS)
    names = with_absolute_paths(names)
    return (
        {name: value for name, value in names.items() if name not in RUN_NAMES},
        {name: value for name, value in names.items() if name in RUN_NAMES},
    )


_SHIVA = {"filters": "first_filters", "levels": "levels", "growth": "growth", "residual": "residual"}


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
    from shiva_cmb.named_settings import typed
    from shiva_cmb.training import RunOptions

    if isinstance(run.get("devices"), str):
        run = run | {"devices": run["devices"].split(",")}
    hints = get_type_hints(RunOptions)
    given = {name: typed(hints[name], value, name) for name, value in run.items() if name in hints}
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
