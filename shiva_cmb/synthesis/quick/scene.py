"""A head in a scanner before anything is acquired: brightness and field of its tissues."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.head_map import (
    BONE,
    MARROW,
    MUCOSA,
    OUTSIDE,
    SKIN,
    SOFT,
    WHITE,
    DeformedHead,
)
from shiva_cmb.synthesis.quick.protocol import Protocol
from shiva_cmb.synthesis.quick.tissues import TissueTables

BLUR_MM = 0.65
"""Label maps have steps of 1 mm; a blur of about that turns them into partial volumes."""
TEXTURE = 0.03
"""Spread of the brightness within a tissue, at scales from 1 to 8 mm."""
PADDING_MM = 24
"""Air around the head for the convolution, which else would see its copies."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What the scanner sees, on the head's working grid."""

    head: DeformedHead
    """Its labels."""
    brightness: NDArray[np.float32]
    """Signal at the echo time without any dephasing, shape of the grid."""
    field_ppm: NDArray[np.float32]
    """Change of the main field by tissues, bone and air, shape of the grid."""
    white: float
    """Brightness of white matter."""


def make_scene(
    rng: np.random.Generator, head: DeformedHead, tables: TissueTables, protocol: Protocol
) -> Scene:
    """Give every tissue its brightness and its susceptibility."""
    tissues = head.tissues
    level = tables.steady_state(protocol.tr_ms, protocol.flip_degrees) * np.exp(
        -protocol.te_s * tables.r2s
    ).astype(np.float32)
    if protocol.random_contrast:
        # everything but air, bone and the outside, around the brightness of white matter
        factors = np.exp(rng.normal(0, 0.25, len(level))).astype(np.float32) * level[WHITE]
        keep = np.isin(np.arange(len(level)), (OUTSIDE, BONE))
        level = np.where(keep, level, factors).astype(np.float32)
    if rng.random() < 0.5:  # fat may be suppressed
        level[[SOFT, SKIN, MARROW]] *= np.float32(rng.uniform(0.2, 1.0))
    brightness = level[tissues]
    if rng.random() < 0.7:  # bone and air of the face: the map knows bone well, air less so
        brightness[tissues == MUCOSA] *= np.float32(rng.uniform(0.1, 1.0))
    brightness *= 1 + _texture(rng, tissues.shape)
    brightness = ndimage.gaussian_filter(brightness, BLUR_MM, truncate=2.5)
    # steps of one voxel would ring at the highest frequency wherever the main field is oblique to the grid
    chi = ndimage.gaussian_filter(tables.chi_ppm[tissues], BLUR_MM, truncate=2.5)
    field = _field(chi, protocol.b0_direction)
    _shim(field, head.brain)
    return Scene(head, brightness, field, float(level[WHITE]))


def _texture(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Fluctuations of brightness: a share voxel by voxel, a share of some millimetres."""
    fine = rng.standard_normal(shape, dtype=np.float32) * np.float32(TEXTURE * rng.uniform(0.2, 1.2))
    coarse = rng.standard_normal([-(-n // 4) + 1 for n in shape], dtype=np.float32)
    coarse = ndimage.zoom(coarse, 4, order=1, grid_mode=True, mode="nearest")
    box = tuple(slice(0, n) for n in shape)
    return fine + coarse[box] * np.float32(TEXTURE * rng.uniform(0.2, 1.2))


def _field(chi_ppm: NDArray[np.float32], direction: NDArray[np.float64]) -> NDArray[np.float32]:
    """Field change by a map of susceptibility in a main field (Salomir 2003, Marques 2005); air around it."""
    shape = [fft.next_fast_len(n + PADDING_MM, real=True) for n in chi_ppm.shape]
    outside = chi_ppm.flat[0]
    padded = np.zeros(shape, np.float32)
    padded[tuple(slice(0, n) for n in chi_ppm.shape)] = chi_ppm - outside
    spectrum = fft.rfftn(padded, workers=2)
    kx = fft.fftfreq(shape[0]).astype(np.float32)[:, None, None]
    ky = fft.fftfreq(shape[1]).astype(np.float32)[None, :, None]
    kz = fft.rfftfreq(shape[2]).astype(np.float32)[None, None, :]
    x, y, z = (np.float32(d) for d in direction)
    square = kx * kx + ky * ky + kz * kz
    square[0, 0, 0] = 1
    along = x * kx + y * ky + z * kz
    along *= along
    along /= square
    kernel = np.float32(1 / 3) - along
    kernel[0, 0, 0] = 0
    spectrum *= kernel
    field = fft.irfftn(spectrum, s=shape, workers=2)
    return np.ascontiguousarray(field[tuple(slice(0, n) for n in chi_ppm.shape)], np.float32)


def _shim(field_ppm: NDArray[np.float32], brain: NDArray[np.bool_]) -> None:
    """Take off what a scanner's shim coils can: a quadratic of the place that fits the brain, in place."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in field_ppm.shape]
    some = np.argwhere(brain)[::11]
    terms = [(i, j, k) for i in range(3) for j in range(3) for k in range(3) if i + j + k <= 2]
    place = [axis[some[:, a]] for a, axis in enumerate(axes)]
    basis = np.stack([place[0] ** i * place[1] ** j * place[2] ** k for i, j, k in terms], axis=1)
    weights = np.linalg.lstsq(basis, field_ppm[tuple(some.T)], rcond=None)[0].astype(np.float32)
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    for weight, (i, j, k) in zip(weights, terms, strict=True):
        field_ppm -= weight * x**i * y**j * z**k


def sample(values: NDArray[Any], source: Grid, target: Grid, *, order: int) -> NDArray[Any]:
    """Values of the working grid at another grid's voxels; zero outside.

    Args:
        values: shape of `source`.
        source: where they lie.
        target: where they are wanted.
        order: 0 nearest, 1 linear.
    """
    matrix = np.linalg.inv(source.affine) @ target.affine
    return np.asarray(
        ndimage.affine_transform(
            values, matrix[:3, :3], matrix[:3, 3], target.shape, order=order, prefilter=False
        )
    )
