"""Images of random contrast, resolution and field of view, with their coarse regions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.anatomy.window import SPACING_MM, scaled
from shiva_cmb.imaging.interpolation import apply_along_axes, interpolation_matrix
from shiva_cmb.synthesis.head_map import ARTERY
from shiva_cmb.training.anatomy.contrast import N_TISSUES, any_contrast, physical_contrast
from shiva_cmb.training.anatomy.settings import RandomHeadSettings
from shiva_cmb.training.anatomy.shape import CodedHead, PlacedHead, placed, smooth_field

Array = NDArray[np.float32]


def draw_image(
    rng: np.random.Generator,
    head: CodedHead,
    window: tuple[int, int, int],
    settings: RandomHeadSettings,
) -> tuple[Array, NDArray[np.uint8]]:
    """One image for training.

    Args:
        rng: where everything comes from.
        head: whose head.
        window: voxels of 2 mm.
        settings: how images are drawn.

    Returns:
        The image, from 0 to 1, shape of the window; its coarse regions, 0 outside of the field of view.
    """
    place = placed(rng, head, window, settings)
    image = _painted(rng, place, settings)
    brain = place.regions > 0
    level = float(image[brain].mean()) if brain.any() else 1.0
    _spots(rng, image, place)
    image *= np.exp(smooth_field(rng, window, rng.uniform(50, 110), rng.uniform(0, 0.35)))
    _lose_signal(rng, image, place.near_air)
    inside = place.inside & _field_of_view(rng, brain, settings)
    if rng.random() < settings.stripped_share:
        inside_skull = _roughly(rng, brain)
        image[~inside_skull] = 0
        inside_target = inside_skull
    else:
        inside_target = inside
    image = _acquired(rng, image, level, settings)
    if inside_target is not inside and rng.random() < 0.7:  # stripped after the scan: zeros without noise
        image[~inside_target] = 0
    image = scaled(image, inside)
    image **= np.float32(np.exp(rng.normal(0, 0.25)))
    regions = np.where(inside & inside_target, place.regions, 0).astype(np.uint8)
    return np.where(inside, image, 0).astype(np.float32), regions


def _painted(rng: np.random.Generator, place: PlacedHead, settings: RandomHeadSettings) -> Array:
    """Brightness of the tissues; outside of the brain each has two, in patches."""
    contrast: Callable[[np.random.Generator], Array] = (
        physical_contrast if rng.random() < settings.physical_share else any_contrast
    )
    first, second = contrast(rng), contrast(rng)
    second[:ARTERY] = first[:ARTERY]
    shape = place.regions.shape
    patches = smooth_field(rng, shape, rng.uniform(12, 40), 1.0) > rng.uniform(-1, 1)
    both = np.concatenate([first, second])
    code = patches.astype(np.uint8) * np.uint8(N_TISSUES)
    image = np.zeros(shape, np.float32)
    for codes in place.codes:
        image += both[codes + code]
    image /= len(place.codes)
    texture = rng.uniform(0, 0.12)
    image *= 1 + np.float32(texture) * ndimage.gaussian_filter(
        rng.standard_normal(shape, np.float32), rng.uniform(0.4, 1.2), truncate=2
    )
    image *= 1 + smooth_field(rng, shape, 16, rng.uniform(0, 0.08))
    return np.asarray(image)


def _spots(rng: np.random.Generator, image: Array, place: PlacedHead) -> None:
    """Dark dots like bleeds and vessels, and a few large ones, dark or bright, within the brain."""
    voxels = np.flatnonzero(place.regions)
    if not voxels.size:
        return
    spots = [(rng.uniform(0.5, 2.0), rng.uniform(-1, -0.2)) for _ in range(int(rng.integers(0, 40)))]
    if rng.random() < 0.3:
        spots += [(rng.uniform(3, 9), rng.uniform(-0.9, 0.6)) for _ in range(int(rng.integers(1, 4)))]
    for radius, strength in spots:
        middle = np.array(np.unravel_index(int(rng.choice(voxels)), image.shape), float)
        _blob(image, middle, radius * rng.uniform(0.6, 1.5, 3), strength)


def _lose_signal(rng: np.random.Generator, image: Array, near_air: Array) -> None:
    """Smooth holes where brain meets air, as fields that change fast make them."""
    if not len(near_air):
        return
    for _ in range(int(rng.integers(0, 6))):
        middle = near_air[int(rng.integers(len(near_air)))] + rng.normal(0, 2, 3)
        _blob(image, middle, rng.uniform(2, 7) * rng.uniform(0.6, 1.6, 3), -rng.uniform(0.4, 1.0))


def _blob(image: Array, middle: NDArray[np.floating], radii: NDArray[np.floating], strength: float) -> None:
    """Multiply by a smooth blob, 1 + strength at its middle; radii in voxels."""
    box, distance = [], np.zeros((1, 1, 1), np.float32)
    for axis, (m, r, n) in enumerate(zip(middle, radii, image.shape, strict=True)):
        first, last = max(int(m - 2.2 * r), 0), min(int(m + 2.2 * r) + 2, n)
        if last <= first:
            return
        box.append(slice(first, last))
        away = ((np.arange(first, last) - m) / r).astype(np.float32) ** 2
        distance = distance + np.expand_dims(away, [a for a in range(3) if a != axis])
    image[tuple(box)] *= 1 + np.float32(strength) * np.exp(-0.7 * distance**1.5)


def _field_of_view(
    rng: np.random.Generator, brain: NDArray[np.bool_], settings: RandomHeadSettings
) -> NDArray[np.bool_]:
    """A box; sometimes it cuts the brain: from below most often, or a slab is left."""
    inside = np.ones(brain.shape, bool)
    if rng.random() >= settings.cut_share:
        return inside
    for axis, share in enumerate((0.15, 0.3, 0.85)):
        filled = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        if rng.random() > share or not filled.size:
            continue
        first, last = int(filled[0]), int(filled[-1])
        size = last - first
        low = first + int(size * (rng.uniform(-0.3, 0.08) if axis < 2 else rng.uniform(-0.3, 0.3)))
        high = last - int(size * (rng.uniform(-0.3, 0.08) if axis < 2 else rng.uniform(-0.3, 0.2)))
        index = np.arange(brain.shape[axis])
        keep = (index >= low) & (index <= high)
        inside &= np.expand_dims(keep, [a for a in range(3) if a != axis])
    return inside


def _roughly(rng: np.random.Generator, brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A brain mask as tools make them: a little too large here, too small there."""
    soft = ndimage.gaussian_filter(brain.astype(np.float32), rng.uniform(0.7, 1.5), truncate=2.5)
    return np.asarray(soft > 0.5 + rng.uniform(-0.3, 0.15) + smooth_field(rng, brain.shape, 24, 0.12))


