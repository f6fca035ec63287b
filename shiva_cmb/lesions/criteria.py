"""The operating point: what counts as a microbleed in a probability map."""

from dataclasses import dataclass
from typing import Literal

from shiva_cmb.errors import UsageError
from shiva_cmb.lesions.neighbours import Connectivity, require_connectivity

DropReason = Literal["small", "low peak", "outside the brain"]
"""Why a component is no lesion; the first that applies, in this order."""


@dataclass(frozen=True)
class LesionCriteria:
    """What counts as a microbleed in a probability map."""

    threshold: float = 0.5
    """A voxel belongs to a component where its probability is strictly above this."""
    peak_threshold: float | None = None
    """A component counts if its highest probability is strictly above this; None: every component does.
    Growing from a low threshold and asking for a high peak beats one threshold for both."""
    min_volume_mm3: float = 2.0
    """Smaller components are dropped. The smallest bleed by definition, a 2 mm ball, has 4.2 mm3, maps
    thresholded at one half often show half of it, and in one cohort a quarter of the bleeds rated by hand
    was under 2 mm3: so it is low, and takes out single 1 mm voxels."""
    connectivity: Connectivity = 26
    """Which voxels belong to one component, see `Connectivity`."""
    max_outside_fraction: float = 0.25
    """A component with more than this fraction of its voxels outside the brain mask is dropped; in `predict`,
    outside of where lesions can be."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold < 1.0:
            raise UsageError(f"expected a threshold in [0, 1), got {self.threshold}")
        if self.peak_threshold is not None and not self.threshold <= self.peak_threshold < 1.0:
            raise UsageError(
                f"expected a peak threshold in [threshold = {self.threshold}, 1), got {self.peak_threshold}"
            )
        if not 0.0 <= self.min_volume_mm3 < float("inf"):
            raise UsageError(f"expected a minimum volume of 0 mm3 or more, got {self.min_volume_mm3}")
        require_connectivity(self.connectivity)
        if not 0.0 <= self.max_outside_fraction <= 1.0:
            raise UsageError(f"expected an outside fraction in [0, 1], got {self.max_outside_fraction}")
