"""Which part of which case the network sees next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.lesion_set import LesionSet
from shiva_cmb.training.sampling.hard_negatives import NO_HARD_NEGATIVES, HardNegatives
from shiva_cmb.training.sampling.settings import SamplingSettings, Shape

MARGIN = 0.125
"""Lesions lie at least this fraction of the patch's width from its border where there is room for it."""
LESION_FREE_TRIES = 20
"""After so many draws a patch may hold a lesion although none was wanted: the case may be full of them."""
EXTRA_PLANES = 2
"""Brain mask and label, which lie behind the image channels in what `cut_patches` gives."""
SMALLEST_SIZE_GROUP = 5
"""Fewer lesions of one size are joined with smaller ones, so that no giant fills a share of the patches."""
MAX_VALIDATION_PATCHES = 128
"""Half of them around lesions: enough for a steady loss, and checked in seconds."""


class Place(NamedTuple):
    """A patch of a case."""

    case: int
    """Index of the case."""
    corner: Shape
    """Its first voxel."""


@dataclass(frozen=True, eq=False)
class _Pool:
    """Cases to draw patches from that need no lesion."""

    cases: NDArray[np.intp]
    hard: NDArray[np.intp]
    """Which false positives lie in these cases."""
    hard_shares: NDArray[np.float64]
    """Cumulative chance of each."""


