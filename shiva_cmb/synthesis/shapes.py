"""Small things in a head, as shapes in world millimetres; what they are made of is decided elsewhere."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tube:
    """A vessel or a perivascular space: a curve with a radius at every point."""

    kind: str
    """What it is, for the table of mimics."""
    points_mm: NDArray[np.float64]
    """The curve in world millimetres (RAS), shape (n, 3), n >= 2, at most 0.6 mm apart."""
    radii_mm: NDArray[np.float64]
    """Radius at each point, shape (n,)."""

    @property
    def length_mm(self) -> float:
        """Length along the curve."""
        return float(np.linalg.norm(np.diff(self.points_mm, axis=0), axis=1).sum())


@dataclass(frozen=True, eq=False)
class Ball:
    """A roundish thing: a ball, or several balls that overlap."""

    kind: str
    """What it is, for the table."""
    centres_mm: NDArray[np.float64]
    """World millimetres (RAS) of the balls it consists of, shape (n, 3)."""
    radii_mm: NDArray[np.float64]
    """Their radii, shape (n,)."""

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """Centre of mass of the balls, shape (3,)."""
        return np.average(self.centres_mm, axis=0, weights=self.radii_mm**3)
