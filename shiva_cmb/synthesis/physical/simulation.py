"""Magnitude and field of a whole head with all its small things, on the fine grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.physical import haemorrhages, lookalikes, venous
from shiva_cmb.synthesis.physical.dipoles import dipole_field, without_shim
from shiva_cmb.synthesis.physical.frame import Frame, fine_tissues
from shiva_cmb.synthesis.physical.haemorrhages import PATCH, Haemorrhage
from shiva_cmb.synthesis.physical.painting import Filled, Painter
from shiva_cmb.synthesis.physical.sampling import along_axes, cubic_refinement
from shiva_cmb.synthesis.physical.settings import PhysicalSettings, Protocol
from shiva_cmb.synthesis.physical.signal import FineSignal, NativeVoxels, radians_per_ppm
from shiva_cmb.synthesis.physical.tissue import AIR_PPM, Tissue, granular_rate
from shiva_cmb.synthesis.shapes import Ball, Tube

EDGE_VOXELS = 0.65
"""Standard deviation of the blur of the susceptibility's steps, at the coarse spacing."""
NECK = 30
"""Coarse voxels by which the neck is prolonged: where the map is cut there is no air."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What is in a head besides its tissues."""

    veins: list[Tube]
    """With venous blood."""
    arteries: list[Tube]
    """Void or bright."""
    siderosis: list[Tube]
    """Iron along a sulcus."""
    spaces: list[Tube]
    """Filled with fluid."""
    calcium: list[Ball]
    """Diamagnetic."""
    bleeds: list[Haemorrhage]
    """May be none."""

    @property
    def tubes(self) -> list[Tube]:
        """All that are no balls."""
        return self.veins + self.arteries + self.siderosis + self.spaces


def draw_contents(rng: np.random.Generator, frame: Frame, settings: PhysicalSettings) -> Contents:
    """Everything small, at random."""
    head, veins, mimics = frame.head, settings.vein_density, settings.mimic_density
    return Contents(
        veins=venous.cortical_veins(rng, head, veins) + venous.deep_veins(rng, head, veins),
        arteries=lookalikes.arteries(rng, head, mimics),
        siderosis=lookalikes.siderosis(rng, head) if mimics else [],
        spaces=lookalikes.perivascular_spaces(rng, head, mimics),
        calcium=lookalikes.calcifications(rng, head, mimics),
        bleeds=haemorrhages.draw_bleeds(rng, frame, haemorrhages.draw_count(rng, settings)),
    )


def fine_signal(
    rng: np.random.Generator, frame: Frame, tissue: Tissue, protocol: Protocol, contents: Contents
) -> FineSignal:
    """Magnitude and field of everything but the bleeds."""
    shape = frame.fine_grid.shape
    magnitude = np.empty(shape, np.float32)
    for sheets, numbers in fine_tissues(frame):
        magnitude[sheets] = tissue.signal[numbers]
    _brighten_white_matter_lesions(rng, frame, magnitude)
    chi = np.zeros(shape, np.float32)
    painter = Painter(frame.fine_grid)
    te_s = protocol.te_ms / 1000
    csf, white = float(tissue.signal[hm.CSF]), float(tissue.signal[hm.WHITE])
    vessel = float(tissue.signal[hm.ARTERY])
    # assumed; compare bone -2.1 +- 0.6 and teeth -3.3 +- 1.2 ppm (source: Buch 2015, MRM 73:2185)
    calcium_ppm = float(-rng.uniform(0.8, 3.5))
    iron_ppm = float(rng.uniform(0.3, 0.8))  # of siderosis: assumed
    vein_signal = tissue.vein_signal
    for filled, signal, ppm in (
        (painter.tubes(contents.spaces), csf, 0.0),
        (painter.tubes(contents.arteries), vessel, 0.0),
        (painter.tubes(contents.veins), vein_signal, tissue.vein_ppm),
        (
            painter.tubes(contents.siderosis),
            white * np.exp(-te_s * granular_rate(iron_ppm, protocol.field_t)),
            iron_ppm,
        ),
        (
            painter.balls(contents.calcium),
            0.45 * white * np.exp(-te_s * granular_rate(calcium_ppm / 2, protocol.field_t)),
            calcium_ppm,
        ),
    ):
        _draw(filled, magnitude, chi, signal, ppm)
    field = _near_field(frame, chi)
    del chi
    _add_far_field(frame, tissue, field)
    return FineSignal(magnitude, field, radians_per_ppm(protocol))


