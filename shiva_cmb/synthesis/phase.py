"""The phase that a change of the main field makes."""

import numpy as np

GYROMAGNETIC_HZ_PER_T = 42.577e6
"""Of the proton, over 2 pi."""


def radians_per_ppm(te_s: float, field_t: float) -> float:
    """Phase at the echo time of a field that is higher by one millionth; a higher field has a positive phase.

    Args:
        te_s: echo time.
        field_t: field strength.
    """
    return 2 * np.pi * GYROMAGNETIC_HZ_PER_T * 1e-6 * field_t * te_s
