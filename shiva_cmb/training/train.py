"""From a list of cases to a bundle: one network per fold."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.folds import Fold, split_folds
from shiva_cmb.errors import Note, warn_user
from shiva_cmb.files import require_new, require_writable_folder
from shiva_cmb.training.settings import TrainingSettings

if TYPE_CHECKING:
    from shiva_cmb.dataset.prepare import PreparedCase
    from shiva_cmb.ensemble.bundle import FoldFile
    from shiva_cmb.ensemble.descriptor import ShivaCmbPart


@dataclass(frozen=True)
class EpochReport:
    """How far the training is."""

    fold: int
    """From 0."""
    epoch: int
    """From 1."""
    loss: float
    """Of the training patches."""
    validation_loss: float
    """Of the validation patches."""


@dataclass(frozen=True)
class Progress:
    """Functions that are told how far the training is."""

    on_case: Callable[[int, int], None] = lambda done, total: None
    """Takes the number of prepared cases and that of all."""
    on_epoch: Callable[[EpochReport], None] = lambda report: None
    """Called after each epoch of each fold."""


def train_folds(
    cases: Sequence[Case],
    output: str | Path,
    settings: TrainingSettings,
    *,
    note: Note = warn_user,
    progress: Progress = Progress(),
) -> Path:
    """Train one network per fold and write them as a bundle.

    The cases are first brought to the model grid and stored in a temporary folder beside `output` (30 MB each
    at 160 x 214 x 176), so bad input is found before the hours of training.

    Args:
        cases: see `read_cases`.
        output: the bundle's folder, made new.
        settings: see `TrainingSettings`.
        note: told what was repaired, guessed or left out.
        progress: told how far the training is.

    Returns:
        The bundle's folder.

    Raises:
        OutputError: if `output` exists, or its parent folder is missing or not writable.
        UsageError: if a setting is out of range.
        DataError: if there are fewer patients than folds, a label cannot be used, or the training diverges.
        ImageError: if an image or mask cannot be used.
    """
    from shiva_cmb.dataset.prepare import prepare_case
    from shiva_cmb.ensemble.bundle import Identity, write_bundle

    output = Path(output).absolute()
    require_new(output)
    require_writable_folder(output.parent)
    split_folds(cases, settings.folds, settings.seed)  # too few patients: say so before the work
    with tempfile.TemporaryDirectory(
        prefix=".training-", dir=output.parent, ignore_cleanup_errors=True
    ) as name:
        work = Path(name)
        prepared = []
        for number, case in enumerate(cases):
            folder = work / str(number)
            folder.mkdir()
            prepared.append(
                prepare_case(case, settings.preprocessing, folder, mask_input=settings.mask_input, note=note)
            )
            progress.on_case(number + 1, len(cases))
        with_bleeds = [len(case.bleeds) > 0 for case in prepared]
        if not any(with_bleeds):
            note("no case has a bleed: the networks will learn to find nothing")
        folds = split_folds(cases, settings.folds, settings.seed, with_bleeds=with_bleeds)
        files = [
            _train_fold(number, fold, prepared, settings, work, progress) for number, fold in enumerate(folds)
        ]
        part = _describe(cases, prepared, settings)
        return write_bundle(output, files, part, Identity(target="CMB")).folder


def _train_fold(
    number: int,
    fold: Fold,
    cases: Sequence["PreparedCase"],
    settings: TrainingSettings,
    work: Path,
    progress: Progress,
) -> "FoldFile":
    from shiva_cmb.ensemble.bundle import FoldFile
    from shiva_cmb.training.fitting.fit import fit_fold

    validation = [cases[index] for index in fold.validation]
    path = work / f"fold_{number}.h5"
    result = fit_fold(
        [cases[index] for index in fold.train],
        validation,
        settings,
        settings.seed + number,
        path,
        lambda epoch, loss, checked: progress.on_epoch(EpochReport(number, epoch, loss, checked)),
    )
    metrics: dict[str, float | None] = {
        "validation_loss": result.validation_loss,
        "best_epoch": float(result.best_epoch),
    }
    return FoldFile(path, tuple(case.name for case in validation), metrics)


def _describe(
    cases: Sequence[Case], prepared: Sequence["PreparedCase"], settings: TrainingSettings
) -> "ShivaCmbPart":
    from shiva_cmb.ensemble.descriptor import ArchitecturePart, InputPart, ScalingPart, ShivaCmbPart

    return ShivaCmbPart(
        input=InputPart(shape=settings.shape, spacing_mm=settings.spacing_mm),
        channels=(settings.modality,),
        scaling=ScalingPart(**asdict(settings.scaling)),
        averaging="predict_one_file" if settings.mask_input else "shiva_predict_multi",
        architecture=ArchitecturePart(
            name=settings.network.architecture, arguments=settings.network.as_arguments()
        ),
        training={
            "cases": len(cases),
            "patients": len({case.patient for case in cases}),
            "bleeds": sum(len(case.bleeds) for case in prepared),
            "settings": settings.as_dict(),
        },
        software={name: _version(name) for name in ("shiva-cmb", "keras", "tensorflow", "numpy")},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
