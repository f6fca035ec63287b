"""What users are told: errors they can mend, and notes on what was done for them."""

import warnings
from collections.abc import Callable

NOT_CLINICAL = "Research software. Not for clinical use."
"""Stands wherever results are shown."""


class ShivaCmbError(Exception):
    """A problem the user can mend. The message is one line: expected, received, which file, what to do."""

    exit_code = 1


class UsageError(ShivaCmbError):
    """The command or the call was put wrongly."""

    exit_code = 2


class ImageError(ShivaCmbError):
    """An image or mask that cannot be used."""


class ModelError(ShivaCmbError):
    """A model file, bundle or descriptor that cannot be used."""


class DataError(ShivaCmbError):
    """A list of training cases that cannot be used."""


class OutputError(ShivaCmbError):
    """A result that cannot be written."""


class ShivaCmbWarning(UserWarning):
    """Something was repaired, guessed or left out, and the user should know."""


Note = Callable[[str], None]
"""Takes one line on something that was repaired, guessed or left out. Commands print and record these."""


def warn_user(message: str) -> None:
    """The `Note` of plain Python calls: a `ShivaCmbWarning`."""
    warnings.warn(message, ShivaCmbWarning, stacklevel=3)