def _acquired(rng: np.random.Generator, image: Array, level: float, settings: RandomHeadSettings) -> Array:
    """Blurred, noisy, and in slices that may be thick."""
    blur = rng.uniform(0, 0.7)
    if blur > 0.2:
        image = ndimage.gaussian_filter(image, blur, truncate=2.5)
    noise = level * rng.uniform(0, 0.15)
    real = image + np.float32(noise) * rng.standard_normal(image.shape, np.float32)
    other = np.float32(noise) * rng.standard_normal(image.shape, np.float32)
    magnitude = np.sqrt(real**2 + other**2)
    if rng.random() < settings.thick_share:
        axis = int(rng.choice(3, p=(0.15, 0.15, 0.7)))
        matrices: list[Array | None] = [None, None, None]
        matrices[axis] = _slices(rng, image.shape[axis], rng.uniform(*settings.slice_mm) / SPACING_MM)
        magnitude = apply_along_axes(magnitude, matrices)
    return np.asarray(magnitude)


def _slices(rng: np.random.Generator, n: int, thickness: float) -> Array:
    """Averages over slices `thickness` voxels thick, interpolated back: shape (n, n)."""
    count = max(int(np.ceil(n / thickness)), 2)
    start = rng.uniform(-0.5, 0.5) * thickness
    middles = start + thickness * np.arange(count)
    distance = np.abs(np.arange(n)[None] - middles[:, None])
    profile = np.clip((thickness + 1) / 2 - distance, 0, 1) + 1e-6 * np.exp(-distance)
    average = (profile / profile.sum(axis=1, keepdims=True)).astype(np.float32)
    back = interpolation_matrix(count, np.asarray((np.arange(n) - start) / thickness, np.float64), 1, "edge")
    return np.asarray(back @ average)
