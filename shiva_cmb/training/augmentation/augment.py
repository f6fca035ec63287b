"""The layer that changes images and labels at random in training."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from shiva_cmb.dataset.labels import IGNORED
from shiva_cmb.errors import UsageError
from shiva_cmb.synthesis.layers.bleeds import Implanter, Numbers, PatchBleeds
from shiva_cmb.training.augmentation import intensity
from shiva_cmb.training.augmentation.draws import Draws, change_drawn, per_sample, where_drawn
from shiva_cmb.training.augmentation.fields import along_axes, blur_matrix
from shiva_cmb.training.augmentation.orientation import reorient, turnable_axes
from shiva_cmb.training.augmentation.settings import AugmentationSettings, BrainMasking, Change, Flip, Turn
from shiva_cmb.training.augmentation.warp import LESION, Warp
from shiva_cmb.training.sampling.places import EXTRA_PLANES


class Augment(keras.layers.Layer):
    """Changes each sample by itself: image channels, brain mask (0, 1), label (0, 1, 2 = ignored) together.

    float32 in and out, whatever the precision policy; sizes stay; the identity unless `training`. The state
    of the random numbers is the layer's only variable: with it restored, the same changes come again.

    Args:
        settings: which changes, how often, how strong.
        channels: of the image; the stack has two planes more.
        spacing_mm: voxel size.
        seed: of the random numbers.
        whole_volume: the stacks are whole heads, which are mirrored left-right only and not turned.
        value_range: values of air and of the brightest brain, between which fractions of the intensity scale
            are meant.
        outside: value outside the brain, where brain masking sets one.
    """

    def __init__(
        self,
        settings: AugmentationSettings,
        channels: int,
        spacing_mm: Sequence[float],
        seed: int,
        whole_volume: bool = False,
        value_range: tuple[float, float] = (0.0, 1.0),
        outside: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        self._settings = settings
        self._channels = channels
        self._spacing_mm = tuple(spacing_mm)
        self._flip, self._turn = settings.flip, settings.turn
        if whole_volume:
            axes = tuple(axis for axis in settings.flip.axes if axis == 0)
            self._flip, self._turn = Flip(settings.flip.probability, axes), Turn(0.0)
        self._lowest, self._span = value_range[0], value_range[1] - value_range[0]
        self._outside = outside
        self._seeds = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Prepare what depends on the size.

        Args:
            input_shape: batch (may be open), x, y, z, channels + 2.

        Raises:
            UsageError: if the shape does not fit the channels, or a size is open or below 2.
        """
        if len(input_shape) != 5 or input_shape[4] != self._channels + EXTRA_PLANES:
            raise UsageError(
                f"augmentation: expected a stack (batch, x, y, z, {self._channels + EXTRA_PLANES}), that is"
                f" {self._channels} channels, brain and label, got {tuple(input_shape)}"
            )
        shape = [size or 0 for size in input_shape[1:4]]
        if min(shape) < 2:
            raise UsageError(
                f"augmentation: expected known sizes of 2 voxels or more, got {input_shape[1:4]}"
            )
        how = self._settings
        self._turnable = turnable_axes(shape, self._spacing_mm)
        bleeds = how.implant
        self._implanter = Implanter(
            PatchBleeds(bleeds.bleeds, bleeds.diameter_mm, bleeds.echo_t_ms, bleeds.swi_share),
            self._spacing_mm,
        )
        self._warp = Warp(how.affine, how.elastic, shape, self._spacing_mm)
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input."""
        return input_shape

    def call(self, stack: Any, training: bool | None = False) -> Any:
        """Change a batch.

        Args:
            stack: float32 (batch, x, y, z, channels + 2).
            training: whether to change anything.
        """
        if not training:
            return stack
        how = self._settings
        draws = Draws(self._seeds, ops.shape(stack)[0])
        planes = ops.moveaxis(stack, 4, 1)
        if how.implant.probability:
            planes = self._implant(planes, draws)
        planes = reorient(planes, draws, self._turn, self._flip, self._turnable)
        if how.affine.probability or how.elastic.probability:
            planes = self._warp(planes, draws)
        image = (planes[:, :-EXTRA_PLANES] - self._lowest) / self._span
        image = self._change_values(image, draws) * self._span + self._lowest
        planes = ops.concatenate([image, planes[:, -EXTRA_PLANES:]], axis=1)
        if how.brain_masking.probability:
            planes = mask_brain(planes, draws, how.brain_masking, self._spacing_mm, self._outside)
        return ops.reshape(ops.moveaxis(planes, 1, 4), (-1, *stack.shape[1:]))

    def _implant(self, planes: Any, draws: Draws) -> Any:
        """Put bleeds into the first channel and into the label."""

        def implanted(planes: Any, *numbers: Any) -> Any:
            image = (planes[:, 0] - self._lowest) / self._span
            image, label = self._implanter(image, planes[:, -2], planes[:, -1], Numbers(*numbers))
            image = image * self._span + self._lowest
            return ops.concatenate([image[:, None], planes[:, 1:-1], label[:, None]], axis=1)

        drawn = draws.chance(self._settings.implant.probability)
        return change_drawn(drawn, implanted, planes, *self._implanter.draw(draws.uniform))

    def _change_values(self, image: Any, draws: Draws) -> Any:
        how, spacing = self._settings, self._spacing_mm
        if how.blur.probability or how.thick_slices.probability:
            image = intensity.soften(image, draws, how.blur, how.thick_slices, spacing)
        if how.bias_field.probability:
            image = intensity.bias(image, draws, how.bias_field, spacing)
        changes: tuple[tuple[Change, Callable[..., Any]], ...] = (
            (how.gaussian_noise, intensity.add_noise),
            (how.rician_noise, intensity.add_noise),
            (how.salt_pepper, intensity.salt_pepper),
            (how.gamma, intensity.gamma),
            (how.levels, intensity.levels),
            (how.inversion, intensity.invert),
            (how.channel_loss, intensity.lose_channel),
        )
        for settings, change in changes:
            if settings.probability:
                image = change(image, draws, settings)
        return image


def mask_brain(
    planes: Any, draws: Draws, how: BrainMasking, spacing_mm: Sequence[float], outside: float = 0.0
) -> Any:
    """Set the image to one value outside the brain, and lesions there to ignored.

    The mask is blurred by `edge_mm` and cut between 0.2 and 0.8: its edge moves by up to 0.84 of that.

    Args:
        planes: (batch, channels + 2, x, y, z): image channels, brain, label.
        draws: random numbers.
        how: settings.
        spacing_mm: voxel size.
        outside: that value.
    """
    cut = per_sample(draws.uniform(0.2, 0.8))

    def masked(data: Any) -> Any:
        image, brain, label = data[:, :-2], data[:, -2:-1], data[:, -1:]
        sigmas = [ops.full((1,), how.edge_mm / spacing, dtype="float32") for spacing in spacing_mm]
        sizes = data.shape[2:]
        matrices = [blur_matrix(size, sigma) for size, sigma in zip(sizes, sigmas, strict=True)]
        kept = along_axes(brain, matrices) >= cut
        lost = ops.logical_and(ops.logical_not(kept), ops.equal(label, LESION))
        shown = ops.where(kept, image, outside)
        return ops.concatenate([shown, brain, ops.where(lost, IGNORED, label)], axis=1)

    return where_drawn(draws.chance(how.probability), masked, planes)
