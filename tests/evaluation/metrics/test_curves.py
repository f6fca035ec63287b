import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics import curves
from shiva_cmb.evaluation.metrics.curves import (
    DEFINITIONS,
    FREE_RESPONSE_RATES,
    average_precision,
    best_by_f1,
    best_by_fp_rate,
    free_response_score,
    froc,
    operating_points,
    precision_recall,
    sensitivity_at,
    summary,
)

# Two scans with three lesions and one, three thresholds: TP, FP, FN.
COUNTS = np.array([[[3, 2, 0], [2, 1, 1], [1, 0, 2]], [[1, 3, 0], [1, 1, 0], [0, 0, 1]]])
# Together 4 5 0, 3 2 1, 1 0 3: sensitivity 1, 3/4, 1/4; FP per scan 2.5, 1, 0; precision 4/9, 3/5, 1.


def test_curves_by_hand() -> None:
    curve = froc(COUNTS)
    np.testing.assert_allclose(curve.sensitivity, [1, 0.75, 0.25])
    np.testing.assert_allclose(curve.fp_per_scan, [2.5, 1, 0])
    precision, recall = precision_recall(COUNTS)
    np.testing.assert_allclose(precision, [4 / 9, 3 / 5, 1])
    np.testing.assert_allclose(recall, [1, 0.75, 0.25])


def test_free_response_score_by_hand() -> None:
    # At 1/8, 1/4, 1/2: .25; at 1 and 2: .75; at 4 and 8: 1. Sum 4.25.
    score = free_response_score(COUNTS)
    assert float(score.value) == pytest.approx(4.25 / 7)
    assert float(score.n) == 4
    assert float(sensitivity_at(COUNTS, 1.0).value) == 0.75  # exactly that many are allowed
    assert float(sensitivity_at(COUNTS, 0.99).value) == 0.25
    assert float(sensitivity_at(COUNTS[:, :2], 0.99).value) == 0  # no threshold is that strict
    each = [float(sensitivity_at(COUNTS, rate).value) for rate in FREE_RESPONSE_RATES]
    assert np.mean(each) == pytest.approx(float(score.value))


def test_average_precision_by_hand() -> None:
    # .25 * 1 + (.75 - .25) * 3/5 + (1 - .75) * 4/9.
    assert float(average_precision(COUNTS).value) == pytest.approx(0.25 + 0.3 + 1 / 9)
    # Precision 1/3 at recall 1/4 does not count, as recall 1/2 has 1/2: .5 * .5. Beyond there is nothing.
    rising = np.array([[[2, 2, 2], [1, 2, 3]]])
    assert float(average_precision(rising).value) == pytest.approx(0.25)


def test_recall_that_rises_with_the_threshold_is_no_obstacle() -> None:
    # One component over two lesions splits in two: recall 1/2, 1, precision 1 for both.
    split = np.array([[[1, 0, 1], [2, 0, 0]]])
    assert float(average_precision(split).value) == pytest.approx(1)
    assert float(average_precision(split[:, ::-1]).value) == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6))
def test_average_precision_is_scikit_learns_where_precision_falls_with_recall(
    blocks: list[tuple[int, int]],
) -> None:
    blocks = sorted((b for b in blocks if sum(b)), key=lambda b: -b[0] / sum(b))
    if sum(hits for hits, _ in blocks) == 0:
        return
    # Block k holds so many hits and false alarms of one probability; the best block has the highest.
    scores = np.concatenate([np.full(sum(b), 1 - 0.1 * k) for k, b in enumerate(blocks)])
    truth = np.concatenate([np.repeat([True, False], b) for b in blocks])
    levels = np.unique(scores)
    counts = [[(truth & (scores >= t)).sum(), (~truth & (scores >= t)).sum()] for t in levels]
    table = np.array([[[tp, fp, truth.sum() - tp] for tp, fp in counts]])
    assert float(average_precision(table).value) == pytest.approx(average_precision_score(truth, scores))


def test_without_lesions_nothing_is_defined_but_the_false_alarms() -> None:
    counts = np.array([[[0, 2, 0], [0, 0, 0]]])
    curve = froc(counts)
    assert np.isnan(curve.sensitivity).all()
    np.testing.assert_array_equal(curve.fp_per_scan, [2, 0])
    for function in (free_response_score, average_precision):
        assert np.isnan(function(counts).value)
        assert function(counts).n == 0


def random_counts(shape: tuple[int, ...]) -> NDArray[np.int64]:
    rng = np.random.default_rng(7)
    found = np.sort(rng.integers(0, 6, shape), axis=1)[:, ::-1]
    alarms = np.sort(rng.integers(0, 9, shape), axis=1)[:, ::-1]
    return np.stack([found, alarms, 6 - found], axis=-1)


