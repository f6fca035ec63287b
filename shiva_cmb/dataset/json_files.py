"""JSON files of datasets: read and checked, with one line on what is wrong."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from shiva_cmb.ensemble.descriptor import first_problem
from shiva_cmb.errors import DataError

Content = TypeVar("Content")


def read_json(path: Path, kind: type[Content], what: str) -> Content:
    """The content of a JSON file, checked by pydantic.

    Args:
        path: UTF-8, with or without a byte order mark.
        kind: a pydantic model, or any type that pydantic can check.
        what: what messages call it.

    Raises:
        DataError: if it cannot be read as JSON, or a key is missing, unknown or of the wrong kind; it names
            the line or the key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"cannot read the {what} {path}: {error}") from error
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}") from error
