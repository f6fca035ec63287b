"""Where a NIfTI header says its voxels lie, and whether that can be true."""

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging.volume import Grid

SMALLEST_VOXEL_MM = 0.05
LARGEST_VOXEL_MM = 20.0
LARGEST_COSINE = 0.1
"""Axes further than this from a right angle (about 6 degrees) are taken for a broken header."""
NOTED_COSINE = 1e-3
DISAGREEMENT_MM = 0.5
FURTHEST_CORNER_MM = 10_000.0
"""No table travels that far: an image beyond is a broken header, and resampling it would fill the memory."""


def header_affine(
    header: nib.Nifti1Header, shape: tuple[int, int, int], name: str, note: Note
) -> NDArray[np.float64]:
    """The sform if its code is set, else the qform, else voxel sizes only.

    Args:
        header: NIfTI-1 or NIfTI-2 header, with the voxel sizes as the file has them.
        shape: the three spatial sizes.
        name: the file, for messages.
        note: is told when sform and qform disagree, or when neither is set.

    Returns:
        4 x 4, voxel indices to world millimetres (RAS); checked by `check_affine`.

    Raises:
        ImageError: if the affine is singular, not finite or absurd, or has to be made from a voxel size that
            is not positive.
    """
    sform = header.get_sform(coded=True)[0]
    qform = _qform(header)
    if sform is not None:
        affine = np.asarray(sform, dtype=np.float64)
        check_affine(affine, name, note, shape)
        if qform is not None:
            _note_disagreement(affine, qform, shape, name, note)
        return affine
    if not _has_voxel_size(header):
        said = " x ".join(f"{size:.4g}" for size in header["pixdim"][1:4])
        raise ImageError(f"{name}: the voxel size in the header is {said} mm: repair the header (pixdim)")
    if qform is not None:
        check_affine(qform, name, note, shape)
        return qform
    if int(header["qform_code"]) > 0:
        raise ImageError(f"{name}: the header's qform is invalid and no sform is set: repair the header")
    affine = np.asarray(header.get_base_affine(), dtype=np.float64)
    check_affine(affine, name, note, shape)
    orientation = Grid(shape, affine).orientation
    note(
        f"{name}: the header has neither sform nor qform; orientation {orientation} is assumed, "
        "so left and right may be swapped"
    )
    return affine


def check_affine(
    affine: NDArray[np.float64], name: str, note: Note = warn_user, shape: tuple[int, int, int] = (1, 1, 1)
) -> None:
    """Refuse affines that no scanner writes; mention slightly sheared ones.

    Args:
        affine: 4 x 4, voxel indices to world millimetres (RAS); of a file, or of an image in memory.
        name: the image, for messages.
        note: is told of a slight shear.
        shape: the image's; without it only the first voxel's place is checked.

    Raises:
        ImageError: if values are not finite, the last row is not 0 0 0 1, the matrix is singular, a voxel is
            smaller than 0.05 mm or larger than 20 mm, two axes are more than about 6 degrees from a right
            angle, or a corner lies further than 10 m from the origin.
    """
    if not np.isfinite(affine).all():
        raise ImageError(f"{name}: the affine holds values that are not finite: repair the header")
    if not np.array_equal(affine[3], (0, 0, 0, 1)):
        row = " ".join(f"{value:.4g}" for value in affine[3])
        raise ImageError(f"{name}: the affine's last row is {row}, expected 0 0 0 1: repair the affine")
    with np.errstate(over="ignore"):
        sizes = voxel_sizes(affine)
    if sizes.min() < SMALLEST_VOXEL_MM or sizes.max() > LARGEST_VOXEL_MM:
        said = " x ".join(f"{size:.4g}" for size in sizes)
        raise ImageError(
            f"{name}: the voxel size is {said} mm, expected {SMALLEST_VOXEL_MM} to {LARGEST_VOXEL_MM:g} mm: "
            "repair the header"
        )
    axes = affine[:3, :3] / sizes
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine > LARGEST_COSINE:
        raise ImageError(
            f"{name}: the affine's axes are not at right angles (cosine {cosine:.2g}, at most "
            f"{LARGEST_COSINE} expected): repair the header"
        )
    away_mm = float(np.abs(apply_affine(affine, _corners(shape))).max())
    if away_mm > FURTHEST_CORNER_MM:
        raise ImageError(
            f"{name}: the image reaches {away_mm:.4g} mm from the scanner's origin, at most "
            f"{FURTHEST_CORNER_MM:g} mm expected: repair the header"
        )
    if cosine > NOTED_COSINE:
        note(f"{name}: the affine's axes are slightly sheared (cosine {cosine:.2g}); used as it is")


def _qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """The qform if its code is set and its quaternion and voxel sizes are valid."""
    if int(header["qform_code"]) == 0 or not _has_voxel_size(header):
        return None
    try:
        return np.asarray(header.get_qform(coded=False), dtype=np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return None


def _has_voxel_size(header: nib.Nifti1Header) -> bool:
    sizes = np.asarray(header["pixdim"][1:4])
    return bool((np.isfinite(sizes) & (sizes > 0)).all())


def _corners(shape: tuple[int, int, int]) -> NDArray[np.int_]:
    return np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T


def _note_disagreement(
    sform: NDArray[np.float64], qform: NDArray[np.float64], shape: tuple[int, int, int], name: str, note: Note
) -> None:
    corners = _corners(shape)
    distance = np.linalg.norm(apply_affine(sform, corners) - apply_affine(qform, corners), axis=1).max()
    if not distance <= DISAGREEMENT_MM:  # also true where the qform is not finite
        note(f"{name}: sform and qform disagree by up to {distance:.1f} mm; the sform is used")
