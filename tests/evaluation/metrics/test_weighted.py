import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics import detection, scan_classification, weighted
from shiva_cmb.evaluation.metrics.weighted import Measure

VALUES = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 6))
)
WITH_GAPS = st.one_of(VALUES, st.just(float("nan")))


@st.composite
def samples(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Two values per case, some missing, and three rows of weights."""
    n = draw(st.integers(1, 8))
    x = draw(st.lists(WITH_GAPS, min_size=n, max_size=n))
    y = draw(st.lists(WITH_GAPS, min_size=n, max_size=n))
    weights = draw(st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=3, max_size=3))
    return np.array(x), np.array(y), np.array(weights)


def repeated(weights: NDArray[Any], *values: NDArray[Any]) -> list[NDArray[Any]]:
    """The sample spelled out, without the cases where a value is missing."""
    defined = ~np.any([np.isnan(v) for v in values], axis=0)
    return [np.repeat(v[defined], weights[defined]) for v in values]


def constant(x: NDArray[Any]) -> bool:
    return len(x) < 2 or bool(np.all(x == x[0]))


def plain_icc(x: NDArray[Any], y: NDArray[Any]) -> float:
    """ICC(A,1) by the full analysis of variance."""
    table = np.stack([x, y], axis=1)
    n, k = table.shape
    if n < 2 or np.all(table == table[0, 0]):
        return np.nan
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    ms_rows = k * ((rows - grand) ** 2).sum() / (n - 1)
    ms_columns = n * ((columns - grand) ** 2).sum() / (k - 1)
    residual = table - rows[:, None] - columns + grand
    ms_error = (residual**2).sum() / ((n - 1) * (k - 1))
    return (ms_rows - ms_error) / (ms_rows + (k - 1) * ms_error + k / n * (ms_columns - ms_error))


PAIRED: dict[str, tuple[Callable[..., Measure], Callable[..., float]]] = {
    "pearson": (
        weighted.pearson,
        lambda x, y: np.nan if constant(x) or constant(y) else scipy.stats.pearsonr(x, y).statistic,
    ),
    "spearman": (
        weighted.spearman,
        lambda x, y: np.nan if constant(x) or constant(y) else scipy.stats.spearmanr(x, y).statistic,
    ),
    "icc": (weighted.icc, plain_icc),
    "auc": (
        lambda x, y, w=None: weighted.auc(x, np.where(np.isnan(y), np.nan, y > 0), w),
        lambda x, y: np.nan if len(set(y > 0)) < 2 else roc_auc_score(y > 0, x),
    ),
}
SINGLE: dict[str, tuple[Callable[..., Measure], Callable[..., float]]] = {
    "total": (weighted.total, np.sum),
    "mean": (weighted.mean, lambda x: np.mean(x) if len(x) else np.nan),
    "std": (weighted.std, lambda x: np.std(x, ddof=1) if len(x) > 1 else np.nan),
}


@settings(max_examples=150, deadline=None)
@given(samples(), st.floats(0, 1))
def test_quantiles_are_those_of_the_repeated_sample_to_the_last_digit(
    sample: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], level: float
) -> None:
    x, _, weights = sample
    found = weighted.quantile(x, weights, level)
    for row, value, n in zip(weights, found.value, found.n, strict=True):
        (plain,) = repeated(row, x)
        assert n == len(plain)
        expected = np.quantile(plain, level) if len(plain) else np.nan
        np.testing.assert_array_equal(value, expected)


@settings(max_examples=100, deadline=None)
@given(samples(), st.sampled_from(sorted(SINGLE)))
def test_single_statistics_are_those_of_the_repeated_sample(
    sample: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], name: str
) -> None:
    x, _, weights = sample
    found = SINGLE[name][0](x, weights)
    for row, value, n in zip(weights, found.value, found.n, strict=True):
        (plain,) = repeated(row, x)
        assert n == len(plain)
        np.testing.assert_allclose(value, SINGLE[name][1](plain), rtol=1e-9, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(samples(), st.sampled_from(sorted(PAIRED)))
def test_paired_statistics_are_those_of_the_repeated_sample(
    sample: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], name: str
) -> None:
    x, y, weights = sample
    found = PAIRED[name][0](x, y, weights)
    for row, value, n in zip(weights, found.value, found.n, strict=True):
        plain = repeated(row, x, y)
        assert n == len(plain[0])
        if name == "icc" and n == 2:
            continue  # the error cancels in the denominator, which may be as good as 0
        np.testing.assert_allclose(value, PAIRED[name][1](*plain), rtol=1e-6, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(samples(), st.sampled_from(sorted(PAIRED) + sorted(SINGLE) + ["quantile"]), st.booleans())
def test_many_rows_at_once_are_the_rows_one_by_one(
    sample: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], name: str, own_values: bool
) -> None:
    x, y, weights = sample
    first = np.stack([x, y, x]) if own_values else x  # permuted samples have their own values in each row
    arguments = (first, y) if name in PAIRED else (first,)

    def statistic(*a: Any) -> Measure:
        if name == "quantile":
            return weighted.quantile(*a, 0.3)
        return (PAIRED | SINGLE)[name][0](*a)

    together = statistic(*arguments, weights)
    for k in range(3):
        alone = statistic(*(a[k] if a.ndim == 2 else a for a in arguments), weights[k])
        assert alone.value.shape == alone.n.shape == ()
        np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-9, atol=1e-12)
        assert together.n[k] == alone.n


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y, weights = rng.normal(size=9), rng.integers(0, 3, 9).astype(float), rng.integers(0, 3, (50, 9))
    swapped = np.where(rng.integers(0, 2, (50, 9)) > 0, x, y)
    functions = [lambda *a: weighted.quantile(a[0], a[-1], 0.25), lambda *a: weighted.std(a[0], a[-1])]
    functions += [pair for pair, _ in PAIRED.values()]
    whole = [f(swapped, y, weights) for f in functions]
    monkeypatch.setattr(weighted, "_BLOCK", 70)  # 7 rows at a time, the last block shorter
    for f, expected in zip(functions, whole, strict=True):
        found = f(swapped, y, weights)
        np.testing.assert_array_equal(found.value, expected.value)
        np.testing.assert_array_equal(found.n, expected.n)


def test_icc_by_hand() -> None:
    # Row means 1.5, 2, 4, 4.5, column means 2.5 and 3.5, grand mean 3.
    # Rows: 2 (2.25 + 1 + 1 + 2.25) = 13, mean square 13/3. Columns: 4 (.25 + .25) = 2, mean square 2.
    # Total: (4 + 1 + 0 + 1) + (1 + 1 + 4 + 4) = 16; error 16 - 13 - 2 = 1, mean square 1/3.
    # ICC = (13/3 - 1/3) / (13/3 + 1/3 + 2/4 (2 - 1/3)) = 4 / (33/6) = 8/11.
    assert float(weighted.icc([1, 2, 3, 4], [2, 2, 5, 5]).value) == pytest.approx(8 / 11)


def test_icc_of_two_cases_with_exchanged_values_is_undefined() -> None:
    # Rows and columns do not vary; error mean square e: -e / (0 + e + 2/2 (0 - e)) = -e / 0.
    assert np.isnan(weighted.icc([0.3, 1.7], [1.7, 0.3]).value)


def test_icc_asks_for_agreement_where_correlation_does_not() -> None:
    x = np.array([0.0, 1, 2, 5])
    assert float(weighted.pearson(x, x + 3).value) == pytest.approx(1)
    # Difference constant: error 0, rows 2 * (4 + 1 + 0 + 9) = 28 -> 28/3, columns 4 * 2 * 1.5^2 = 18.
    assert float(weighted.icc(x, x + 3).value) == pytest.approx((28 / 3) / (28 / 3 + 18 / 2))
    assert float(weighted.icc(x, x).value) == pytest.approx(1)


def test_icc_agrees_with_pingouin() -> None:
    pingouin = pytest.importorskip("pingouin")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(5)
    for n in (3, 12, 40):
        x = rng.poisson(3, n).astype(float)
        y = x + rng.integers(-1, 3, n)
        long = pandas.DataFrame(
            {"case": np.tile(np.arange(n), 2), "rater": np.repeat(["a", "b"], n), "count": np.r_[x, y]}
        )
        table = pingouin.intraclass_corr(long, targets="case", raters="rater", ratings="count")
        expected = float(table.loc[table["Type"].isin(["ICC(A,1)", "ICC2"]), "ICC"].iloc[0])
        assert float(weighted.icc(x, y).value) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("weights", [None, np.zeros((4, 0)), np.zeros(0)])
def test_no_cases_are_undefined_and_not_a_crash(weights: NDArray[Any] | None) -> None:
    empty = np.zeros(0)
    for pair, _ in PAIRED.values():
        assert np.isnan(pair(empty, empty, weights).value).all()
    assert np.isnan(weighted.quantile(empty, weights, 0.5).value).all()
    assert np.isnan(weighted.mean(empty, weights).value).all()
    added = weighted.total(empty, weights)
    assert (added.value == 0).all()
    assert (added.n == 0).all()
    assert (weighted.pooled(np.zeros((0, 2, 3)), weights, 2).value == 0).all()


def test_a_constant_sample_has_no_correlation_whatever_the_rounding() -> None:
    x = np.array([0.1, 0.1, 0.1, 7.3])
    assert np.isnan(weighted.pearson(x, np.arange(4.0), [3, 3, 1, 0]).value)
    assert float(weighted.std(x, [3, 3, 1, 0]).value) == 0
    assert np.isnan(weighted.icc([0.1, 0.1, 2], [0.1, 0.1, 3], [3, 4, 0]).value)
    for k in range(1, 60):  # 3 * .1 / 3 is not .1, and so for others
        same = np.full(k, k / 10)
        assert float(weighted.std(same).value) == 0 or k == 1
        assert np.isnan(weighted.pearson(same, np.arange(k)).value)


def test_infinite_values_count_in_quantiles_and_make_the_mean_infinite_only_where_drawn() -> None:
    x = np.array([1.0, 2.0, 3.0, np.inf, np.inf])
    assert float(weighted.quantile(x, None, 0.5).value) == 3
    assert weighted.quantile(x, [[1, 0, 0, 1, 1], [1, 1, 1, 0, 0]], 0.5).value.tolist() == [np.inf, 2]
    assert weighted.mean(x, [[0, 1, 1, 0, 0], [1, 0, 0, 1, 0]]).value.tolist() == [2.5, np.inf]


def test_pooled_adds_tables_and_leaves_out_what_could_not_be_judged() -> None:
    tables = np.arange(12.0).reshape(3, 2, 2)
    tables[1, 0, 0] = np.nan
    added = weighted.pooled(tables, [[1, 5, 2], [0, 1, 0]], 2)
    np.testing.assert_array_equal(added.value, [tables[0] + 2 * tables[2], np.zeros((2, 2))])
    assert added.n.tolist() == [3, 0]
    own = weighted.pooled(np.stack([tables, tables]), [[1, 5, 2], [0, 1, 0]], 2)
    np.testing.assert_array_equal(own.value, added.value)


def test_wrong_calls_are_one_line() -> None:
    with pytest.raises(UsageError, match="as many weights as cases") as caught:
        weighted.mean([1.0, 2.0], [1, 1, 1])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="quantile levels"):
        weighted.quantile([1.0], None, 1.5)


def test_many_cases_need_little_memory() -> None:
    rng = np.random.default_rng(2)
    weights = rng.integers(0, 3, (500, 6000)).astype(np.int32)  # 12 MB, 24 MB as float64
    x, y = rng.normal(size=6000), rng.normal(size=6000)
    tracemalloc.start()
    weighted.quantiles(x, weights, (0.5, 0.25, 0.75))
    weighted.spearman(x, y, weights)
    weighted.auc(x, y > 0, weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6 + 12 * 16e6  # the weights, and a dozen blocks of two million values


def test_only_a_part_of_many_weights_becomes_floats_at_once() -> None:
    rng = np.random.default_rng(0)
    tp, fp, fn = (rng.integers(0, 4, 20_000) for _ in range(3))
    weights = rng.integers(0, 3, (1000, 20_000), np.int16)  # 40 MB, as floats 160
    functions: list[Callable[[], object]] = [
        lambda: weighted.mean(tp, weights),
        lambda: weighted.std(tp, weights),
        lambda: weighted.pooled(np.stack([tp, fp], -1), weights, 1),
        lambda: detection.micro(tp, fp, fn, tp + fn == 0, weights),
        lambda: scan_classification.classify(tp, fp, 1, weights),
    ]
    for function in functions:
        tracemalloc.start()
        try:
            function()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 100e6


def test_blocks_of_rows_change_no_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    weights, x = rng.integers(0, 3, (7, 10)), rng.integers(0, 4, (7, 10, 2)).astype(float)
    x[2, 3] = np.nan

    def results() -> list[Measure]:
        return [
            weighted.total(x[0, :, 0], weights),
            weighted.total(x[..., 0], None),
            weighted.pooled(x[0], weights, 1),
            weighted.pooled(x, weights, 1),
            weighted.pooled(x, weights[0], 1),
            weighted.pooled(x, None, 1),
            weighted.auc(x[..., 0], x[0, :, 1] > 1, weights),
        ]

    whole = results()
    monkeypatch.setattr(weighted, "_BLOCK", 25)
    for part, all_at_once in zip(results(), whole, strict=True):
        np.testing.assert_allclose(part.value, all_at_once.value)
        np.testing.assert_array_equal(part.n, all_at_once.n)
