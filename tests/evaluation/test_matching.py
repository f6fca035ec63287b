"""Every rule on cases worked out by hand. Bars lie in one row along x, so shared voxels can be counted."""

import numpy as np
import pytest

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.evaluation.assignment import assign, match_points
from shiva_cmb.evaluation.lesion_set import LesionSet
from shiva_cmb.evaluation.matching import MatchRule, RuleName, match_lesions
from tests.evaluation.boxes import bar, dot, grid, lesions

RULES: list[RuleName] = ["overlap", "iou", "distance", "shiva", "valdo", "valdo-voxels"]

Expected = dict[RuleName, tuple[tuple[int, int, int], list[list[int]]]]
"""Rule to TP, FP, FN and the pairs."""


def check(truth: LesionSet, prediction: LesionSet, expected: Expected) -> None:
    assert list(expected) == RULES
    for name, (counts, pairs) in expected.items():
        matching = match_lesions(truth, prediction, MatchRule(name))
        assert (matching.tp, matching.fp, matching.fn) == counts, name
        assert matching.pairs.tolist() == pairs, name


def test_two_predictions_on_one_lesion() -> None:
    truth = lesions(bar(2, 9))  # 8 voxels about 5.5
    prediction = lesions(bar(2, 3), bar(5, 8))  # 2 about 2.5, 4 about 6.5
    # IoU 2/8 and 4/8; distance 3 and 1: the second has it, the first is a false alarm
    one = ((1, 1, 0), [[0, 1]])
    check(
        truth,
        prediction,
        {
            "overlap": one,
            "iou": one,
            "distance": one,
            "shiva": ((1, 0, 0), [[0, 0], [0, 1]]),  # both touch the lesion: no false alarm
            "valdo": one,
            "valdo-voxels": one,
        },
    )
    matching = match_lesions(truth, prediction)
    assert matching.truth_status.tolist() == ["TP"]
    assert matching.prediction_status.tolist() == ["FP", "TP"]
    assert matching.overlaps.tolist() == [[2, 4]]
    assert matching.truth_partner.tolist() == [1]
    assert matching.prediction_partner.tolist() == [-1, 0]
    shiva = match_lesions(truth, prediction, MatchRule("shiva"))
    assert shiva.truth_partner.tolist() == [1]  # 4 shared voxels against 2
    assert shiva.prediction_partner.tolist() == [0, 0]
    assert shiva.prediction_status.tolist() == ["TP", "TP"]


def test_one_prediction_over_two_lesions() -> None:
    truth = lesions(bar(2, 4), bar(6, 9))  # 3 voxels about 3, 4 about 7.5
    prediction = lesions(bar(2, 9))  # 8 about 5.5
    # IoU 3/8 and 4/8; distance 2.5 and 2: the second lesion is found, the first missed
    one = ((1, 0, 1), [[1, 0]])
    check(
        truth,
        prediction,
        {
            "overlap": one,
            "iou": one,
            "distance": one,
            "shiva": ((2, 0, 0), [[0, 0], [1, 0]]),  # both are touched
            "valdo": one,
            "valdo-voxels": one,
        },
    )
    assert match_lesions(truth, prediction, MatchRule("shiva")).prediction_partner.tolist() == [1]


