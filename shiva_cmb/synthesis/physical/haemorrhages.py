"""Microbleeds: where they lie, what shape their core has, and what it does to field and signal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.head_map import DeformedHead
from shiva_cmb.synthesis.physical.dipoles import dipole_field
from shiva_cmb.synthesis.physical.frame import Frame
from shiva_cmb.synthesis.physical.settings import PhysicalSettings

REGION_SHARES = {"lobar": 0.74, "deep": 0.14, "infratentorial": 0.12}
"""Source: pooled over five datasets, 957 microbleeds (RODEJA, MOMENI, VALDO, DOU, CRB)."""
SINGLE_SHARE = 0.48
"""Share of scans with bleeds that have one; the same source: 0.22 to 0.60, median count 1 to 4."""
CORE_MEDIAN_MM = 1.5
CORE_SPREAD = 0.36
"""Of the core's diameter, log-normal. Aims at a visible diameter with a median of about 2.7 mm and 5-95 %
of 1.8-5 mm; source of these: the same datasets (VALDO 2.0-2.7-4.9, RODEJA 1.2-2.3-4.6, CRB 2.6-3.3-5.7)."""
CORE_RANGE_MM = (0.6, 4.0)
CHI_MEDIAN_PPM = 0.85
CHI_SPREAD = 0.45
"""Of the core's mean susceptibility, log-normal; assumed. Only its product with the volume is measured well
(source: Liu 2012, Radiology 262:269); the mean depends on the voxels (source: Naji 2024, NMR Biomed)."""
CHI_RANGE_PPM = (0.3, 3.0)
PATCH = 56
"""Fine voxels of the box in which a bleed's field is computed; beyond, it is below 0.5 % of its largest."""
PAIR_SHARE = 0.06
APART_MM = 7.0


@dataclass(frozen=True, eq=False)
class Lump:
    """An ellipsoid with a rough surface."""

    offset_mm: NDArray[np.float64]
    """Of its centre from the bleed's, along the axes of the frame."""
    radii_mm: NDArray[np.float64]
    """Along its own axes."""
    turn: NDArray[np.float64]
    """Rotation from the frame's axes to its own, 3 x 3."""
    waves: NDArray[np.float64]
    """Roughness: rows of direction (3), phase, amplitude as a share of the radius."""


@dataclass(frozen=True, eq=False)
class Haemorrhage:
    """One microbleed."""

    centre_mm: NDArray[np.float64]
    """World millimetres."""
    lumps: tuple[Lump, ...]
    """One, or two for a pair."""
    core_diameter_mm: float
    """Of the ball with the largest lump's volume."""
    chi_ppm: float
    """Mean susceptibility of the core."""
    density: float
    """What water is left in the core, as a share of the tissue around."""

    @property
    def extent_mm(self) -> float:
        """Radius about its place within which its core lies."""
        return max(float(np.linalg.norm(lump.offset_mm) + lump.radii_mm.max()) for lump in self.lumps)


def draw_count(rng: np.random.Generator, settings: PhysicalSettings) -> int:
    """How many bleeds a scan has."""
    if rng.random() < settings.lesion_free_share:
        return 0
    drawn = 1 if rng.random() < SINGLE_SHARE else 2 + int(rng.pareto(1.1) * 1.3)
    return min(max(drawn, settings.fewest_bleeds), settings.most_bleeds)


def draw_bleeds(rng: np.random.Generator, frame: Frame, count: int) -> list[Haemorrhage]:
    """Bleeds at places as the prior has them, at least `APART_MM` apart; fewer where there is no room."""
    head = frame.head
    inside = np.zeros(head.labels.shape, bool)
    margin = max(1, round(6 / frame.coarse_mm))
    z0, z1 = frame.box[2].start + margin, frame.box[2].stop - margin
    inside[:, :, max(z0, 0) : max(z1, 0)] = True
    weights = _weights(head)
    found: list[Haemorrhage] = []
    choices = {name: np.flatnonzero(weight * inside) for name, weight in weights.items()}
    for _ in range(count):
        for _attempt in range(30):
            region = str(rng.choice(list(REGION_SHARES), p=list(REGION_SHARES.values())))
            if not len(choices[region]):
                continue
            share = weights[region].ravel()[choices[region]]
            chosen = choices[region][np.searchsorted(np.cumsum(share), rng.random() * share.sum())]
            voxel = np.array(np.unravel_index(chosen, head.labels.shape)) + rng.uniform(-0.5, 0.5, 3)
            centre = head.grid.to_world(voxel)
            if all(np.linalg.norm(centre - other.centre_mm) > APART_MM for other in found):
                found.append(_shape(rng, centre))
                break
    return found


