"""Bleeds put into patches of images in training, a batch at a time, as a Keras layer.

The model is that of `blooming` and `implant`: a ball's dipole field averaged over each voxel, the decay in
its core, and for SWI the phase mask of what a filter leaves of its phase.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from shiva_cmb.synthesis.bleeds.blooming import FADING
from shiva_cmb.synthesis.bleeds.draw import BleedSettings, core_diameter_mm
from shiva_cmb.synthesis.bleeds.implant import PHASE_FILTER_MM, PHASE_POWER
from shiva_cmb.synthesis.layers.patch_truth import free_places, marks, noise_of
from shiva_cmb.synthesis.layers.scanner import along, phase_mask, sinc
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.visible import BLEED, IGNORED, NOTHING

STEP_MM = 1 / 3
"""Longest step between the points of a voxel whose signals are averaged near a bleed; elsewhere one does."""
NEAR_MM = 1.0
"""Near: so far beyond the radius that equals its visible diameter."""
FAR_MM = 5.0
"""What it changes ends so far beyond."""
PLACES = 16
"""Tried for each bleed; if none is in the brain, clear of bleeds and not dark, there is none."""
TILT = 0.2
"""Of the main field against the third axis, standard deviation along each of the others."""
FAINTEST = 1e-6
"""Least that is left of a signal, for its logarithm."""

Uniform = Callable[..., Any]
"""Draws evenly between two numbers: `uniform(low, high, *shape)` is float32 (batch, *shape)."""


@dataclass(frozen=True)
class PatchBleeds:
    """Which bleeds a patch gets."""

    bleeds: tuple[int, int]
    """Fewest and most."""
    diameter_mm: tuple[float, float]
    """Smallest and largest visible diameter at 3 T and 20 ms, on a log scale."""
    echo_t_ms: tuple[float, float]
    """Echo time by field, evenly: 60 T ms are 3 T and 20 ms."""
    swi_share: float
    """Patches whose bleeds are those of SWI, with its phase mask; the others' are those of magnitudes."""


class Numbers(NamedTuple):
    """What is random about the bleeds of a batch: (batch, ...), n bleeds in each sample."""

    used: Any
    """Which of them there are, bool (batch, n)."""
    radius_mm: Any
    """Of their cores (batch, n)."""
    surface_rad: Any
    """Phase on a core's equator, with the other sign (batch, n)."""
    core_signal: Any
    """Left of the signal inside of it (batch, n)."""
    b0: Any
    """Direction of the main field (batch, 3)."""
    power: Any
    """How often the phase mask is multiplied, 0 without one (batch,)."""
    places: Any
    """From 0 to 1 along each axis: where they may be (batch, n, PLACES, 3)."""
    within: Any
    """Their middle within the voxel, from -0.5 to 0.5 (batch, n, 3)."""
    noise: Any
    """Of standard deviation 1, in both parts, around each (batch, n, 2, *window)."""


