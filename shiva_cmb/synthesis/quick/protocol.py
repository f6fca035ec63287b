"""How a head is scanned: sequence, voxels, field of view and noise, drawn at random."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shiva_cmb.errors import UsageError

Sequence = Literal["swi", "t2s"]
LARGEST = 1000.0
"""Of sizes in mm, and of signal to noise."""
LEAST_VOXELS = 1e4
"""With fewer nothing could be seen."""


@dataclass(frozen=True)
class ProtocolSettings:
    """Which scanners and sequences there are."""

    swi_share: float = 0.55
    """SWI (magnitude times phase mask), the others are T2*-weighted magnitudes."""
    three_tesla_share: float = 0.6
    """The others have 1.5 T."""
    in_plane_mm: tuple[float, float] = (0.5, 1.0)
    """Voxel size within the slices."""
    swi_slice_mm: tuple[float, float] = (0.8, 3.0)
    """Thickness of the slices of a SWI."""
    t2s_slice_mm: tuple[float, float] = (1.0, 6.0)
    """Thickness of the slices of a T2*-weighted image."""
    max_tilt_degrees: float = 20.0
    """Slices against the head, about each axis."""
    signal_to_noise: tuple[float, float] = (11.0, 45.0)
    """Of white matter."""
    random_contrast_share: float = 0.25
    """Images whose tissues are brighter or darker than physics says, each at random."""
    stripped_share: float = 0.15
    """Images that are zero outside of the brain already."""
    part_share: float = 0.2
    """Images that leave out some of the top or the bottom of the brain."""
    zero_filled_share: float = 0.4
    """Images that were acquired more coarsely than their voxels are."""
    bias: tuple[float, float] = (0.05, 0.3)
    """Spread of the slow change of brightness across the head."""
    largest_voxels: float = 16e6
    """Of the grid on which a head is scanned, sub-slices counted: coarser voxels are drawn above it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and not 0 <= value <= 1:
                raise UsageError(f"{field.name}: expected a share from 0 to 1, got {value}")
            if field.name in ("in_plane_mm", "swi_slice_mm", "t2s_slice_mm", "signal_to_noise"):
                low, high = value
                if not 0 < low <= high <= LARGEST:
                    raise UsageError(
                        f"{field.name}: expected 0 < smallest <= largest <= {LARGEST:g}, got {low}, {high}"
                    )
        if not 0 <= self.bias[0] <= self.bias[1]:
            raise UsageError(f"bias: expected 0 <= smallest <= largest, got {self.bias[0]}, {self.bias[1]}")
        if not 0 <= self.max_tilt_degrees <= 90:
            raise UsageError(f"max_tilt_degrees: expected 0 to 90, got {self.max_tilt_degrees}")
        if self.largest_voxels < LEAST_VOXELS:
            raise UsageError(f"largest_voxels: expected {LEAST_VOXELS:g} or more, got {self.largest_voxels}")


@dataclass(frozen=True, eq=False)
class Protocol:
    """One acquisition."""

    sequence: Sequence
    """SWI or T2*-weighted magnitude."""
    field_t: float
    """Of the scanner."""
    te_s: float
    """Echo time."""
    tr_ms: float
    """Repetition time."""
    flip_degrees: float
    """Flip angle."""
    spacing_mm: tuple[float, float, float]
    """Within the slice, within the slice, thickness."""
    sub_slices: int
    """Into how many thinner ones a slice is divided while it is simulated."""
    rotation: NDArray[np.float64]
    """Directions of the grid's axes in world coordinates, as columns, shape (3, 3)."""
    noise: float
    """Spread of the noise against the signal of white matter."""
    part_mm: tuple[float, float]
    """What is left out of the brain at its bottom and top."""
    stripped: bool
    """Zero outside of the brain."""
    random_contrast: bool
    """Tissues of any brightness."""
    kept_fraction: float
    """Of the spatial frequencies along the first axis; the rest is filled with zeros."""
    bias: float
    """Spread of the slow change of brightness."""
    phase_window_mm: float
    """Width of the filter that removes slow phases."""
    phase_power: float
    """How often the phase mask is multiplied."""
    b0_direction: NDArray[np.float64]
    """Of the main field in world coordinates: heads lie a little askew in a scanner; shape (3,)."""


def draw_protocol(rng: np.random.Generator, settings: ProtocolSettings) -> Protocol:
    """An acquisition such as a hospital might use."""
    swi = rng.random() < settings.swi_share
    field_t = 3.0 if rng.random() < settings.three_tesla_share else 1.5
    if swi:
        te_ms = rng.uniform(17, 30) if field_t > 2 else rng.uniform(28, 45)
        tr_ms, flip = te_ms + rng.uniform(6, 20), rng.uniform(8, 20)
    else:
        te_ms = rng.uniform(15, 32) if field_t > 2 else rng.uniform(18, 42)
        tr_ms, flip = rng.uniform(300, 1000), rng.uniform(12, 35)
    low, high = settings.in_plane_mm
    first = rng.uniform(low, high)
    second = first if rng.random() < 0.7 else float(np.clip(first * rng.uniform(1.0, 1.3), low, high))
    thickness = rng.uniform(*(settings.swi_slice_mm if swi else settings.t2s_slice_mm))
    tilt = rng.uniform(-1, 1, 3) * settings.max_tilt_degrees * np.array([1.0, 0.4, 0.4])
    askew = Rotation.from_euler("xy", rng.normal(0, 7, 2), degrees=True)
    part = np.zeros(2)
    if rng.random() < settings.part_share:
        part[int(rng.random() < 0.5)] = rng.uniform(5, 35)
    truncated = rng.random() < settings.zero_filled_share
    return Protocol(
        sequence="swi" if swi else "t2s",
        field_t=field_t,
        te_s=te_ms / 1000,
        tr_ms=tr_ms,
        flip_degrees=flip,
        spacing_mm=(first, second, thickness),
        sub_slices=max(1, round(thickness / 0.95)),
        rotation=Rotation.from_euler("xyz", tilt, degrees=True).as_matrix(),
        noise=float(1 / np.exp(rng.uniform(*np.log(settings.signal_to_noise)))),
        part_mm=(float(part[0]), float(part[1])),
        stripped=bool(rng.random() < settings.stripped_share),
        random_contrast=bool(rng.random() < settings.random_contrast_share),
        kept_fraction=float(rng.uniform(0.55, 0.9)) if truncated else 1.0,
        bias=rng.uniform(*settings.bias),
        phase_window_mm=rng.uniform(5, 15),
        phase_power=float(rng.choice([3, 4, 4, 4, 5])),
        b0_direction=askew.as_matrix()[:, 2],
    )
