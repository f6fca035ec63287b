"""From a head to an image: dephasing, thick slices, sampling, noise, and the phase mask of SWI."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.quick.protocol import Protocol
from shiva_cmb.synthesis.quick.scene import Scene, sample

Complex = NDArray[np.complex64]
SLAB = 8
"""Planes that are computed at a time."""


def scan_grid(scene: Scene, protocol: Protocol, margins_mm: tuple[float, float, float]) -> Grid:
    """The grid of the sub-slices: tilted against the head, and just large enough.

    Args:
        scene: the head.
        protocol: voxels, tilt, and what is left out of the brain.
        margins_mm: air (or less than nothing) around the head in the plane of the slices, and around the
            brain across them.

    Returns:
        Axes about right, anterior and superior; the third one a multiple of `sub_slices` long.
    """
    head = scene.head
    axes = protocol.rotation
    extent = []
    for mask, columns in ((head.tissues[::3, ::3, ::3] > 0, (0, 1)), (head.brain[::3, ::3, ::3], (2,))):
        points = head.grid.to_world(np.argwhere(mask) * 3)
        for column in columns:
            along = points @ axes[:, column]
            extent.append([along.min() - margins_mm[column], along.max() + margins_mm[column]])
    extent[2][0] += protocol.part_mm[0]
    extent[2][1] -= protocol.part_mm[1]
    spacing = np.array(protocol.spacing_mm)
    counts = np.maximum(
        np.ceil([(high - low) / s for (low, high), s in zip(extent, spacing, strict=True)]), 2
    )
    fine = spacing / (1, 1, protocol.sub_slices)
    affine = np.eye(4)
    affine[:3, :3] = axes * fine
    affine[:3, 3] = axes @ (np.array([low for low, _ in extent]) + fine / 2)
    x, y, z = (int(n) for n in counts)
    return Grid((x, y, z * protocol.sub_slices), affine)


def slice_grid(grid: Grid, sub_slices: int) -> Grid:
    """The grid of the whole slices."""
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (sub_slices - 1) / 2
    affine[:3, 2] *= sub_slices
    x, y, z = grid.shape
    return Grid((x, y, z // sub_slices), affine)


def tissue_signal(scene: Scene, grid: Grid, protocol: Protocol) -> Complex:
    """Complex signal of the tissues alone on the grid of the sub-slices.

    The field's slope within a voxel dephases it: a sinc for each axis.
    """
    field: NDArray[np.float32] = sample(scene.field_ppm, scene.head.grid, grid, order=1)
    brightness: NDArray[np.float32] = sample(scene.brightness, scene.head.grid, grid, order=1)
    turns_per_ppm = np.float32(radians_per_ppm(protocol.te_s, protocol.field_t) / (2 * np.pi))
    field *= turns_per_ppm
    signal = np.empty(grid.shape, np.complex64)
    for start in range(0, grid.shape[0], SLAB):  # slab by slab, so that temporaries stay in the cache
        first, end = max(start - 1, 0), min(start + SLAB + 1, grid.shape[0])
        turns = field[first:end]
        inner = slice(start - first, start - first + min(SLAB, grid.shape[0] - start))
        level = brightness[start : start + SLAB].copy()
        for axis in range(3):
            slope = np.gradient(turns, axis=axis)[inner]
            level *= np.abs(np.sinc(slope))
        angle = turns[inner] * np.float32(2 * np.pi)
        signal[start : start + SLAB].real = level * np.cos(angle)
        signal[start : start + SLAB].imag = level * np.sin(angle)
    return signal


def add_vessels(
    signal: Complex,
    filled: NDArray[np.float32],
    oriented: NDArray[np.float32],
    blood: float,
    chi_ppm: float,
    protocol: Protocol,
) -> None:
    """Replace a fraction of each voxel's signal by blood with its own phase, in place.

    Args:
        signal: of the tissues, shape of the sub-slices' grid.
        filled: fraction of each voxel that is blood.
        oriented: that fraction times (cos^2 of the angle to the main field - 1/3).
        blood: brightness of blood.
        chi_ppm: of blood against tissue; inside a long cylinder the field changes by half of it times the
            angle's factor (Haacke 1999).
        protocol: field and echo time.
    """
    at = np.flatnonzero(filled > 1e-3)
    fraction = filled.flat[at]
    tissue = signal.flat[at]
    shift = radians_per_ppm(protocol.te_s, protocol.field_t) * chi_ppm / 2 * oriented.flat[at] / fraction
    unit = tissue / np.maximum(np.abs(tissue), 1e-9)
    signal.flat[at] = tissue * (1 - fraction) + fraction * np.float32(blood) * unit * np.exp(1j * shift)


def average_slices(signal: Complex, sub_slices: int) -> Complex:
    """Thick slices from sub-slices."""
    if sub_slices == 1:
        return signal.copy()
    x, y, z = signal.shape
    return signal.reshape(x, y, z // sub_slices, sub_slices).mean(axis=3)


@dataclass(frozen=True, eq=False)
class Receiver:
    """What happens to the complex image after the slices: the same for an image with and without bleeds."""

    protocol: Protocol
    """The acquisition."""
    sensitivity: NDArray[np.float32]
    """Of the coil, shape of the slices."""

    def sampled(self, signal: Complex) -> Complex:
        """Only the acquired spatial frequencies along the first axis, the rest filled with zeros."""
        if self.protocol.kept_fraction >= 1:
            return signal
        spectrum = fft.fft(signal, axis=0, workers=2)
        frequency = np.abs(fft.fftfreq(signal.shape[0])) * 2
        # a soft edge: scanners filter against ringing
        window = np.clip((self.protocol.kept_fraction - frequency) / 0.1 + 0.5, 0, 1).astype(np.float32)
        spectrum *= window[:, None, None]
        return fft.ifft(spectrum, axis=0, workers=2)

    def slow_phase(self, signal: Complex) -> Complex:
        """What the phase filter takes away: the image smoothed within the slices (homodyne, Noll 1991)."""
        sigma = [self.protocol.phase_window_mm / 2.355 / s for s in self.protocol.spacing_mm[:2]]
        size = [max(3, round(s * 2.0) | 1) for s in sigma] + [1]
        smooth = np.empty_like(signal)
        for part in ("real", "imag"):
            values = np.ascontiguousarray(getattr(signal, part))
            for _ in range(3):  # three running means are nearly a Gaussian
                values = ndimage.uniform_filter(values, size, mode="nearest")
            setattr(smooth, part, values)
        return smooth

    def magnitude(self, signal: Complex, slow: Complex | None) -> NDArray[np.float32]:
        """The final image: the magnitude, and for SWI times the phase mask.

        Args:
            signal: sampled, with or without noise.
            slow: of `slow_phase`; None for a plain magnitude.
        """
        image = np.abs(signal)
        if slow is None:
            return image
        phase = np.angle(signal * np.conj(slow))
        # a positive phase is paramagnetic here: suppressed down to 0 at half a turn (Haacke 2004)
        mask = np.clip(1 - phase / np.float32(np.pi), 0, 1)
        return np.asarray(image * mask**self.protocol.phase_power, np.float32)


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> Complex:
    """Complex Gaussian noise, which makes a magnitude Rician; `spread` of each part."""
    noise = np.empty(shape, np.complex64)
    noise.real = rng.standard_normal(shape, dtype=np.float32)
    noise.imag = rng.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(spread)
    return noise


def draw_sensitivity(rng: np.random.Generator, grid: Grid, spread: float) -> NDArray[np.float32]:
    """A coil's slow change of brightness over a grid, around 1."""
    knots = rng.normal(0, 1, (4, 4, 4)).astype(np.float32)
    zoomed = np.asarray(knots)
    for n in grid.shape:
        place = np.linspace(0.5, 2.5, n, dtype=np.float32)
        distance = np.abs(place[:, None] - np.arange(4, dtype=np.float32)[None])
        weights = np.exp(-1.2 * distance**2)
        zoomed = np.tensordot(zoomed, weights / weights.sum(1, keepdims=True), axes=(0, 1))
    zoomed -= zoomed.mean()
    return np.exp(zoomed * np.float32(spread / max(float(zoomed.std()), 1e-6))).astype(np.float32)
