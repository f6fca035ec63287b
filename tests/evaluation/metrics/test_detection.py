import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.detection import DEFINITIONS, EMPTY_DEFINITIONS, macro, micro, per_case

# Four scans: two hits and a false alarm; three false alarms and no lesion; one hit and three misses; nothing.
TP, FP, FN = np.array([2, 0, 1, 0]), np.array([1, 3, 0, 0]), np.array([0, 0, 3, 0])
FREE = np.array([False, True, False, True])


def values(figures: dict) -> dict[str, float]:
    return {name: float(measure.value) for name, measure in figures.items()}


def test_pooled_figures_by_hand() -> None:
    # TP 3, FP 4, FN 3, four scans, two of them without lesions, with 3 + 0 false alarms.
    figures = micro(TP, FP, FN, FREE)
    assert values(figures) == pytest.approx(
        {
            "sensitivity": 3 / 6,
            "precision": 3 / 7,
            "f1": 6 / (6 + 4 + 3),
            "tp": 3,
            "fp": 4,
            "fn": 3,
            "fp_per_scan": 4 / 4,
            "fp_per_lesion_free_scan": 3 / 2,
            "fn_per_scan": 3 / 4,
            "fp_per_lesion": 4 / 6,
            "fn_per_lesion": 3 / 6,
        }
    )
    n = {name: float(measure.n) for name, measure in figures.items()}
    assert (n["sensitivity"], n["precision"], n["f1"]) == (6, 7, 10)
    assert (n["fp_per_scan"], n["fp_per_lesion_free_scan"], n["fp_per_lesion"]) == (4, 2, 6)


def test_per_case_figures_by_hand() -> None:
    # Sensitivity 1, -, 1/4, -; precision 2/3, 0, 1, -; F1 4/5, 0, 2/5, -.
    figures = macro(TP, FP, FN, FREE)
    assert values(figures) == pytest.approx(
        {
            "sensitivity": 5 / 8,
            "sensitivity_median": 5 / 8,
            "sensitivity_q25": 0.25 + 0.25 * 0.75,
            "sensitivity_q75": 0.25 + 0.75 * 0.75,
            "precision": 5 / 9,
            "precision_median": 2 / 3,
            "precision_q25": 1 / 3,
            "precision_q75": 5 / 6,
            "f1": 0.4,
            "f1_median": 0.4,
            "f1_q25": 0.2,
            "f1_q75": 0.6,
            "fp_per_scan_median": 0.5,  # of 0, 0, 1, 3
            "fp_per_lesion_free_scan_median": 1.5,  # of 0, 3
            "fn_per_scan_median": 0,
            "f1_of_means": 2 * (5 / 8) * (5 / 9) / (5 / 8 + 5 / 9),
        }
    )
    assert (figures["sensitivity"].n, figures["precision"].n, figures["f1"].n) == (2, 3, 3)
    assert figures["fp_per_scan_median"].n == 4
    assert figures["fp_per_lesion_free_scan_median"].n == 2


def test_empty_cases_of_the_shiva_rule() -> None:
    # Sensitivity 1, 0, 1/4, 1; precision 2/3, 0, 1, 1; F1 4/5, 0, 2/5, 1.
    figures = macro(TP, FP, FN, FREE, empty="shiva")
    assert float(figures["sensitivity"].value) == pytest.approx(2.25 / 4)
    assert float(figures["precision"].value) == pytest.approx((2 / 3 + 2) / 4)
    assert float(figures["f1"].value) == pytest.approx(2.2 / 4)
    assert figures["f1"].n == 4
    only_missed = per_case([0], [0], [2], "shiva")
    assert [float(only_missed[name][0]) for name in ("sensitivity", "precision", "f1")] == [0, 0, 0]


def test_empty_cases_of_the_valdo_rule() -> None:
    f1 = per_case([2, 0, 0, 0], [1, 3, 0, 0], [0, 0, 2, 0], "valdo")["f1"]
    np.testing.assert_allclose(f1, [0.8, np.nan, 0, np.nan])
    assert macro(TP, FP, FN, FREE, empty="valdo")["f1"].n == 2


