"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.errors import UsageError

if TYPE_CHECKING:
    from shiva_cmb.lesions import LesionCriteria

Model = Annotated[
    list[Path],
    typer.Option(
        "-m", "--model", help="A bundle (folder or JSON), or a fold file; repeat it for every fold."
    ),
]
ModelDir = Annotated[
    Path | None, typer.Option(help="Folder of the folds that a JSON names, if they do not lie beside it.")
]
TrustModelCode = Annotated[
    bool,
    typer.Option("--trust-model-code", help="Let Python code inside Keras files run. Only if you know it."),
]
Threshold = Annotated[
    float | None, typer.Option(help="Voxels above this probability are lesion. Default: the model's own.")
]
PeakThreshold = Annotated[
    float | None, typer.Option(help="Lesions must reach more than this somewhere. Default: the model's own.")
]
MinVolume = Annotated[
    float | None,
    typer.Option("--min-volume-mm3", help="Smaller lesions are dropped. Default: the model's own."),
]
Connectivity = Annotated[
    int | None, typer.Option(help="6, 18 or 26: which neighbours belong together. Default 26.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VolumeIndex = Annotated[
    int | None, typer.Option("--volume", help="Which volume of a file that holds several (echoes), from 0.")
]


def changed_criteria(base: "LesionCriteria", **given: Any) -> "LesionCriteria":
    """Criteria with those options replaced that were given.

    Args:
        base: the model's own.
        given: fields of `LesionCriteria`; None: not given.

    Raises:
        UsageError: if a value is out of range.
    """
    from dataclasses import replace

    changes = {name: value for name, value in given.items() if value is not None}
    peak = base.peak_threshold
    if peak is not None and "peak_threshold" not in changes and changes.get("threshold", 0) > peak:
        raise UsageError(
            f"the threshold {changes['threshold']} is above the model's peak threshold {peak}: "
            "give --peak-threshold too"
        )
    return replace(base, **changes)


def three(text: str, option: str) -> tuple[float, float, float]:
    """Three numbers out of `160,214,176`; one number stands for three equal ones.

    Raises:
        UsageError: if it is something else.
    """
    try:
        numbers = [float(part) for part in text.replace("x", ",").split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected numbers, such as 160,214,176") from error
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise UsageError(f"{option} {text}: expected three numbers, such as 160,214,176")
    return numbers[0], numbers[1], numbers[2]


def three_counts(text: str, option: str) -> tuple[int, int, int]:
    """Three whole numbers; see `three`."""
    numbers = three(text, option)
    if any(number != int(number) for number in numbers):
        raise UsageError(f"{option} {text}: expected whole numbers, such as 160,214,176")
    return int(numbers[0]), int(numbers[1]), int(numbers[2])