def _draw(
    filled: Filled, magnitude: NDArray[np.float32], chi: NDArray[np.float32], signal: float, ppm: float
) -> None:
    flat, flat_chi = magnitude.reshape(-1), chi.reshape(-1)
    flat[filled.index] += filled.share * (np.float32(signal) - flat[filled.index])
    flat_chi[filled.index] += filled.share * np.float32(ppm)


def _brighten_white_matter_lesions(
    rng: np.random.Generator, frame: Frame, magnitude: NDArray[np.float32]
) -> None:
    """FreeSurfer's label of white-matter lesions: a longer T2* makes them a bit brighter."""
    lesions = np.isin(frame.head.labels[frame.box], (25, 57, 77, 78, 79))
    if not lesions.any():
        return
    (box,) = ndimage.find_objects(lesions.astype(np.uint8))
    soft = ndimage.gaussian_filter(lesions[box].astype(np.float32), 0.8) * np.float32(rng.uniform(0.0, 0.3))
    fine = along_axes(soft, *(cubic_refinement(n) for n in soft.shape))
    magnitude[tuple(slice(2 * s.start, 2 * s.stop) for s in box)] *= 1 + fine


def _near_field(frame: Frame, chi: NDArray[np.float32]) -> NDArray[np.float32]:
    """Field of the small things, at the fine spacing, around the brain only."""
    field = np.zeros(chi.shape, np.float32)
    around = ndimage.find_objects(frame.head.brain[frame.box].astype(np.uint8))[0]
    part = tuple(
        slice(max(2 * s.start - 6, 0), min(2 * s.stop + 6, n)) for s, n in zip(around, chi.shape, strict=True)
    )
    field[part] = dipole_field(chi[part], frame.direction, margin=24)
    return field


def _add_far_field(frame: Frame, tissue: Tissue, field: NDArray[np.float32]) -> None:
    """Field of the head and the air in and around it, at the coarse spacing, shimmed."""
    # air is all around: taken as zero, so that nothing but the head is a source
    chi = tissue.chi_ppm[frame.head.tissues] - np.float32(AIR_PPM)
    # steps of one voxel ring at the highest frequency where the main field is oblique to the grid
    chi = ndimage.gaussian_filter(chi, EDGE_VOXELS, truncate=2.5)
    neck = np.repeat(chi[:, :, :1], NECK, axis=2)
    whole = np.concatenate([neck, chi], axis=2)
    far = dipole_field(whole, frame.direction, margin=48)[:, :, NECK:]
    far = without_shim(far, frame.head.brain)
    refine = [
        cubic_refinement(n)[2 * s.start : 2 * s.stop] for n, s in zip(far.shape, frame.box, strict=True)
    ]
    for start in range(0, field.shape[0], 32):
        rows = refine[0][start : start + 32]
        used = np.flatnonzero(rows.any(axis=0))
        near = slice(int(used[0]), int(used[-1]) + 1)
        field[start : start + 32] += along_axes(far[near], rows[:, near], refine[1], refine[2])


def with_bleeds(
    fine: FineSignal,
    without: NDArray[np.complex64],
    bleeds: list[Haemorrhage],
    frame: Frame,
    voxels: NativeVoxels,
    protocol: Protocol,
) -> NDArray[np.complex64]:
    """The native signal with the bleeds: drawn on the fine grid, and averaged anew around each."""
    result = without.copy()
    shape = np.array(frame.fine_grid.shape)
    patches = []
    for bleed in bleeds:
        middle = np.rint(frame.fine_grid.to_voxel(bleed.centre_mm)).astype(np.intp)
        first = middle - PATCH // 2
        share = haemorrhages.core_share(bleed, first, frame)
        field = haemorrhages.core_field(bleed, share, frame)
        low, high = np.maximum(first, 0), np.minimum(first + PATCH, shape)
        there = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        own = tuple(slice(int(a), int(b)) for a, b in zip(low - first, high - first, strict=True))
        decay = np.exp(-protocol.te_ms / 1000 * granular_rate(bleed.chi_ppm, protocol.field_t))
        fine.magnitude[there] *= 1 - share[own] * np.float32(1 - bleed.density * decay)
        fine.field_ppm[there] += field[own]
        patches.append(there)
    for there in patches:
        part = []
        for matrix, s in zip(voxels.average, there, strict=True):
            rows = np.flatnonzero(matrix[:, s].any(axis=1))
            part.append(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0))
        if all(s.stop > s.start for s in part):
            result[tuple(part)] = fine.averaged(voxels, (part[0], part[1], part[2]))
    return result
