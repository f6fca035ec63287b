"""Where in a head microbleeds are: mostly where cortex and white matter meet, in nuclei, in the hindbrain."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.synthesis.bleeds.size_prior import region_shares
from shiva_cmb.synthesis.head_map import (
    BRAINSTEM,
    CEREBELLAR_CORTEX,
    CEREBELLAR_WHITE,
    CORTEX,
    CSF,
    DEEP,
    NERVOUS,
    REGION_NAMES,
    WHITE,
    DeformedHead,
)

PAIR_MM = (3.0, 8.0)
"""How far apart the two of a pair are."""
JUNCTION_MM = 2.0
"""White matter and cortex this near each other are their junction."""
SUBCORTICAL_MM = 8.0
"""White matter further from the cortex is deep."""
PIAL_MM = 1.2
"""Cortex this near the fluid touches the surface."""
LOBAR_KINDS = {"junction": 0.50, "subcortical": 0.25, "cortex": 0.15}
"""How often a lobar bleed lies where, but for those at the surface."""
DEEP_WHITE_SHARE = 0.2
"""Of the deep bleeds; the map of regions counts all white matter of the hemispheres as lobar."""
CEREBELLUM_SHARE = 0.65
"""Of the infratentorial bleeds; the others are in the brain stem."""


class BleedPlaces:
    """Where in a head bleeds can be."""

    def __init__(self, head: DeformedHead) -> None:
        self._head = head
        self._tissues = head.tissues
        self._index: dict[tuple[int, ...], NDArray[np.intp]] = {}
        rays = np.random.default_rng(0).normal(size=(48, 3))  # fixed directions, no randomness is wanted here
        self._rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def draw_kind(self, rng: np.random.Generator, pial_share: float) -> str:
        """Which kind of place the next bleed gets."""
        region = rng.choice(("lobar", "deep", "infratentorial"), p=region_shares())
        if region == "lobar":
            if rng.random() < pial_share:
                return "pial"
            shares = np.array(list(LOBAR_KINDS.values()))
            return str(rng.choice(list(LOBAR_KINDS), p=shares / shares.sum()))
        if region == "deep":
            return "deep white" if rng.random() < DEEP_WHITE_SHARE else "nuclei"
        return "cerebellum" if rng.random() < CEREBELLUM_SHARE else "brain stem"

    def candidates(self, rng: np.random.Generator, kind: str, number: int) -> NDArray[np.float64]:
        """World points (n, 3) of a kind of place, n <= number; none where the head has no such tissue."""
        tissues: tuple[int, ...] = {
            "junction": (WHITE, CORTEX),
            "subcortical": (WHITE,),
            "deep white": (WHITE,),
            "cortex": (CORTEX,),
            "pial": (CORTEX,),
            "nuclei": DEEP,
            "cerebellum": (CEREBELLAR_WHITE, CEREBELLAR_CORTEX),
            "brain stem": (BRAINSTEM,),
        }[kind]
        among = self._voxels(tissues)
        if not len(among):
            return np.zeros((0, 3))
        flat = among[rng.integers(len(among), size=8 * number)]
        voxels = np.stack(np.unravel_index(flat, self._tissues.shape), axis=1)
        points = self._head.grid.to_world(voxels + rng.uniform(-0.5, 0.5, voxels.shape))
        tissue = self._head.at(self._tissues, points)
        fits = np.isin(tissue, tissues)
        if kind == "junction":
            other = np.where(tissue == WHITE, CORTEX, WHITE)
            fits &= self._near(points, other, JUNCTION_MM)
        elif kind == "subcortical":
            fits &= self._near(points, CORTEX, SUBCORTICAL_MM) & ~self._near(points, CORTEX, JUNCTION_MM)
        elif kind == "deep white":
            fits &= ~self._near(points, CORTEX, SUBCORTICAL_MM)
        elif kind == "pial":
            fits &= self._near(points, CSF, PIAL_MM)
        return points[fits][:number]

    def beside(
        self, rng: np.random.Generator, centre: NDArray[np.float64], apart_mm: float
    ) -> NDArray[np.float64] | None:
        """A place in the brain 3 to 8 mm from another, and far enough for both to be seen as two."""
        low, high = max(PAIR_MM[0], apart_mm), PAIR_MM[1]
        if low >= high:
            return None
        for ray in self._rays[rng.permutation(len(self._rays))]:
            point = centre + rng.uniform(low, high) * ray
            if self._head.at(self._tissues, point[None])[0] in NERVOUS:
                return np.asarray(point)
        return None

    def region(self, centre: NDArray[np.float64]) -> tuple[str, str]:
        """Region and side by the head's map of regions."""
        return REGION_NAMES[int(self._head.at(self._head.regions, centre[None])[0])]

    def _voxels(self, tissues: tuple[int, ...]) -> NDArray[np.intp]:
        if tissues not in self._index:
            self._index[tissues] = np.flatnonzero(np.isin(self._tissues, tissues))
        return self._index[tissues]

    def _near(
        self, points: NDArray[np.float64], tissue: int | NDArray[np.integer], within_mm: float
    ) -> NDArray[np.bool_]:
        """Whether a tissue is met within a distance of each point, along some directions."""
        wanted = np.broadcast_to(tissue, (len(points),))
        found = np.zeros(len(points), bool)
        for distance_mm in np.arange(1.0, within_mm + 0.01, 1.0):
            around = points[:, None] + distance_mm * self._rays
            found |= (self._head.at(self._tissues, around) == wanted[:, None]).any(axis=1)
        return found
