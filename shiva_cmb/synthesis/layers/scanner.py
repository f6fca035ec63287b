"""The scanner of `scene` and `acquisition` as Keras layers: batches are made on the accelerator.

All arrays are float32 (batch, x, y, z, ...); complex images have two channels, real and imaginary part. Every
sample has its own echo time, field and filter: numbers of samples are of shape (batch,).
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import fft

from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.quick.scene import PADDING_MM

RADIANS_PER_PPM_T_S = radians_per_ppm(1.0, 1.0)
"""Phase by a field change of 1 ppm, per tesla of the main field and second of echo time."""


class DipoleField(keras.layers.Layer):
    """Field change by a map of susceptibility (Salomir 2003, Marques 2005), in `PADDING_MM` of surroundings.

    Args:
        spacing_mm: voxel size.
    """

    def __init__(self, spacing_mm: Sequence[float], **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        self._spacing_mm = tuple(spacing_mm)

    def call(self, chi_ppm: Any, b0_direction: Any) -> Any:
        """Convolve with the field of a dipole.

        Args:
            chi_ppm: susceptibility (batch, x, y, z, 1); beyond its borders it is that of the first corner.
            b0_direction: unit vectors (batch, 3), along the array's axes.

        Returns:
            The field in ppm (batch, x, y, z, 1).
        """
        shape = chi_ppm.shape[1:4]
        sizes = [
            fft.next_fast_len(n + math.ceil(PADDING_MM / step), real=True)
            for n, step in zip(shape, self._spacing_mm, strict=True)
        ]
        chi = (chi_ppm - chi_ppm[:, :1, :1, :1])[..., 0]
        padding = [(0, 0), *((0, size - n) for size, n in zip(sizes, shape, strict=True))]
        real, imaginary = _transformed(ops.pad(chi, padding), ops.zeros((1, *sizes)))
        kernel = self._kernel(sizes, b0_direction)
        # the inverse transform of a real field is the transform of the conjugate
        field, _ = _transformed(real * kernel, -imaginary * kernel)
        return (field / math.prod(sizes))[:, : shape[0], : shape[1], : shape[2], None]

    def _kernel(self, sizes: Sequence[int], b0_direction: Any) -> Any:
        """1/3 - (k.b)^2 / k^2, and 0 for the mean: (batch, *sizes)."""
        square: Any = 0.0
        towards: Any = 0.0
        for axis, (size, step) in enumerate(zip(sizes, self._spacing_mm, strict=True)):
            line = np.fft.fftfreq(size, step).astype(np.float32)
            k = line.reshape([-1 if axis == other else 1 for other in range(3)])
            square = square + k**2
            towards = towards + _per_sample(b0_direction[:, axis], 3) * k
        return ops.where(square > 0.0, 1.0 / 3.0 - towards**2 / np.maximum(square, 1e-12), 0.0)


class GradientEcho(keras.layers.Layer):
    """Complex signal at the echo time; the field's slope in a voxel dephases it by a sinc for each axis."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)

    def call(self, brightness: Any, r2s: Any, field_ppm: Any, te_s: Any, field_t: Any) -> Any:
        """Let the signal decay and dephase.

        Args:
            brightness: just after the pulse (batch, x, y, z, 1).
            r2s: R2* in 1/s, the same shape.
            field_ppm: change of the main field, the same shape.
            te_s: echo times (batch,).
            field_t: main fields (batch,).

        Returns:
            (batch, x, y, z, 2).
        """
        turns = field_ppm * _per_sample(RADIANS_PER_PPM_T_S / (2 * math.pi) * te_s * field_t)
        level = brightness * ops.exp(-r2s * _per_sample(te_s))
        for axis in (1, 2, 3):
            level = level * ops.abs(sinc(math.pi * _slope(turns, axis)))
        angle = 2 * math.pi * turns
        return ops.concatenate([level * ops.cos(angle), level * ops.sin(angle)], axis=-1)


