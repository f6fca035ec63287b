from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.weighted import Measure, mean
from shiva_cmb.evaluation.resampling import (
    as_figures,
    bootstrap_weights,
    exchange,
    holm,
    interval,
    permutation_p,
    swap_methods,
)


def measure(values: Any) -> Measure:
    return Measure(np.asarray(values, float), np.full(np.shape(values), 9.0))


def names(n: int) -> list[str]:
    return [f"case-{k:03d}" for k in range(n)]


def test_every_replicate_draws_as_many_groups_as_there_are_and_keeps_them_whole() -> None:
    groups = ["b", "a", "b", "c", "a", "b"]
    weights = bootstrap_weights(groups, 200, np.random.default_rng(0))
    assert weights.shape == (200, 6)
    assert weights.dtype == np.int16  # there are replicates times cases of them
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 0], weights[:, 5])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    # Each of three groups is drawn once on average, and not at all with probability (2/3)^3 = .296.
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.15)
    assert (weights == 0).mean() == pytest.approx(0.296, abs=0.06)


def test_draws_follow_the_seed_and_not_the_order_of_the_cases() -> None:
    groups = ["b", "a", "b", "c", "a", "d"]
    order = np.array([3, 5, 0, 2, 4, 1])
    first = bootstrap_weights(groups, 20, np.random.default_rng(4))
    again = bootstrap_weights([groups[k] for k in order], 20, np.random.default_rng(4))
    other = bootstrap_weights(groups, 20, np.random.default_rng(5))
    np.testing.assert_array_equal(again, first[:, order])
    assert (other != first).any()
    swaps = swap_methods(groups, 20, np.random.default_rng(4))
    np.testing.assert_array_equal(
        swap_methods([groups[k] for k in order], 20, np.random.default_rng(4)), swaps[:, order]
    )


def test_the_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    weights = bootstrap_weights(names(40), 400, rng)
    held = 0
    for _ in range(400):
        x = rng.exponential(1.0, 40)
        figure = as_figures({"mean": mean(x)}, {"mean": mean(x, weights)})["mean"]
        held += figure.low <= 1.0 <= figure.high
    assert 0.88 <= held / 400 <= 0.97  # percentile intervals of 40 skewed values fall a little short of 95 %


def test_copies_of_a_patient_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(3)
    patients = rng.normal(size=20)
    scans, groups = np.repeat(patients, 10), [name for name in names(20) for _ in range(10)]

    def width(x: NDArray[Any], members: list[str]) -> float:
        weights = bootstrap_weights(members, 2000, np.random.default_rng(1))
        figure = as_figures({"m": mean(x)}, {"m": mean(x, weights)})["m"]
        return figure.high - figure.low

    by_patient = width(scans, groups)
    assert by_patient == pytest.approx(width(patients, names(20)), rel=1e-9)
    assert width(scans, names(200)) < 0.5 * by_patient


def test_intervals_are_percentiles_of_the_defined_replicates() -> None:
    # 0, 1 ... 100: the 5th and the 95th percentile are 5 and 95.
    values = np.append(np.arange(101.0), [np.nan] * 20)
    figure = as_figures({"x": measure(50.0)}, {"x": measure(values)}, level=0.9)["x"]
    assert (figure.value, figure.low, figure.high, figure.n) == (50, pytest.approx(5), pytest.approx(95), 9)


@pytest.mark.parametrize(
    ("point", "replicates"),
    [
        (np.nan, [1.0, 2.0, 3.0]),  # undefined value
        (1.0, [np.nan, np.nan, 3.0]),  # fewer than half are defined
        (1.0, None),
    ],
)
def test_no_interval_where_there_is_nothing_to_take_it_from(
    point: float, replicates: list[float] | None
) -> None:
    figure = as_figures({"x": measure(point)}, {} if replicates is None else {"x": measure(replicates)})["x"]
    assert np.isnan(figure.low)
    assert np.isnan(figure.high)


