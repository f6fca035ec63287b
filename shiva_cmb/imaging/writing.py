"""Writing NIfTI files that every reader places alike."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import OutputError
from shiva_cmb.imaging.gzip_blocks import write_gzip
from shiva_cmb.imaging.volume import Volume

SCANNER = 1
"""NIfTI form code: coordinates of the scanner."""
LARGEST_NIFTI1_AXIS = 32767
BLOCK_BYTES = 4_000_000


def write_volume(volume: Volume, path: str | Path, *, four_dimensional: bool = False) -> None:
    """Write a `.nii` or `.nii.gz` with sform and qform both set. Use inside `files.replacing()`.

    Args:
        volume: values are written as float32, uint8, int16 or int32 as they come; float64 becomes float32 and
            bool becomes uint8. NIfTI-2 is written where an axis is too long for NIfTI-1.
        path: where to. The same volume always gives the same bytes.
        four_dimensional: write the shape (x, y, z, 1), as the published SHIVA script does.

    Raises:
        OutputError: if the name does not end in `.nii` or `.nii.gz`, or the values have no NIfTI type.
        OSError: if the file cannot be written; `files.replacing` turns it into an `OutputError`.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise OutputError(f"cannot write {path}: expected a name that ends in .nii or .nii.gz")
    data = _storable(volume.data)
    header = _header(volume, data.dtype, four_dimensional)
    with path.open("wb") as raw:
        if path.suffix.lower() == ".gz":
            write_gzip(raw, _blocks(header, data))
        else:
            for block in _blocks(header, data):
                raw.write(block)


def _storable(data: NDArray[Any]) -> NDArray[Any]:
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind == "b":
        return data.astype(np.uint8)
    if kind == "f":
        return data.astype(np.float32, copy=False)
    if kind in "iu" and size <= 4:
        return data.astype(data.dtype.newbyteorder("="), copy=False)
    if kind in "iu" and np.abs(data).max(initial=0) <= np.iinfo(np.int32).max:
        return data.astype(np.int32)
    raise OutputError(f"cannot write values of type {data.dtype}: expected real numbers of up to 32 bits")


def _header(volume: Volume, dtype: np.dtype[Any], four_dimensional: bool) -> nib.Nifti1Header:
    large = max(volume.shape) > LARGEST_NIFTI1_AXIS
    header = nib.Nifti2Header() if large else nib.Nifti1Header()
    header.set_data_shape((*volume.shape, 1) if four_dimensional else volume.shape)
    header.set_data_dtype(dtype)
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    # A qform cannot hold a shear; the sform is exact and is what readers prefer.
    header.set_qform(volume.affine, code=SCANNER, strip_shears=True)
    header.set_sform(volume.affine, code=SCANNER)
    header.set_xyzt_units("mm", "sec")
    return header


def _blocks(header: nib.Nifti1Header, data: NDArray[Any]) -> Iterator[bytes]:
    """The file's bytes: the header, then the values, first axis fastest."""
    stream = io.BytesIO()
    header.write_to(stream)
    yield stream.getvalue()
    slab = max(1, BLOCK_BYTES // max(1, data[..., 0].nbytes))
    for first in range(0, data.shape[2], slab):
        yield data[:, :, first : first + slab].tobytes(order="F")
