"""What is random about a simulated scan, and how much."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shiva_cmb.errors import UsageError

SequenceKind = Literal["swi", "t2s"]


@dataclass(frozen=True)
class PhysicalSettings:
    """Shares and ranges of a set of simulated scans."""

    fine_mm: float = 0.5
    """Spacing of the simulation; tissue is known at twice that."""
    swi_share: float = 0.5
    """Share of scans that are SWI; the others are T2*-weighted gradient echo."""
    three_tesla_share: float = 0.6
    """Share of scans at 3 T; the others are at 1.5 T."""
    lesion_free_share: float = 0.35
    """Share of scans without any microbleed."""
    fewest_bleeds: int = 1
    """Lower limit of microbleeds in a scan that has any: more of them compare models with fewer scans."""
    most_bleeds: int = 40
    """Upper limit of microbleeds in one scan."""
    tilt_deg: float = 5.0
    """Standard deviation of the slices' tilt about the left-right axis; a third of it about the others."""
    bend_mm: float = 2.0
    """Standard deviation of the smooth deformation of the head."""
    vein_density: float = 1.0
    """Factor on the number of veins."""
    mimic_density: float = 1.0
    """Factor on the number of calcifications, perivascular spaces and flow voids."""
    lowest_snr: float = 11.0
    """White matter over noise in the noisiest scan."""
    highest_snr: float = 38.0
    """White matter over noise in the best scan."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise UsageError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
        if self.fewest_bleeds > self.most_bleeds:
            raise UsageError(
                f"fewest_bleeds: expected at most most_bleeds ({self.most_bleeds}), got {self.fewest_bleeds}"
            )
        if self.lowest_snr > self.highest_snr:
            raise UsageError(
                f"lowest_snr: expected at most highest_snr ({self.highest_snr:g}), got {self.lowest_snr:g}"
            )


_RANGES = (
    ("fine_mm", 0.3, 2.0),
    *((name, 0, 1) for name in ("swi_share", "three_tesla_share", "lesion_free_share")),
    *((name, 1, 100) for name in ("fewest_bleeds", "most_bleeds")),
    ("tilt_deg", 0, 20),
    ("bend_mm", 0, 5),
    *((name, 0, 5) for name in ("vein_density", "mimic_density")),
    *((name, 2, 500) for name in ("lowest_snr", "highest_snr")),
)


@dataclass(frozen=True)
class Protocol:
    """One scan's sequence."""

    kind: SequenceKind
    """Susceptibility-weighted, or T2*-weighted magnitude."""
    field_t: float
    """Main field, tesla."""
    te_ms: float
    """Echo time."""
    tr_ms: float
    """Repetition time."""
    flip_deg: float
    """Flip angle."""
    pixel_mm: float
    """Spacing within a slice, both ways."""
    slice_mm: float
    """Thickness of a slice."""
    gap_mm: float
    """Between slices."""
    kept_of_k_space: float
    """Share of the k-space within a slice that is measured, along each axis; the rest is zero."""
    partial_fourier: float
    """Share of the lines along the phase-encoding axis that are measured; 1: all."""
    phase_power: int
    """How often the phase mask is multiplied (SWI)."""
    smooth_mm: float
    """Grain of what the high-pass filter of the phase takes away (SWI)."""
    snr: float
    """White matter over the noise's standard deviation."""


def draw_protocol(rng: np.random.Generator, settings: PhysicalSettings) -> Protocol:
    """A plausible sequence: 3D SWI with thin slices, or 2D or 3D gradient echo with thick ones.

    For SWI 20 ms at 3 T, 40 ms at 1.5 T and a phase mask to the fourth power are usual (source:
    Haacke 2009, AJNR; Haacke 2004, MRM); the ranges around them, and all others, are assumed.
    """
    swi = rng.random() < settings.swi_share
    field_t = 3.0 if rng.random() < settings.three_tesla_share else 1.5
    if swi:
        te = rng.uniform(18, 30) if field_t == 3.0 else rng.uniform(30, 45)
        pixel, thick, gap = rng.uniform(0.5, 1.0), rng.choice([1.0, 1.2, 1.5, 2.0, 2.5, 3.0]), 0.0
        tr, flip = te + rng.uniform(6, 18), rng.uniform(10, 20)
    else:
        te = rng.uniform(15, 28) if field_t == 3.0 else rng.uniform(20, 40)
        pixel, thick = rng.uniform(0.6, 1.0), rng.choice([2.0, 3.0, 4.0, 5.0, 5.0, 6.0])
        gap = rng.choice([0.0, 0.1, 0.2]) * thick if thick > 2.0 else 0.0
        tr, flip = rng.uniform(450, 900), rng.uniform(15, 30)
    return Protocol(
        kind="swi" if swi else "t2s",
        field_t=field_t,
        te_ms=round(float(te), 1),
        tr_ms=round(float(tr), 1),
        flip_deg=round(float(flip), 1),
        pixel_mm=round(max(float(pixel), settings.fine_mm), 2),
        slice_mm=max(float(thick), settings.fine_mm),
        gap_mm=round(float(gap), 2),
        kept_of_k_space=float(rng.uniform(0.7, 1.0)) if rng.random() < 0.5 else 1.0,
        partial_fourier=float(rng.uniform(0.72, 0.9)) if rng.random() < 0.3 else 1.0,
        phase_power=int(rng.integers(3, 6)),
        smooth_mm=round(float(rng.uniform(3.0, 5.5)), 2),
        snr=float(np.exp(rng.uniform(np.log(settings.lowest_snr), np.log(settings.highest_snr)))),
    )
