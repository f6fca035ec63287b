"""From trained folds to a bundle: maps of unseen cases, the operating point chosen on them, the model."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shiva_cmb.ensemble.bundle import FoldFile, Identity, write_bundle
from shiva_cmb.ensemble.descriptor import ArchitecturePart, InputPart, ScalingPart, ShivaCmbPart
from shiva_cmb.errors import DataError
from shiva_cmb.files import replacing
from shiva_cmb.training.calibration.choose import (
    calibrate,
    calibration_text,
    evaluate_command,
    save_calibration,
)
from shiva_cmb.training.calibration.out_of_fold import (
    MapSettings,
    OutOfFoldCase,
    out_of_fold_maps,
    write_case_table,
)
from shiva_cmb.training.calibration.temperature import Temperature, bake_temperature, fit_temperature
from shiva_cmb.training.config import as_names
from shiva_cmb.training.fitting.state import FOLD_NAME
from shiva_cmb.training.train import Training

CALIBRATED_NAME = "calibrated.h5"


def assemble(training: Training) -> None:
    """Write the model of a training whose folds are all there.

    Can be done again after an interruption: maps that are there are kept.

    Raises:
        DataError: if a fold is not finished.
        OutputError: if something cannot be written.
    """
    run, settings, step = training.run, training.settings, training.progress.on_step
    results = []
    for number in range(settings.folds):
        result = run.result(number)
        if result is None:
            raise DataError(f"fold {number} is not trained yet: go on with --resume, without --fold")
        results.append(result)
    part = _part(training)
    paths = [run.fold(number) / FOLD_NAME for number in range(settings.folds)]
    temperature = None
    plain_maps = run.plain_maps
    if settings.calibration.temperature:
        table = _maps(training, part, paths, plain_maps)
        step("fitting the temperature")
        temperature = fit_temperature(table, settings.values, note=training.note)
        paths = [bake_temperature(path, temperature.value, path.with_name(CALIBRATED_NAME)) for path in paths]
    table = _maps(training, part, paths, run.maps)
    step("choosing the operating point")
    calibration = calibrate(
        table, settings.calibration, settings.values, processes=training.options.processes, note=training.note
    )
    save_calibration(calibration, run.evaluation, note=training.note)
    part = part.model_copy(
        update={
            "operating_point": calibration.point,
            "metrics": calibration.figures,
            "training": _summary(training, results, temperature),
        }
    )
    files = [
        FoldFile(path, tuple(result["validation"]), {**result["figures"], "best_epoch": result["best_epoch"]})
        for path, result in zip(paths, results, strict=True)
    ]
    step("writing the model")
    command = evaluate_command(table, run.output, settings.values)
    with replacing() as pending:
        text = calibration_text(calibration, command) + "\n"
        pending.path(run.expected_path).write_text(text, encoding="utf-8")
    write_bundle(run.output, files, part, Identity(target="CMB"), keep_others=True)
    shutil.rmtree(plain_maps, ignore_errors=True)


def _maps(training: Training, part: ShivaCmbPart, paths: list[Path], folder: Path) -> Path:
    """The maps of all cases, and the table that names them."""
    entries: list[OutOfFoldCase] = []
    how = MapSettings(part, folder, training.settings.values)
    for number, (path, fold) in enumerate(zip(paths, training.folds, strict=True)):
        training.progress.on_step(f"predicting the cases that fold {number} has not seen")
        cases = [training.cases[index] for index in fold.validation]
        entries += out_of_fold_maps(number, path, cases, how, note=training.note)
    return write_case_table(folder / "cases.tsv", entries)


def _part(training: Training) -> ShivaCmbPart:
    """What the bundle says of the networks."""
    settings = training.settings
    return ShivaCmbPart(
        input=InputPart(shape=settings.grid, spacing_mm=settings.spacing_mm),
        channels=settings.channels,
        scaling=ScalingPart(**asdict(settings.scaling)),
        averaging="predict_one_file" if settings.mask_input else "shiva_predict_multi",
        architecture=ArchitecturePart(
            name=settings.network.architecture, arguments=settings.network.as_arguments()
        ),
        software={name: _version(name) for name in ("shiva-cmb", "keras", "tensorflow", "numpy")},
    )


def _summary(
    training: Training, results: Sequence[Mapping[str, Any]], temperature: Temperature | None
) -> dict[str, Any]:
    """What the bundle says of its training."""
    cases, prepared = training.cases, training.prepared
    transfers = {str(k): result["transfer"] for k, result in enumerate(results) if result["transfer"]}
    return {
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "training_only": sum(case.training_only for case in cases),
        "bleeds": sum(len(case.lesions) for case in prepared),
        "settings": as_names(training.settings),
        "initial_weights": transfers,
        "temperature": None if temperature is None else temperature.as_dict(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
