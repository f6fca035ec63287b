import numpy as np
import pytest
import scipy

from shiva_cmb.evaluation.metrics.counts import DEFINITIONS, agreement

TRUTH, PREDICTED = np.array([0, 1, 2, 5]), np.array([1, 1, 4, 5])


def test_figures_by_hand() -> None:
    # Differences 1, 0, 2, 0: mean .75, squares of the deviations .0625 + .5625 + 1.5625 + .5625 = 2.75,
    # standard deviation sqrt(2.75 / 3) = .957427, limits .75 -+ 1.876557.
    figures = {name: float(m.value) for name, m in agreement(TRUTH, PREDICTED).items()}
    assert figures["error_mean"] == figures["bland_altman_bias"] == 0.75
    assert figures["absolute_error_mean"] == 0.75
    assert figures["absolute_error_median"] == 0.5
    assert figures["bland_altman_low"] == pytest.approx(-1.126557, abs=1e-6)
    assert figures["bland_altman_high"] == pytest.approx(2.626557, abs=1e-6)
    assert figures["pearson"] == pytest.approx(scipy.stats.pearsonr(TRUTH, PREDICTED).statistic)
    assert figures["spearman"] == pytest.approx(scipy.stats.spearmanr(TRUTH, PREDICTED).statistic)
    # Case means .5, 1, 3, 5 about 2.375: squares 3.515625 + 1.890625 + .390625 + 6.890625 = 12.6875, mean
    # square of the rows 2 * 12.6875 / 3 = 8.4583; of the error 2.75 / 2 / 3 = .4583; of the columns
    # 4 * .75^2 / 2 = 1.125. ICC = (8.4583 - .4583) / (8.4583 + .4583 + 2/4 (1.125 - .4583)) = 8 / 9.25.
    assert figures["icc"] == pytest.approx(8 / 9.25)


def test_too_many_predictions_are_a_positive_error() -> None:
    assert float(agreement([1, 1], [3, 2])["error_mean"].value) == 1.5
    assert float(agreement([3, 2], [1, 1])["error_mean"].value) == -1.5
    assert float(agreement([3, 2], [1, 1])["absolute_error_mean"].value) == 1.5


def test_weights_repeat_cases() -> None:
    weights = np.array([[2, 0, 3, 1], [0, 1, 1, 1], [0, 4, 0, 0]])
    found = agreement(TRUTH, PREDICTED, weights)
    for k, row in enumerate(weights):
        plain = agreement(np.repeat(TRUTH, row), np.repeat(PREDICTED, row))
        for name, measure in plain.items():
            np.testing.assert_allclose(found[name].value[k], measure.value, atol=1e-12, err_msg=name)
            assert found[name].n[k] == measure.n == row.sum()


def test_one_case_has_an_error_but_no_correlation_and_no_limits() -> None:
    figures = agreement([2], [3])
    assert float(figures["error_mean"].value) == 1
    for name in ("pearson", "spearman", "icc", "bland_altman_low", "bland_altman_high"):
        assert np.isnan(figures[name].value), name


def test_a_case_without_a_count_is_left_out() -> None:
    figures = agreement([*TRUTH, np.nan], [*PREDICTED, 4])
    assert figures["icc"].n == figures["error_mean"].n == 4
    assert float(figures["pearson"].value) == pytest.approx(
        float(agreement(TRUTH, PREDICTED)["pearson"].value)
    )


def test_every_figure_is_defined_in_one_sentence() -> None:
    assert set(DEFINITIONS) == set(agreement(TRUTH, PREDICTED))
    assert all(text.endswith(".") for text in DEFINITIONS.values())
