"""Agreement with another evaluation library, where it defines the same thing; run where it is installed."""

import numpy as np
import pytest
from scipy import ndimage

from shiva_cmb.evaluation.lesion_set import lesions_of_mask
from shiva_cmb.evaluation.matching import MatchRule, match_lesions
from tests.evaluation.boxes import grid

panoptica = pytest.importorskip("panoptica")


def two_maps(rng: np.random.Generator, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs, and the same moved and partly redrawn."""
    shape = (28, 26, 24)
    truth, other = (ndimage.gaussian_filter(rng.random(shape), 1.4) for _ in range(2))
    mixed = np.roll(truth, shift, axis=0) + 0.35 * other
    return truth > np.quantile(truth, 0.94), mixed > np.quantile(mixed, 0.95)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("matcher", ["greedy", "optimal"])
def test_counts_and_dice_of_lesions_that_overlap_by_more_than_half(seed: int, matcher: str) -> None:
    # above one half a lesion has one partner at most, so greedy, optimal and ours must agree
    truth, prediction = two_maps(np.random.default_rng(seed), seed % 2)
    kinds = {"greedy": panoptica.NaiveThresholdMatching, "optimal": panoptica.MaxBipartiteMatching}
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=kinds[matcher](matching_threshold=0.501),
        instance_metrics=[panoptica.Metric.DSC, panoptica.Metric.IOU],
    )
    result = evaluator.evaluate(prediction.astype(np.uint8), truth.astype(np.uint8))["ungrouped"]
    sets = [lesions_of_mask(mask, grid(mask.shape)) for mask in (truth, prediction)]
    matching = match_lesions(*sets, MatchRule("iou", min_iou=0.501))
    assert (matching.tp, matching.fp, matching.fn) == (result.tp, result.fp, result.fn)
    assert matching.tp > 0
    assert matching.fp + matching.fn > 0
    rows, columns = matching.pairs.T
    both = sets[0].sizes[rows] + sets[1].sizes[columns]
    dice = 2 * matching.overlaps[rows, columns] / both
    values = result.get_list_metric(panoptica.Metric.DSC, panoptica.MetricMode.ALL)
    np.testing.assert_allclose(np.sort(dice), np.sort(values))


def test_any_overlap_without_rivals() -> None:
    # one prediction at most for each lesion and the other way round: any rule finds the same pairs
    truth, prediction = np.zeros((2, 24, 24, 24), bool)
    truth[2:5, 2:5, 2:5] = truth[12:15, 2:5, 2:5] = truth[2:4, 16:18, 16:18] = True
    prediction[4:8, 4:7, 4:7] = prediction[12:15, 2:5, 2:4] = prediction[20:22, 20:22, 20:22] = True
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(matching_threshold=1e-6),
        instance_metrics=[panoptica.Metric.DSC, panoptica.Metric.IOU],
    )
    result = evaluator.evaluate(prediction.astype(np.uint8), truth.astype(np.uint8))["ungrouped"]
    matching = match_lesions(*[lesions_of_mask(mask, grid(mask.shape)) for mask in (truth, prediction)])
    assert (matching.tp, matching.fp, matching.fn) == (result.tp, result.fp, result.fn) == (2, 1, 1)