def test_a_chain_in_which_taking_the_best_pair_first_loses_one() -> None:
    truth = lesions(bar(0, 9), bar(11, 12))  # 10 voxels about 4.5, 2 about 11.5
    prediction = lesions(bar(3, 11), bar(0, 1))  # 9 voxels about 7, 2 about 0.5
    # shared        P1 (3..11)               P2 (0..1)
    # T1 (0..9)     3..9: 7, IoU 7/12 = .58   0..1: 2, IoU 2/10 = .2
    # T2 (11..12)   11:   1, IoU 1/10 = .1    none
    # Greedy takes T1-P1 (.58) and leaves T2 and P2 alone; T1-P2 and T2-P1 are two pairs (.3).
    two = ((2, 0, 0), [[0, 1], [1, 0]])
    # distances     P1                        P2
    # T1            2.5                       4
    # T2            4.5                       11
    # Within 5 mm again only T1-P2 and T2-P1 are two pairs. VALDO: P1 and P2 both go to T1, P1 is nearer.
    valdo = ((1, 1, 1), [[0, 0]])
    check(
        truth,
        prediction,
        {
            "overlap": two,
            "iou": two,  # 1/10 is at least 0.1
            "distance": two,
            "shiva": ((2, 0, 0), [[0, 0], [0, 1], [1, 0]]),
            "valdo": valdo,
            "valdo-voxels": valdo,
        },
    )
    assert match_lesions(truth, prediction, MatchRule("iou", min_iou=0.15)).pairs.tolist() == [[0, 0]]
    assert match_lesions(truth, prediction, MatchRule("overlap", min_overlap_voxels=2)).pairs.tolist() == [
        [0, 0]
    ]


def test_a_longer_chain_is_taken_along_its_whole_length() -> None:
    truth = lesions(bar(0, 2), bar(4, 6), bar(8, 10))
    prediction = lesions(bar(2, 4), bar(6, 8), bar(10, 12))
    # Each P shares one voxel with the T before and, but for the last, the T after. Only T1-P1, T2-P2, T3-P3
    # are three pairs. All IoU are 1/5.
    matching = match_lesions(truth, prediction)
    assert matching.pairs.tolist() == [[0, 0], [1, 1], [2, 2]]
    # without P1 there are two pairs, and T1 is missed
    shorter = match_lesions(truth, prediction.select([False, True, True]))
    assert shorter.pairs.tolist() == [[1, 0], [2, 1]]
    assert shorter.truth_status.tolist() == ["FN", "TP", "TP"]


def test_among_equally_many_pairs_the_largest_summed_iou_wins() -> None:
    truth = lesions((slice(0, 6), slice(5, 7), 5), (slice(6, 12), slice(5, 7), 5))  # 12 voxels each
    prediction = lesions(bar(1, 7, y=5), bar(4, 8, y=6))  # 7 and 5 voxels
    # shared, IoU   P1               P2
    # T1            5, 5/14 = .357   2, 2/15 = .133
    # T2            2, 2/17 = .118   3, 3/14 = .214
    # straight .571, crossed .251
    assert match_lesions(truth, prediction).pairs.tolist() == [[0, 0], [1, 1]]
    assert match_lesions(truth, prediction, MatchRule(min_overlap_voxels=3)).tp == 2
    assert match_lesions(truth, prediction, MatchRule(min_overlap_voxels=4)).tp == 1  # only 5 is enough
    assert match_lesions(truth, prediction, MatchRule("iou", min_iou=0.3)).tp == 1


def test_among_equally_many_pairs_the_smallest_summed_distance_wins() -> None:
    # along x: T 4 and 8, P 5 and 2. The nearest pair is T1-P1 (1), and then T2-P2 is 6 mm: one pair.
    # T1-P2 (2) and T2-P1 (3) are two.
    truth, prediction = lesions(dot(4), dot(8)), lesions(dot(5), dot(2))
    assert match_lesions(truth, prediction, MatchRule("distance")).pairs.tolist() == [[0, 1], [1, 0]]
    # within 6 mm both choices have two pairs: 1 + 6 = 7 against 2 + 3 = 5
    far = MatchRule("distance", max_distance_mm=6.0)
    assert match_lesions(truth, prediction, far).pairs.tolist() == [[0, 1], [1, 0]]
    # P2 at 3: T1-P1 1 + T2-P2 5 = 6 against T1-P2 1 + T2-P1 3 = 4
    assert match_lesions(truth, lesions(dot(5), dot(3)), far).pairs.tolist() == [[0, 1], [1, 0]]


