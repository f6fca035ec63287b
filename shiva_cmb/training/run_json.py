"""The keys of the files in a training's folder."""

from typing import Any

from pydantic import BaseModel


class CaseJson(BaseModel):
    """A case, see `Case`."""

    case: str
    patient: str
    images: list[str]
    label: str
    mask: str | None
    training_only: bool
    columns: dict[str, str]


class RunJson(BaseModel):
    """`run.json`."""

    settings: dict[str, Any]
    """By their plain names."""
    cases: list[CaseJson]


class ResultJson(BaseModel):
    """`result.json` of a fold."""

    best_epoch: int
    figures: dict[str, Any]
    """Of that epoch."""
    sha256: str
    """Of the finished network."""
    transfer: dict[str, Any] | None
    """Which weights it started from, if from any."""
    validation: list[str]
    """Names of the cases it has not seen."""