def core_share(bleed: Haemorrhage, first: NDArray[np.intp], frame: Frame) -> NDArray[np.float32]:
    """How much of each voxel of a patch the core fills: shape (PATCH,) * 3, its corner at `first`."""
    step = frame.fine_mm
    centre = (frame.fine_grid.to_voxel(bleed.centre_mm) - first) * step
    reach = max(np.linalg.norm(lump.offset_mm) + 1.5 * lump.radii_mm.max() for lump in bleed.lumps) + step
    low = np.maximum(np.floor((centre - reach) / step).astype(int), 0)
    high = np.minimum(np.ceil((centre + reach) / step).astype(int) + 1, PATCH)
    parts = (-1 / 3, 0.0, 1 / 3)
    axes = [np.add.outer(np.arange(a, b), parts).ravel() * step for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - centre
    filled = np.zeros(places.shape[:3], bool)
    for lump in bleed.lumps:
        own = (places - lump.offset_mm) @ lump.turn.T / lump.radii_mm
        distance = np.linalg.norm(own, axis=-1)
        way = own / np.maximum(distance, 1e-6)[..., None]
        surface = 1 + sum(w[4] * np.sin(way @ w[:3] + w[3]) for w in lump.waves)
        filled |= distance < surface
    nx, ny, nz = (high - low).tolist()
    share = np.zeros((PATCH,) * 3, np.float32)
    share[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = filled.reshape(
        nx, 3, ny, 3, nz, 3
    ).mean(axis=(1, 3, 5))
    return share


def core_field(bleed: Haemorrhage, share: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Field in ppm that the core of a patch makes."""
    return dipole_field(share * np.float32(bleed.chi_ppm), frame.direction, margin=PATCH // 2)


def _shape(rng: np.random.Generator, centre_mm: NDArray[np.float64]) -> Haemorrhage:
    diameter = float(np.clip(CORE_MEDIAN_MM * rng.lognormal(0, CORE_SPREAD), *CORE_RANGE_MM))
    lumps = [_lump(rng, diameter / 2, np.zeros(3))]
    if rng.random() < PAIR_SHARE:
        smaller = diameter / 2 * rng.uniform(0.5, 0.95)
        way = rng.standard_normal(3)
        way *= (diameter / 2 + smaller) * rng.uniform(0.8, 1.5) / np.linalg.norm(way)
        lumps.append(_lump(rng, smaller, way))
    chi = float(np.clip(CHI_MEDIAN_PPM * rng.lognormal(0, CHI_SPREAD), *CHI_RANGE_PPM))
    return Haemorrhage(centre_mm, tuple(lumps), diameter, chi, float(rng.uniform(0.6, 0.95)))


def _lump(rng: np.random.Generator, radius: float, offset: NDArray[np.float64]) -> Lump:
    stretch = rng.lognormal(0, rng.choice([0.05, 0.15, 0.3]), 3)
    stretch /= np.cbrt(stretch.prod())
    rough = rng.choice([0.0, 0.08, 0.16])
    waves = np.concatenate(
        [rng.normal(0, 3.0, (5, 3)), rng.uniform(0, 2 * np.pi, (5, 1)), rng.normal(0, rough, (5, 1))], axis=1
    )
    turn = Rotation.random(random_state=np.random.RandomState(rng.integers(2**31))).as_matrix()
    return Lump(offset, radius * stretch, turn, waves)


def _weights(head: DeformedHead) -> dict[str, NDArray[np.float32]]:
    """How likely each voxel is, by region; lobar bleeds prefer the border of cortex and white matter."""
    tissues, regions = head.tissues, head.regions
    cortex = tissues == hm.CORTEX
    white = (tissues == hm.WHITE) & np.isin(regions, (1, 2))
    spacing = head.grid.spacing_mm[0]
    border = ndimage.binary_dilation(cortex, iterations=max(1, round(2 / spacing))) & white
    lobar = cortex * np.float32(1.0) + white * np.float32(0.5) + border * np.float32(1.0)
    return {
        "lobar": lobar.astype(np.float32),
        "deep": np.isin(regions, (3, 4)).astype(np.float32),
        "infratentorial": (regions == 5).astype(np.float32),
    }