def test_equal_distances_are_decided_by_overlap() -> None:
    ring = np.zeros((20, 16, 12), bool)
    ring[4:7, 4:7, 5] = True
    ring[5, 5, 5] = False
    truth = lesions(tuple(np.nonzero(ring)), dot(5))  # type: ignore[arg-type]  # the same centroid
    prediction = truth.select([False, True])
    matching = match_lesions(truth, prediction, MatchRule("distance"))
    assert matching.pairs.tolist() == [[1, 0]]


@pytest.mark.parametrize("name", RULES)
def test_empty_against_empty_and_full(name: RuleName) -> None:
    rule, none, some = MatchRule(name), lesions(), lesions(dot(2), bar(5, 7))
    whole = lesions((slice(0, 20), slice(0, 16), slice(0, 12)))
    for truth, prediction, counts in (
        (none, none, (0, 0, 0)),
        (none, some, (0, 2, 0)),
        (some, none, (0, 0, 2)),
        (none, whole, (0, 1, 0)),
        (whole, none, (0, 0, 1)),
    ):
        matching = match_lesions(truth, prediction, rule)
        assert (matching.tp, matching.fp, matching.fn) == counts
        assert matching.pairs.shape == (0, 2)
        assert matching.overlaps.shape == (len(truth), len(prediction))
        assert matching.truth_status.tolist() == ["FN"] * len(truth)
        assert matching.prediction_status.tolist() == ["FP"] * len(prediction)
        assert matching.truth_partner.tolist() == [-1] * len(truth)
        assert matching.prediction_partner.tolist() == [-1] * len(prediction)


def test_one_lesion_in_an_image_full_of_prediction() -> None:
    truth, prediction = lesions(dot(2)), lesions((slice(0, 20), slice(0, 16), slice(0, 12)))
    # shares its voxel, but IoU is 1/3840, and the centres are
    # (9.5 - 2, 7.5 - 5, 5.5 - 5): sqrt(56.25 + 6.25 + 0.25) = 7.9 mm apart
    tp = {name: match_lesions(truth, prediction, MatchRule(name)).tp for name in RULES}
    assert tp == {"overlap": 1, "iou": 0, "distance": 0, "shiva": 1, "valdo": 0, "valdo-voxels": 0}


@pytest.mark.parametrize("name", RULES)
def test_lesions_at_the_border(name: RuleName) -> None:
    corners = lesions((slice(0, 2), slice(0, 2), slice(0, 2)), (slice(18, 20), slice(14, 16), slice(10, 12)))
    matching = match_lesions(corners, corners, MatchRule(name))
    assert (matching.tp, matching.fp, matching.fn) == (2, 0, 0)
    assert matching.pairs.tolist() == [[0, 0], [1, 1]]
    # neighbours in memory, a whole row of 12 voxels apart in the image
    matching = match_lesions(lesions(dot(4, 4, 11)), lesions(dot(4, 5, 0)), MatchRule(name))
    assert (matching.tp, matching.fp, matching.fn) == (0, 1, 1)


def test_anisotropic_voxels() -> None:
    thick = grid(spacing=(0.5, 0.5, 4.0))
    truth = lesions(dot(2, z=5), on=thick)
    # offset: 1 slice is 4 mm; 2 slices are 8 mm; 9 columns are 4.5 mm; 10 columns are 5 mm;
    # 8 columns and 1 slice are sqrt(16 + 16) = 5.66 mm; 4 columns are 2 mm
    places = [dot(2, z=6), dot(2, z=7), dot(11), dot(12), dot(10, z=6), dot(6)]
    hits: dict[RuleName, list[int]] = {
        "distance": [1, 0, 1, 1, 0, 1],  # at most 5 mm
        "valdo": [1, 0, 1, 0, 0, 1],  # closer than 5 mm
        "valdo-voxels": [1, 1, 0, 0, 0, 1],  # closer than 5 voxels: 1, 2, 9, 10, 8.06, 4
        "overlap": [0] * 6,
        "shiva": [0] * 6,
    }
    for name, expected in hits.items():
        found = [match_lesions(truth, lesions(place, on=thick), MatchRule(name)).tp for place in places]
        assert found == expected, name
    # the nearest in mm is 4 mm (1 slice) against 2 mm (4 columns); in voxels 1 against 4
    both = lesions(dot(2, z=6), dot(6), on=thick)
    assert match_lesions(truth, both, MatchRule("valdo")).pairs.tolist() == [[0, 1]]
    assert match_lesions(truth, both, MatchRule("valdo-voxels")).pairs.tolist() == [[0, 0]]
    assert match_lesions(truth, both, MatchRule("distance")).pairs.tolist() == [[0, 1]]


