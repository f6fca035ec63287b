"""What must hold of any matching, on loose random lesions that touch and tie a lot."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shiva_cmb.evaluation.assignment import assign, match_points
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels, lesions_of_mask
from shiva_cmb.evaluation.matching import ONE_TO_ONE, MatchRule, RuleName, match_lesions
from shiva_cmb.imaging.volume import Grid
from tests.evaluation.boxes import dot, grid, lesions, scattered

RULES: list[RuleName] = [*ONE_TO_ONE, "shiva", "valdo", "valdo-voxels"]
SHAPES = [(2, 3, 3), (5, 4, 3), (9, 7, 5)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[LesionSet, LesionSet, np.random.Generator]:
    """Two sets on one oblique or plain grid; a generator for what else is drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.sampled_from(SHAPES))
    affine = np.diag([1.0, 1.0, draw(st.sampled_from([1.0, 2.5]))])
    if draw(st.booleans()):
        affine = affine @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    on = Grid(shape, np.block([[affine, np.ones((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]))
    counts = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    if draw(st.booleans()):  # lesions of one voxel, whose distances are often the same
        numbers = (rng.permutation(np.prod(shape)).reshape(shape) for _ in counts)
        labels = [np.where(n < count, n + 1, 0) for n, count in zip(numbers, counts, strict=True)]
    else:
        labels = [scattered(rng, shape, count) for count in counts]
    return lesions_of_labels(labels[0], on), lesions_of_labels(labels[1], on), rng


rules = st.builds(
    MatchRule,
    name=st.sampled_from(RULES),
    min_overlap_voxels=st.sampled_from([1, 2]),
    min_iou=st.sampled_from([0.1, 0.2]),
    max_distance_mm=st.sampled_from([1.0, 2.0, 5.0]),
)


def reordered(lesions: LesionSet, order: NDArray[np.intp]) -> LesionSet:
    """The same lesions listed in another order."""
    voxels = [lesions.voxels[lesions.starts[k] : lesions.starts[k + 1]] for k in order]
    starts = np.concatenate([[0], np.cumsum(lesions.sizes[order])]).astype(np.intp)
    flat = np.concatenate([np.zeros(0, np.intp), *voxels])
    return LesionSet(lesions.grid, flat, starts, lesions.names[order])


@given(case=cases(), rule=rules, with_ignored=st.booleans())
@settings(deadline=None, max_examples=200)
def test_the_order_of_the_lesions_changes_nothing(
    case: tuple[LesionSet, LesionSet, np.random.Generator], rule: MatchRule, with_ignored: bool
) -> None:
    truth, prediction, rng = case
    ignored = (rng.random(len(truth)) < 0.4) & with_ignored
    rows, columns = rng.permutation(len(truth)), rng.permutation(len(prediction))
    one = match_lesions(truth, prediction, rule, ignored_truth=ignored)
    other = match_lesions(
        reordered(truth, rows), reordered(prediction, columns), rule, ignored_truth=ignored[rows]
    )
    back = sorted((int(rows[t]), int(columns[p])) for t, p in other.pairs)
    assert back == [tuple(pair) for pair in one.pairs.tolist()]
    np.testing.assert_array_equal(other.truth_status, one.truth_status[rows])
    np.testing.assert_array_equal(other.prediction_status, one.prediction_status[columns])
    np.testing.assert_array_equal(other.overlaps, one.overlaps[np.ix_(rows, columns)])
    partners = np.append(columns, -1)[other.truth_partner]  # -1 is the last
    np.testing.assert_array_equal(partners, one.truth_partner[rows])
    partners = np.append(rows, -1)[other.prediction_partner]
    np.testing.assert_array_equal(partners, one.prediction_partner[columns])
    assert (other.tp, other.fp, other.fn) == (one.tp, one.fp, one.fn)


@given(case=cases(), rule=rules)
@settings(deadline=None, max_examples=200)
def test_truth_and_prediction_exchanged_give_the_pairs_exchanged(
    case: tuple[LesionSet, LesionSet, np.random.Generator], rule: MatchRule
) -> None:
    assume(not rule.name.startswith("valdo"))  # there predictions choose and truth lesions are chosen
    truth, prediction, _ = case
    one, other = match_lesions(truth, prediction, rule), match_lesions(prediction, truth, rule)
    assert sorted(map(tuple, other.pairs[:, ::-1].tolist())) == [tuple(pair) for pair in one.pairs.tolist()]
    np.testing.assert_array_equal(other.truth_partner, one.prediction_partner)
    if rule.name in ONE_TO_ONE:
        assert (other.tp, other.fp, other.fn) == (one.tp, one.fn, one.fp)


@given(case=cases(), rule=rules)
@settings(deadline=None, max_examples=60)
def test_a_set_is_paired_with_itself_lesion_by_lesion(
    case: tuple[LesionSet, LesionSet, np.random.Generator], rule: MatchRule
) -> None:
    truth, _, rng = case
    order = rng.permutation(len(truth))
    if rule.name in ("overlap", "iou", "distance"):
        pairs = match_lesions(truth, reordered(truth, order), rule).pairs
        assert all(order[p] == t for t, p in pairs)
        small = (
            truth.sizes < rule.min_overlap_voxels if rule.name == "overlap" else np.zeros(len(truth), bool)
        )
        assert len(pairs) == (~small).sum()


@given(case=cases(), rule=rules, with_ignored=st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_counts_add_up(
    case: tuple[LesionSet, LesionSet, np.random.Generator], rule: MatchRule, with_ignored: bool
) -> None:
    truth, prediction, rng = case
    ignored = (rng.random(len(truth)) < 0.4) & with_ignored
    matching = match_lesions(truth, prediction, rule, ignored_truth=ignored)
    assert min(matching.tp, matching.fp, matching.fn) >= 0
    np.testing.assert_array_equal(matching.truth_status == "ignored", ignored)
    assert set(matching.prediction_status) <= {"TP", "FP", "ignored"}
    np.testing.assert_array_equal(
        np.unique(matching.pairs[:, 0]), np.flatnonzero(matching.truth_status == "TP")
    )
    hits = np.flatnonzero(matching.prediction_status == "TP")
    np.testing.assert_array_equal(np.unique(matching.pairs[:, 1]), hits)
    np.testing.assert_array_equal(matching.truth_partner >= 0, matching.truth_status == "TP")
    np.testing.assert_array_equal(matching.prediction_partner >= 0, matching.prediction_status == "TP")
    if not with_ignored:
        assert "ignored" not in matching.prediction_status
    if rule.name in ONE_TO_ONE:
        assert len(matching.pairs) == matching.tp == len(hits)
        assert matching.tp + matching.fn == (~ignored).sum()
        assert matching.tp + matching.fp + (matching.prediction_status == "ignored").sum() == len(prediction)


def every_matching(admissible: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """All one-to-one choices of admissible pairs, the empty one too."""
    choices = itertools.product(*[[None, *np.flatnonzero(row)] for row in admissible])
    taken = [[(row, int(c)) for row, c in enumerate(choice) if c is not None] for choice in choices]
    return [pairs for pairs in taken if len({c for _, c in pairs}) == len(pairs)]


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(0, 4), st.integers(0, 5)),
    density=st.floats(0.1, 1.0),
    scale=st.sampled_from([1.0, 1e-6, 1e6]),
    steps=st.sampled_from([3, 1000]),
)
@settings(deadline=None, max_examples=150)
def test_assign_is_as_good_as_trying_everything(
    seed: int, shape: tuple[int, int], density: float, scale: float, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    admissible = rng.random(shape) < density
    preference = rng.integers(-steps, steps + 1, shape) / steps * scale
    pairs = [tuple(pair) for pair in assign(admissible, preference).tolist()]
    assert pairs in [sorted(choice) for choice in every_matching(admissible)]

    def worth(choice: list[tuple[int, int]]) -> tuple[int, float]:
        return len(choice), sum(preference[pair] for pair in choice)

    most, highest = max(worth(choice) for choice in every_matching(admissible))
    assert len(pairs) == most
    assert worth(pairs)[1] == pytest.approx(highest, abs=1e-9 * scale)


@given(case=cases(), name=st.sampled_from(ONE_TO_ONE))
@settings(deadline=None, max_examples=80)
def test_lesions_are_matched_as_well_as_trying_everything(
    case: tuple[LesionSet, LesionSet, np.random.Generator], name: RuleName
) -> None:
    truth, prediction, _ = case
    # from the voxels, not by the functions under test
    centres = [
        [s.grid.to_world(s.indices(k).mean(axis=0)) for k in range(len(s))] for s in (truth, prediction)
    ]
    shared = np.zeros((len(truth), len(prediction)))
    gain, admissible = shared.copy(), shared.astype(bool)
    for t, p in np.ndindex(shared.shape):
        a, b = ({tuple(v) for v in s.indices(k).tolist()} for s, k in ((truth, t), (prediction, p)))
        shared[t, p], iou = len(a & b), len(a & b) / len(a | b)
        distance = float(np.linalg.norm(centres[0][t] - centres[1][p]))
        gain[t, p] = -distance if name == "distance" else iou
        admissible[t, p] = {"overlap": bool(a & b), "iou": iou >= 0.15, "distance": distance <= 1.7}[name]
    matching = match_lesions(truth, prediction, MatchRule(name, min_iou=0.15, max_distance_mm=1.7))
    np.testing.assert_array_equal(matching.overlaps, shared)
    choices = [(len(c), sum(gain[pair] for pair in c)) for c in every_matching(admissible)]
    most = max(count for count, _ in choices)
    assert matching.tp == most
    total = sum(gain[tuple(pair)] for pair in matching.pairs)
    assert total == pytest.approx(max(value for count, value in choices if count == most), abs=1e-7)


@given(
    seed=st.integers(0, 10**6), counts=st.tuples(st.integers(0, 6), st.integers(0, 6)), square=st.booleans()
)
@settings(deadline=None, max_examples=200)
def test_points_pair_the_same_in_any_order_and_direction(
    seed: int, counts: tuple[int, int], square: bool
) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array(list(itertools.product(range(3), range(3), range(2))), float)  # many equal distances
    n, m = (counts[0], counts[0]) if square else counts
    truth, found = rng.permutation(corners)[:n], rng.permutation(corners)[:m]
    pairs = match_points(truth, found, 1.5).tolist()
    rows, columns = rng.permutation(n), rng.permutation(m)
    other = match_points(truth[rows], found[columns], 1.5)
    assert sorted([rows[t], columns[p]] for t, p in other) == pairs
    assert sorted([t, p] for p, t in match_points(found, truth, 1.5)) == pairs
    # the same as lesions of one voxel
    on = grid((3, 3, 2))
    sets = [lesions(*map(dot, *np.int_(points).T), on=on) for points in (truth, found)]
    rule = MatchRule("distance", max_distance_mm=1.5)
    pairs = match_lesions(*sets, rule).pairs.tolist()
    assert sorted([t, p] for p, t in match_lesions(sets[1], sets[0], rule).pairs) == pairs


def test_exact_ties_do_not_depend_on_which_set_is_called_truth() -> None:
    # the assignment algorithm by itself answers (0, 0), (1, 2), (2, 1) one way and (0, 2), (1, 0), (2, 1)
    # the other way round: 1.41 + 1 + 1.41 against 1.41 + 1 + 1.41 mm
    truth, found = [(0, 0, 1), (1, 1, 0), (1, 1, 1)], [(0, 1, 0), (0, 2, 1), (1, 1, 1)]
    pairs = match_points(truth, found, 1.5).tolist()
    assert sorted([t, p] for p, t in match_points(found, truth, 1.5)) == pairs
    sets = [lesions(*[dot(*point) for point in points]) for points in (truth, found)]
    rule = MatchRule("distance", max_distance_mm=1.5)
    one, other = match_lesions(*sets, rule), match_lesions(*sets[::-1], rule)
    assert sorted([t, p] for p, t in other.pairs) == one.pairs.tolist()


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_valdo_is_what_its_description_says_step_by_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    on = grid((9, 8, 7), (1.0, 0.713, 1.931))
    truth, prediction = (lesions_of_mask(rng.random(on.shape) < 0.02, on) for _ in range(2))
    chosen: dict[int, list[float]] = {}
    for place in prediction.centroids_mm:
        distances = [float(np.linalg.norm(centre - place)) for centre in truth.centroids_mm]
        if distances and min(distances) < 3.0:
            chosen.setdefault(int(np.argmin(distances)), []).append(min(distances))
            assume(np.diff(sorted(distances)[:2]).min(initial=1.0) > 1e-6)  # ties have tests of their own
    for distances in chosen.values():
        assume(np.diff(sorted(distances)[:2]).min(initial=1.0) > 1e-6)
    matching = match_lesions(truth, prediction, MatchRule("valdo", max_distance_mm=3.0))
    assert matching.tp == len(chosen)
    assert matching.fp == len(prediction) - len(chosen)
    assert matching.fn == len(truth) - len(chosen)
    assert matching.pairs[:, 0].tolist() == sorted(chosen)
