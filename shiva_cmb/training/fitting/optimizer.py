"""The optimizer and how its learning rate goes."""

import math
from typing import Any

import keras
from keras import ops

from shiva_cmb.training.fitting.settings import FittingSettings

WARMUP_START = 0.1
"""Learning rate of the first step, relative to the highest."""


def make_optimizer(settings: FittingSettings, steps: int, first_step: int = 0) -> keras.optimizers.Optimizer:
    """The optimizer that the settings describe.

    Args:
        settings: see `FittingSettings`.
        steps: batches of the whole run.
        first_step: how many went before this optimizer begins.
    """
    rate: Any = settings.learning_rate
    if settings.schedule != "plateau":  # that one is a callback: it needs a plain number to change
        rate = LearningRate(settings, steps, first_step)
    common = {
        "clipnorm": settings.clip_norm or None,
        "use_ema": settings.ema > 0,
        "ema_momentum": settings.ema or 0.99,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, **common)
        # biases and normalisations are not drawn to zero: that is no prior anybody holds
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(rate, **common)
    if settings.precision == "f16":  # Keras would ask the whole model's precision, which is float32
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Up in a straight line, then down as the settings say."""

    def __init__(self, settings: FittingSettings, steps: int, first_step: int = 0) -> None:
        """Work out the numbers.

        Args:
            settings: see `FittingSettings`.
            steps: batches of the whole run: Keras counts these here, also where gradients are added up.
            first_step: what the optimizer counts as 0.
        """
        super().__init__()
        self._settings = settings
        self._first = first_step
        self._warmup = int(steps * settings.warmup_fraction)
        self._rest = max(steps - self._warmup, 1)

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step of this optimizer, from 0."""
        settings = self._settings
        step = ops.cast(step, "float32") + self._first
        gone = ops.clip((step - self._warmup) / self._rest, 0.0, 1.0)
        if settings.schedule == "cosine":
            left = 0.5 * (1.0 + ops.cos(math.pi * gone))
        elif settings.schedule == "polynomial":
            left = ops.power(1.0 - gone, settings.polynomial_power)
        else:
            left = ops.ones_like(gone)
        lowest = settings.final_fraction
        falling = lowest + (1.0 - lowest) * left
        if not self._warmup:
            return settings.learning_rate * falling
        rising = WARMUP_START + (1.0 - WARMUP_START) * step / self._warmup
        return settings.learning_rate * ops.where(step < self._warmup, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Not saved: bundles hold networks without their optimizers."""
        raise NotImplementedError
