"""What tissues look like to a gradient echo: density, relaxation and susceptibility, with their spread.

Rounded from the literature, at 1.5 and 3 T: density after Oros-Peusquens 2019 (69 % of water in white, 84 %
in grey matter); T1 of white matter and cortex near Rooney 2007 (methods differ: 0.6 to 1.1 s in white matter
at 3 T, Asslaender 2024; samples of Stanisz 2005 have longer ones), of muscle after Stanisz 2005, of blood at
3 T after Lu 2004; T2* after Peters 2007, and Siemonsen 2008 with age; iron in deep nuclei after Hallgren 1958
and Langkammer 2010; susceptibility after Duyn 2017, Marques 2021 (deep nuclei), Buch 2015 (bone) and Schenck
1996 (air). Assumed: whatever is outside of the brain but muscle's T1, blood, and the susceptibility of bone
and air. A generator needs their order and spread, not their last digit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.synthesis import head_map as heads

IRON_SPREAD = (0.6, 2.0)
"""How much more or less iron than in a middle-aged brain the deep nuclei hold; assumed."""
SPREAD = 0.07
"""Of each tissue's density and relaxation from head to head, relative; assumed."""


@dataclass(frozen=True)
class TissueFacts:
    """One tissue."""

    density: float
    """Proton density against water."""
    t1_ms: tuple[float, float]
    """T1 at 1.5 and at 3 T."""
    r2s: tuple[float, float]
    """R2* in 1/s at 0 T (by extrapolation), and its growth per tesla."""
    chi_ppm: float = 0.0
    """Susceptibility against water; of veins see `venous_ppm`."""
    iron_r2s: float = 0.0
    """R2* per tesla that iron adds at middle age."""
    iron_ppm: float = 0.0
    """Susceptibility that iron adds at middle age."""


FACTS: dict[int, TissueFacts] = {
    heads.OUTSIDE: TissueFacts(0.0, (1000, 1000), (50, 0), 9.4),
    heads.WHITE: TissueFacts(0.70, (620, 850), (11.0, 2.6), -0.03),
    heads.CORTEX: TissueFacts(0.81, (1050, 1400), (8.5, 2.3), 0.01),
    heads.CSF: TissueFacts(1.0, (4000, 4200), (1.5, 0.6)),
    heads.VENTRICLE: TissueFacts(1.0, (4000, 4200), (1.0, 0.5)),
    heads.THALAMUS: TissueFacts(0.76, (850, 1100), (11.0, 2.4), 0.0, 0.7, 0.015),
    heads.CAUDATE: TissueFacts(0.80, (1000, 1300), (10.0, 2.3), 0.0, 1.9, 0.05),
    heads.PUTAMEN: TissueFacts(0.79, (950, 1250), (10.0, 2.3), 0.0, 2.5, 0.06),
    heads.PALLIDUM: TissueFacts(0.73, (750, 1000), (10.5, 2.5), 0.0, 6.0, 0.13),
    heads.DIENCEPHALON: TissueFacts(0.74, (750, 1000), (11.0, 2.5), 0.0, 2.8, 0.05),
    heads.ACCUMBENS: TissueFacts(0.80, (1000, 1300), (10.0, 2.3), 0.0, 1.5, 0.03),
    heads.HIPPOCAMPUS: TissueFacts(0.82, (1050, 1400), (9.0, 2.2), 0.0),
    heads.AMYGDALA: TissueFacts(0.82, (1050, 1400), (9.0, 2.2), 0.0),
    heads.BRAINSTEM: TissueFacts(0.73, (750, 1050), (11.0, 2.5), -0.01, 0.3, 0.005),
    heads.CEREBELLAR_WHITE: TissueFacts(0.70, (650, 900), (11.0, 2.5), -0.02, 0.6, 0.01),
    heads.CEREBELLAR_CORTEX: TissueFacts(0.82, (1000, 1350), (9.0, 2.4), 0.0, 0.4, 0.01),
    heads.ARTERY: TissueFacts(0.85, (1400, 1650), (9.0, 3.5), -0.01),
    heads.VEIN: TissueFacts(0.85, (1400, 1600), (5.0, 14.0)),
    heads.EYE: TissueFacts(0.98, (3500, 4000), (3.0, 1.0)),
    heads.SOFT: TissueFacts(0.80, (500, 600), (22.0, 5.0), 0.2),
    heads.MUSCLE: TissueFacts(0.75, (950, 1300), (25.0, 4.0)),
    heads.MUCOSA: TissueFacts(0.80, (1000, 1200), (25.0, 6.0)),
    heads.SKIN: TissueFacts(0.75, (500, 600), (28.0, 6.0)),
    heads.CORD: TissueFacts(0.72, (750, 1000), (12.0, 3.0)),
    heads.BONE: TissueFacts(0.10, (300, 400), (500.0, 100.0), -2.1),
    heads.MARROW: TissueFacts(0.70, (300, 380), (40.0, 15.0), 0.3),
    heads.NERVE: TissueFacts(0.75, (800, 1050), (12.0, 3.0)),
}
"""By the numbers of `head_map.TISSUE_NAMES`.

R2* of veins is that of Zhao 2007 at 3 T; it grows faster than linearly with the field (Thulborn 1982), so
at 1.5 T it is on the high side. The dentate nuclei have no label and so none of their iron.
"""


