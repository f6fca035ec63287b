import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_auc_score

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.metrics.scan_classification import DEFINITIONS, classify


def test_the_positive_class_is_the_one_with_lesions() -> None:
    # A published table that gave the negative class instead: 25 true positives, 14 false positives, one false
    # negative, 42 true negatives. PPV 25/39, sensitivity 25/26, specificity 42/56, F1 50/65.
    truth = np.repeat([2, 0, 1, 0], [25, 14, 1, 42])
    predicted = np.repeat([1, 3, 0, 0], [25, 14, 1, 42])
    figures = {name: float(m.value) for name, m in classify(truth, predicted, 1).items()}
    assert [figures[name] for name in ("tp", "fp", "fn", "tn")] == [25, 14, 1, 42]
    assert figures["ppv"] == pytest.approx(0.64, abs=0.005)
    assert figures["sensitivity"] == pytest.approx(0.96, abs=0.005)
    assert figures["specificity"] == pytest.approx(0.75)
    assert figures["f1"] == pytest.approx(0.77, abs=0.005)
    assert figures["npv"] == pytest.approx(42 / 43)
    assert figures["accuracy"] == pytest.approx(67 / 82)


def test_the_number_of_lesions_decides() -> None:
    truth, predicted = [0, 2, 3, 4, 11], [3, 3, 3, 2, 10]
    found = {
        k: [int(classify(truth, predicted, k)[n].value) for n in ("tp", "fp", "fn", "tn")] for k in (1, 3, 11)
    }
    # At least 3: truth on the last three scans, called on the first three and the last.
    assert found == {1: [4, 1, 0, 0], 3: [2, 2, 1, 0], 11: [0, 0, 1, 4]}


def test_auc_by_hand() -> None:
    # Positive scans have 3 and 1 predictions, negative ones 0, 1 and 2: 3 beats all three, 1 beats 0 and
    # ties with 1: (3 + 1 + .5) / 6.
    figures = classify([5, 1, 0, 0, 0], [3, 1, 0, 1, 2], 1)
    assert float(figures["auc"].value) == pytest.approx(4.5 / 6)
    assert figures["auc"].n == 5


def test_classes_that_are_not_there_are_undefined() -> None:
    figures = classify([0, 0], [0, 0], 1)
    for name in ("sensitivity", "ppv", "f1", "auc"):
        assert np.isnan(figures[name].value), name
        if name != "auc":
            assert figures[name].n == 0
    assert float(figures["specificity"].value) == float(figures["npv"].value) == 1


CASES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(CASES, st.integers(1, 5))
def test_scikit_learn_agrees(rows: list[tuple[int, int, int]], at_least: int) -> None:
    truth, predicted, weights = np.array(rows).T
    batch = classify(truth, predicted, at_least, np.stack([weights, weights]))
    truth, predicted = np.repeat(truth, weights), np.repeat(predicted, weights)
    found = {name: float(measure.value[1]) for name, measure in batch.items()}
    if len(truth) == 0:
        assert found["tp"] == 0
        assert np.isnan(found["accuracy"])
        return
    (tn, fp), (fn, tp) = confusion_matrix(truth >= at_least, predicted >= at_least, labels=[False, True])
    assert (found["tp"], found["fp"], found["fn"], found["tn"]) == (tp, fp, fn, tn)
    if 0 < tp + fn < len(truth):
        assert found["auc"] == pytest.approx(roc_auc_score(truth >= at_least, predicted))


def test_every_figure_is_defined_in_one_sentence() -> None:
    assert set(DEFINITIONS) == set(classify([1], [1], 1))
    assert all(text.endswith(".") for text in DEFINITIONS.values())


def test_no_lesion_at_all_is_no_positive_scan() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        classify([1], [1], 0)
