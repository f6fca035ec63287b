"""Changes of values alone: images (batch, channels, x, y, z), about from 0 to 1; one draw per sample."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from shiva_cmb.training.augmentation.draws import Draws, per_sample, where_drawn
from shiva_cmb.training.augmentation.fields import along_axes, blur_matrix, slab_matrix, spline_matrices
from shiva_cmb.training.augmentation.settings import (
    BiasField,
    Blur,
    ChannelLoss,
    Gamma,
    GaussianNoise,
    Inversion,
    Levels,
    RicianNoise,
    SaltPepper,
    ThickSlices,
)


def soften(image: Any, draws: Draws, blur: Blur, slices: ThickSlices, spacing_mm: Sequence[float]) -> Any:
    """Blur and thick slices: one product per axis for both."""
    shape = image.shape[2:]
    blurred, thick = draws.chance(blur.probability), draws.chance(slices.probability)
    sigma_mm = ops.where(blurred, draws.uniform(*blur.sigma_mm), 0.0)
    thickness_mm, start = draws.uniform(*slices.thickness_mm), draws.uniform(0.0, 1.0)
    axis_drawn = ops.floor(draws.uniform(0.0, 3.0))
    interpolated = draws.chance(slices.interpolated_fraction)

    def softened(data: Any) -> Any:
        matrices = []
        for axis, (size, spacing) in enumerate(zip(shape, spacing_mm, strict=True)):
            slabs = slab_matrix(size, thickness_mm / spacing, start, interpolated)
            along = ops.logical_and(thick, ops.equal(axis_drawn, axis))
            slabs = ops.where(along[:, None, None], slabs, ops.eye(size, dtype="float32"))
            matrices.append(ops.matmul(slabs, blur_matrix(size, sigma_mm / spacing)))
        return along_axes(data, matrices)

    return where_drawn(ops.logical_or(blurred, thick), softened, image)


def bias(image: Any, draws: Draws, how: BiasField, spacing_mm: Sequence[float]) -> Any:
    """Multiply with the exponential of a smooth field of mean 0, the same for all channels."""
    splines = spline_matrices(image.shape[2:], spacing_mm, how.smoothness_mm)
    knots = draws.normal(1, *(spline.shape[1] for spline in splines))
    strength = per_sample(draws.uniform(*how.strength))
    drawn = draws.chance(how.probability)

    def shaded(data: Any) -> Any:
        field = along_axes(knots, splines)
        field = field - ops.mean(field, axis=(2, 3, 4), keepdims=True)
        return data * ops.exp(strength * field)

    return where_drawn(drawn, shaded, image)


def add_noise(image: Any, draws: Draws, how: GaussianNoise) -> Any:
    """Gaussian noise, or Rician if the settings are `RicianNoise`."""
    std = per_sample(draws.uniform(*how.std_fraction))
    seeds = draws.seed(), draws.seed()

    def noisy(data: Any) -> Any:
        real = data + std * _normal(data, seeds[0])
        if not isinstance(how, RicianNoise):
            return real
        return ops.sqrt(real**2 + (std * _normal(data, seeds[1])) ** 2)

    return where_drawn(draws.chance(how.probability), noisy, image)


def salt_pepper(image: Any, draws: Draws, how: SaltPepper) -> Any:
    """Set voxels to 0 or 1, each half of them."""
    half = per_sample(draws.uniform(*how.voxel_fraction)) / 2.0
    seed = draws.seed()

    def spotted(data: Any) -> Any:
        chance = _uniform(data, seed)
        return ops.where(chance < half, 0.0, ops.where(chance >= 1.0 - half, 1.0, data))

    return where_drawn(draws.chance(how.probability), spotted, image)


def gamma(image: Any, draws: Draws, how: Gamma) -> Any:
    """A power of the part of the values between 0 and 1."""
    exponent = per_sample(draws.log_uniform(*how.exponent))

    def bent(data: Any) -> Any:
        within = ops.clip(data, 0.0, 1.0)
        return data - within + within**exponent

    return where_drawn(draws.chance(how.probability), bent, image)


def levels(image: Any, draws: Draws, how: Levels) -> Any:
    """Contrast, gain, brightness."""
    contrast, gain, brightness = (
        per_sample(draws.uniform(*ends)) for ends in (how.contrast, how.gain, how.brightness)
    )

    def changed(data: Any) -> Any:
        mean = ops.mean(data, axis=(2, 3, 4), keepdims=True)
        return ((data - mean) * contrast + mean) * gain + brightness

    return where_drawn(draws.chance(how.probability), changed, image)


def invert(image: Any, draws: Draws, how: Inversion) -> Any:
    """1 minus the values."""
    return where_drawn(draws.chance(how.probability), lambda data: 1.0 - data, image)


def lose_channel(image: Any, draws: Draws, how: ChannelLoss) -> Any:
    """Noise instead of one of the channels."""
    channels = image.shape[1]
    if channels < 2:
        return image
    lost = ops.floor(draws.uniform(0.0, float(channels)))
    seed = draws.seed()

    def without(data: Any) -> Any:
        which = ops.equal(lost[:, None], ops.arange(channels, dtype="float32"))
        return ops.where(which[:, :, None, None, None], _uniform(data, seed), data)

    return where_drawn(draws.chance(how.probability), without, image)


def _normal(like: Any, seed: keras.random.SeedGenerator) -> Any:
    return keras.random.normal(ops.shape(like), dtype="float32", seed=seed)


def _uniform(like: Any, seed: keras.random.SeedGenerator) -> Any:
    return keras.random.uniform(ops.shape(like), dtype="float32", seed=seed)
