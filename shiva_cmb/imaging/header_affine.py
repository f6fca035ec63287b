"""Where a NIfTI header says its voxels lie, and whether that can be true."""

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note
from shiva_cmb.imaging.volume import Grid

SMALLEST_VOXEL_MM = 0.05
LARGEST_VOXEL_MM = 20.0
LARGEST_COSINE = 0.1
"""Axes further than this from a right angle (about 6 degrees) are taken for a broken header."""
NOTED_COSINE = 1e-3
DISAGREEMENT_MM = 0.5


def header_affine(
    header: nib.Nifti1Header, shape: tuple[int, int, int], name: str, note: Note
) -> NDArray[np.float64]:
    """The sform if its code is set, else the qform, else voxel sizes only.

    Args:
        header: NIfTI-1 or NIfTI-2 header.
        shape: the three spatial sizes.
        name: the file, for messages.
        note: is told when sform and qform disagree, or when neither is set.

    Returns:
        4 x 4, voxel indices to world millimetres (RAS); checked by `check_affine`.

    Raises:
        ImageError: if the affine is singular, not finite or absurd.
    """
    sform = header.get_sform(coded=True)[0]
    qform = _qform(header)
    if sform is not None:
        affine = np.asarray(sform, dtype=np.float64)
        check_affine(affine, name, note)
        if qform is not None:
            _note_disagreement(affine, qform, shape, name, note)
        return affine
    if qform is not None:
        check_affine(qform, name, note)
        return qform
    if int(header["qform_code"]) > 0:
        raise ImageError(f"{name}: the header's qform is invalid and no sform is set: repair the header")
    affine = np.asarray(header.get_base_affine(), dtype=np.float64)
    check_affine(affine, name, note)
    orientation = Grid(shape, affine).orientation
    note(
        f"{name}: the header has neither sform nor qform; orientation {orientation} is assumed, "
        "so left and right may be swapped"
    )
    return affine


def check_affine(affine: NDArray[np.float64], name: str, note: Note) -> None:
    """Refuse affines that no scanner writes; mention slightly sheared ones.

    Raises:
        ImageError: if values are not finite, the matrix is singular, a voxel is smaller than 0.05 mm or
            larger than 20 mm, or two axes are more than about 6 degrees from a right angle.
    """
    if not np.isfinite(affine).all():
        raise ImageError(f"{name}: the affine holds values that are not finite: repair the header")
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
    if cosine > NOTED_COSINE:
        note(f"{name}: the affine's axes are slightly sheared (cosine {cosine:.2g}); used as it is")


def _qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """The qform if its code is set and its quaternion is valid."""
    if int(header["qform_code"]) == 0:
        return None
    try:
        return np.asarray(header.get_qform(coded=False), dtype=np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return None


def _note_disagreement(
    sform: NDArray[np.float64], qform: NDArray[np.float64], shape: tuple[int, int, int], name: str, note: Note
) -> None:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
    distance = np.linalg.norm(apply_affine(sform, corners) - apply_affine(qform, corners), axis=1).max()
    if not distance <= DISAGREEMENT_MM:  # also true where the qform is not finite
        note(f"{name}: sform and qform disagree by up to {distance:.1f} mm; the sform is used")