def test_of_several_partners_the_largest_overlap_then_the_nearest_is_named() -> None:
    rule = MatchRule("shiva")
    truth = lesions(bar(2, 10))  # about 6
    # shares 2..4, 3 voxels, about 3; and 6..7, 2 voxels, about 6.5
    matching = match_lesions(truth, lesions(bar(6, 7), bar(2, 4)), rule)
    assert matching.truth_partner.tolist() == [1]
    # 2 voxels each, about 2.5 and 6.5: the second is nearer, wherever it is listed
    assert match_lesions(truth, lesions(bar(2, 3), bar(6, 7)), rule).truth_partner.tolist() == [1]
    assert match_lesions(truth, lesions(bar(6, 7), bar(2, 3)), rule).truth_partner.tolist() == [0]
    # the same for a prediction over two lesions
    assert match_lesions(lesions(bar(2, 3), bar(6, 7)), truth, rule).prediction_partner.tolist() == [1]
    assert match_lesions(lesions(bar(6, 7), bar(2, 4)), truth, rule).prediction_partner.tolist() == [1]


def test_valdo_predictions_do_not_fall_back_on_another_lesion() -> None:
    truth, prediction = lesions(dot(0), dot(7)), lesions(dot(1), dot(3))
    # P1 is 1 from T1 and 6 from T2; P2 is 3 from T1 and 4 from T2: both go to T1, P1 is nearer, P2 is a FP
    # although T2 is free and closer than 5. The optimal assignment gives T2 to P2.
    matching = match_lesions(truth, prediction, MatchRule("valdo"))
    assert (matching.tp, matching.fp, matching.fn) == (1, 1, 1)
    assert matching.prediction_status.tolist() == ["TP", "FP"]
    assert matching.truth_status.tolist() == ["TP", "FN"]
    assert match_lesions(truth, prediction, MatchRule("distance")).tp == 2


def test_valdo_counts_all_predictions_of_the_smallest_distance() -> None:
    prediction = lesions(dot(3), dot(7), dot(8))
    # 2, 2 and 3 from a lesion at 5: two are TP, the third FP; FN = 1 - 2, which is no number of lesions
    matching = match_lesions(lesions(dot(5)), prediction, MatchRule("valdo"))
    assert matching.pairs.tolist() == [[0, 0], [0, 1]]
    assert matching.prediction_status.tolist() == ["TP", "TP", "FP"]
    assert (matching.tp, matching.fp, matching.fn) == (2, 1, 0)
    # with a second lesion that nobody found FN = 2 - 2 = 0, as published
    matching = match_lesions(lesions(dot(5), dot(17)), prediction, MatchRule("valdo"))
    assert (matching.tp, matching.fp, matching.fn) == (2, 1, 0)
    assert matching.truth_status.tolist() == ["TP", "FN"]


@pytest.mark.parametrize("name", ["distance", "valdo", "valdo-voxels"])
def test_the_distance_is_a_setting(name: RuleName) -> None:
    truth, prediction = lesions(dot(5)), lesions(dot(8))
    assert match_lesions(truth, prediction, MatchRule(name, max_distance_mm=3.5)).tp == 1
    assert match_lesions(truth, prediction, MatchRule(name, max_distance_mm=2.5)).tp == 0
    exact = match_lesions(truth, prediction, MatchRule(name, max_distance_mm=3.0)).tp
    assert exact == (1 if name == "distance" else 0)