def test_empty_cases_left_undefined() -> None:
    cases = per_case([0, 0, 0], [0, 2, 0], [0, 0, 3])
    np.testing.assert_array_equal(cases["sensitivity"], [np.nan, np.nan, 0])
    np.testing.assert_array_equal(cases["precision"], [np.nan, 0, np.nan])
    np.testing.assert_array_equal(cases["f1"], [np.nan, 0, 0])


def test_scans_without_a_hit_stay_in_the_harmonic_mean_of_means() -> None:
    figures = macro([0, 0], [2, 1], [1, 3], [False, False])
    assert float(figures["f1_of_means"].value) == 0  # and not undefined
    assert np.isnan(macro([0], [0], [0], [True])["f1_of_means"].value)


def test_no_scans_at_all() -> None:
    none = np.zeros(0)
    assert float(micro(none, none, none, none)["tp"].value) == 0
    assert np.isnan(micro(none, none, none, none)["fp_per_scan"].value)
    assert np.isnan(macro(none, none, none, none)["f1"].value)


COUNTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3, st.integers(0, 3)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.sampled_from(sorted(EMPTY_DEFINITIONS)))
def test_weights_repeat_scans(rows: list[tuple[int, int, int, int]], empty: str) -> None:
    tp, fp, fn, weights = np.array(rows).T
    free = tp + fn == 0
    many = np.stack([weights, np.ones_like(weights)])
    repeated = [np.repeat(a, weights) for a in (tp, fp, fn, free)]
    pairs = [
        (micro(tp, fp, fn, free, many), micro(*repeated)),
        (macro(tp, fp, fn, free, many, empty), macro(*repeated, empty=empty)),  # type: ignore[arg-type]
    ]
    for batch, plain in pairs:
        for name, measure in plain.items():
            assert batch[name].value.shape == batch[name].n.shape == (2,)
            np.testing.assert_allclose(batch[name].value[0], measure.value, atol=1e-12)
            assert batch[name].n[0] == measure.n


def test_permuted_samples_have_their_own_counts_in_each_row() -> None:
    tp, fp, fn = (np.stack([a, a[::-1] + 1]) for a in (TP, FP, FN))
    together, alone = micro(tp, fp, fn, FREE), micro(tp[1], fp[1], fn[1], FREE)
    for name, measure in alone.items():
        assert together[name].value.shape == (2,)
        assert together[name].value[1] == measure.value
    assert macro(tp, fp, fn, FREE)["f1"].value[1] == macro(tp[1], fp[1], fn[1], FREE)["f1"].value


def test_a_case_that_could_not_be_judged_is_not_a_scan() -> None:
    broken = micro([*TP, np.nan], [*FP, np.nan], [*FN, np.nan], [*FREE, False])
    assert values(broken) == values(micro(TP, FP, FN, FREE))
    assert broken["fp_per_scan"].n == 4


def test_every_figure_is_defined_in_one_sentence() -> None:
    made = {f"micro.{name}" for name in micro(TP, FP, FN, FREE)} | {
        f"macro.{name}" for name in macro(TP, FP, FN, FREE)
    }
    assert set(DEFINITIONS) == made
    assert all(text.endswith(".") and "\n" not in text for text in DEFINITIONS.values())


def test_the_denominator_of_precision_is_what_its_definition_says() -> None:
    # The shiva rule: one prediction touches two truth lesions (TP 2), another none: two predictions, but 3.
    precision = micro([2], [1], [0], [False])["precision"]
    assert (precision.value, precision.n) == (pytest.approx(2 / 3), 3)
    text = DEFINITIONS["micro.precision"]
    assert "except under the 'shiva' rule" in text
    assert "truth lesions found and of predictions that touch none" in text


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(UsageError, match="empty cases"):
        macro(TP, FP, FN, FREE, empty="perfect")  # type: ignore[arg-type]
