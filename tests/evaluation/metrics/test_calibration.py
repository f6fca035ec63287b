import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from shiva_cmb.errors import ImageError
from shiva_cmb.evaluation.metrics.calibration import (
    DEFINITIONS,
    case_bins,
    expected_calibration_error,
    reliability,
)


def test_error_by_hand() -> None:
    # First bin: two voxels of .05, none of them truth; last bin: two of .95, one of them truth.
    # |.05 - 0| * 2/4 + |.95 - .5| * 2/4 = .025 + .225.
    bins = case_bins(np.array([0.05, 0.05, 0.95, 0.95]), np.array([0, 0, 1, 0], bool))
    np.testing.assert_allclose(bins[0], [2, 0.1, 0])
    np.testing.assert_allclose(bins[9], [2, 1.9, 1])
    assert bins[1:9].sum() == 0
    measure = expected_calibration_error(bins[None])
    assert float(measure.value) == pytest.approx(0.25)
    assert float(measure.n) == 1


def test_probabilities_that_hold_have_no_error() -> None:
    probability = np.repeat([0.25, 0.75], 400)
    truth = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert float(expected_calibration_error(case_bins(probability, truth)[None]).value) == pytest.approx(0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.floats(0, 1), st.integers(0, 10).map(lambda k: k / 10)), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_scikit_learn_draws_the_same_curve(voxels: list[tuple[float, bool]]) -> None:
    probability, truth = np.array([p for p, _ in voxels]), np.array([t for _, t in voxels])
    bins = case_bins(probability, truth)
    assert bins[:, 0].sum() == len(voxels)
    curve = reliability(bins[None])
    fraction, mean = calibration_curve(truth, probability, n_bins=10, strategy="uniform")
    seen = curve.n > 0
    np.testing.assert_allclose(curve.probability[seen], mean, atol=1e-12)
    np.testing.assert_allclose(curve.truth[seen], fraction, atol=1e-12)
    assert np.isnan(curve.probability[~seen]).all()


def three_cases() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.stack([case_bins(rng.uniform(size=50) ** 2, rng.uniform(size=50) < 0.3) for _ in range(3)])


def test_weights_repeat_cases() -> None:
    bins, weights = three_cases(), np.array([[2, 0, 1], [1, 1, 1], [0, 0, 0]])
    found = expected_calibration_error(bins, weights)
    for k in (0, 1):
        plain = expected_calibration_error(np.repeat(bins, weights[k], axis=0))
        assert found.value[k] == pytest.approx(float(plain.value))
        assert found.n[k] == plain.n == 3
    assert np.isnan(found.value[2])
    curve = reliability(bins, weights)
    assert curve.truth.shape == (3, 10)
    np.testing.assert_allclose(curve.n[0], 2 * bins[0, :, 0] + bins[2, :, 0])


def test_permuted_samples_have_their_own_bins_in_each_row() -> None:
    bins = three_cases()
    together = expected_calibration_error(np.stack([bins, bins[::-1] * [1, 1, 0]]))
    assert together.value[0] == pytest.approx(float(expected_calibration_error(bins).value))
    assert together.value[1] == pytest.approx(bins[..., 1].sum() / bins[..., 0].sum())


def test_single_precision_maps_are_binned_and_added_up_in_double() -> None:
    probability = np.full(3_000_000, 0.04, np.float32)
    bins = case_bins(probability, np.zeros(len(probability), np.uint8))
    assert bins[0, 1] == pytest.approx(3_000_000 * float(np.float32(0.04)), rel=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_an_edge_belongs_to_the_bin_below_in_either_precision(kind: type[np.floating]) -> None:
    bins = case_bins(np.arange(11).astype(kind) / kind(10), np.zeros(11, bool))
    assert bins[:, 0].tolist() == [2] + [1] * 9  # 0 and .1, then .2 ... 1


def test_overshoot_of_interpolation_falls_in_the_outer_bins() -> None:
    bins = case_bins(np.array([-0.0005, 1.0005]), np.array([False, True]))
    assert (bins[0, 0], bins[9, 0]) == (1, 1)


def test_a_case_without_voxels_is_empty() -> None:
    assert case_bins(np.zeros(0), np.zeros(0, bool)).sum() == 0
    assert np.isnan(expected_calibration_error(np.zeros((1, 10, 3))).value)


@pytest.mark.parametrize("wrong", [[0.2, 1.4], [0.2, float("nan")], [-0.3, 0.1]])
def test_what_is_no_probability_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ImageError, match=r"probabilities in \[0, 1\]"):
        case_bins(np.array(wrong), np.array([True, False]))
    with pytest.raises(ImageError, match="as many truth values"):
        case_bins(np.array(wrong), np.array([True]))


def test_the_figures_are_defined_in_one_sentence() -> None:
    assert set(DEFINITIONS) == {f"expected_calibration_error_{what}" for what in ("voxels", "lesions")}
    assert all(text.endswith(".") for text in DEFINITIONS.values())