class Implanter:
    """Bleeds for patches of one voxel size.

    Args:
        how: which bleeds.
        spacing_mm: voxel size; the main field is about along the third axis, across which slices lie.
    """

    def __init__(self, how: PatchBleeds, spacing_mm: Sequence[float]) -> None:
        self._how, self._spacing_mm = how, tuple(spacing_mm)
        radius_mm = how.diameter_mm[1] / 2.0
        self._reach_mm = radius_mm + FAR_MM
        self._half, self._near = (
            [math.ceil((radius_mm + beyond) / step) for step in spacing_mm] for beyond in (FAR_MM, NEAR_MM)
        )
        self._parts = [math.ceil(step / STEP_MM) for step in spacing_mm]
        self.window = tuple(2 * half + 1 for half in self._half)

    def draw(self, uniform: Uniform) -> Numbers:
        """All that is random, for one batch."""
        how, of_all = self._how, BleedSettings()
        fewest, most = how.bleeds
        chi_ppm = _log_uniform(uniform, *of_all.bleed_susceptibility_ppm, most)
        decay = _log_uniform(uniform, *of_all.bleed_core_decay, most)
        diameter_mm = _log_uniform(uniform, *how.diameter_mm, most)
        echo_t_s = uniform(*how.echo_t_ms) / 1000.0
        field_t = ops.where(uniform(0.0, 1.0) < 0.5, 1.5, 3.0)
        count = ops.floor(uniform(float(fewest), most + 1.0))
        tilt = _normal(uniform, 1)
        b0 = ops.stack([TILT * tilt[:, 0, 0], TILT * tilt[:, 1, 0], ops.ones_like(count)], axis=1)
        return Numbers(
            used=np.arange(most) < count[:, None],
            radius_mm=core_radius_mm(diameter_mm, chi_ppm),
            surface_rad=radians_per_ppm(1.0, 1.0) / 3.0 * chi_ppm * echo_t_s[:, None],
            core_signal=ops.exp(-decay * (echo_t_s / field_t)[:, None]),
            b0=b0 / ops.norm(b0, axis=1, keepdims=True),
            power=ops.where(uniform(0.0, 1.0) < how.swi_share, float(PHASE_POWER), 0.0),
            places=uniform(0.0, 1.0, most, PLACES, 3),
            within=uniform(-0.5, 0.5, most, 3),
            noise=ops.moveaxis(_normal(uniform, most, *self.window), 1, 2),
        )

    def __call__(self, image: Any, brain: Any, label: Any, numbers: Numbers) -> tuple[Any, Any]:
        """Darken the image where the bleeds are, and label them.

        Voids are filled with noise as strong as the image's. A voxel is a bleed's where that takes more than
        `LOSS` of its signal; bleeds that nobody could see are to be ignored, as in `visible`.

        Args:
            image: (batch, x, y, z), 0 where there is no signal.
            brain: its mask, the same shape; bleeds lie and are labelled within.
            label: 0, 1 in bleeds, 2 where nobody knows; the same shape. What is labelled stays so.
            numbers: of `draw`.

        Returns:
            Image and label.
        """
        voxels, found, level = free_places(image, brain, label, numbers.places)
        used = ops.logical_and(numbers.used, found)
        real, imaginary = self.factors(numbers)
        size = ops.maximum(ops.sqrt(real**2 + imaginary**2), FAINTEST)
        phase = self._kept_phase(real, imaginary)
        power = ops.reshape(numbers.power, (-1, 1, 1, 1))

        sigma = noise_of(image, brain)
        own = 1.0 - size * phase_mask(phase) ** power[:, None]
        seen, faint = marks(own, level / ops.maximum(sigma, 1e-6)[:, None])
        filling = ops.sqrt(ops.clip(1.0 - (1.0 - own) ** 2, 0.0, 1.0))[:, :, None] * numbers.noise
        planes = ops.stack([-ops.log(size), phase, filling[:, :, 0], filling[:, :, 1], seen, faint], axis=2)
        planes = ops.where(ops.reshape(used, (-1, self._how.bleeds[1], 1, 1, 1, 1)), planes, 0.0)
        placed = self._placed(planes, voxels, image.shape[1:])

        lost, turned = placed[:, 0], placed[:, 1]
        turned = turned - 2 * math.pi * ops.round(turned / (2 * math.pi))
        left = ops.exp(-lost) * phase_mask(turned) ** power
        noise = placed[:, 2:4] * sigma[:, None, None, None, None]
        changed = ops.sqrt((image * left + noise[:, 0]) ** 2 + noise[:, 1] ** 2)
        new = ops.where(placed[:, 4] > 0.5, BLEED, ops.where(placed[:, 5] > 0.5, IGNORED, NOTHING))
        free = ops.logical_and(ops.equal(label, NOTHING), brain > 0.5)
        # where there is no signal, as outside of a stripped brain, none is lost and no noise belongs
        changed = ops.where(ops.logical_and(left < 1.0, image > 0.0), changed, image)
        return changed, ops.where(free, ops.cast(new, label.dtype), label)

    def factors(self, numbers: Numbers) -> tuple[Any, Any]:
        """What each bleed does to the signal around it: real and imaginary part, (batch, n, *window)."""
        wide = self._means(numbers, self._half, (1, 1, 1))
        fine = self._means(numbers, self._near, self._parts)
        edges = [half - near for half, near in zip(self._half, self._near, strict=True)]
        padding = [(0, 0), (0, 0), *((edge, edge) for edge in edges)]
        near = np.pad(
            np.ones([size - 2 * e for size, e in zip(self.window, edges, strict=True)], bool), padding[2:]
        )
        real, imaginary = (
            ops.where(near, ops.pad(inner, padding), outer) for inner, outer in zip(fine, wide, strict=True)
        )
        return real, imaginary

    def _means(self, numbers: Numbers, half: Sequence[int], parts: Sequence[int]) -> tuple[Any, Any]:
        """Mean signal of the voxels up to `half` from the middle, over `parts` points along each axis."""
        away = []
        for axis, step in enumerate(self._spacing_mm):
            line = (np.arange((2 * half[axis] + 1) * parts[axis]) + 0.5) / parts[axis] - 0.5 - half[axis]
            line = line.reshape([-1 if axis == other else 1 for other in range(3)]).astype(np.float32)
            away.append((line - ops.reshape(numbers.within[:, :, axis], (-1, 1, 1, 1))) * step)
        b0 = ops.reshape(ops.repeat(numbers.b0, self._how.bleeds[1], axis=0), (-1, 3, 1, 1, 1))
        radius, surface, core = (
            ops.reshape(values, (-1, 1, 1, 1))
            for values in (numbers.radius_mm, numbers.surface_rad, numbers.core_signal)
        )
        distance = ops.maximum(ops.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2), 1e-3)
        cosine = (b0[:, 0] * away[0] + b0[:, 1] * away[1] + b0[:, 2] * away[2]) / distance
        fall = ops.where(distance < radius, 0.0, surface * (radius / distance) ** 3)
        part = ops.clip((1.0 - distance / self._reach_mm) / FADING, 0.0, 1.0)
        phase = fall * (3.0 * cosine**2 - 1.0) * part * part * (3.0 - 2.0 * part)

        steps = [step / number for step, number in zip(self._spacing_mm, parts, strict=True)]
        outside = ops.clip((distance - radius) / math.prod(steps) ** (1 / 3) + 0.5, 0.0, 1.0)
        size = core + (1.0 - core) * outside
        # the phase changes evenly over the box around a point, by so much along each of its edges
        with_b0 = 6.0 * cosine * fall / distance
        towards = (15.0 * cosine**2 - 3.0) * fall / distance**2
        for axis, step in enumerate(steps):
            size = size * sinc((with_b0 * b0[:, axis] - towards * away[axis]) * (step / 2.0))
        shape = [2 * n + 1 for n in half]
        blocks = [number for pair in zip(shape, parts, strict=True) for number in pair]
        real, imaginary = (
            ops.reshape(
                ops.mean(ops.reshape(signal, (-1, *blocks)), axis=(2, 4, 6)),
                (-1, self._how.bleeds[1], *shape),
            )
            for signal in (size * ops.cos(phase), size * ops.sin(phase))
        )
        return real, imaginary

    def _kept_phase(self, real: Any, imaginary: Any) -> Any:
        """What is left of the phase after the filter of SWI, which works slice by slice."""
        parts = ops.reshape(ops.stack([real, imaginary], axis=-1), (-1, *self.window, 2))
        slow = parts
        for axis in (0, 1):
            index = np.arange(self.window[axis], dtype=np.float32) * self._spacing_mm[axis] / PHASE_FILTER_MM
            weights = np.exp(-0.5 * (index[:, None] - index) ** 2)
            slow = along(slow, axis + 1, weights[None] / weights.sum(axis=1)[None, :, None])
        a, b, c, d = parts[..., 0], parts[..., 1], slow[..., 0], slow[..., 1]
        return ops.reshape(ops.arctan2(b * c - a * d, a * c + b * d), (-1, self._how.bleeds[1], *self.window))

    def _placed(self, planes: Any, voxels: Any, shape: Sequence[int]) -> Any:
        """Sum of all bleeds' windows where they belong; what lies beyond the patch is dropped.

        Args:
            planes: (batch, n, planes, *window).
            voxels: middles of the windows (batch, n, 3).
            shape: of the patch.

        Returns:
            (batch, planes, x, y, z).
        """
        x, y, z = (
            ops.cast(
                ops.equal(
                    np.arange(size)[:, None] - np.arange(-half, half + 1), voxels[:, :, axis, None, None]
                ),
                "float32",
            )
            for axis, (size, half) in enumerate(zip(shape, self._half, strict=True))
        )
        planes = ops.einsum("bnpijk,bnzk->bnpijz", planes, z)
        planes = ops.einsum("bnpijz,bnyj->bnpiyz", planes, y)
        return ops.einsum("bnpiyz,bnxi->bpxyz", planes, x)


