"""A training on disk: what it is of, how far it is, and what it has made so far."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shiva_cmb.dataset.cases import Case
from shiva_cmb.errors import DataError, OutputError, ShivaCmbError, UsageError
from shiva_cmb.files import plain, replacing, require_writable_folder, write_json
from shiva_cmb.training.config import as_names, differences, settings_from
from shiva_cmb.training.fitting.state import FOLD_NAME, STATE_NAME
from shiva_cmb.training.settings import TrainingSettings

if TYPE_CHECKING:
    from shiva_cmb.training.run_json import RunJson

FOLDER = "training"
"""Below the model's folder: what is kept while it is trained."""
RUN_NAME = "run.json"
FOLDS_NAME = "folds.json"
FINGERPRINTS_NAME = "fingerprints.json"
RESULT_NAME = "result.json"
_MODEL_NAME = "model_info.json"
MOMENT_S = 1.0
"""Another process may look for a moment whether somebody is at work."""

Content = TypeVar("Content")


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
    def must_be_kept(self) -> bool:
        """Whether it is finished, a fold has begun, or a process is at work on it."""
        begun = any(any(self.folder.glob(f"fold_*/{name}")) for name in (STATE_NAME, RESULT_NAME))
        return self.is_finished or (self.is_begun and (begun or self._is_at_work()))

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
    def plain_maps(self) -> Path:
        """The same before a temperature was fitted."""
        return self.folder / "out_of_fold_plain"

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
        """What a finished fold gave, or None; also if its network is missing or is not the one it gave.

        Raises:
            DataError: if the file cannot be read.
        """
        path = self.fold(number) / RESULT_NAME
        if not path.is_file():
            return None
        from shiva_cmb.ensemble.checksums import sha256_of
        from shiva_cmb.training.run_json import ResultJson

        result = read(path, ResultJson, "remove it and go on with --resume: the best weights are kept")
        network = self.fold(number) / FOLD_NAME
        return result.model_dump() if network.is_file() and sha256_of(network) == result.sha256 else None

    def write_result(self, number: int, result: dict[str, Any]) -> None:
        """Mark a fold as finished."""
        with replacing() as pending:
            write_json(result, pending.path(self.fold(number) / RESULT_NAME))

    @contextmanager
    def holding(self, what: str, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Keep other processes from the same work; a killed one lets go.

        Args:
            what: the work.
            waiting: called before this process waits for another one; without it, it does not wait.

        Raises:
            UsageError: if another process is at it and this one does not wait.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / f".{what}.lock", timeout=0)
        try:
            lock.acquire(timeout=0 if waiting else MOMENT_S)
        except Timeout:
            if waiting is None:
                raise UsageError(
                    f"{self.output}: another process works on {what.replace('_', ' ')}: wait for it or stop"
                    " it"
                ) from None
            waiting()
            lock.acquire(timeout=-1)
        try:
            yield
        finally:
            lock.release()

    def _is_at_work(self) -> bool:
        for path in self.folder.glob(".*.lock"):
            try:
                with self.holding(path.name[1 : -len(".lock")]):
                    pass
            except UsageError:
                return True
        return False


def read(path: Path, kind: type[Content], remedy: str) -> Content:
    """A JSON file of a training, checked by pydantic.

    Args:
        path: the file.
        kind: what it has to be.
        remedy: what to do if it is not.

    Raises:
        DataError: if it cannot be read; it ends with the remedy.
    """
    from shiva_cmb.dataset.json_files import read_json

    try:
        return read_json(path, kind, "file")
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error


def require_usable(run: Run, *, join: bool) -> None:
    """Refuse a folder in which nothing can be begun or gone on with.

    Args:
        run: the folder.
        join: whether a training that is there already is gone on with.

    Raises:
        OutputError: if something else is there, or nothing can be written.
    """
    if run.must_be_kept:
        if not join:
            how = "" if run.is_finished else "add --resume to go on with it, or "
            raise OutputError(f"{run.output} holds a training already: {how}name a new folder")
    elif run.output.exists() and not (run.output.is_dir() and _is_ours_or_empty(run.output)):
        raise OutputError(f"{run.output} exists already: name a new folder, or remove it first")
    if not run.is_finished:
        require_writable_folder(run.folder if run.folder.exists() else run.output.parent)


def begin(run: Run, settings: TrainingSettings, cases: Sequence[Case], *, new_folds: bool = False) -> None:
    """Start a training, or take up one that was stopped.

    One that has not come to the end of an epoch begins anew if it is given other settings or cases.

    Args:
        run: the folder, which is usable: see `require_usable`.
        settings: what is trained.
        cases: of the dataset.
        new_folds: whether folds are given; they replace others as long as nothing was trained.

    Raises:
        UsageError: if the settings differ from those it was begun with; the message names them.
        DataError: if the cases do.
    """
    if run.must_be_kept:
        require_same(run, settings, cases)
        return
    if run.is_begun and not new_folds:
        try:
            require_same(run, settings, cases)
        except ShivaCmbError:
            pass
        else:
            return
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (FINGERPRINTS_NAME, FOLDS_NAME):
        (run.folder / name).unlink(missing_ok=True)
    for folder in run.folder.glob("fold_*"):
        shutil.rmtree(folder)
    with replacing() as pending:
        content = {"settings": as_names(settings), "cases": _case_list(cases)}
        write_json(content, pending.path(run.folder / RUN_NAME))


def stored_settings(run: Run) -> TrainingSettings:
    """The settings a training was begun with.

    Raises:
        DataError: if they cannot be read.
    """
    try:
        return settings_from(_stored(run).settings)
    except UsageError as error:
        raise DataError(f"{run.folder / RUN_NAME}: {error}; {_ANEW}") from error


def stored_cases(run: Run) -> tuple[Case, ...]:
    """The cases a training was begun with.

    Raises:
        DataError: if they cannot be read.
    """
    return tuple(
        Case(
            name=row.case,
            images=tuple(map(Path, row.images)),
            label=Path(row.label),
            mask=None if row.mask is None else Path(row.mask),
            patient=row.patient,
            training_only=row.training_only,
            columns=row.columns,
        )
        for row in _stored(run).cases
    )


_ANEW = "begin anew in another folder"


def _stored(run: Run) -> "RunJson":
    from shiva_cmb.training.run_json import RunJson

    return read(run.folder / RUN_NAME, RunJson, _ANEW)


def require_same(run: Run, settings: TrainingSettings, cases: Sequence[Case]) -> None:
    """Refuse to go on with other settings or other cases; their order and free columns do not count.

    Raises:
        UsageError: if the settings differ; the message names them.
        DataError: if the cases do.
    """
    changed = list(differences(stored_settings(run), settings))
    if changed:
        told = "; ".join(f"{name} was {json.dumps(old)}, now {json.dumps(new)}" for name, old, new in changed)
        raise UsageError(
            f"{run.output} was begun with other settings ({told}): go on with those, or name a new folder"
        )
    before, now = (
        {row["case"]: {key: value for key, value in row.items() if key != "columns"} for row in rows}
        for rows in (_case_list(stored_cases(run)), _case_list(cases))
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
