"""Intensities of tissues: any, or like those of a gradient echo."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.synthesis.head_map import (
    ACCUMBENS,
    AMYGDALA,
    ARTERY,
    BONE,
    BRAINSTEM,
    CAUDATE,
    CEREBELLAR_CORTEX,
    CEREBELLAR_WHITE,
    CORD,
    CORTEX,
    CSF,
    DIENCEPHALON,
    EYE,
    HIPPOCAMPUS,
    MARROW,
    MUCOSA,
    MUSCLE,
    NERVE,
    OUTSIDE,
    PALLIDUM,
    PUTAMEN,
    SKIN,
    SOFT,
    THALAMUS,
    TISSUE_NAMES,
    VEIN,
    VENTRICLE,
    WHITE,
)

N_TISSUES = len(TISSUE_NAMES)
_LIKE_WHITE = (CEREBELLAR_WHITE, BRAINSTEM, CORD, NERVE)
_LIKE_CORTEX = (CEREBELLAR_CORTEX, HIPPOCAMPUS, AMYGDALA, ACCUMBENS)
_FLUIDS: tuple[tuple[float, tuple[float, float]], ...] = (
    (0.4, (1.1, 1.9)),  # long repetition times, T2*
    (0.3, (0.85, 1.1)),  # SWI
    (0.3, (0.2, 0.85)),  # strong T1 weighting, FLAIR
)
"""Share of the images, and the range of the fluid's brightness against the brain's."""
_RANGES: dict[int, tuple[float, float]] = {
    WHITE: (0.85, 1.1),
    CORTEX: (0.85, 1.15),
    THALAMUS: (0.8, 1.1),
    CAUDATE: (0.6, 1.1),
    PUTAMEN: (0.5, 1.1),
    PALLIDUM: (0.25, 1.0),
    DIENCEPHALON: (0.5, 1.05),
    ARTERY: (0.1, 2.0),
    VEIN: (0.02, 1.2),
    EYE: (0.2, 1.9),
    SOFT: (0.1, 1.4),
    MUSCLE: (0.1, 1.0),
    MUCOSA: (0.05, 1.5),
    SKIN: (0.05, 1.6),
    BONE: (0.0, 0.18),
    MARROW: (0.0, 0.8),
}
"""Brightness against the brain's on T2* and SWI: bone has no signal, iron darkens the deep nuclei."""


def physical_contrast(rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness by tissue number, 1 for brain: what a gradient echo may show."""
    means = np.zeros(N_TISSUES)
    for tissue, (low, high) in _RANGES.items():
        means[tissue] = rng.uniform(low, high)
    shares = [share for share, _ in _FLUIDS]
    means[CSF] = rng.uniform(*_FLUIDS[int(rng.choice(len(_FLUIDS), p=shares))][1])
    means[VENTRICLE] = means[CSF] * rng.uniform(0.8, 1.15)
    for tissue in _LIKE_WHITE:
        means[tissue] = means[WHITE] * rng.normal(1, 0.07)
    for tissue in _LIKE_CORTEX:
        means[tissue] = means[CORTEX] * rng.normal(1, 0.07)
    means[OUTSIDE] = abs(rng.normal(0, 0.02))
    return np.clip(means, 0, None).astype(np.float32)


def any_contrast(rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness by tissue number, from 0 to 1: each by itself, nuclei often like the cortex."""
    means = rng.uniform(0, 1, N_TISSUES)
    if rng.random() < 0.6:
        for tissue in (*_LIKE_WHITE, THALAMUS, DIENCEPHALON):
            means[tissue] = means[WHITE] + rng.normal(0, 0.05)
        for tissue in (*_LIKE_CORTEX, CAUDATE, PUTAMEN):
            means[tissue] = means[CORTEX] + rng.normal(0, 0.05)
    if rng.random() < 0.8:
        means[VENTRICLE] = means[CSF] + rng.normal(0, 0.03)
    if rng.random() < 0.6:
        means[BONE] = rng.uniform(0, 0.15)
    means[OUTSIDE] = abs(rng.normal(0, 0.02)) if rng.random() < 0.9 else rng.uniform(0, 0.3)
    return np.clip(means, 0, None).astype(np.float32)
