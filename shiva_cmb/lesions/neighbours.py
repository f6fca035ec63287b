"""Which voxels touch: what a connectivity means."""

from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError

Connectivity = Literal[6, 18, 26]
"""Voxels of one component share a face (6), a face or an edge (18), or at least a corner (26)."""

NEIGHBOURHOOD: dict[int, int] = {6: 1, 18: 2, 26: 3}
"""Connectivity to the number of axes along which neighbours may differ."""


def require_connectivity(connectivity: int) -> None:
    """Refuse what is no connectivity.

    Raises:
        UsageError: if it is none of 6, 18 and 26.
    """
    if connectivity not in NEIGHBOURHOOD:
        raise UsageError(f"expected a connectivity of 6, 18 or 26, got {connectivity}")


def neighbours(connectivity: Connectivity) -> NDArray[np.bool_]:
    """The 3 x 3 x 3 structure that `scipy.ndimage.label` takes."""
    structure: NDArray[np.bool_] = scipy.ndimage.generate_binary_structure(3, NEIGHBOURHOOD[connectivity])
    return structure
