"""A training on disk: what it is of, how far it is, and what it has made so far."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiva_cmb.dataset.cases import Case
from shiva_cmb.errors import DataError, OutputError, UsageError
from shiva_cmb.files import plain, replacing, require_writable_folder, write_json
from shiva_cmb.training.config import as_names, differences, settings_from
from shiva_cmb.training.settings import TrainingSettings

FOLDER = "training"
"""Below the model's folder: what is kept while it is trained."""
RUN_NAME = "run.json"
FOLDS_NAME = "folds.json"
RESULT_NAME = "result.json"
_MODEL_NAME = "model_info.json"


@dataclass(frozen=True)
class Run:
    """The folder of a training."""

    output: Path
    """The model's folder; the model is written there at the end."""

    @property
    def folder(self) -> Path:
        """Everything that is kept until then, and logs."""
        return self.output / FOLDER

    @property
    def is_finished(self) -> bool:
        """Whether the model is there."""
        return (self.output / _MODEL_NAME).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is something to go on with."""
        return (self.folder / RUN_NAME).is_file()

    @property
    def folds_path(self) -> Path:
        """Which case is in which fold."""
        return self.folder / FOLDS_NAME

    @property
    def curves_path(self) -> Path:
        """Picture of the losses and figures along the epochs."""
        return self.folder / "curves.png"

    @property
    def maps(self) -> Path:
        """Probability maps of the cases, each by a network that was not trained on it."""
        return self.folder / "out_of_fold"

    @property
    def evaluation(self) -> Path:
        """What `shiva-cmb evaluate` gives for these maps."""
        return self.folder / "evaluation"

    @property
    def expected_path(self) -> Path:
        """What may be expected of the model, in words."""
        return self.folder / "expected.txt"

    @property
    def cache(self) -> Path:
        """Cases on the model grid."""
        return self.folder / "cache"

    def fold(self, number: int) -> Path:
        """Folder of a fold, from 0."""
        return self.folder / f"fold_{number}"

    def result(self, number: int) -> dict[str, Any] | None:
        """What a finished fold gave, or None."""
        path = self.fold(number) / RESULT_NAME
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write_result(self, number: int, result: dict[str, Any]) -> None:
        """Mark a fold as finished."""
        with replacing() as pending:
            write_json(result, pending.path(self.fold(number) / RESULT_NAME))

    @contextmanager
    def holding(self, what: str, *, wait: bool = False) -> Iterator[None]:
        """Keep other processes from the same work; a killed one lets go.

        Raises:
            UsageError: if another process is at it and this one should not wait.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / f".{what}.lock", timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"{self.output}: another process works on {what.replace('_', ' ')}: wait for it or stop it"
            ) from None
        try:
            yield
        finally:
            lock.release()


def begin(output: Path, settings: TrainingSettings, cases: Sequence[Case], *, join: bool) -> Run:
    """Start a training, or take up one that was stopped.

    Args:
        output: the model's folder.
        settings: what is trained.
        cases: of the dataset.
        join: whether a training that is there already is gone on with.

    Raises:
        OutputError: if something else is there, or nothing can be written.
        UsageError: if the settings differ from those it was begun with; the message names them.
        DataError: if the cases do.
    """
    run = Run(output.absolute())
    if run.is_begun:
        if not join:
            raise OutputError(
                f"{run.output} holds a training already: add --resume to go on with it, or name a new folder"
            )
        _require_same(run, settings, cases)
        return run
    if run.output.exists() and not (run.output.is_dir() and _is_ours_or_empty(run.output)):
        raise OutputError(f"{run.output} exists already: name a new folder, or remove it first")
    require_writable_folder(run.output.parent)
    run.folder.mkdir(parents=True, exist_ok=True)
    with replacing() as pending:
        content = {"settings": as_names(settings), "cases": _case_list(cases)}
        write_json(content, pending.path(run.folder / RUN_NAME))
    return run


def stored_settings(run: Run) -> TrainingSettings:
    """The settings a training was begun with.

    Raises:
        DataError: if they cannot be read.
    """
    return settings_from(_stored(run)["settings"])


def stored_cases(run: Run) -> tuple[Case, ...]:
    """The cases a training was begun with.

    Raises:
        DataError: if they cannot be read.
    """
    return tuple(
        Case(
            name=row["case"],
            images=tuple(map(Path, row["images"])),
            label=Path(row["label"]),
            mask=None if row["mask"] is None else Path(row["mask"]),
            patient=row["patient"],
            training_only=row["training_only"],
            columns=row["columns"],
        )
        for row in _stored(run)["cases"]
    )


def _stored(run: Run) -> dict[str, Any]:
    path = run.folder / RUN_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _ = content["settings"], content["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}): begin anew in another folder") from error
    return content


def _require_same(run: Run, settings: TrainingSettings, cases: Sequence[Case]) -> None:
    changed = list(differences(stored_settings(run), settings))
    if changed:
        told = "; ".join(f"{name} was {json.dumps(old)}, now {json.dumps(new)}" for name, old, new in changed)
        raise UsageError(
            f"{run.output} was begun with other settings ({told}): go on with those, or name a new folder"
        )
    before, now = (
        [{key: value for key, value in row.items() if key != "columns"} for row in rows]  # they only describe
        for rows in (_stored(run)["cases"], _case_list(cases))
    )
    if before != now:
        raise DataError(
            f"{run.output} was begun with other cases: give the list it was begun with, or name a new folder"
        )


def _is_ours_or_empty(folder: Path) -> bool:
    """Nothing in it but what a training killed in its first moment leaves."""
    return all(path.name == FOLDER for path in folder.iterdir())


def _case_list(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The cases as they are stored."""
    return [
        plain(
            {
                "case": case.name,
                "patient": case.patient,
                "images": [str(path.resolve()) for path in case.images],
                "label": str(case.label.resolve()),
                "mask": None if case.mask is None else str(case.mask.resolve()),
                "training_only": case.training_only,
                "columns": case.columns,
            }
        )
        for case in cases
    ]
