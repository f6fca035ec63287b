"""Batches for Keras."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.training.sampling.places import Place, Shape, cut, draw_place
from shiva_cmb.training.settings import TrainingSettings

Batch = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""Images and labels, both (batch, x, y, z, 1)."""

GAIN = 0.1
"""Images are made brighter or darker by up to this fraction, since the scaling is never quite the same."""


class TrainingBatches(keras.utils.PyDataset):
    """Random patches, flipped and brightened. The same seed gives the same batches, whoever asks first."""

    def __init__(self, cases: Sequence[PreparedCase], settings: TrainingSettings, seed: int) -> None:
        super().__init__()
        self._cases = cases
        self._settings = settings
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return self._settings.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._seed, self._epoch, index))
        shape, fraction = self._settings.patch_shape, self._settings.lesion_fraction
        places = [draw_place(rng, self._cases, shape, fraction) for _ in range(self._settings.batch_size)]
        # No head is upside down, but a patch may be: whole volumes are mirrored left-right only.
        axes = (0, 1, 2) if self._settings.patch is not None else (0,)
        images, labels = _stack(self._cases, places, shape)
        for image, label in zip(images, labels, strict=True):
            flipped = tuple(axis for axis in axes if rng.random() < 0.5)
            image[:] = np.flip(image, flipped) * rng.uniform(1.0 - GAIN, 1.0 + GAIN)
            label[:] = np.flip(label, flipped).copy()
        return images, labels

    def on_epoch_end(self) -> None:
        """Draw other patches in the next round."""
        self._epoch += 1


class FixedBatches(keras.utils.PyDataset):
    """The same patches every time."""

    def __init__(
        self, cases: Sequence[PreparedCase], places: Sequence[Place], shape: Shape, batch_size: int
    ) -> None:
        super().__init__()
        self._cases = cases
        self._places = places
        self._shape = shape
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._places) // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        start = index * self._batch_size
        return _stack(self._cases, self._places[start : start + self._batch_size], self._shape)


def _stack(cases: Sequence[PreparedCase], places: Sequence[Place], shape: Shape) -> Batch:
    pairs = [cut(cases[place.case], place.corner, shape) for place in places]
    images = np.stack([image for image, _ in pairs])[..., None]
    labels = np.stack([label for _, label in pairs])[..., None]
    return images, labels