@pytest.mark.parametrize("name", RULES)
def test_small_lesions_are_ignored_with_what_finds_them(name: RuleName) -> None:
    truth = lesions(bar(1, 4), dot(10), dot(17, y=12))  # the second and third are too small
    prediction = lesions(bar(2, 5), bar(10, 11), dot(2, y=14, z=11))
    # P1 shares 3 voxels with T1 (IoU 3/5, 1 mm); P2 shares T2 (IoU 1/2, 0.5 mm); P3 is far from everything
    matching = match_lesions(truth, prediction, MatchRule(name), ignored_truth=[False, True, True])
    assert matching.truth_status.tolist() == ["TP", "ignored", "ignored"]
    assert matching.prediction_status.tolist() == ["TP", "ignored", "FP"]
    assert (matching.tp, matching.fp, matching.fn) == (1, 1, 0)
    assert matching.pairs.tolist() == [[0, 0]]
    assert matching.prediction_partner.tolist() == [0, -1, -1]
    # nothing counts: a perfect detection of it is neither right nor wrong, a miss neither
    matching = match_lesions(truth, prediction, MatchRule(name), ignored_truth=[True, True, True])
    assert (matching.tp, matching.fp, matching.fn) == (0, 1, 0)


def test_what_touches_an_ignored_lesion_is_ignored_though_the_rule_asks_for_more() -> None:
    truth, prediction = lesions(bar(1, 4), bar(10, 11)), lesions(bar(11, 18))
    # one voxel in common, IoU 1/9, centres 10.5 and 14.5
    for rule in (MatchRule("iou", min_iou=0.5), MatchRule("overlap", 2), MatchRule("distance")):
        matching = match_lesions(truth, prediction, rule, ignored_truth=[False, True])
        assert matching.prediction_status.tolist() == ["ignored"]
        assert (matching.tp, matching.fp, matching.fn) == (0, 0, 1)
    # near an ignored lesion without touching it: 4 mm apart
    near = lesions(dot(10)), lesions(dot(14))
    for name, status in (("distance", "ignored"), ("valdo", "ignored"), ("overlap", "FP"), ("shiva", "FP")):
        matching = match_lesions(*near, MatchRule(name), ignored_truth=[True])
        assert matching.prediction_status.tolist() == [status], name


def test_counted_lesions_come_before_ignored_ones() -> None:
    truth = lesions(bar(0, 3), bar(5, 9))
    prediction = lesions(bar(3, 9))
    # P shares 1 voxel with T1 (IoU 1/10) and all 5 of T2 (IoU 5/7): yet T1 has it, as T2 does not count
    matching = match_lesions(truth, prediction, ignored_truth=[False, True])
    assert matching.pairs.tolist() == [[0, 0]]
    assert matching.prediction_status.tolist() == ["TP"]
    # a second prediction on the counted lesion stays a false alarm unless it touches the ignored one
    prediction = lesions(bar(0, 1), bar(3, 9))
    matching = match_lesions(truth, prediction, ignored_truth=[False, True])
    assert matching.pairs.tolist() == [[0, 0]]  # IoU 2/4 against 1/10
    assert matching.prediction_status.tolist() == ["TP", "ignored"]
    matching = match_lesions(truth, prediction, ignored_truth=[True, False])
    assert matching.pairs.tolist() == [[1, 1]]
    assert matching.prediction_status.tolist() == ["ignored", "TP"]


@pytest.mark.parametrize("name", RULES)
def test_exact_ties_go_to_the_first_in_the_image_however_they_are_listed(name: RuleName) -> None:
    left, right, middle = bar(0, 3), bar(5, 8), bar(2, 6)
    # middle, about 4, shares 2 voxels with either (IoU 2/7); left and right, about 1.5 and 6.5, are 2.5 away
    rule = MatchRule(name)
    assert match_lesions(lesions(left, right), lesions(middle), rule).prediction_partner.tolist() == [0]
    assert match_lesions(lesions(right, left), lesions(middle), rule).prediction_partner.tolist() == [1]
    assert match_lesions(lesions(middle), lesions(left, right), rule).truth_partner.tolist() == [0]
    assert match_lesions(lesions(middle), lesions(right, left), rule).truth_partner.tolist() == [1]


