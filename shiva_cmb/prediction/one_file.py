"""What the published `predict_one_file.py` does: images on the model grid in, the folds' mean map out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.ensemble import EngineOptions, load_ensemble
from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.files import replacing
from shiva_cmb.imaging import (
    Volume,
    align_image,
    align_mask,
    binary_mask,
    check_image,
    read_shape,
    read_volume,
    write_volume,
)
from shiva_cmb.lesions import LesionCriteria, find_lesions

log = logging.getLogger(__name__)

LARGEST_SCALED = 1.5
"""Scaled images reach 1 (SHIVA) or 1.3 at most; values far above mean that nobody scaled the image."""


@dataclass(frozen=True)
class OneFileJob:
    """What to read and write."""

    images: tuple[Path, ...]
    """Scaled images on the model grid, one per channel."""
    models: tuple[Path, ...]
    """Fold files, or one bundle."""
    output: Path
    """Where the mean probability goes, as 4-D NIfTI (x, y, z, 1)."""
    mask: Path | None = None
    """Brain mask: multiplies the image and each fold's map, with its own values."""
    labels: Path | None = None
    """Where the labelled lesions go."""
    table: Path | None = None
    """Where the lesion table goes."""
    change_criteria: Callable[[LesionCriteria], LesionCriteria] = lambda criteria: criteria
    """From what the model's bundle counts as a lesion to what counts here."""


def predict_one_file(job: OneFileJob, options: EngineOptions, note: Note = warn_user) -> int | None:
    """Do the job.

    Returns:
        How many lesions were found, or None if neither labels nor a table were asked for.

    Raises:
        ImageError: if images, mask and model do not fit together; before anything is run.
        ModelError: if a fold cannot be used; before anything is run.
        OutputError: if a result cannot be written.
    """
    shape = read_shape(job.images[0])
    # compiling goes on in the background while the images are read
    ensemble = load_ensemble(job.models, shape=shape, channels=len(job.images), options=options, note=note)
    images = [_scaled_image(path, note) for path in job.images]
    grid = images[0].grid
    for number, path in enumerate(job.images[1:], start=1):
        if images[number].shape != grid.shape:
            shape = images[number].shape
            raise ImageError(f"{path} has the shape {shape}, but {job.images[0]} has {grid.shape}")
        images[number] = align_image(images[number], grid, str(path), note)
    mask = _mask(job.mask, images[0], note)
    criteria = job.change_criteria(ensemble.part.lesion_criteria())
    maps = ensemble.predict(
        np.stack([image.data.astype(np.float32, copy=False) for image in images], axis=-1),
        mask,
        averaging="predict_one_file",
        threshold=criteria.threshold,
    )
    probability = images[0].with_data(maps.mean)
    log.info("%d folds, engine %s, precision %s", maps.n_folds, ensemble.engine, ensemble.precision)
    with replacing() as pending:
        write_volume(probability, pending.path(job.output), four_dimensional=True)
        if job.labels is None and job.table is None:
            return None
        found = find_lesions(
            probability.with_data(np.clip(maps.mean, 0, 1)),
            criteria,
            image=images[0],
            brain=None if mask is None else binary_mask(mask, str(job.mask)),
            agreement=probability.with_data(maps.agreement),
            folds=maps.n_folds,
        )
        if job.labels is not None:
            write_volume(found.labels, pending.path(job.labels))
        if job.table is not None:
            found.table.write_tsv(pending.path(job.table))
    return len(found.table)


def _scaled_image(path: Path, note: Note) -> Volume:
    image = check_image(read_volume(path, note=note), str(path), note)
    low, high = float(image.data.min()), float(image.data.max())
    if high > LARGEST_SCALED or low < -LARGEST_SCALED:
        note(
            f"{path} has values from {low:g} to {high:g}, but models are trained on images scaled to [0, 1]: "
            "for an image straight from the scanner use `shiva-cmb predict`"
        )
    return image


def _mask(path: Path | None, image: Volume, note: Note) -> NDArray[np.float32] | None:
    if path is None:
        return None
    values = align_mask(read_volume(path, note=note), image.grid, str(path), note)
    brain = binary_mask(values, str(path))  # refuses an empty one
    if values.min() < 0 or values.max() > 1:
        low, high = values.min(), values.max()
        note(f"{path} has values from {low:g} to {high:g}: above 0.5 counts as 1, the rest as 0")
        return brain.astype(np.float32)
    return values
