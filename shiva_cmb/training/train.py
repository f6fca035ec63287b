"""From a list of cases to a bundle: one network per fold, and a threshold chosen on unseen cases."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiva_cmb.dataset.cache import PrepareSettings, prepare_cases
from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.folds import Fold, check_leakage
from shiva_cmb.errors import Note, UsageError, warn_user
from shiva_cmb.training.before import check_request, folds_of, require_same_folds, require_unchanged
from shiva_cmb.training.curves import CurvesPicture
from shiva_cmb.training.fitting.state import FOLD_NAME, STATE_NAME
from shiva_cmb.training.run import RESULT_NAME, Run, begin, require_same, require_usable, stored_cases
from shiva_cmb.training.settings import TrainingSettings

if TYPE_CHECKING:
    from shiva_cmb.dataset.prepare import PreparedCase


@dataclass(frozen=True)
class EpochReport:
    """How far the training is."""

    fold: int
    """From 0."""
    epoch: int
    """From 1."""
    figures: Mapping[str, float]
    """Losses, learning rate and figures of whole volumes, as in the log."""
    best_epoch: int
    """The epoch whose weights are kept, from 1."""


@dataclass(frozen=True)
class Progress:
    """Functions that are told how far the training is."""

    on_case: Callable[[int, int], None] = lambda done, total: None
    """Takes the number of prepared cases and that of all."""
    on_epoch: Callable[[EpochReport], None] = lambda report: None
    """Called after each epoch of each fold."""
    on_step: Callable[[str], None] = lambda name: None
    """Told what is done next."""


@dataclass(frozen=True)
class RunOptions:
    """How a training is run. None of it changes what comes out, but for the folds of `folds_file`."""

    resume: bool = False
    """Go on with a training that was stopped."""
    fold: int | None = None
    """Train this one only (from 0) and stop; without it all, and the model is written."""
    folds_file: Path | None = None
    """Which case is in which fold, as an earlier training or `split` wrote it."""
    cache: Path | None = None
    """Folder of cases on the model grid, which stays for other trainings; None: removed at the end."""
    processes: int = 1
    """How many cases are prepared and judged at once."""
    workers: int = 1
    """Threads that cut patches."""
    devices: tuple[str, ...] = ()
    """Devices that train a fold each, at the same time: numbers of GPUs, or `cpu`."""
    tensorboard: bool = False
    """Write logs for TensorBoard too."""

    def __post_init__(self) -> None:
        for name in ("processes", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.devices and self.fold is not None:
            raise UsageError("devices: one fold needs one device: leave out --devices or --fold")


def train_folds(
    cases: Sequence[Case],
    output: str | Path,
    settings: TrainingSettings,
    options: RunOptions = RunOptions(),
    *,
    note: Note = warn_user,
    progress: Progress = Progress(),
) -> Path:
    """Train one network per fold, choose their threshold on scans they have not seen, and write a bundle.

    Everything that is needed to go on after a kill is kept in `output/training`; the bundle appears in
    `output` when it is complete.

    Args:
        cases: see `read_cases`.
        output: the bundle's folder.
        settings: see `TrainingSettings`.
        options: see `RunOptions`.
        note: told what was repaired, guessed or left out.
        progress: told how far the training is.

    Returns:
        The bundle's folder.

    Raises:
        OutputError: if `output` exists and is not to be gone on with, or cannot be written.
        UsageError: if a setting is out of range, or differs from those the training was begun with.
        DataError: if there are fewer patients than folds, a case is on both sides of a fold, a file of a case
            cannot be used, or the training diverges.
    """
    run = Run(Path(output).absolute())
    join = options.resume or options.fold is not None
    require_usable(run, join=join)
    if run.is_finished and join:
        _leave_finished(run, cases, settings, options, note)
        return run.output
    check_request(cases, settings, options, begun=run.must_be_kept)
    begin(run, settings, cases, new_folds=options.folds_file is not None)
    by_name = {case.name: case for case in cases}
    cases = [by_name[case.name] for case in stored_cases(run)]  # batches depend on their order
    training = prepare_training(run, cases, settings, options, note=note, progress=progress)
    if options.devices:
        from shiva_cmb.training.several_devices import train_on_devices

        train_on_devices(training)
    else:
        for number in range(settings.folds) if options.fold is None else (options.fold,):
            train_one_fold(training, number)
    if options.fold is not None:
        return run.output
    from shiva_cmb.training.assemble import assemble

    with run.holding("assembly"):
        assemble(training)
    _remove_leftovers(run, options)
    return run.output


def _leave_finished(
    run: Run, cases: Sequence[Case], settings: TrainingSettings, options: RunOptions, note: Note
) -> None:
    """Say so, if it is what was asked for."""
    if run.is_begun:
        require_same(run, settings, cases)
    if options.folds_file is not None and run.folds_path.is_file():
        require_same_folds(run, options.folds_file, cases)
    note(f"{run.output} is finished: there is nothing left to do")
    _remove_leftovers(run, options)


def _remove_leftovers(run: Run, options: RunOptions) -> None:
    """What a finished training does not need, and what a kill left half-written."""
    for folder in (run.folder, run.maps, *run.folder.glob("fold_*")):
        for path in folder.glob(".tmp-*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    shutil.rmtree(run.plain_maps, ignore_errors=True)
    if options.cache is None:
        shutil.rmtree(run.cache, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Training:
    """A training whose cases are ready."""

    run: Run
    settings: TrainingSettings
    options: RunOptions
    cases: tuple[Case, ...]
    prepared: tuple["PreparedCase", ...]
    """The cases on the model grid, in the same order."""
    folds: tuple[Fold, ...]
    note: Note
    progress: Progress


def prepare_training(
    run: Run,
    cases: Sequence[Case],
    settings: TrainingSettings,
    options: RunOptions,
    *,
    note: Note,
    progress: Progress,
) -> Training:
    """Bring the cases to the model grid and share them out, or find that done.

    Raises:
        DataError: if a case cannot be used, has changed since the training was begun, or would leak.
    """
    how = PrepareSettings(settings.preprocessing, settings.mask_input, settings.values)

    def waiting() -> None:
        progress.on_step("waiting for another process that prepares the cases")

    with run.holding("preparation", waiting=waiting):
        progress.on_step("preparing the cases")
        prepared = prepare_cases(
            cases,
            how,
            options.cache or run.cache,
            processes=options.processes,
            progress=progress.on_case,
            note=note,
        )
        require_unchanged(run, {case.name: case.digest for case in prepared})
        folds = folds_of(run, cases, prepared, settings, options, note)
        check_leakage(folds, cases, {case.name: case.fingerprint for case in prepared})
    return Training(run, settings, options, tuple(cases), tuple(prepared), folds, note, progress)


def train_one_fold(training: Training, number: int) -> None:
    """Train a fold to its end, unless it is there.

    Raises:
        DataError: if the training diverges, or a checkpoint cannot be used.
        UsageError: if another process trains this fold.
    """
    run = training.run
    if run.result(number) is not None:
        return
    if (run.fold(number) / RESULT_NAME).is_file():
        training.note(
            f"{run.fold(number) / FOLD_NAME} is missing or not what {RESULT_NAME} says: it is made again"
        )
    with run.holding(f"fold_{number}"):  # before the libraries are loaded: `begin` looks who is at work
        _fit(training, number)


def _fit(training: Training, number: int) -> None:
    from shiva_cmb.ensemble.checksums import sha256_of
    from shiva_cmb.training.fitting.fit import FitOptions, FoldJob, fit_fold
    from shiva_cmb.training.fitting.initial import source_of_fold

    run, settings, options = training.run, training.settings, training.options
    training.progress.on_step(f"training fold {number}")
    run.fold(number).mkdir(exist_ok=True)
    fold = training.folds[number]
    names = [training.cases[index].name for index in fold.validation]
    # a fold that has begun has its weights already
    init = None if (run.fold(number) / STATE_NAME).is_file() else settings.initial.init
    job = FoldJob(
        folder=run.fold(number),
        train=[training.prepared[index] for index in fold.train],
        validation=[training.prepared[index] for index in fold.validation],
        seed=_seed_of(settings.seed, number),
        init=None if init is None else source_of_fold(init, number, names, note=training.note),
    )
    draw = CurvesPicture(run, settings)

    def on_epoch(figures: Mapping[str, float]) -> None:
        epoch, best = int(figures["epoch"]), int(figures["best_epoch"])
        training.progress.on_epoch(EpochReport(number, epoch, figures, best))
        draw.if_it_is_time()

    fit_options = FitOptions(options.workers, options.tensorboard)
    result = fit_fold(job, settings, fit_options, on_epoch, training.note)
    draw.now()
    run.write_result(
        number,
        {
            "best_epoch": result.best_epoch,
            "figures": result.figures,
            "sha256": sha256_of(result.path),
            "transfer": result.transfer,
            "validation": names,
        },
    )


def _seed_of(seed: int, fold: int) -> int:
    """A seed for each fold that no fold of another training has, as the sum of both would be."""
    return int(np.random.SeedSequence((seed, fold)).generate_state(1)[0] >> 1)
