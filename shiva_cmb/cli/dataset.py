"""`shiva-cmb dataset`: check, import and split the scans to learn from."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiva_cmb.cli import options
from shiva_cmb.cli.screen import print_json, print_note, showing_steps
from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.files import plain, require_can_hold_results, require_new, require_writable_folder

if TYPE_CHECKING:
    from shiva_cmb.dataset import Dataset

app = typer.Typer(help="Check, import and split the scans to learn from.", no_args_is_help=True)

Cases = Annotated[
    Path, typer.Argument(help="List of cases: CSV or TSV with image, label, mask, patient, ...; or JSON.")
]
LesionValues = Annotated[
    str | None,
    typer.Option(
        metavar="1,2", help="Label values that are lesions. Default: above 0.5, or as the JSON says."
    ),
]
IgnoreValues = Annotated[
    str | None, typer.Option(metavar="3", help="Label values of voxels that count neither way.")
]
Processes = Annotated[int, typer.Option(min=1, help="Cases at once.")]


@app.command()
def check(
    cases: Cases,
    folds: Annotated[Path | None, typer.Option(help="Folds (JSON) to check for leakage too.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="New folder for cases.tsv and lesions.tsv.")
    ] = None,
    lesion_values: LesionValues = None,
    ignore_values: IgnoreValues = None,
    processes: Processes = 1,
    json: options.Json = False,
) -> None:
    """Read every file and say what is wrong: grids, labels, duplicates, patients, folds.

    The exit code is 1 if there is an error among what was found.
    """
    if output is not None:
        require_new(output)
        require_can_hold_results(output.absolute().parent)

    from shiva_cmb.dataset.check import check_dataset

    dataset = _read(cases, lesion_values, ignore_values, require_files=False)
    with showing_steps("checking", json) as on_step:
        report = check_dataset(
            dataset,
            folds=folds,
            processes=processes,
            progress=lambda done, of: on_step(f"case {done} of {of}"),
        )
    if output is not None:
        report.save(output)
    if json:
        print_json(plain(report.as_dict()))
    else:
        print(report.summary())
        if output is not None:
            print(f"-> {output}")
    errors = report.count("error")
    if errors:
        raise DataError(f"{cases}: {errors} {'error was' if errors == 1 else 'errors were'} found")


@app.command("import")
def import_(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="nnunet, decathlon, valdo or bids.")],
    source: Annotated[Path, typer.Argument(help="The dataset's folder or JSON.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="List to write: .csv, .tsv or .json.")],
    channels: Annotated[
        str | None, typer.Option(metavar="T2S,T1", help="Only these channels, in this order. Default: all.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a list that is there.")] = False,
) -> None:
    """Write the list of cases of a dataset that is laid out for another program."""
    from typing import get_args

    from shiva_cmb.dataset.importing import Layout, import_dataset
    from shiva_cmb.dataset.writing import require_list_name, write_dataset

    if layout not in get_args(Layout):
        raise UsageError(f"{layout}: expected one of {', '.join(get_args(Layout))}")
    require_list_name(output, overwrite=force)
    with showing_steps("looking for cases"):
        dataset = import_dataset(layout, source, note=print_note)  # type: ignore[arg-type]  # checked above
    if channels is not None:
        dataset = dataset.with_channels(tuple(channel.strip() for channel in channels.split(",")))
    write_dataset(dataset, output, overwrite=force)
    patients = len({case.patient for case in dataset.cases})
    print(
        f"{output}: {len(dataset.cases)} cases of {patients} patients, channels {', '.join(dataset.channels)}"
    )


@app.command()
def split(
    cases: Cases,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON to write.")],
    folds: Annotated[int, typer.Option(min=2, help="How many.")] = 5,
    stratify: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Free column to share out evenly; repeat it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffling.")] = 0,
    lesion_values: LesionValues = None,
    ignore_values: IgnoreValues = None,
    processes: Processes = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace folds that are there.")] = False,
) -> None:
    """Share the patients out to folds, evenly by lesion count and by the columns asked for."""
    if output.suffix.lower() != ".json":
        raise UsageError(f"{output}: expected a name that ends in .json")
    if output.exists() and not force:
        raise UsageError(f"{output} exists already: name another file, or add --force to replace it")
    require_writable_folder(output.absolute().parent)

    from shiva_cmb.dataset import check_leakage, split_folds, write_folds
    from shiva_cmb.dataset.lesion_counts import count_lesions

    dataset = _read(cases, lesion_values, ignore_values)
    columns = tuple(stratify or ())
    with showing_steps("counting lesions") as on_step:
        counts = count_lesions(
            dataset, processes=processes, progress=lambda done, of: on_step(f"case {done} of {of}")
        )
    result = split_folds(dataset.cases, folds, seed, lesion_counts=counts, stratify=columns, note=print_note)
    check_leakage(result, dataset.cases, {})
    write_folds(output, result, dataset.cases, seed=seed, stratify=columns)
    for number, fold in enumerate(result):
        lesions = sum(counts[k] for k in fold.validation)
        print(
            f"fold {number}: {len(fold.train)} to learn from, {len(fold.validation)} to check on"
            f" ({lesions} lesions)"
        )
    print(f"-> {output}")


def _read(
    cases: Path, lesion_values: str | None, ignore_values: str | None, *, require_files: bool = True
) -> "Dataset":
    """The dataset, with the values of the labels that were given in place of its own."""
    from shiva_cmb.dataset import read_dataset

    dataset = read_dataset(cases, require_files=require_files)
    values = dataset.values
    if lesion_values is not None:
        values = replace(values, lesion=_whole_numbers(lesion_values, "--lesion-values"))
    if ignore_values is not None:
        values = replace(values, ignore=_whole_numbers(ignore_values, "--ignore-values"))
    return replace(dataset, values=values)


def _whole_numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected whole numbers, such as 1,2") from error
