"""Weights of one layer made to fit another: other image channels, other classes. Numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError

Weights = list[NDArray[Any]]
"""Of one layer, as Keras gives them: the kernel (..., input channels, filters) first, then the bias."""


@dataclass(frozen=True)
class Classes:
    """What the source answers, and which of its classes is meant."""

    count: int
    """Channels of its output."""
    exclusive: bool
    """Whether they sum to 1 (softmax), rather than each being a probability of its own (sigmoid)."""
    lesion: int
    """The class of lesions."""
    background: int
    """The class of everything else."""

    def __post_init__(self) -> None:
        wanted = {"init_class": self.lesion} | (
            {"init_background": self.background} if self.exclusive else {}
        )
        for name, number in wanted.items():
            if self.count > 1 and number >= self.count:
                raise UsageError(
                    f"{name}: expected 0 to {self.count - 1}, as the source has {self.count} classes, "
                    f"got {number}"
                )

    @property
    def text(self) -> str:
        """One phrase for the record."""
        against = f" against {self.background}" if self.exclusive else ""
        return f"class {self.lesion}{against} of {self.count}"


def chosen_channels(source: int, target: int, wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """Which channel of the source each image channel takes.

    Args:
        source: image channels of the source.
        target: image channels of the network that is to be trained.
        wanted: see `InitialSettings.init_channels`.

    Raises:
        UsageError: if these are not as many as the image has, or the source has no such channel.
    """
    if not wanted:
        return tuple(index % source for index in range(target))
    if len(wanted) != target or max(wanted) >= source:
        raise UsageError(
            f"init_channels: expected {target} numbers (one per image channel) from 0 to {source - 1} (the "
            f"channels of the source), got {tuple(wanted)}"
        )
    return tuple(wanted)


def change_channels(weights: Weights, chosen: Sequence[int]) -> Weights:
    """A first convolution for other image channels.

    A channel that is taken n times is divided by n: where the image repeats it, the answer stays the same.

    Args:
        weights: kernel (..., channels of the source, filters) and what else there is.
        chosen: see `chosen_channels`.
    """
    kernel, *others = weights
    times = np.array([chosen.count(index) for index in chosen], kernel.dtype)
    return [kernel[..., list(chosen), :] / times[:, None], *others]


def choose_class(weights: Weights, classes: Classes) -> Weights:
    """A last convolution with one sigmoid in place of several classes.

    Of two exclusive classes this gives exactly the same probability: the sigmoid of the difference of two
    logits is their softmax. Of more, it is the probability among these two alone.

    Args:
        weights: kernel (..., features, classes) and bias (classes,).
        classes: which is which.
    """
    one = slice(classes.lesion, classes.lesion + 1)
    if not classes.exclusive:
        return [values[..., one] for values in weights]
    other = slice(classes.background, classes.background + 1)
    return [values[..., one] - values[..., other] for values in weights]
