"""The field that a susceptibility makes in a strong field."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

WORKERS = 2


def dipole_field(
    chi_ppm: NDArray[np.float32], direction: NDArray[np.floating], margin: int = 0
) -> NDArray[np.float32]:
    """Field in ppm of a susceptibility in ppm that is zero outside of the array.

    Args:
        chi_ppm: shape (x, y, z), cubic voxels.
        direction: unit vector of the main field along the axes of the array.
        margin: empty voxels that are added, so that the copies of a periodic convolution are far.

    Returns:
        Same shape; its mean over the padded array is 0. source: Salomir 2003, Concepts Magn Reson B;
        Marques & Bowtell 2005, Concepts Magn Reson B.
    """
    shape = [fft.next_fast_len(n + margin, real=axis == 2) for axis, n in enumerate(chi_ppm.shape)]
    spectrum = fft.rfftn(chi_ppm, shape, workers=WORKERS)
    kx, ky = (np.fft.fftfreq(n).astype(np.float32) for n in shape[:2])
    kz = np.fft.rfftfreq(shape[2]).astype(np.float32)
    bx, by, bz = (np.float32(b) for b in direction)
    flat = ky[:, None] ** 2 + kz[None] ** 2
    along = by * ky[:, None] + bz * kz[None]
    for plane, k in zip(spectrum, kx, strict=True):
        squared = flat + k * k
        squared[squared == 0] = np.inf
        kernel = np.float32(1 / 3) - (along + bx * k) ** 2 / squared
        plane *= kernel
    spectrum[0, 0, 0] = 0
    field = fft.irfftn(spectrum, shape, overwrite_x=True, workers=WORKERS)
    return np.asarray(field[tuple(slice(n) for n in chi_ppm.shape)])


def without_shim(field_ppm: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Subtract the second-order polynomial that fits the field in the brain, as a scanner's shim does."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in field_ppm.shape]
    where = np.argwhere(brain)
    where = where[:: max(1, len(where) // 20000)]
    x, y, z = (axis[w] for axis, w in zip(axes, where.T, strict=True))
    fit, *_ = np.linalg.lstsq(
        np.stack(_terms(x, y, z), axis=1), field_ppm[tuple(where.T)].astype(np.float64), rcond=None
    )
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    result = field_ppm.copy()
    for weight, term in zip(fit, _terms(*grid), strict=True):
        result -= np.float32(weight) * term
    return result


def _terms(x: NDArray, y: NDArray, z: NDArray) -> list[NDArray]:
    return [np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x, y * y, z * z]
