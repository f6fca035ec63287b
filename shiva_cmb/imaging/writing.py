"""Writing NIfTI files that every reader places alike."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import OutputError
from shiva_cmb.imaging.volume import Volume

SCANNER = 1
"""NIfTI form code: coordinates of the scanner."""
LARGEST_NIFTI1_AXIS = 32767


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
    kind = nib.Nifti2Image if max(volume.shape) > LARGEST_NIFTI1_AXIS else nib.Nifti1Image
    image = kind(data[..., None] if four_dimensional else data, volume.affine)
    # A qform cannot hold a shear; the sform is exact and is what readers prefer.
    image.set_qform(volume.affine, code=SCANNER, strip_shears=True)
    image.set_sform(volume.affine, code=SCANNER)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


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