class ImplantBleeds(keras.layers.Layer):
    """Puts bleeds into patches and labels them; the identity unless `training`.

    Args:
        how: which bleeds.
        spacing_mm: voxel size.
        seed: of the random numbers; its state is the layer's only variable.
    """

    def __init__(self, how: PatchBleeds, spacing_mm: Sequence[float], seed: int, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        self._implanter = Implanter(how, spacing_mm)
        self._seeds = keras.random.SeedGenerator(seed)

    def call(self, image: Any, brain: Any, label: Any, training: bool | None = False) -> tuple[Any, Any]:
        """Change a batch.

        Args:
            image: (batch, x, y, z, 1), 0 where there is no signal.
            brain: its mask.
            label: 0, 1 in bleeds, 2 to be ignored.
            training: whether to change anything.

        Returns:
            Image and label.
        """
        if not training:
            return image, label
        batch = ops.shape(image)[0]

        def uniform(low: float, high: float, *shape: int) -> Any:
            return keras.random.uniform((batch, *shape), low, high, dtype="float32", seed=self._seeds)

        image, label = self._implanter(
            image[..., 0], brain[..., 0], label[..., 0], self._implanter.draw(uniform)
        )
        return image[..., None], label[..., None]


def core_radius_mm(diameter_mm: Any, chi_ppm: Any) -> Any:
    """`core_diameter_mm`, halved, by interpolation: only the ratio of both numbers matters to its shape."""
    ratios = np.geomspace(1e-3, 1e2, 128)  # ppm / mm
    table = np.log([core_diameter_mm(1.0, float(ratio)) for ratio in ratios]).astype(np.float32)
    low, high = math.log(ratios[0]), math.log(ratios[-1])
    place = (ops.log(chi_ppm / diameter_mm) - low) * (len(ratios) - 1) / (high - low)
    floor = ops.floor(place)
    below, above = (ops.take(table, ops.cast(floor, "int32") + one) for one in (0, 1))
    return diameter_mm / 2.0 * ops.exp(below + (place - floor) * (above - below))


def _log_uniform(uniform: Uniform, low: float, high: float, *shape: int) -> Any:
    return ops.exp(uniform(math.log(low), math.log(high), *shape))


def _normal(uniform: Uniform, *shape: int) -> Any:
    """Pairs of mean 0 and standard deviation 1 (Box and Muller): (batch, 2, *shape)."""
    size = ops.sqrt(-2.0 * ops.log(uniform(1e-7, 1.0, *shape)))
    angle = uniform(0.0, 2 * math.pi, *shape)
    return ops.stack([size * ops.cos(angle), size * ops.sin(angle)], axis=1)
