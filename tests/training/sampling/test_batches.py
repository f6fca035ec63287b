"""What Keras is given: decided by the seed and the epoch alone, however it is asked for."""

import threading

import keras
import numpy as np
import pytest

from shiva_cmb.training.sampling.batches import FollowEpochs, TrainingBatches, ValidationBatches
from shiva_cmb.training.sampling.hard_negatives import HardNegatives
from shiva_cmb.training.sampling.settings import SamplingSettings
from tests.training.sampling.made_cases import GRID, make_case

PATCH = (8, 8, 8)
SETTINGS = SamplingSettings(batch_size=2, steps_per_epoch=5)
CASES = [
    make_case("a", [((1, 3, 20), (2, 1, 1)), ((10, 12, 11), (3, 3, 3))], ignored=[(11, 9, 11)]),
    make_case("b"),
]


def batches_of(epoch: int, seed: int = 5) -> list[np.ndarray]:
    batches = TrainingBatches(CASES, SETTINGS, PATCH, seed, first_epoch=epoch)
    return [batches[index][0] for index in range(len(batches))]


@pytest.mark.parametrize("patch", [PATCH, GRID])
def test_images_and_labels_are_cut_alike(patch: tuple[int, int, int]) -> None:
    stack, dummy = TrainingBatches(CASES, SETTINGS, patch, 1)[0]
    assert stack.shape == (2, *patch, 3)
    assert dummy.shape == (2, 1, 1, 1, 1)
    assert stack.dtype == dummy.dtype == np.float32
    np.testing.assert_array_equal(stack[..., 0], stack[..., 2])
    assert stack[..., 2].any()
    assert (stack[..., 1] == 1).all()  # the brain


def test_the_seed_the_epoch_and_the_number_decide() -> None:
    np.testing.assert_array_equal(batches_of(0), batches_of(0))
    assert not np.array_equal(batches_of(0), batches_of(1))
    assert not np.array_equal(batches_of(0), batches_of(0, seed=6))
    assert not np.array_equal(batches_of(0)[0], batches_of(0)[1])


class Recorder(keras.layers.Layer):
    """Keeps each batch that a training step sees; has a weight, so that there is something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = self.add_weight(shape=(), initializer="ones")
        self.seen: list[np.ndarray] = []

    def call(self, stack: object, training: bool = False) -> object:
        if training:
            self.seen.append(np.asarray(stack))
        return self.scale * keras.ops.mean(stack, axis=(1, 2, 3, 4), keepdims=True)


def fit(workers: int, epochs: int, first: int = 0) -> list[np.ndarray]:
    """Every batch that a real `fit`, with validation, trains on."""
    batches = TrainingBatches(CASES, SETTINGS, PATCH, 5, first_epoch=first, workers=workers)
    recorder = Recorder()
    model = keras.Sequential([recorder])
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(
        batches,
        validation_data=ValidationBatches(CASES, SETTINGS, PATCH, 5),
        initial_epoch=first,
        epochs=epochs,
        shuffle=False,
        callbacks=[FollowEpochs(batches)],
        verbose=0,
    )
    return recorder.seen


@pytest.mark.parametrize("workers", [1, 3])
def test_fit_sees_the_batches_of_each_epoch_in_order(workers: int) -> None:
    expected = [batch for epoch in range(3) for batch in batches_of(epoch)]
    np.testing.assert_array_equal(fit(workers, epochs=3), expected)


def test_batches_that_workers_made_ahead_are_not_taken_for_those_of_the_next_epoch() -> None:
    batches = TrainingBatches(CASES, SETTINGS, PATCH, 5, workers=2)
    _ = batches[0]
    batches.start_epoch(1)
    np.testing.assert_array_equal([batches[index][0] for index in range(5)], batches_of(1))


def test_fit_resumed_at_an_epoch_sees_what_it_would_have_seen() -> None:
    np.testing.assert_array_equal(fit(2, epochs=3, first=2), batches_of(2))


def test_the_workers_end_with_the_fit() -> None:
    before = set(threading.enumerate())
    batches = TrainingBatches(CASES, SETTINGS, PATCH, 5, workers=3)
    _ = batches[0]
    workers = set(threading.enumerate()) - before  # at most 3: an idle one is used again
    assert workers
    FollowEpochs(batches).on_train_end()
    assert not any(worker.is_alive() for worker in workers)
    np.testing.assert_array_equal([batches[index][0] for index in range(5)], batches_of(0))


def test_a_fit_that_would_repeat_its_first_epoch_is_refused() -> None:
    batches = TrainingBatches(CASES, SETTINGS, PATCH, 5)
    model = keras.Sequential([Recorder()])
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(RuntimeError, match="FollowEpochs"):
        model.fit(batches, epochs=4, verbose=0)


def test_hard_negatives_are_cut_out() -> None:
    chosen = SamplingSettings(batch_size=2, steps_per_epoch=2, lesion_fraction=0, hard_negative_fraction=1)
    hard = HardNegatives(np.array([0]), np.array([[11, 13, 12]]), np.array([0.9]))
    batches = TrainingBatches(CASES, chosen, PATCH, 5, hard_negatives=hard)
    assert all((patch[..., -1] == 1).any() for patch in batches[0][0])


def test_validation_batches_stay_the_same_and_have_one_size() -> None:
    first, second = (ValidationBatches(CASES, SETTINGS, PATCH, 3) for _ in range(2))
    assert len(first) == 5
    for index in range(len(first)):
        assert first[index][0].shape == (2, *PATCH, 3)
        np.testing.assert_array_equal(first[index][0], second[index][0])
    assert all((patch[..., -1] == 1).any() for patch in first[0][0])
    assert 2 in first[0][0][..., -1] or any(2 in first[k][0][..., -1] for k in range(len(first)))
