import numpy as np
import pytest

from shiva_cmb.ensemble import AVERAGING, average_folds


def _fold(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1, 1)


FOLDS = [_fold(0.0004, 0.6, 0.9), _fold(0.0014, 0.2, 0.7)]
MASK = _fold(1.0, 0.5, 0.0)


def test_published_script_keeps_small_values_and_multiplies_by_the_masks_own_values() -> None:
    maps = average_folds(FOLDS, MASK, AVERAGING["predict_one_file"], 0.5)
    # (.0004 + .0014) / 2, (.6 + .2) / 2 * .5, 0
    np.testing.assert_allclose(maps.mean.ravel(), [0.0009, 0.2, 0], atol=1e-7)


def test_shiva_predict_cuts_small_means() -> None:
    maps = average_folds(FOLDS, MASK, AVERAGING["shiva_predict"], 0.5)
    np.testing.assert_allclose(maps.mean.ravel(), [0, 0.2, 0], atol=1e-7)


def test_shiva_predict_multi_cuts_each_fold_and_masks_the_mean_with_a_binary_mask() -> None:
    maps = average_folds(FOLDS, MASK, AVERAGING["shiva_predict_multi"], 0.5)
    np.testing.assert_allclose(maps.mean.ravel(), [0.0007, 0.4, 0], atol=1e-7)


def test_deviation_and_agreement_match_numpy() -> None:
    rng = np.random.default_rng(0)
    folds = [rng.random((5, 6, 7), dtype=np.float32) for _ in range(4)]
    maps = average_folds(folds, None, AVERAGING["predict_one_file"], 0.5)
    np.testing.assert_allclose(maps.mean, np.mean(folds, axis=0), atol=1e-6)
    np.testing.assert_allclose(maps.deviation, np.std(folds, axis=0), atol=1e-6)
    np.testing.assert_array_equal(maps.agreement, (np.array(folds) > 0.5).sum(axis=0))
    assert maps.n_folds == 4


def test_the_folds_own_arrays_stay_as_they_are() -> None:
    before = [fold.copy() for fold in FOLDS]
    average_folds(FOLDS, MASK, AVERAGING["shiva_predict_multi"], 0.5)
    for fold, copy in zip(FOLDS, before, strict=True):
        np.testing.assert_array_equal(fold, copy)


def test_one_fold_has_no_spread() -> None:
    maps = average_folds(FOLDS[:1], None, AVERAGING["predict_one_file"], 0.5)
    assert maps.deviation.max() == 0


def test_no_fold_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one fold"):
        average_folds([], None, AVERAGING["predict_one_file"], 0.5)