@dataclass(frozen=True, eq=False)
class TissueTables:
    """One head's tissues in one scanner, each of shape (tissues,), by the numbers of `TISSUE_NAMES`."""

    density: NDArray[np.float32]
    """Proton density against water."""
    t1_ms: NDArray[np.float32]
    """T1."""
    r2s: NDArray[np.float32]
    """R2* in 1/s."""
    chi_ppm: NDArray[np.float32]
    """Susceptibility against water."""

    def steady_state(self, tr_ms: float, flip_degrees: float) -> NDArray[np.float32]:
        """Signal of a spoiled gradient echo just after the pulse (Ernst 1966), shape (tissues,)."""
        angle = np.deg2rad(flip_degrees)
        left = np.exp(-tr_ms / self.t1_ms)
        return np.asarray(self.density * np.sin(angle) * (1 - left) / (1 - np.cos(angle) * left), np.float32)


def draw_tissues(rng: np.random.Generator, field_t: float) -> TissueTables:
    """Tables of one head.

    Args:
        rng: where the differences between heads come from.
        field_t: of the scanner, in tesla; values are interpolated between 1.5 and 3 T, and beyond.
    """
    order = range(len(heads.TISSUE_NAMES))
    iron = rng.uniform(*IRON_SPREAD)
    along = (field_t - 1.5) / 1.5
    columns: list[list[float]] = [[], [], [], []]
    for number in order:
        fact = FACTS[number]
        low, high = fact.t1_ms
        own_iron = iron * rng.uniform(0.8, 1.2)
        density, t1, r2s = np.exp(rng.normal(0, SPREAD, 3))
        columns[0].append(fact.density * density)
        columns[1].append((low + (high - low) * along) * t1)
        columns[2].append((fact.r2s[0] + (fact.r2s[1] + fact.iron_r2s * own_iron) * field_t) * r2s)
        columns[3].append(fact.chi_ppm + fact.iron_ppm * own_iron)
    columns[3][heads.VEIN] = venous_ppm(rng)
    return TissueTables(*(np.array(column, np.float32) for column in columns))


def venous_ppm(rng: np.random.Generator) -> float:
    """Susceptibility of venous blood against tissue (SI): 3.39 ppm x haematocrit x (1 - saturation).

    3.39 is 4 pi times 0.27 (Spees 2001; 0.273 in Jain 2012; the 0.18 of Weisskoff 1992 is held to be too
    low). Veins hold more or less oxygen: 55 to 75 % saturated (65 +- 5 % in Krishnamurthy 2014), haematocrit
    0.35 to 0.48 (assumed: that of adults). Oxygenated blood's own diamagnetism (Jain 2012) is left out.
    """
    return 3.39 * rng.uniform(0.35, 0.48) * (1 - rng.uniform(0.55, 0.75))
