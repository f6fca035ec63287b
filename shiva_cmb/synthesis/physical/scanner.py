"""From the complex signal to the image that a scanner stores: coil, k-space, noise, phase mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from shiva_cmb.synthesis.physical.dipoles import WORKERS
from shiva_cmb.synthesis.physical.sampling import smooth_noise
from shiva_cmb.synthesis.physical.settings import Protocol

Signal = NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class Scanner:
    """One scanner with its protocol."""

    protocol: Protocol
    """Its sequence."""
    coil: NDArray[np.float32]
    """Sensitivity, shape of the native grid."""
    measured: NDArray[np.float32]
    """Weight of each point of k-space within a slice, in the order of the FFT, shape (x, y)."""

    def measure(self, signal: Signal) -> Signal:
        """What a reconstruction gives without noise."""
        return self._limited(signal * self.coil)

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Signal:
        """Complex noise of standard deviation `sigma` in each part, as smooth as the k-space makes it."""
        white = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
        kept = float(np.sqrt(np.mean(self.measured**2)))
        return self._limited(white * np.float32(sigma / kept))

    def image(self, signal: Signal) -> NDArray[np.float32]:
        """Magnitude, for SWI times the phase mask (source: Haacke 2004, MRM 52:612)."""
        magnitude = np.abs(signal)
        if self.protocol.kind != "swi":
            return magnitude
        low = fft.fft2(signal, axes=(0, 1), workers=WORKERS)
        low *= _window(signal.shape[:2], self.protocol)[..., None]
        low = fft.ifft2(low, axes=(0, 1), overwrite_x=True, workers=WORKERS)
        phase = np.angle(signal * np.conj(low))
        mask = 1 - np.clip(phase, 0, None) / np.float32(np.pi)
        return np.asarray(magnitude * mask**self.protocol.phase_power)

    def _limited(self, signal: Signal) -> Signal:
        if self.measured.all():
            return signal
        spectrum = fft.fft2(signal, axes=(0, 1), workers=WORKERS)
        spectrum *= self.measured[..., None]
        return np.asarray(fft.ifft2(spectrum, axes=(0, 1), overwrite_x=True, workers=WORKERS))


def draw_scanner(rng: np.random.Generator, protocol: Protocol, shape: tuple[int, int, int]) -> Scanner:
    """Coil and k-space for a protocol."""
    steps = (protocol.pixel_mm, protocol.pixel_mm, protocol.slice_mm + protocol.gap_mm)
    extent = np.array(shape) * steps
    coarse = tuple(max(4, int(n)) for n in np.ceil(extent / 12))
    field = smooth_noise(rng, coarse, 6, rng.uniform(0.05, 0.3))  # 72 mm
    coil = np.exp(_stretched(field, shape))
    texture = smooth_noise(rng, shape, max(4 / protocol.pixel_mm, 1), rng.uniform(0.005, 0.02))
    kx, ky = (np.fft.fftfreq(n) for n in shape[:2])
    edge = protocol.kept_of_k_space / 2
    measured = ((np.abs(kx) <= edge)[:, None] & (np.abs(ky) <= edge)[None]).astype(np.float32)
    measured[:, ky < -(protocol.partial_fourier - 0.5)] = 0
    return Scanner(protocol, (coil * (1 + texture)).astype(np.float32), measured)


def _stretched(field: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Linear interpolation to another shape."""
    for axis, n in enumerate(shape):
        at = np.linspace(0, field.shape[axis] - 1, n)
        low = np.minimum(at.astype(int), field.shape[axis] - 2)
        t = np.expand_dims((at - low).astype(np.float32), [a for a in range(3) if a != axis])
        field = np.take(field, low, axis) * (1 - t) + np.take(field, low + 1, axis) * t
    return field


def _window(shape: tuple[int, ...], protocol: Protocol) -> NDArray[np.float32]:
    """Hann window over the middle of k-space; in space it is `smooth_mm` wide at half its height."""
    width = 2 * protocol.pixel_mm / protocol.smooth_mm
    sides = []
    for n in shape:
        k = np.abs(np.fft.fftfreq(n)) / (width / 2)
        sides.append(np.where(k < 1, 0.5 + 0.5 * np.cos(np.pi * k), 0).astype(np.float32))
    return np.asarray(sides[0][:, None] * sides[1][None])
