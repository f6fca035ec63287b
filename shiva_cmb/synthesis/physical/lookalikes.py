"""What is taken for a microbleed, or hides one: calcium, flow voids, perivascular spaces, siderosis."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.head_map import DeformedHead
from shiva_cmb.synthesis.physical.sampling import smooth_noise
from shiva_cmb.synthesis.physical.venous import Country, cheapest_tree, resampled
from shiva_cmb.synthesis.shapes import Ball, Tube


def calcifications(rng: np.random.Generator, head: DeformedHead, density: float) -> list[Ball]:
    """In the choroid plexus, the pineal body, the pallidum, the falx, and rarely elsewhere.

    How often: in CT of adults, pineal 71 %, choroid plexus 66 %, basal ganglia 1 %, falx and tentorium 7 %
    (source: Daghighi 2007, Folia Morphol); basal ganglia 17-21 % (source: Yamada 2013, Geriatr Gerontol Int);
    falx 27 % (source: Ghorbanlou 2022, Anat Cell Biol). Much of it is too small to be seen here. Sizes are
    assumed.
    """
    tissues = head.tissues
    found: list[Ball] = []
    ventricle = np.argwhere(tissues == hm.VENTRICLE)
    if len(ventricle) and rng.random() < 0.6 * density:
        behind = ventricle[ventricle[:, 1] < np.percentile(ventricle[:, 1], 40)]
        for place in _some(rng, behind, 1 + rng.poisson(1.5)):
            found.append(_cluster(rng, head, place, "choroid plexus calcification", (0.5, 1.8)))
    pineal = _pineal_place(head)
    if pineal is not None and rng.random() < 0.6 * density:
        found.append(_cluster(rng, head, pineal, "pineal calcification", (0.8, 2.4)))
    for tissue, kind, chance in (
        (hm.PALLIDUM, "pallidum calcification", 0.22),
        (hm.PUTAMEN, "putamen calcification", 0.06),
    ):
        places = np.argwhere(tissues == tissue)
        if len(places) and rng.random() < chance * density:
            for place in _some(rng, places, 2 + rng.poisson(1.0)):
                found.append(_cluster(rng, head, place, kind, (0.4, 1.4)))
    falx = _falx(head)
    if len(falx) and rng.random() < 0.12 * density:
        found.append(_cluster(rng, head, _some(rng, falx, 1)[0], "falx calcification", (0.8, 2.0)))
    if rng.random() < 0.15 * density:
        inside = np.argwhere(np.isin(tissues, (hm.WHITE, hm.CORTEX, hm.CEREBELLAR_WHITE)))
        found.append(_cluster(rng, head, _some(rng, inside, 1)[0], "parenchymal calcification", (0.5, 1.3)))
    return found


def perivascular_spaces(rng: np.random.Generator, head: DeformedHead, density: float) -> list[Tube]:
    """Straight tubes of fluid in the white matter and beneath the basal ganglia; numbers are assumed.

    Less than 3 mm wide (source: Wardlaw 2013, Lancet Neurol).
    """
    tissues = head.tissues
    tubes = []
    for inside, mean in (((hm.WHITE,), 30), ((hm.PUTAMEN, hm.CAUDATE, hm.PALLIDUM), 12)):
        places = np.argwhere(np.isin(tissues, inside))
        if not len(places):
            continue
        middle = head.grid.to_world(np.argwhere(tissues > 0).mean(axis=0))
        for place in _some(rng, places, rng.poisson(mean * density * rng.uniform(0.2, 1.8))):
            start = head.grid.to_world(place + rng.uniform(-0.5, 0.5, 3))
            way = start - middle if inside == (hm.WHITE,) else np.array([0.0, 0.0, 1.0])
            way = way / max(float(np.linalg.norm(way)), 1e-6) + rng.normal(0, 0.15, 3)
            points = start + np.linspace(0, rng.uniform(2, 9), 6)[:, None] * way
            points[1:] += np.cumsum(rng.normal(0, 0.1, (5, 3)), axis=0)
            radius = rng.uniform(0.25, 0.7) * np.ones(6)
            tubes.append(resampled("perivascular space", points, radius))
    return tubes


def arteries(rng: np.random.Generator, head: DeformedHead, density: float) -> list[Tube]:
    """Branches of the arteries at the skull base through the fluid around the brain."""
    tissues, spacing = head.tissues, head.grid.spacing_mm[0]
    fluid = (tissues == hm.CSF) & head.brain
    roots = np.argwhere((tissues == hm.ARTERY) & ndimage.binary_dilation(fluid))
    places = np.argwhere(fluid)
    if not len(roots) or not len(places):
        return []
    far = np.linalg.norm(places - roots.mean(axis=0), axis=1) * spacing
    places = places[far < 60]
    seeds = _some(rng, places, int(rng.uniform(10, 40) * density))
    cost = np.where(fluid | (tissues == hm.ARTERY), 1.0, np.inf)
    cost = (cost * np.exp(smooth_noise(rng, tissues.shape, 4 / spacing, 0.8))).astype(np.float32)
    return cheapest_tree(rng, Country(head, cost, spacing), roots, seeds, rng.uniform(0.25, 0.4), "artery")


def siderosis(rng: np.random.Generator, head: DeformedHead) -> list[Tube]:
    """Rarely, iron along the wall of a sulcus.

    More often than in life, so that some are seen: 0.2 % of those of 50 to 69 years, 1.4 % later have it
    (source: Pichler 2017, Stroke).
    """
    tissues, spacing = head.tissues, head.grid.spacing_mm[0]
    shore = ndimage.binary_dilation(tissues == hm.CORTEX) & (tissues == hm.CSF) & head.brain
    places = np.argwhere(shore)
    if rng.random() > 0.06 or len(places) < 50:
        return []
    root = _some(rng, places, 1)
    near = places[np.linalg.norm(places - root, axis=1) * spacing < 22]
    cost = np.where(shore, 1.0, np.inf).astype(np.float32)
    seeds = _some(rng, near, 12)
    return cheapest_tree(rng, Country(head, cost, spacing), root, seeds, 0.35, "superficial siderosis")


def _cluster(
    rng: np.random.Generator,
    head: DeformedHead,
    place: NDArray[np.floating],
    kind: str,
    sizes: tuple[float, float],
) -> Ball:
    """One to four grains."""
    count = int(rng.integers(1, 5))
    largest = rng.uniform(*sizes)
    radii = largest * np.r_[1.0, rng.uniform(0.3, 0.9, count - 1)]
    centre = head.grid.to_world(np.asarray(place) + rng.uniform(-0.5, 0.5, 3))
    return Ball(kind, centre + rng.normal(0, 0.8 * largest, (count, 3)), radii)


def _pineal_place(head: DeformedHead) -> NDArray[np.floating] | None:
    """In the middle between the thalami, at their back end."""
    thalamus = np.argwhere(head.tissues == hm.THALAMUS)
    if not len(thalamus):
        return None
    spacing = head.grid.spacing_mm[0]
    back = np.percentile(thalamus[:, 1], 2) - 3 / spacing
    return np.array([thalamus[:, 0].mean(), back, np.percentile(thalamus[:, 2], 40)])


def _falx(head: DeformedHead) -> NDArray[np.intp]:
    """Fluid in the middle plane above the thalami."""
    thalamus = np.argwhere(head.tissues == hm.THALAMUS)
    if not len(thalamus):
        return thalamus
    fluid = np.argwhere((head.tissues == hm.CSF) & head.brain)
    off = np.abs(fluid[:, 0] - thalamus[:, 0].mean()) * head.grid.spacing_mm[0]
    return fluid[(off < 2) & (fluid[:, 2] > thalamus[:, 2].max() + 15 / head.grid.spacing_mm[0])]


def _some(rng: np.random.Generator, places: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    count = min(count, len(places))
    return places[rng.choice(len(places), count, replace=False)] if count else places[:0]