class Sampler:
    """Draws patches as the settings say; all chance comes from the generator it is given."""

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        settings: SamplingSettings,
        patch: Shape,
        hard_negatives: HardNegatives | None = None,
    ) -> None:
        """Look at all lesions once.

        Args:
            cases: all on grids of one shape.
            settings: see `SamplingSettings`.
            patch: size of the patches, at most the grid's.
            hard_negatives: false positives of `cases`, if they are used.

        Raises:
            UsageError: if a patch is larger than the grid, or the grids differ.
        """
        self._grid = _common_grid(cases, patch)
        self._cases, self._settings, self._patch = cases, settings, np.array(patch)
        self._hard = hard_negatives if hard_negatives is not None else NO_HARD_NEGATIVES
        counts = np.array([len(case.lesions) for case in cases], np.intp)
        self._owner = np.repeat(np.arange(len(cases)), counts)
        boxes = [_boxes(case.lesions) for case in cases]
        self._low = np.concatenate([low for low, _ in boxes])
        self._high = np.concatenate([high for _, high in boxes])
        self._centre = np.concatenate([case.centres for case in cases])
        sizes = np.concatenate([case.lesions.sizes for case in cases])
        self._shares = _cumulative(lesion_weights(sizes, self._owner, settings))
        self._everywhere = self._pool(np.arange(len(cases)))
        self._with = self._pool(np.flatnonzero(counts))
        self._without = self._pool(np.flatnonzero(counts == 0))

    def draw(self, rng: np.random.Generator) -> Place:
        """The next patch."""
        if rng.random() < self._settings.lesion_fraction and len(self._owner):
            return self.around(rng, int(np.searchsorted(self._shares, rng.random(), side="right")))
        return self.elsewhere(rng)

    def around(self, rng: np.random.Generator, lesion: int) -> Place:
        """A patch around one of the lesions, numbered over all cases."""
        place = self._centred if self._settings.placement == "centred" else self._holding
        corner = place(rng, self._low[lesion], self._high[lesion], self._centre[lesion])
        return self._place(int(self._owner[lesion]), corner)

    def elsewhere(self, rng: np.random.Generator) -> Place:
        """A patch that needs no lesion."""
        pool = self._choose_pool(rng)
        is_hard = len(pool.hard) > 0 and rng.random() < self._settings.hard_negative_fraction
        draw = self._around_false_positive if is_hard else self._in_brain
        place = draw(rng, pool)
        if self._settings.negatives == "lesion_free":
            # Of the same pool and kind, or these would be seen less often than was asked for.
            for _ in range(LESION_FREE_TRIES):
                if not self._has_lesion(place):
                    break
                place = draw(rng, pool)
        return place

    @property
    def n_lesions(self) -> int:
        """Of all cases."""
        return len(self._owner)

    def _around_false_positive(self, rng: np.random.Generator, pool: _Pool) -> Place:
        number = pool.hard[np.searchsorted(pool.hard_shares, rng.random(), side="right")]
        voxel = self._hard.voxel[number]
        return self._place(int(self._hard.case[number]), self._holding(rng, voxel, voxel, voxel))

    def _in_brain(self, rng: np.random.Generator, pool: _Pool) -> Place:
        case = int(rng.choice(pool.cases))
        first, last = self._cases[case].brain_box
        return self._place(case, rng.integers(first, last + 1) - self._patch // 2)

    def _choose_pool(self, rng: np.random.Generator) -> _Pool:
        share, lesions = self._settings.lesion_case_fraction, self._settings.lesion_fraction
        if share is None or not len(self._with.cases) or not len(self._without.cases):
            return self._everywhere
        rest = (share - lesions) / (1 - lesions) if lesions < 1 else 1.0
        return self._with if rng.random() < rest else self._without

    def _pool(self, cases: NDArray[np.intp]) -> _Pool:
        hard = np.flatnonzero(np.isin(self._hard.case, cases))
        return _Pool(cases, hard, _cumulative(self._hard.peak[hard]))

    def _holding(
        self,
        rng: np.random.Generator,
        low: NDArray[np.intp],
        high: NDArray[np.intp],
        centre: NDArray[np.intp],
    ) -> NDArray[np.intp]:
        """Anywhere with the whole lesion inside; along an axis on which it is too long, with its centre."""
        low, high = self._to_hold(low, high, centre)
        margin = np.minimum((MARGIN * self._patch).astype(np.intp), (self._patch - (high - low + 1)) // 2)
        first, last = (
            np.clip(edge, 0, self._grid - self._patch)
            for edge in (high + 1 + margin - self._patch, low - margin)
        )
        return rng.integers(first, last + 1)

    def _centred(
        self,
        rng: np.random.Generator,
        low: NDArray[np.intp],
        high: NDArray[np.intp],
        centre: NDArray[np.intp],
    ) -> NDArray[np.intp]:
        """Like `_holding`, but near the middle."""
        low, high = self._to_hold(low, high, centre)
        middle, most = centre - self._patch // 2, self._settings.jitter_voxels
        first, last = (np.clip(edge, high + 1 - self._patch, low) for edge in (middle - most, middle + most))
        return rng.integers(first, last + 1)

    def _to_hold(
        self, low: NDArray[np.intp], high: NDArray[np.intp], centre: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """What has to be in the patch: the whole lesion; its centre along an axis on which it is too long."""
        fits = high - low < self._patch
        return np.where(fits, low, centre), np.where(fits, high, centre)

    def _place(self, case: int, corner: NDArray[np.intp]) -> Place:
        x, y, z = (int(edge) for edge in np.clip(corner, 0, self._grid - self._patch))
        return Place(case, (x, y, z))

    def _has_lesion(self, place: Place) -> bool:
        voxels = self._cases[place.case].lesions.places - np.array(place.corner)
        return bool(((voxels >= 0) & (voxels < self._patch)).all(axis=1).any())


def lesion_weights(
    sizes: NDArray[np.intp], owner: NDArray[np.intp], settings: SamplingSettings
) -> NDArray[np.float64]:
    """How often each lesion is to be drawn, up to a common factor.

    Args:
        sizes: voxels of the lesions of all cases, shape (lesions,).
        owner: index of the case of each, shape (lesions,).
        settings: `lesion_choice` and `case_choice` count.
    """
    within = sizes.astype(np.float64) if settings.lesion_choice == "voxel" else np.ones(len(sizes))
    weights = within / np.bincount(owner, within)[owner] if len(sizes) else within
    if settings.case_choice == "lesion" and len(sizes):
        weights = weights * np.bincount(owner)[owner]
    if settings.lesion_choice == "size" and len(sizes):
        group = size_groups(sizes)
        weights = weights / np.bincount(group, weights)[group]
    return weights


def size_groups(sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    """The group of each lesion: sizes double from one to the next; thinly filled ones join the next smaller.

    Args:
        sizes: voxels of each, at least 1, shape (lesions,).
    """
    doubling = np.floor(np.log2(sizes)).astype(np.intp)
    counts = np.bincount(doubling)
    target = np.arange(len(counts))
    for number in range(len(counts) - 1, 0, -1):
        if counts[number] < SMALLEST_SIZE_GROUP:
            counts[number - 1] += counts[number]
            target[target == number] = number - 1
    return np.unique(target[doubling], return_inverse=True)[1]


def validation_patches(
    cases: Sequence[PreparedCase], settings: SamplingSettings, patch: Shape, rng: np.random.Generator
) -> tuple[Place, ...]:
    """Patches to check a network on: around every lesion (or a random choice) and as many others.

    Whole volumes, if the patch is that large. Their number is a multiple of the batch size, so that batches
    have one shape: the last one is filled up by further patches elsewhere, or the first volumes once more.
    """
    batch = settings.batch_size
    if patch == cases[0].shape:
        number = -(-len(cases) // batch) * batch
        return tuple(Place(index % len(cases), (0, 0, 0)) for index in range(number))
    sampler = Sampler(cases, SamplingSettings(), patch)
    chosen = rng.permutation(sampler.n_lesions)[: MAX_VALIDATION_PATCHES // 2]
    around = [sampler.around(rng, int(lesion)) for lesion in chosen]
    total = -(-(len(around) + max(len(around), 8)) // batch) * batch
    return (*around, *(sampler.elsewhere(rng) for _ in range(total - len(around))))


def cut_patches(cases: Sequence[PreparedCase], places: Sequence[Place], patch: Shape) -> NDArray[np.float32]:
    """Images, then the brain mask, then the label: shape (places, x, y, z, channels + 2)."""
    stack = np.empty((len(places), *patch, cases[0].image.shape[3] + EXTRA_PLANES), np.float32)
    for row, place in zip(stack, places, strict=True):
        box = tuple(slice(start, start + size) for start, size in zip(place.corner, patch, strict=True))
        row[..., :-EXTRA_PLANES] = cases[place.case].image[box]
        row[..., -2] = cases[place.case].brain[box]
        row[..., -1] = cases[place.case].label[box]
    return stack


def _boxes(lesions: LesionSet) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last voxel of each lesion along each axis, both (lesions, 3)."""
    if not len(lesions):
        return np.zeros((0, 3), np.intp), np.zeros((0, 3), np.intp)
    places, starts = lesions.places, lesions.starts[:-1]
    return np.minimum.reduceat(places, starts), np.maximum.reduceat(places, starts)


def _common_grid(cases: Sequence[PreparedCase], patch: Shape) -> NDArray[np.intp]:
    shapes = {case.shape for case in cases}
    if len(shapes) != 1:
        raise UsageError(f"expected cases on one grid, got {sorted(shapes)}")
    shape = shapes.pop()
    if any(size > grid for size, grid in zip(patch, shape, strict=True)):
        raise UsageError(f"patch: expected at most the grid {shape}, got {patch}")
    return np.array(shape)


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper ends of each one's share of [0, 1); a number below 1 lies below the last one."""
    shares = np.cumsum(weights)
    if len(shares):
        shares /= shares[-1]
    return shares
