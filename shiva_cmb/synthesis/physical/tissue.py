"""Physical properties of tissue, and the signal that follows from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.physical.settings import Protocol

GYROMAGNETIC_RAD_PER_S_T = 2.675e8
"""Of protons; 2 pi times 42.58 MHz/T."""
AIR_PPM = 9.4
"""Susceptibility of air against water: water has -9.05, air +0.36 ppm (source: Schenck 1996, Med Phys); in
the sphenoid sinus +9.2 +- 1.3 was measured (source: Buch 2015, MRM 73:2185)."""
OXYGENATION_PPM = 4 * np.pi * 0.27
"""Fully deoxygenated against oxygenated red cells (source: Spees 2001, MRM; Jain 2012, MRM: 0.273; the 0.18
of Weisskoff & Kiihne 1992, MRM, is held to be too low)."""

Row = tuple[float, float, float, float, float, float]

_PROPERTIES: dict[int, Row] = {
    # proton density, T1 at 1.5 and 3 T (s), T2* at 1.5 and 3 T (ms), susceptibility (ppm, against CSF)
    # source of T2*: Peters 2007, Magn Reson Imaging 25:748 (white 66/53, grey 84/66, caudate 59/41,
    # putamen 56/32 ms); pallidum R2* 38/s at 3 T at 19-42 years (source: Gelman 1999, Radiology 210:759).
    # source of T1: Rooney 2007, MRM; muscle: Stanisz 2005, MRM (its brain samples have longer ones); blood at
    # 3 T: Lu 2004, MRM. source of density: Oros-Peusquens 2019, Front Neurol (white 69, grey 84 %).
    # source of susceptibility: Li 2011, NeuroImage; Deistung 2013, NeuroImage; Marques 2021, MRM (caudate
    # and putamen 0.04, pallidum 0.13, white -0.03, grey 0.02); bone: Hopkins & Wehrli 1997, MRM.
    # Assumed: all else outside of the brain, and T2* of what Peters 2007 does not list.
    hm.OUTSIDE: (0.0, 1.0, 1.0, 1.0, 1.0, AIR_PPM),
    hm.WHITE: (0.70, 0.65, 0.85, 66, 53, -0.03),
    hm.CORTEX: (0.82, 1.10, 1.40, 84, 66, 0.02),
    hm.CSF: (1.0, 4.0, 4.0, 600, 400, 0.0),
    hm.VENTRICLE: (1.0, 4.2, 4.2, 900, 600, 0.0),
    hm.THALAMUS: (0.78, 0.90, 1.15, 68, 50, 0.01),
    hm.CAUDATE: (0.82, 1.05, 1.30, 59, 41, 0.04),
    hm.PUTAMEN: (0.81, 0.98, 1.25, 56, 36, 0.05),
    hm.PALLIDUM: (0.74, 0.80, 1.05, 42, 25, 0.13),
    hm.DIENCEPHALON: (0.74, 0.80, 1.02, 55, 40, 0.05),
    hm.ACCUMBENS: (0.82, 1.05, 1.30, 66, 48, 0.03),
    hm.HIPPOCAMPUS: (0.83, 1.15, 1.45, 80, 62, 0.0),
    hm.AMYGDALA: (0.83, 1.10, 1.40, 78, 60, 0.0),
    hm.BRAINSTEM: (0.73, 0.75, 0.98, 70, 55, -0.01),
    hm.CEREBELLAR_WHITE: (0.71, 0.67, 0.88, 64, 50, -0.02),
    hm.CEREBELLAR_CORTEX: (0.82, 1.05, 1.35, 78, 60, 0.02),
    hm.ARTERY: (0.85, 1.4, 1.65, 150, 60, -0.02),
    hm.VEIN: (0.85, 1.4, 1.65, 60, 25, 0.35),
    hm.EYE: (0.97, 3.5, 3.8, 300, 150, 0.0),
    hm.SOFT: (0.75, 0.5, 0.6, 35, 25, 0.2),
    hm.MUSCLE: (0.75, 0.95, 1.35, 32, 26, 0.0),
    hm.MUCOSA: (0.75, 1.2, 1.4, 30, 22, 0.0),
    hm.SKIN: (0.80, 0.35, 0.42, 35, 25, 0.3),
    hm.CORD: (0.72, 0.75, 0.98, 65, 50, 0.0),
    hm.BONE: (0.12, 0.4, 0.5, 1.5, 1.0, -2.3),
    hm.MARROW: (0.55, 0.35, 0.42, 22, 14, -0.2),
    hm.NERVE: (0.75, 0.75, 0.98, 65, 50, 0.0),
}

_IRON: dict[int, tuple[float, float]] = {
    # rise from 20 to 85 years: susceptibility (ppm) and R2* at 3 T (1/s), after the courses of iron with age
    # (source: Hallgren & Sourander 1958, J Neurochem; Li 2014, Hum Brain Mapp); sizes of the rise are assumed
    hm.PALLIDUM: (0.05, 12.0),
    hm.PUTAMEN: (0.07, 14.0),
    hm.CAUDATE: (0.035, 8.0),
    hm.DIENCEPHALON: (0.04, 8.0),
    hm.THALAMUS: (0.0, 2.0),
    hm.CORTEX: (0.01, 2.0),
}


@dataclass(frozen=True, eq=False)
class Tissue:
    """Properties of one person's tissue in one scanner, by the numbers of `head_map.TISSUE_NAMES`."""

    chi_ppm: NDArray[np.float32]
    """Susceptibility."""
    signal: NDArray[np.float32]
    """Magnitude at the echo, before dephasing by the field that is simulated."""
    vein_ppm: float
    """Susceptibility of venous blood."""
    vein_signal: float
    """Its magnitude."""


