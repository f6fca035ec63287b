"""What is made sure before networks learn: that it can work, and that it is what was begun."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.folds import Fold, read_folds, split_folds, write_folds
from shiva_cmb.ensemble import named_model
from shiva_cmb.errors import DataError, Note, UsageError
from shiva_cmb.files import replacing, write_json
from shiva_cmb.training.run import FINGERPRINTS_NAME, Run, read
from shiva_cmb.training.settings import TrainingSettings

if TYPE_CHECKING:
    from shiva_cmb.dataset.prepare import PreparedCase
    from shiva_cmb.training.train import RunOptions


def check_request(
    cases: Sequence[Case], settings: TrainingSettings, options: "RunOptions", *, begun: bool = False
) -> None:
    """Refuse what can be seen to fail before any work.

    Args:
        cases: all of them.
        settings: what is trained.
        options: how.
        begun: whether a training is gone on with, whose folds and first weights are there.

    Raises:
        UsageError: if settings and options do not go together, or name what is not there.
        DataError: if the cases do not fit them.
    """
    if options.fold is not None and not 0 <= options.fold < settings.folds:
        raise UsageError(f"fold: expected 0 to {settings.folds - 1}, got {options.fold}")
    wrong = [case for case in cases if len(case.images) != len(settings.channels)]
    if wrong:
        raise DataError(
            f"the case {wrong[0].name} has {len(wrong[0].images)} images, the network takes "
            f"{len(settings.channels)} ({', '.join(settings.channels)})"
        )
    replicas = settings.fitting.replicas
    if settings.sampling.batch_size % replicas:
        raise UsageError(f"batch_size: {settings.sampling.batch_size} cannot be shared by {replicas} devices")
    if replicas > 1:
        if options.devices:
            raise UsageError("devices: give each fold a device, or each batch several (replicas), not both")
        from shiva_cmb.training.fitting.devices import require_replicas

        require_replicas(replicas)
    if options.devices:
        from shiva_cmb.training.several_devices import require_devices

        require_devices(options.devices)
    if options.tensorboard and find_spec("tensorboard") is None:
        raise UsageError("tensorboard: it is not installed: pip install 'shiva-cmb[tensorboard]'")
    if settings.fitting.precision == "f16":
        from shiva_cmb.training.fitting.devices import require_precision

        require_precision(settings.fitting.precision)
    if begun:
        return
    init = settings.initial.init
    if init is not None and not named_model(init).exists():
        raise UsageError(
            f"init: {init} does not exist: name a model's folder, a bundled model or a Keras file"
        )
    if options.folds_file is None:
        split_folds(cases, settings.folds, settings.seed, stratify=settings.stratify, note=lambda _: None)
        return
    count = len(read_folds(options.folds_file, cases, note=lambda _: None))
    if count != settings.folds:
        raise UsageError(f"{options.folds_file} has {count} folds, {settings.folds} were asked for (--folds)")


def folds_of(
    run: Run,
    cases: Sequence[Case],
    prepared: Sequence["PreparedCase"],
    settings: TrainingSettings,
    options: "RunOptions",
    note: Note,
) -> tuple[Fold, ...]:
    """The folds as they are saved; made and saved the first time.

    Args:
        run: where they are saved.
        cases: all of them.
        prepared: the same, in the same order.
        settings: how many, and by what they are alike.
        options: whether they are read from a file.
        note: told what is left out.

    Raises:
        UsageError: if they are not those of the file that is given now.
        DataError: if they cannot be read.
    """
    if not run.folds_path.is_file():
        counts = [len(case.lesions) for case in prepared]
        if not any(counts):
            note("no case has a bleed: the networks will learn to find nothing")
        if options.folds_file is not None:
            folds = read_folds(options.folds_file, cases, note=note)
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
    elif options.folds_file is not None:
        require_same_folds(run, options.folds_file, cases)
    return stored_folds(run, cases)


def stored_folds(run: Run, cases: Sequence[Case]) -> tuple[Fold, ...]:
    """The folds a training was begun with.

    Raises:
        DataError: if they cannot be read.
    """
    try:
        return read_folds(run.folds_path, cases)
    except DataError as error:
        raise DataError(
            f"{error}; remove the file and go on with --resume (and --folds-file, if it was given): the same"
            " folds are made again"
        ) from error


def require_same_folds(run: Run, folds_file: Path, cases: Sequence[Case]) -> None:
    """Refuse to go on with other folds.

    Raises:
        UsageError: if a file has others than those that were begun with.
        DataError: if folds cannot be read.
    """
    if stored_folds(run, cases) != read_folds(folds_file, cases, note=lambda _: None):
        raise UsageError(
            f"{run.output} was begun with other folds than those of {folds_file}: leave out --folds-file, or"
            " name a new folder"
        )


def require_unchanged(run: Run, digests: Mapping[str, str]) -> None:
    """Refuse to go on with other images, labels or masks than before; the first time they are noted down.

    Args:
        run: the folder.
        digests: of what was prepared, by name of the case.

    Raises:
        DataError: if any has changed.
    """
    path = run.folder / FINGERPRINTS_NAME
    if not path.is_file():
        with replacing() as pending:
            write_json(digests, pending.path(path))
        return
    before = read(path, dict[str, str], "if nothing was changed, remove it and go on with --resume")
    changed = [name for name, known in before.items() if digests.get(name) != known]
    if changed:
        raise DataError(
            f"the images, labels or masks of {len(changed)} cases are not those that {run.output} was begun"
            f" with (or were prepared by other versions of the libraries), for example {changed[0]}: begin"
            " anew in another folder"
        )
