"""Tiny images for the tests of datasets."""

from pathlib import Path

import numpy as np

from shiva_cmb.imaging import Volume, write_volume

SHAPE = (10, 9, 8)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def write_image(path: Path, seed: int = 0, affine: np.ndarray = AFFINE) -> Path:
    """Noise that differs for every seed."""
    data = np.random.default_rng(seed).integers(1, 1000, SHAPE).astype(np.int16)
    return write(path, data, affine)


def write_label(
    path: Path, *corners: tuple[int, int, int], value: float = 1, affine: np.ndarray = AFFINE
) -> Path:
    """Lesions of two voxels each."""
    data = np.zeros(SHAPE, np.float32 if value != int(value) else np.uint8)
    for x, y, z in corners:
        data[x : x + 2, y, z] = value
    return write(path, data, affine)


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(data, affine), path)
    return path
