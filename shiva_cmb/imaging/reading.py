"""Reading NIfTI files: one 3-D volume comes out, or one clear line says why not."""

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging.header_affine import header_affine
from shiva_cmb.imaging.volume import Volume

UNREADABLE = (OSError, EOFError, ValueError, zlib.error, MemoryError, ImageFileError, HeaderDataError)
"""What nibabel, gzip and numpy raise on files that are cut short or are no NIfTI."""
GZIP_MAGIC = b"\x1f\x8b"


def read_volume(path: str | Path, *, index: int | None = None, note: Note = warn_user) -> Volume:
    """Read one 3-D volume of a NIfTI-1 or NIfTI-2 file (`.nii`, `.nii.gz`). The file is never written.

    Args:
        path: the file. More than three dimensions are fine if the others have size 1.
        index: which volume of a file that holds several, from 0.
        note: is told when sform and qform disagree, and when the orientation had to be guessed.

    Returns:
        The volume in scanner space. Integers of up to 32 bits without a scale factor keep their type;
        everything else becomes float32, with the header's scale factor and offset applied.

    Raises:
        ImageError: if the file is missing, a folder, no NIfTI, cut short, complex or RGB, 2-D, holds several
            volumes while `index` is None, or has an impossible affine.
    """
    path = Path(path)
    image = _open_checked(path)
    shape = _spatial_shape(image, path)
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "RGB" if dtype.names else str(dtype)
        raise ImageError(f"{path}: {kind} values; expected one real number per voxel, as in a SWI")
    affine = header_affine(_header_as_stored(image), shape, str(path), note)
    slicer = _volume_slicer(image.shape, index, path)
    try:
        data = _values(image, slicer)
    except UNREADABLE as error:
        raise _damaged(path, error) from error
    return Volume(data.reshape(shape, order="F"), affine)


def read_shape(path: str | Path) -> tuple[int, int, int]:
    """The number of voxels of an image along each axis, from its header alone.

    Raises:
        ImageError: if there is no readable NIfTI file with one 3-D volume.
    """
    path = Path(path)
    image = _open(path)
    shape = _spatial_shape(image, path)
    _volume_slicer(image.shape, None, path)
    return shape


def _open(path: Path) -> nib.Nifti1Pair:
    """The header, and the voxels when they are asked for."""
    _require_file(path)
    try:
        with _without_remarks():
            image = nib.load(path)
    except UNREADABLE as error:
        raise _no_nifti(path, _said(error)) from error
    if not isinstance(image, nib.Nifti1Pair):
        raise ImageError(f"{path}: is {type(image).__name__}; expected a NIfTI file (.nii or .nii.gz)")
    return image


def _open_checked(path: Path) -> nib.Nifti1Pair:
    """As `_open`; a `.nii.gz` is read to its end first.

    nibabel stops at the last voxel and so never reaches the checksum and the length behind it: a flipped bit
    would be other voxels, without an error.
    """
    if not path.name.lower().endswith(".nii.gz"):
        return _open(path)
    _require_file(path)
    try:
        with path.open("rb") as packed:
            if packed.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
                raise _no_nifti(path, "it is not gzip-compressed")
            packed.seek(0)
            with gzip.GzipFile(fileobj=packed) as stream:
                content = stream.read()
    except PermissionError as error:
        raise _no_nifti(path, _said(error)) from error
    except UNREADABLE as error:
        raise _damaged(path, error) from error
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(content[: kind.header_class.sizeof_hdr]):
            try:
                with _without_remarks():
                    return kind.from_bytes(content)
            except UNREADABLE as error:
                raise _no_nifti(path, _said(error)) from error
    raise _no_nifti(path, "it has no NIfTI header")


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; expected a NIfTI file (.nii or .nii.gz)")
    if not path.exists():
        raise ImageError(f"{path}: no such file")


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep nibabel's remarks on header oddities that it mends off the screen."""
    level = nibabel_logger.level
    nibabel_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        nibabel_logger.setLevel(level)


def _header_as_stored(image: nib.Nifti1Pair) -> nib.Nifti1Header:
    """The header with the voxel sizes that the file has: nibabel turns a 0 into 1 mm."""
    header = image.header.copy()
    with image.file_map["header" if "header" in image.file_map else "image"].get_prepare_fileobj() as stream:
        block = stream.read(header.sizeof_hdr)
    header["pixdim"][1:4] = type(header)(block, endianness=header.endianness, check=False)["pixdim"][1:4]
    return header


def _spatial_shape(image: nib.Nifti1Pair, path: Path) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 3 or min(shape[:3]) < 2 or min(shape) < 1:
        raise ImageError(f"{path}: expected a 3-D image, got the shape {_times(shape)}")
    return shape[0], shape[1], shape[2]


def _volume_slicer(shape: tuple[int, ...], index: int | None, path: Path) -> tuple[Any, ...]:
    """What to take of an array of `shape` to have volume `index` (first trailing axis fastest)."""
    count = math.prod(shape[3:])
    if count > 1 and index is None:
        raise ImageError(
            f"{path}: holds {count} volumes (shape {_times(shape)}), expected one: split the file "
            f"(predict, selftest and synthesize can take one of a scan's: --volume N, 0 to {count - 1})"
        )
    index = index or 0
    if not 0 <= index < count:
        raise ImageError(f"{path}: there is no volume {index}; it holds {count}, counted from 0")
    return (slice(None),) * 3 + tuple(int(i) for i in np.unravel_index(index, shape[3:], order="F"))


def _values(image: nib.Nifti1Pair, slicer: tuple[Any, ...]) -> NDArray[Any]:
    proxy = image.dataobj  # applies the header's scale factor and offset, in float64
    data = np.asanyarray(proxy if len(slicer) == 3 else proxy[slicer])
    if data.dtype.kind in "iu" and data.dtype.itemsize <= 4:
        dtype = data.dtype.newbyteorder("=")
    else:
        dtype = np.dtype(np.float32)
    # A copy, never a memory map: the input may be replaced while the volume lives.
    with np.errstate(over="ignore"):
        return np.array(data, dtype=dtype, order="F")


def _no_nifti(path: Path, reason: str) -> ImageError:
    return ImageError(f"{path}: not a readable NIfTI file (.nii or .nii.gz): {reason}")


def _damaged(path: Path, error: BaseException) -> ImageError:
    return ImageError(f"{path}: cannot read the voxels, the file is cut short or damaged ({_said(error)})")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _said(error: BaseException) -> str:
    """The first line of a library's message, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