def test_assign_prefers_pairs_then_their_sum() -> None:
    every = np.ones((2, 2), bool)
    # taking the best first: .9 + .1 = 1.0; crossed: .8 + .8 = 1.6
    assert assign(every, np.array([[0.9, 0.8], [0.8, 0.1]])).tolist() == [[0, 1], [1, 0]]
    # one pair of any worth is less than two
    some = np.array([[True, True], [True, False]])
    assert assign(some, np.array([[1e6, -1e6], [-1e6, 0.0]])).tolist() == [[0, 1], [1, 0]]
    assert assign(np.zeros((3, 4), bool), np.zeros((3, 4))).shape == (0, 2)
    assert assign(np.zeros((0, 4), bool), np.zeros((0, 4))).shape == (0, 2)
    # a preference where no pair may be is not looked at
    assert assign(np.eye(2, dtype=bool), np.array([[1.0, np.inf], [np.nan, 1.0]])).tolist() == [
        [0, 0],
        [1, 1],
    ]


def test_points_pair_within_reach() -> None:
    truth, found = [(0, 0, 0), (3, 0, 0)], [(0, 0, 4), (1, 0, 0), (0, 0, -5.5)]
    # T1: 4, 1, 5.5; T2: 5, 2, sqrt(9 + 30.25) = 6.3. Within 5: T1-F1 and T2-F2 (4 + 2 = 6), or
    # T1-F2 and T2-F1 (1 + 5 = 6): a tie; within 4.5 only the first
    assert match_points(truth, found, 4.5).tolist() == [[0, 0], [1, 1]]
    assert len(match_points(truth, found, 5.0)) == 2
    assert match_points(truth, found, 0.5).shape == (0, 2)
    for none in ([], np.zeros((0, 3))):
        assert match_points(none, found, 5.0).shape == (0, 2)
        assert match_points(truth, none, 5.0).shape == (0, 2)
        assert match_points(none, none, 5.0).shape == (0, 2)


def test_every_rule_says_what_it_is() -> None:
    texts = [MatchRule(name, 3, 0.25, 7.5).definition for name in RULES]
    assert len(set(texts)) == len(RULES)
    assert "3 voxel" in texts[0]
    assert "0.25" in texts[1]
    assert all("7.5 mm" in text for text in (texts[2], texts[4]))
    assert "7.5 voxels" in texts[5]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "greedy"}, "expected a match rule out of overlap, iou"),
        ({"min_overlap_voxels": 0}, "overlap of 1 voxel or more, got 0"),
        ({"min_overlap_voxels": 1.5}, "overlap of 1 voxel or more, got 1.5"),
        ({"min_iou": 0.0}, r"IoU in \(0, 1\], got 0"),
        ({"min_iou": float("nan")}, r"IoU in \(0, 1\], got nan"),
        ({"max_distance_mm": 0.0}, "distance above 0 mm"),
        ({"max_distance_mm": float("inf")}, "distance above 0 mm"),
    ],
)
def test_rules_without_sense_are_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MatchRule(**rule)  # type: ignore[arg-type]


def test_sets_and_flags_that_do_not_fit_are_refused() -> None:
    truth = lesions(dot(2), dot(5))
    with pytest.raises(ImageError, match="not on the grid of the truth"):
        match_lesions(truth, lesions(dot(2), on=grid(spacing=(1.0, 1.0, 2.0))))
    for flags in ([True], [0, 1], np.zeros((2, 1), bool)):
        with pytest.raises(UsageError, match="expected 2 booleans"):
            match_lesions(truth, truth, ignored_truth=flags)
    assert match_lesions(lesions(), truth, ignored_truth=[]).fp == 2


def test_the_definition_of_shiva_says_what_is_left_out() -> None:
    assert MatchRule("shiva").definition.endswith("; without its optional size filter.")