def test_intervals_of_curves_follow_the_rule_of_single_figures() -> None:
    # three thresholds: all samples defined, 1 of 4, and an undefined value
    samples = np.array([[1.0, np.nan, 1], [2, np.nan, 1], [3, np.nan, 1], [4, 7, 1]])
    low, high = interval([2.5, 7.0, np.nan], samples, 0.5)
    np.testing.assert_allclose(low, [1.75, np.nan, np.nan])
    np.testing.assert_allclose(high, [3.25, np.nan, np.nan])
    figure = as_figures({"x": measure(2.5)}, {"x": measure(samples[:, 0])}, 0.5)["x"]
    assert (figure.low, figure.high) == (low[0], high[0])


def test_an_infinite_replicate_is_an_extreme_one() -> None:
    values = [np.inf] * 10 + [1.0] * 10 + [2.0] * 10
    figure = as_figures({"x": measure(2.0)}, {"x": measure(values)})["x"]
    assert (figure.low, figure.high) == (1.0, np.inf)


def test_exchanged_cases_change_sides_with_all_their_numbers() -> None:
    a, b = np.arange(6.0).reshape(3, 2), -np.arange(6.0).reshape(3, 2)
    swap = np.array([[True, False, False], [False, True, True]])
    first, second = exchange(a, b, swap)
    assert first.shape == second.shape == (2, 3, 2)
    np.testing.assert_array_equal(first[0], [b[0], a[1], a[2]])
    np.testing.assert_array_equal(second[1], [b[0], a[1], a[2]])
    np.testing.assert_array_equal(first + second, np.zeros((2, 3, 2)))


def test_groups_are_exchanged_whole_and_half_of_the_time() -> None:
    swap = swap_methods(["a", "b", "a", "c"], 1000, np.random.default_rng(0))
    np.testing.assert_array_equal(swap[:, 0], swap[:, 2])
    assert swap.mean(axis=0) == pytest.approx([0.5] * 4, abs=0.06)
    assert (swap[:, 0] != swap[:, 1]).any()


def test_permutation_p_by_hand() -> None:
    # |null| = 2, 2, 1, 0 of which two reach 2: (1 + 2) / (1 + 4).
    assert permutation_p(2.0, [2.0, -2.0, 1.0, 0.0]) == pytest.approx(3 / 5)
    assert permutation_p(-2.0, [2.0, -2.0, 1.0, 0.0]) == pytest.approx(3 / 5)
    assert permutation_p(2.0, [2.0, np.nan, 1.0]) == pytest.approx(2 / 3)
    assert permutation_p(0.0, [0.0, 0.0]) == 1
    assert permutation_p(0.1 + 0.2, [0.3]) == 1  # the same split, added up in another order
    assert np.isnan(permutation_p(np.nan, [1.0]))


def test_permutation_finds_a_difference_and_no_more_often_than_it_should() -> None:
    rng = np.random.default_rng(8)
    swap = swap_methods(names(24), 199, rng)

    def p(a: NDArray[Any], b: NDArray[Any]) -> float:
        first, second = exchange(a, b, swap)
        return permutation_p(float(mean(a).value - mean(b).value), mean(first).value - mean(second).value)

    base = rng.normal(size=24)
    assert p(base + 1, base + 0.1 * rng.normal(size=24)) == pytest.approx(1 / 200)
    alike = [p(rng.normal(size=24), rng.normal(size=24)) for _ in range(400)]
    assert np.mean(np.array(alike) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_holm_by_hand() -> None:
    # Sorted: .005 * 4 = .02, .01 * 3 = .03, .03 * 2 = .06, .04 * 1 = .04, raised to .06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    # A missing p value is no test: .02 * 2, .5 * 1.
    np.testing.assert_allclose(holm([0.02, np.nan, 0.5]), [0.04, np.nan, 0.5])
    np.testing.assert_allclose(holm([0.7, 0.8]), [1, 1])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(
    p: list[float], random: Any
) -> None:
    adjusted = holm(p)
    values = np.array(p)
    assert (adjusted >= values).all()
    assert (adjusted <= np.minimum(values * len(p), 1)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    shuffled = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(holm(values[shuffled]), adjusted[shuffled])


def test_wrong_calls_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="expected cases"):
        bootstrap_weights([], 10, rng)
    with pytest.raises(UsageError, match="at least one draw"):
        bootstrap_weights(["a"], 0, rng)
    with pytest.raises(UsageError, match="interval level"):
        as_figures({}, {}, level=95)
