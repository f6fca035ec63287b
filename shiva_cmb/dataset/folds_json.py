"""The keys of a file of folds."""

from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from shiva_cmb.dataset.json_files import read_json


class FoldJson(BaseModel):
    """One fold, by names of cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: list[str] = Field(validation_alias=AliasChoices("validation", "val"))
    """Those it is checked on."""
    train: list[str] | None = None
    """Those it learns from; if left out, all others."""


class FoldsJson(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: list[FoldJson] = Field(min_length=1)
    """One per network."""
    seed: int | None = None
    """For the record."""
    stratify: list[str] = Field(default_factory=list)
    """For the record."""


def read_folds_json(path: Path) -> list[FoldJson]:
    """The folds of our own file, or of nnU-Net's, which is a bare list.

    Raises:
        DataError: if it is neither.
    """
    if path.is_file() and path.read_bytes().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return read_json(path, list[FoldJson], "folds")
    return read_json(path, FoldsJson, "folds").folds
