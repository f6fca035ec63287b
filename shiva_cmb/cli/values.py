"""From what is written on a command line to what the library takes."""

from typing import TYPE_CHECKING, Any

from shiva_cmb.errors import UsageError

if TYPE_CHECKING:
    from shiva_cmb.lesions import LesionCriteria


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
