"""From a list of cases to a bundle: one network per fold, and a threshold chosen on unseen cases."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shiva_cmb.dataset.cache import PrepareSettings, prepare_cases
from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.folds import Fold, check_leakage, read_folds, split_folds, write_folds
from shiva_cmb.errors import DataError, Note, UsageError, warn_user
from shiva_cmb.files import replacing, write_json
from shiva_cmb.training.curves import CurvesPicture
from shiva_cmb.training.run import Run, begin
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
    """How a training is run. None of it changes what comes out, but for the rounding of `replicas`."""

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
    replicas: int = 1
    """Devices that share each batch."""
    devices: tuple[str, ...] = ()
    """Devices that train a fold each, at the same time: numbers of GPUs, or `cpu`."""
    tensorboard: bool = False
    """Write logs for TensorBoard too."""

    def __post_init__(self) -> None:
        for name in ("processes", "workers", "replicas"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.devices and self.fold is not None:
            raise UsageError("devices: one fold needs one device: leave out --devices or --fold")
        if self.devices and self.replicas > 1:
            raise UsageError("devices: give each fold a device, or each batch several (replicas), not both")


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
    if run.is_finished and options.resume:
        note(f"{run.output} is finished: there is nothing left to do")
        return run.output
    _check(cases, settings, options)
    run = begin(run.output, settings, cases, join=options.resume or options.fold is not None)
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
    if options.cache is None:
        shutil.rmtree(run.cache, ignore_errors=True)
    return run.output


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
    with run.holding("preparation", wait=True):
        progress.on_step("preparing the cases")
        prepared = prepare_cases(
            cases,
            how,
            options.cache or run.cache,
            processes=options.processes,
            progress=progress.on_case,
            note=note,
        )
        fingerprints = {case.name: case.fingerprint for case in prepared}
        _require_unchanged(run, fingerprints)
        folds = _folds(run, cases, prepared, settings, options, note)
        check_leakage(folds, cases, fingerprints)
    return Training(run, settings, options, tuple(cases), tuple(prepared), folds, note, progress)


def train_one_fold(training: Training, number: int) -> None:
    """Train a fold to its end, unless it is there.

    Raises:
        DataError: if the training diverges, or a checkpoint cannot be used.
        UsageError: if another process trains this fold.
    """
    run, settings, options = training.run, training.settings, training.options
    if run.result(number) is not None:
        return
    from shiva_cmb.ensemble.checksums import checksums_of
    from shiva_cmb.training.fitting.fit import FitOptions, FoldJob, fit_fold
    from shiva_cmb.training.fitting.initial import source_of_fold

    training.progress.on_step(f"training fold {number}")
    run.fold(number).mkdir(exist_ok=True)
    fold = training.folds[number]
    names = [training.cases[index].name for index in fold.validation]
    init = settings.initial.init
    job = FoldJob(
        folder=run.fold(number),
        train=[training.prepared[index] for index in fold.train],
        validation=[training.prepared[index] for index in fold.validation],
        seed=settings.seed + number,
        init=None if init is None else source_of_fold(init, number, names, note=training.note),
    )
    draw = CurvesPicture(run, settings)

    def on_epoch(figures: Mapping[str, float]) -> None:
        training.progress.on_epoch(EpochReport(number, int(figures["epoch"]), figures))
        draw.if_it_is_time()

    with run.holding(f"fold_{number}"):
        fit_options = FitOptions(options.workers, options.replicas, options.tensorboard)
        result = fit_fold(job, settings, fit_options, on_epoch, training.note)
        draw.now()
        run.write_result(
            number,
            {
                "best_epoch": result.best_epoch,
                "figures": result.figures,
                "sha256": checksums_of(result.path).sha256,
                "transfer": result.transfer,
                "validation": names,
            },
        )


def _check(cases: Sequence[Case], settings: TrainingSettings, options: RunOptions) -> None:
    """What can be said before any work."""
    if options.fold is not None and not 0 <= options.fold < settings.folds:
        raise UsageError(f"fold: expected 0 to {settings.folds - 1}, got {options.fold}")
    wrong = [case for case in cases if len(case.images) != len(settings.channels)]
    if wrong:
        raise DataError(
            f"the case {wrong[0].name} has {len(wrong[0].images)} images, the network takes "
            f"{len(settings.channels)} ({', '.join(settings.channels)})"
        )
    if settings.sampling.batch_size % options.replicas:
        raise UsageError(
            f"batch_size: {settings.sampling.batch_size} cannot be shared by {options.replicas} devices"
        )
    if options.tensorboard and find_spec("tensorboard") is None:
        raise UsageError("tensorboard: it is not installed: pip install 'shiva-cmb[tensorboard]'")
    if settings.fitting.precision == "f16":
        from shiva_cmb.training.fitting.devices import require_precision

        require_precision(settings.fitting.precision)
    if options.folds_file is not None:
        read_folds(options.folds_file, cases)
    else:
        split_folds(cases, settings.folds, settings.seed, note=lambda _: None)


def _folds(
    run: Run,
    cases: Sequence[Case],
    prepared: Sequence["PreparedCase"],
    settings: TrainingSettings,
    options: RunOptions,
    note: Note,
) -> tuple[Fold, ...]:
    """The folds as they are saved; made and saved the first time."""
    if not run.folds_path.is_file():
        counts = [len(case.lesions) for case in prepared]
        if not any(counts):
            note("no case has a bleed: the networks will learn to find nothing")
        if options.folds_file is not None:
            folds = read_folds(options.folds_file, cases)
        else:
            folds = split_folds(
                cases,
                settings.folds,
                settings.seed,
                lesion_counts=counts,
                stratify=settings.stratify,
                note=note,
            )
        write_folds(run.folds_path, folds, cases, seed=settings.seed, stratify=settings.stratify)
    folds = read_folds(run.folds_path, cases)
    if len(folds) != settings.folds:
        raise UsageError(
            f"{run.folds_path} has {len(folds)} folds, {settings.folds} were asked for (--folds)"
        )
    return folds


def _require_unchanged(run: Run, fingerprints: Mapping[str, str]) -> None:
    """A training that goes on must see what it saw before."""
    path = run.folder / "fingerprints.json"
    if not path.is_file():
        with replacing() as pending:
            write_json(fingerprints, pending.path(path))
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name, known in before.items() if fingerprints.get(name) != known]
    if changed:
        raise DataError(
            f"the images of {len(changed)} cases are not those that {run.output} was begun with, for example "
            f"{changed[0]}: begin anew in another folder"
        )
