"""Keras files of half the size: kernels as float16, which every reader takes back into float32."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from shiva_cmb.errors import ModelError


def store_half_size(source: Path, target: Path) -> Path:
    """Copy a Keras file, its float32 kernels as float16.

    Layers stay float32: Keras converts when it loads the file, here and anywhere else, and so do the formats
    made from it. Each weight is rounded to 11 binary digits; those below 6e-8 become 0. What has one number
    per channel (offsets, scales, running variances) stays as it is: no size to speak of, and it may be too
    small or too large for float16. Compressing the file as well would win 1 %, as weights look like noise.

    Args:
        source: an `.h5` file.
        target: the new file.

    Returns:
        `target`.

    Raises:
        ModelError: if the file cannot be read, or has a weight beyond 65504, the end of float16.
    """
    try:
        with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
            _copy(old, new, source)
    except OSError as error:
        raise ModelError(f"{source} could not be stored in float16: {error}") from error
    return target


def _copy(old: h5py.Group, new: h5py.Group, source: Path) -> None:
    for name, value in old.attrs.items():
        new.attrs[name] = value
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy(item, new.create_group(name), source)
        else:
            new.create_dataset(name, data=_halved(item, source)).attrs.update(item.attrs)


def _halved(item: h5py.Dataset, source: Path) -> Any:
    values = item[()]
    if item.dtype != np.float32 or item.ndim < 2:
        return values
    if not np.abs(values).max(initial=0) <= np.finfo(np.float16).max:
        raise ModelError(f"{source} has a weight beyond the range of float16 in {item.name}")
    return values.astype(np.float16)
