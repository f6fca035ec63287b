"""The complex signal on the fine grid, and its average over the native voxels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.physical.frame import Frame
from shiva_cmb.synthesis.physical.sampling import Matrix, overlaps
from shiva_cmb.synthesis.physical.settings import Protocol
from shiva_cmb.synthesis.physical.tissue import GYROMAGNETIC_RAD_PER_S_T

SHEETS = 24
"""Fine sheets that are worked on at once; bounds the memory."""


@dataclass(frozen=True, eq=False)
class NativeVoxels:
    """The scan's grid, and what of the fine voxels each of its voxels averages."""

    grid: Grid
    """Axes along those of the frame."""
    average: tuple[Matrix, Matrix, Matrix]
    """One matrix per axis, native by fine."""
    from_coarse: tuple[Matrix, Matrix, Matrix]
    """The same from the whole coarse grid."""


def native_voxels(rng: np.random.Generator, frame: Frame, protocol: Protocol) -> NativeVoxels:
    """The grid of a protocol over the simulated part, at a random offset."""
    steps = np.array([protocol.pixel_mm, protocol.pixel_mm, protocol.slice_mm + protocol.gap_mm])
    widths = (protocol.pixel_mm, protocol.pixel_mm, protocol.slice_mm)
    fine = frame.fine_grid
    extent = np.array(fine.shape) * frame.fine_mm
    counts = np.maximum(np.floor(extent / steps).astype(int), 1)
    first = rng.uniform(0, 1, 3) * np.maximum(extent - counts * steps, 0)
    average, coarse = [], []
    for axis in range(3):
        starts = first[axis] + np.arange(counts[axis]) * steps[axis]
        average.append(overlaps(starts, widths[axis], fine.shape[axis], frame.fine_mm))
        shift = frame.box[axis].start * frame.coarse_mm
        coarse.append(overlaps(starts + shift, widths[axis], frame.head.labels.shape[axis], frame.coarse_mm))
    affine = fine.affine.copy()
    affine[:3, :3] *= (steps / frame.fine_mm)[None]
    middle = (first + np.array(widths) / 2) / frame.fine_mm - 0.5
    affine[:3, 3] = fine.to_world(middle)
    x, y, z = (int(n) for n in counts)
    return NativeVoxels(
        Grid((x, y, z), affine), (average[0], average[1], average[2]), (coarse[0], coarse[1], coarse[2])
    )


@dataclass(frozen=True, eq=False)
class FineSignal:
    """Magnitude and field on the fine grid. The arrays are drawn on in place."""

    magnitude: NDArray[np.float32]
    """Of each voxel by itself, white matter about 1."""
    field_ppm: NDArray[np.float32]
    """Relative change of the main field."""
    radians_per_ppm: float
    """Phase at the echo."""

    def averaged(self, voxels: NativeVoxels, part: tuple[slice, slice, slice]) -> NDArray[np.complex64]:
        """Complex mean over each native voxel of a part: dephasing within voxels comes about here."""
        rows = [matrix[s] for matrix, s in zip(voxels.average, part, strict=True)]
        used = [np.flatnonzero(r.any(axis=0)) for r in rows]
        fine = [slice(int(u[0]), int(u[-1]) + 1) for u in used]
        mx, my, mz = (np.ascontiguousarray(r[:, f]) for r, f in zip(rows, fine, strict=True))
        result = np.zeros((mx.shape[0], my.shape[0], mz.shape[0]), np.complex64)
        for start in range(fine[0].start, fine[0].stop, SHEETS):
            sheets = slice(start, min(start + SHEETS, fine[0].stop))
            magnitude = self.magnitude[sheets, fine[1], fine[2]]
            phase = self.field_ppm[sheets, fine[1], fine[2]] * np.float32(self.radians_per_ppm)
            here = mx[:, sheets.start - fine[0].start : sheets.stop - fine[0].start]
            some = np.flatnonzero(here.any(axis=1))
            for unit, wave in ((np.float32(1), np.cos), (1j, np.sin)):
                values = np.matmul(my, (magnitude * wave(phase)) @ mz.T)
                flat = here[some] @ values.reshape(values.shape[0], -1)
                result[some] += (unit * flat).reshape(len(some), *result.shape[1:]).astype(np.complex64)
        return result


def radians_per_ppm(protocol: Protocol) -> float:
    """Phase at the echo for 1 ppm; positive where the field is higher."""
    return GYROMAGNETIC_RAD_PER_S_T * protocol.field_t * protocol.te_ms * 1e-3 * 1e-6