def test_weights_repeat_cases() -> None:
    counts = random_counts((5, 8))
    weights = np.array([[2, 0, 1, 1, 1], [0, 5, 0, 0, 0], [0, 0, 0, 0, 0]])
    for function in (free_response_score, average_precision):
        found = function(counts, weights)
        assert found.value.shape == found.n.shape == (3,)
        for k in (0, 1):
            plain = function(np.repeat(counts, weights[k], axis=0))
            assert found.value[k] == pytest.approx(float(plain.value))
            assert found.n[k] == plain.n
        assert np.isnan(found.value[2])
    curve = froc(counts, weights)
    plain_curve = froc(np.repeat(counts, weights[0], axis=0))
    np.testing.assert_allclose(curve.fp_per_scan[0], plain_curve.fp_per_scan)
    np.testing.assert_allclose(curve.sensitivity[0], plain_curve.sensitivity)
    own = free_response_score(np.stack([counts, counts[::-1]]), weights[:2])
    assert own.value[0] == pytest.approx(free_response_score(counts, weights).value[0])


def test_the_best_f1_wins() -> None:
    # F1 8/13, 6/9, 2/5 for the first minimum volume; the second loses a hit everywhere.
    second = COUNTS + np.array([-1, 0, 1]) * (COUNTS[..., :1] > 0)
    counts = np.stack([COUNTS, second], axis=2)[:, :, :, None]
    assert counts.shape == (2, 3, 2, 1, 3)
    points = operating_points(counts)
    np.testing.assert_allclose(points.f1[:, 0, 0], [8 / 13, 6 / 9, 2 / 5])
    np.testing.assert_allclose(points.fp_per_scan[:, 1, 0], [2.5, 1, 0])
    np.testing.assert_allclose(points.precision[0, :, 0], [4 / 9, 2 / 7])
    assert best_by_f1(counts) == (1, 0, 0)


def one_scan(*rows: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Counts of one scan: a row per threshold, an entry per minimum volume."""
    return np.array([rows])[:, :, :, None]


def test_ties_go_to_fewer_false_alarms_then_to_the_higher_threshold_then_to_the_smaller_volume() -> None:
    # F1 2/3 three times: 2 1 1, and 1 0 1 with fewer false alarms.
    assert best_by_f1(one_scan([(2, 1, 1)], [(1, 0, 1)], [(2, 1, 1)])) == (1, 0, 0)
    assert best_by_f1(one_scan([(1, 0, 1), (1, 0, 1)], [(1, 0, 1), (1, 0, 1)])) == (1, 0, 0)
    # Sensitivity 1 with two, one and one false alarms allowed.
    assert best_by_fp_rate(one_scan([(2, 2, 0)], [(2, 1, 0)], [(2, 1, 0)], [(1, 0, 1)]), 2) == (2, 0, 0)
    # of two peak thresholds with the same figures the lower one, and a larger volume rather than a peak
    same = np.array([[[[(1, 1, 1), (1, 0, 1)], [(1, 0, 1), (1, 0, 1)]]]])
    assert best_by_f1(same) == (0, 1, 0)


def test_the_wanted_rate_of_false_alarms_is_kept() -> None:
    counts = COUNTS[:, :, None, None]
    assert best_by_fp_rate(counts, 3) == (0, 0, 0)
    assert best_by_fp_rate(counts, 1) == (1, 0, 0)
    assert best_by_fp_rate(counts, 0) == (2, 0, 0)


def test_a_rate_that_no_threshold_reaches_is_said() -> None:
    with pytest.raises(UsageError, match="the fewest are 1") as caught:
        best_by_fp_rate(COUNTS[:, :2, None, None], 0.5)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no truth lesions"):
        best_by_fp_rate(one_scan([(0, 1, 0)]), 2)
    with pytest.raises(UsageError, match="no lesions and no predictions"):
        best_by_f1(one_scan([(0, 0, 0)]))


def test_a_point_that_finds_nothing_is_not_chosen() -> None:
    blind = one_scan([(0, 2, 1)], [(0, 0, 1)])
    with pytest.raises(UsageError, match="nothing in the sweep finds a lesion"):
        best_by_f1(blind)
    with pytest.raises(UsageError, match=r"1 false positives per scan or fewer: .*finds a lesion"):
        best_by_fp_rate(blind, 1)
    # a lesion is found, but only with more false alarms than wanted
    with pytest.raises(UsageError, match=r"0\.5 false positives per scan or fewer: .*finds a lesion"):
        best_by_fp_rate(one_scan([(1, 2, 0)], [(0, 0, 1)]), 0.5)


def test_all_figures_come_from_counts_that_are_pooled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, weights = random_counts((5, 8)), np.array([[2, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    expected = {
        "free_response_score": free_response_score(counts, weights),
        "average_precision": average_precision(counts, weights),
        "sensitivity_at_2_fp_per_scan": sensitivity_at(counts, 2, weights),
    }
    pool, calls = curves.pooled, []
    monkeypatch.setattr(curves, "pooled", lambda *args: calls.append(1) or pool(*args))
    figures = summary(counts, weights)
    assert len(calls) == 1
    for name, measure in expected.items():
        np.testing.assert_array_equal(figures[name].value, measure.value)
        np.testing.assert_array_equal(figures[name].n, measure.n)


def test_every_figure_is_defined_in_one_sentence() -> None:
    rates = {f"sensitivity_at_{rate:g}_fp_per_scan" for rate in FREE_RESPONSE_RATES}
    assert set(DEFINITIONS) == rates | {"free_response_score", "average_precision"} == set(summary(COUNTS))
    assert "most 0.125 false positives" in DEFINITIONS["sensitivity_at_0.125_fp_per_scan"]
    assert all(text.endswith(".") for text in DEFINITIONS.values())