class Receive(keras.layers.Layer):
    """From the signal to the image: coil, noise, acquired frequencies, and magnitude or SWI.

    Args:
        spacing_mm: voxel size; the slices lie across the third axis.
        seed: of the noise.
    """

    def __init__(self, spacing_mm: Sequence[float], seed: int, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        self._spacing_mm = tuple(spacing_mm)
        self._seeds = keras.random.SeedGenerator(seed)

    def call(
        self,
        signal: Any,
        sensitivity: Any,
        noise: Any,
        kept_fraction: Any,
        phase_window_mm: Any,
        phase_power: Any,
    ) -> Any:
        """Make the image.

        Args:
            signal: of `GradientEcho` (batch, x, y, z, 2).
            sensitivity: of the coil (batch, x, y, z, 1).
            noise: its standard deviation in each part (batch,).
            kept_fraction: of the spatial frequencies along the first axis (batch,); 1 keeps all.
            phase_window_mm: width of the filter that takes slow phases away (batch,).
            phase_power: how often SWI multiplies with its phase mask (batch,); 0 gives the magnitude.

        Returns:
            (batch, x, y, z, 1).
        """
        drawn = keras.random.normal(ops.shape(signal), dtype="float32", seed=self._seeds)
        signal = signal * sensitivity + drawn * _per_sample(noise)
        signal = along(signal, 1, _kept_matrix(signal.shape[1], kept_fraction))
        slow = signal
        for axis, step in ((1, self._spacing_mm[0]), (2, self._spacing_mm[1])):
            slow = along(slow, axis, _means_matrix(slow.shape[axis], phase_window_mm / step))
        real, imaginary = signal[..., :1], signal[..., 1:]
        slow_real, slow_imaginary = slow[..., :1], slow[..., 1:]
        phase = ops.arctan2(
            imaginary * slow_real - real * slow_imaginary, real * slow_real + imaginary * slow_imaginary
        )
        magnitude = ops.sqrt(real**2 + imaginary**2)
        return magnitude * phase_mask(phase) ** _per_sample(phase_power)


def phase_mask(phase: Any) -> Any:
    """What SWI multiplies with: positive phases (paramagnetic) fall to 0 at half a turn (Haacke 2004)."""
    return ops.clip(1.0 - phase / math.pi, 0.0, 1.0)


def sinc(half: Any) -> Any:
    """sin(x) / x: what is left of a signal whose phase changes evenly by 2 x."""
    near = ops.abs(half) < 1e-4
    safe = ops.where(near, 1.0, half)
    return ops.where(near, 1.0, ops.sin(safe) / safe)


def along(data: Any, axis: int, matrix: Any) -> Any:
    """Multiply with a matrix for each sample along one axis of space.

    Args:
        data: (batch, x, y, z, channels).
        axis: 1, 2 or 3.
        matrix: (batch, new size, old size).
    """
    moved = ops.moveaxis(data, axis, 1)
    flat = ops.matmul(matrix, ops.reshape(moved, (-1, moved.shape[1], math.prod(moved.shape[2:]))))
    return ops.moveaxis(ops.reshape(flat, (-1, matrix.shape[1], *moved.shape[2:])), 1, axis)


def _transformed(real: Any, imaginary: Any) -> tuple[Any, Any]:
    """Fourier transform of (batch, x, y, z) along all axes of space."""
    for axis in (1, 2, 3):
        parts = (ops.moveaxis(part, axis, 3) for part in (real, ops.broadcast_to(imaginary, ops.shape(real))))
        real, imaginary = (ops.moveaxis(part, 3, axis) for part in ops.fft(tuple(parts)))
    return real, imaginary


def _slope(data: Any, axis: int) -> Any:
    """Change per voxel, as `np.gradient` has it: one-sided at the borders."""
    size = data.shape[axis]
    first, second = (ops.take(data, [i], axis=axis) for i in (0, 1))
    last, before = (ops.take(data, [size - 1 - i], axis=axis) for i in (0, 1))
    padded = ops.moveaxis(ops.concatenate([2 * first - second, data, 2 * last - before], axis=axis), axis, 0)
    return ops.moveaxis((padded[2:] - padded[:-2]) / 2.0, 0, axis)


def _kept_matrix(size: int, kept_fraction: Any) -> Any:
    """`Receiver.sampled` as a product: zeros beyond a soft edge in the spatial frequencies."""
    frequency = np.fft.fftfreq(size)
    angle = 2 * np.pi * np.arange(size)[:, None] * frequency
    waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)  # (size, 2 size)
    far = np.tile(np.abs(frequency) * 2, 2).astype(np.float32)
    window = ops.clip((kept_fraction[:, None] - far) / 0.1 + 0.5, 0.0, 1.0)
    window = ops.where(kept_fraction[:, None] >= 1.0, 1.0, window) / size
    return ops.matmul(waves * window[:, None], np.ascontiguousarray(waves.T))


def _means_matrix(size: int, width_voxels: Any) -> Any:
    """`Receiver.slow_phase` along one axis: three running means, which repeat the border."""
    reach = ops.maximum(ops.floor(ops.round(width_voxels / 2.355 * 2.0) / 2.0), 1.0)[:, None, None]
    index = np.arange(size, dtype=np.float32)
    within = ops.cast(np.abs(index[:, None] - index) <= reach, "float32")
    # what lies beyond a border counts for the voxel there
    ends = [np.eye(1, size, k, dtype=np.float32) for k in (0, size - 1)]
    beyond = [ops.maximum(reach - distance[:, None], 0.0) for distance in (index, index[::-1])]
    mean = (within + beyond[0] * ends[0] + beyond[1] * ends[1]) / (2.0 * reach + 1.0)
    return ops.matmul(mean, ops.matmul(mean, mean))


def _per_sample(values: Any, axes: int = 4) -> Any:
    """(batch,) as (batch, 1, ...)."""
    return ops.reshape(values, (-1, *[1] * axes))
