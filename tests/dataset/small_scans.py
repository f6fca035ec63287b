"""Scans of a few thousand voxels on disk, prepared in some ten milliseconds."""

from pathlib import Path

import numpy as np

from shiva_cmb.dataset import Case
from shiva_cmb.imaging import Preprocessing, Volume, write_volume

PREPROCESSING = Preprocessing(shape=(12, 14, 13), spacing_mm=(2.0, 2.0, 2.0))
AFFINE = np.diag([-1.5, 1.5, 2.0, 1.0])
SHAPE = (16, 18, 13)


def write_scan(folder: Path, name: str, seed: int = 0, channels: int = 1, mask: bool = True) -> Case:
    """A bright box with two dark dots; the label has 1 in the first, 2 in the second, 3 in a voxel beside."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    label = np.zeros(SHAPE, np.uint8)
    label[5, 6, 5:7], label[11, 12, 8], label[4, 12, 8] = 1, 2, 3
    brain = np.zeros(SHAPE, np.uint8)
    brain[3:13, 3:15, 2:11] = 1
    images = []
    for channel in range(channels):
        data = np.where(brain, rng.uniform(80, 100, SHAPE) + 10 * channel, 5)
        data[label > 0] = 10
        images.append(folder / f"{name}_{channel}.nii.gz")
        write_volume(Volume(data.astype(np.int16), AFFINE), images[-1])
    write_volume(Volume(label, AFFINE), folder / f"{name}_label.nii.gz")
    if mask:
        write_volume(Volume(brain, AFFINE), folder / f"{name}_mask.nii.gz")
    return Case(
        name,
        tuple(images),
        folder / f"{name}_label.nii.gz",
        folder / f"{name}_mask.nii.gz" if mask else None,
        patient=f"patient of {name}",
    )
