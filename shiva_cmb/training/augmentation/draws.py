"""Random numbers for one call of a layer: each sample of the batch has its own."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class _Fixed(keras.random.SeedGenerator):
    """One state taken before a condition and used within it, where states must not change (JAX)."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def next(self, ordered: bool = True) -> Any:
        return self._state


class Draws:
    """Takes states from a layer's generator, in the order of the calls.

    Devices that share a batch have one state in common, and draw by the number of the device as well.

    Args:
        generator: of the layer; moves on by one for each call here.
        batch: number of samples, a number or a tensor.
    """

    def __init__(self, generator: keras.random.SeedGenerator, batch: Any) -> None:
        self._generator = generator
        self._replica = _replica()
        self.batch = batch

    def seed(self) -> keras.random.SeedGenerator:
        """A seed for one use later, within a condition too."""
        state = self._generator.next()
        if self._replica is None:
            return _Fixed(state)
        # The second number counts the draws: with the replica there, it would repeat those of the next one.
        return _Fixed(state + ops.cast(ops.stack([self._replica, 0]), state.dtype))

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        """Evenly between two numbers, float32 (batch, *shape)."""
        return keras.random.uniform((self.batch, *shape), low, high, dtype="float32", seed=self.seed())

    def log_uniform(self, low: float, high: float) -> Any:
        """Evenly in the logarithm, float32 (batch,)."""
        return ops.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self, *shape: int) -> Any:
        """Of mean 0 and standard deviation 1, float32 (batch, *shape)."""
        return keras.random.normal((self.batch, *shape), dtype="float32", seed=self.seed())

    def chance(self, probability: float, *shape: int) -> Any:
        """True as often as the probability says, bool (batch, *shape); never at 0, always at 1."""
        return self.uniform(0.0, 1.0, *shape) < probability


def _replica() -> Any:
    """The number of this device among those that share a batch; None if it is the only one."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # None while a model is built
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context.replica_id_in_sync_group


def where_drawn(drawn: Any, change: Callable[[Any], Any], data: Any) -> Any:
    """Change the samples that drew it; if none did, nothing is computed.

    Args:
        drawn: bool (batch,).
        change: takes and gives all samples.
        data: (batch, planes, x, y, z).
    """

    def changed() -> Any:
        return ops.where(per_sample(drawn), change(data), data)

    return ops.cond(ops.any(drawn), changed, lambda: data)


def change_drawn(drawn: Any, change: Callable[..., Any], data: Any, *numbers: Any) -> Any:
    """Like `where_drawn`, for costly changes: the other samples cost nothing where the engine allows it.

    Args:
        drawn: bool (batch,).
        change: takes data and numbers of some samples and gives their data.
        data: (batch, planes, x, y, z).
        numbers: of each sample (batch, ...).
    """
    if keras.backend.backend() != "tensorflow":  # JAX compiles for sizes that are known beforehand
        return where_drawn(drawn, lambda everything: change(everything, *numbers), data)

    def changed() -> Any:
        (which,) = ops.nonzero(drawn)
        taken = change(*(ops.take(array, which, axis=0) for array in (data, *numbers)))
        return ops.scatter_update(data, which[:, None], taken)

    return ops.cond(ops.any(drawn), changed, lambda: data)


def per_sample(values: Any) -> Any:
    """(batch,) as (batch, 1, 1, 1, 1)."""
    return ops.reshape(values, (-1, 1, 1, 1, 1))
