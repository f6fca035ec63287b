"""Batches for Keras."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.prepare import PreparedCase
from shiva_cmb.training.sampling.hard_negatives import HardNegatives
from shiva_cmb.training.sampling.places import Sampler, cut_patches, validation_patches
from shiva_cmb.training.sampling.settings import SamplingSettings, Shape

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Images, brain mask and label, (batch, x, y, z, channels + 2), and zeros, (batch, 1, 1, 1, 1).
The loss finds the label in the output of the training model, where it was changed along with the image."""

_AHEAD = 2
"""Batches that each worker may be ahead."""


class TrainingBatches(keras.utils.PyDataset):
    """Random patches. The seed, the epoch and the number of the batch decide, whoever asks first.

    Keras' own hooks do not tell which epoch it is: they also run when a model is built, before the first one.
    So `fit` needs `FollowEpochs` among its callbacks; and `shuffle=False`, or Keras mixes the batches' order.
    The workers are our own too: Keras' start on an epoch before it is announced.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        settings: SamplingSettings,
        patch: Shape,
        seed: int,
        *,
        first_epoch: int = 0,
        hard_negatives: HardNegatives | None = None,
        workers: int = 1,
    ) -> None:
        """Look at the lesions of all cases.

        Args:
            cases: all on grids of one shape.
            settings: see `SamplingSettings`; `patch` and the growth in it do not count.
            patch: size of the patches.
            seed: of the whole run.
            first_epoch: the epoch that comes first, from 0.
            hard_negatives: false positives of `cases`, if they are used.
            workers: threads that cut patches.

        Raises:
            UsageError: if a patch is larger than the grid, or the grids differ.
        """
        super().__init__()
        self._cases, self._settings, self._patch, self._seed = cases, settings, patch, seed
        self._sampler = Sampler(cases, settings, patch, hard_negatives)
        self._epoch = first_epoch
        self._begun_unannounced = 0
        self._waiting: dict[int, Future[Batch]] = {}
        self._lock = Lock()
        self._ahead = _AHEAD * workers
        self._workers_pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def __len__(self) -> int:
        return self._settings.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        begun = self._begun(index)
        return begun.result() if begun else self._make(self._epoch, index)

    def start_epoch(self, epoch: int) -> None:
        """Give the batches of an epoch, from 0, from now on."""
        with self._lock:
            self._epoch = epoch
            self._begun_unannounced = 0
            for batch in self._waiting.values():
                batch.cancel()
            self._waiting.clear()

    def end_workers(self) -> None:
        """End the threads once no more batches are wanted; further ones are made when they are asked for."""
        with self._lock:
            pool, self._workers_pool = self._workers_pool, None
        if pool is not None:
            pool.shutdown()

    def on_epoch_begin(self) -> None:
        """Keras' hook: notice a `fit` that would see the same patches in every epoch."""
        self._begun_unannounced += 1
        if self._begun_unannounced > 2:  # building the model is one
            raise RuntimeError("the epochs are not announced: give fit the callback FollowEpochs(batches)")

    def _begun(self, index: int) -> Future[Batch] | None:
        """What the workers make of a batch, who then go on with the next ones; None without workers."""
        with self._lock:
            if self._workers_pool is None:
                return None
            for number in range(index, min(index + self._ahead, len(self))):
                if number not in self._waiting:
                    self._waiting[number] = self._workers_pool.submit(self._make, self._epoch, number)
            return self._waiting.pop(index)

    def _make(self, epoch: int, index: int) -> Batch:
        rng = np.random.default_rng((self._seed, epoch, index))
        places = [self._sampler.draw(rng) for _ in range(self._settings.batch_size)]
        return _with_dummy(cut_patches(self._cases, places, self._patch))


class FollowEpochs(keras.callbacks.Callback):
    """Tells the batches which epoch it is, also when `fit` starts at a later one, and when it is over."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before the first batch of an epoch is asked for."""
        self._batches.start_epoch(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """After the last epoch. Where an error ends `fit`, the threads end when the batches are forgotten."""
        self._batches.end_workers()


class ValidationBatches(keras.utils.PyDataset):
    """The same patches every time, all batches of one size."""

    def __init__(
        self, cases: Sequence[PreparedCase], settings: SamplingSettings, patch: Shape, seed: int
    ) -> None:
        """Choose the patches.

        Args:
            cases: all on grids of one shape.
            settings: its batch size counts.
            patch: size of the patches.
            seed: decides which they are.

        Raises:
            UsageError: if a patch is larger than the grid, or the grids differ.
        """
        super().__init__()
        self._cases, self._batch_size, self._patch = cases, settings.batch_size, patch
        self._places = validation_patches(cases, settings, patch, np.random.default_rng(seed))

    def __len__(self) -> int:
        return len(self._places) // self._batch_size

    def __getitem__(self, index: int) -> Batch:
        start = index * self._batch_size
        places = self._places[start : start + self._batch_size]
        return _with_dummy(cut_patches(self._cases, places, self._patch))


def _with_dummy(stack: NDArray[np.float32]) -> Batch:
    return stack, np.zeros((len(stack), 1, 1, 1, 1), np.float32)