def draw_tissue(rng: np.random.Generator, protocol: Protocol) -> Tissue:
    """Tissue of a random adult of 45 to 88 years."""
    age = rng.uniform(45, 88)
    high = protocol.field_t >= 3
    count = len(hm.TISSUE_NAMES)
    table = np.array([_PROPERTIES[n] for n in range(count)])
    density, t1 = table[:, 0], table[:, 2 if high else 1] * rng.normal(1, 0.05, count)
    rate = 1000 / table[:, 4 if high else 3]
    chi = table[:, 5].copy()
    for tissue, (ppm, per_s) in _IRON.items():
        share = (age - 20) / 65 * rng.uniform(0.6, 1.4)
        chi[tissue] += share * ppm
        rate[tissue] += share * per_s * protocol.field_t / 3
    rate *= rng.normal(1, 0.04, count)
    chi[hm.BONE] *= rng.uniform(0.85, 1.1)
    # saturation: 65 +- 5 % (source: Krishnamurthy 2014, MRM); haematocrit of adults, assumed
    haematocrit, saturation = rng.uniform(0.36, 0.45), rng.uniform(0.58, 0.74)
    vein_ppm = float(OXYGENATION_PPM * haematocrit * (1 - saturation))
    chi[hm.VEIN] = vein_ppm
    # source: Zhao 2007, MRM 58:592, at 3 T; the part that deoxygenation makes goes with the field squared
    # (source: Thulborn 1982, Biochim Biophys Acta); 0.6 for the other part at 1.5 T is assumed
    still = 14.9 * haematocrit + 14.7
    by_oxygen = (302.1 * haematocrit + 41.8) * (1 - saturation) ** 2
    rate[hm.VEIN] = still * (1 if high else 0.6) + by_oxygen * (protocol.field_t / 3) ** 2
    steady = spoiled_signal(t1, protocol)
    signal = density * steady * np.exp(-rate * protocol.te_ms / 1000)
    # blood that flows in is unsaturated, or dephased by its flow; how much is assumed
    signal[hm.VEIN] *= rng.uniform(0.5, 1.4)
    signal[hm.ARTERY] *= rng.choice([rng.uniform(0.2, 0.6), rng.uniform(1.2, 2.2)])
    signal /= signal[hm.WHITE]
    return Tissue(chi.astype(np.float32), signal.astype(np.float32), vein_ppm, float(signal[hm.VEIN]))


def spoiled_signal(t1_s: NDArray[np.floating], protocol: Protocol) -> NDArray[np.floating]:
    """Steady state of a spoiled gradient echo for unit density, without decay (source: Ernst 1966)."""
    angle = np.deg2rad(protocol.flip_deg)
    left = np.exp(-protocol.tr_ms / 1000 / t1_s)
    return np.asarray(np.sin(angle) * (1 - left) / (1 - np.cos(angle) * left))


def granular_rate(chi_ppm: float, field_t: float) -> float:
    """R2' in 1/s of tissue with grains whose mean susceptibility is `chi_ppm`, in static dephasing.

    source: Yablonskiy & Haacke 1994, MRM 32:749, for grains of any size far apart: 2 pi / (3 sqrt 3) times
    the share of the grains times the frequency at their surface.
    """
    return 2 * np.pi / (3 * np.sqrt(3)) * GYROMAGNETIC_RAD_PER_S_T * field_t * abs(chi_ppm) * 1e-6 / 3
