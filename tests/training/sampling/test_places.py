"""Patches hold the lesion they were cut for, as often as was asked for."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import UsageError
from shiva_cmb.training.sampling.hard_negatives import HardNegatives
from shiva_cmb.training.sampling.places import (
    Place,
    Sampler,
    cut_patches,
    lesion_weights,
    size_groups,
    validation_patches,
)
from shiva_cmb.training.sampling.settings import PRESETS, SamplingSettings
from tests.training.sampling.made_cases import GRID, make_case

DEFAULTS = SamplingSettings()
ONE = (1, 1, 1)
CASES = [
    make_case("few", [((1, 3, 20), (2, 1, 1)), ((10, 12, 11), (3, 3, 3))]),
    make_case("none"),
    make_case("corner", [((18, 23, 0), (2, 1, 1))]),
]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    patch=st.tuples(*[st.integers(8, n) for n in GRID]),
    size=st.tuples(*[st.integers(1, n) for n in GRID]),
    data=st.data(),
)
def test_the_whole_lesion_is_inside(
    seed: int, patch: tuple[int, int, int], size: tuple[int, int, int], data: st.DataObject
) -> None:
    corner = tuple(data.draw(st.integers(0, grid - n)) for grid, n in zip(GRID, size, strict=True))
    case = make_case("one", [(corner, size)])
    place = Sampler([case], replace(DEFAULTS, lesion_fraction=1.0), patch).draw(np.random.default_rng(seed))
    first, last = np.array(place.corner), np.array(place.corner) + patch
    assert (first >= 0).all()
    assert (last <= GRID).all()
    assert ((case.centres >= first) & (case.centres < last)).all()
    for axis in range(3):
        if size[axis] <= patch[axis]:
            assert first[axis] <= corner[axis]
            assert corner[axis] + size[axis] <= last[axis]


def test_lesions_lie_at_every_place_of_the_patch_but_its_border() -> None:
    case = make_case("middle", [((10, 12, 11), ONE)])
    sampler = Sampler([case], replace(DEFAULTS, lesion_fraction=1.0), (8, 8, 8))
    rng = np.random.default_rng(0)
    offsets = np.array([10, 12, 11]) - [sampler.draw(rng).corner for _ in range(300)]
    assert {tuple(column) for column in (offsets.min(axis=0), offsets.max(axis=0))} == {(1, 1, 1), (6, 6, 6)}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), jitter=st.integers(0, 40), patch=st.integers(8, 20))
def test_centred_patches_are_moved_inside_and_keep_the_centre(seed: int, jitter: int, patch: int) -> None:
    changes = {**PRESETS["roi"], "jitter_voxels": jitter}
    sampler = Sampler(CASES, replace(DEFAULTS, **changes), (patch, patch, patch))
    place = sampler.draw(np.random.default_rng(seed))
    first = np.array(place.corner)
    assert (first >= 0).all()
    assert (first + patch <= GRID).all()
    centres = CASES[place.case].centres
    assert ((centres >= first) & (centres < first + patch)).all(axis=1).any()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    jitter=st.integers(0, 40),
    corner=st.tuples(*[st.integers(0, n - 1) for n in GRID]),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 20)),
)
def test_centred_lesions_stay_whole_where_they_fit(
    seed: int, jitter: int, corner: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    case = make_case("one", [(corner, size)])
    chosen = replace(DEFAULTS, lesion_fraction=1.0, placement="centred", jitter_voxels=jitter)
    first = Sampler([case], chosen, (8, 8, 8)).draw(np.random.default_rng(seed)).corner
    ends = np.minimum(np.add(corner, size), GRID)  # boxes are cut off at the border of the grid
    for axis in range(3):
        if ends[axis] - corner[axis] <= 8:
            assert first[axis] <= corner[axis]
            assert ends[axis] <= first[axis] + 8


def test_no_jitter_puts_the_lesion_in_the_middle() -> None:
    case = make_case("middle", [((10, 12, 11), ONE)])
    chosen = replace(DEFAULTS, lesion_fraction=1.0, placement="centred")
    assert Sampler([case], chosen, (8, 8, 8)).draw(np.random.default_rng(0)).corner == (6, 8, 7)


def drawn(cases: list, chosen: SamplingSettings, n: int = 2000) -> list[tuple[int, bool]]:
    """Case and whether there is a lesion, for small patches far from each other."""
    sampler, rng = Sampler(cases, chosen, (8, 8, 8)), np.random.default_rng(0)
    places = [sampler.draw(rng) for _ in range(n)]
    return [(place.case, shows_lesion(cases, place)) for place in places]


def shows_lesion(cases: list, place: Place) -> bool:
    return bool((cut_patches(cases, [place], (8, 8, 8))[..., -1] == 1).any())


def test_every_case_with_lesions_is_as_likely_as_the_next() -> None:
    many = make_case("many", [((x, y, 4), ONE) for x in range(2, 18, 3) for y in range(2, 20, 3)])
    cases = [many, make_case("single", [((10, 10, 10), ONE)]), make_case("none")]
    seen = Counter(case for case, _ in drawn(cases, replace(DEFAULTS, lesion_fraction=1.0)))
    assert seen[0] / 2000 == pytest.approx(0.5, abs=0.05)
    assert seen[2] == 0
    by_lesion = replace(DEFAULTS, lesion_fraction=1.0, case_choice="lesion")
    seen = Counter(case for case, _ in drawn(cases, by_lesion))
    assert seen[0] / 2000 == pytest.approx(36 / 37, abs=0.03)


def test_shares_of_lesions_and_of_cases_with_lesions() -> None:
    cases = [make_case("one", [((10, 10, 10), ONE)]), *(make_case(f"none {n}") for n in range(9))]
    chosen = replace(DEFAULTS, lesion_fraction=0.5, lesion_case_fraction=0.8, negatives="lesion_free")
    seen = drawn(cases, chosen)
    assert np.mean([lesion for _, lesion in seen]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([case == 0 for case, _ in seen]) == pytest.approx(0.8, abs=0.05)


def test_patches_elsewhere_come_from_every_case_and_lesions_are_avoided() -> None:
    cases = [*CASES, make_case("one", [((10, 12, 11), ONE)])]
    anywhere = drawn(cases, replace(DEFAULTS, lesion_fraction=0.0), 400)
    assert {case for case, _ in anywhere} == {0, 1, 2, 3}
    assert any(lesion for _, lesion in anywhere)
    free = drawn(cases, replace(DEFAULTS, lesion_fraction=0.0, negatives="lesion_free"), 400)
    assert not any(lesion for _, lesion in free)


def test_avoiding_lesions_leaves_the_other_shares_as_they_are() -> None:
    """Cases so full of lesions that half of the first draws show one."""
    full = [((x, y, z), ONE) for x in (3, 16) for y in (3, 12, 20) for z in (3, 18)]
    cases = [make_case("one", full), make_case("other", full), make_case("none"), make_case("nothing")]
    chosen = replace(DEFAULTS, lesion_fraction=0.3, lesion_case_fraction=0.8, negatives="lesion_free")
    assert np.mean([lesion for _, lesion in drawn(cases, replace(chosen, negatives="any"))]) > 0.5
    seen = drawn(cases, chosen)
    assert np.mean([case < 2 for case, _ in seen]) == pytest.approx(0.8, abs=0.03)
    assert np.mean([lesion for _, lesion in seen]) == pytest.approx(0.3, abs=0.03)


def test_false_positives_beside_a_lesion_are_tried_again() -> None:
    cases = [make_case("one", [((10, 12, 11), ONE)])]
    beside = (14, 12, 11)  # about half of the patches around it show the lesion too
    hard = HardNegatives(np.array([0]), np.array([beside]), np.array([0.9]))
    chosen = replace(DEFAULTS, lesion_fraction=0.0, hard_negative_fraction=0.5, negatives="lesion_free")
    sampler, rng = Sampler(cases, chosen, (8, 8, 8), hard), np.random.default_rng(0)
    places = [sampler.draw(rng) for _ in range(1000)]
    assert not any(shows_lesion(cases, place) for place in places)
    held = [all(c <= at < c + 8 for c, at in zip(place.corner, beside, strict=True)) for place in places]
    assert np.mean(held) == pytest.approx(0.52, abs=0.05)


def test_a_lesion_that_fills_the_case_ends_the_search_for_free_places() -> None:
    case = make_case("full", [((0, 0, 0), GRID)])
    chosen = replace(DEFAULTS, lesion_fraction=0.0, negatives="lesion_free")
    place = Sampler([case], chosen, (8, 8, 8)).draw(np.random.default_rng(0))
    assert shows_lesion([case], place)  # there is no other place


def test_small_lesions_are_seen_as_often_as_large_ones() -> None:
    sizes = np.array([1] * 80 + [10] * 15 + [100] * 5)
    owner = np.arange(100) % 7
    for choice, expected in (
        ("lesion", [0.8, 0.15, 0.05]),
        ("size", [1 / 3] * 3),
    ):
        chosen = replace(DEFAULTS, lesion_choice=choice, case_choice="lesion")
        weights = lesion_weights(sizes, owner, chosen)
        shares = [weights[sizes == size].sum() / weights.sum() for size in (1, 10, 100)]
        np.testing.assert_allclose(shares, expected)
    by_voxel = lesion_weights(np.array([1, 3]), np.array([0, 0]), replace(DEFAULTS, lesion_choice="voxel"))
    np.testing.assert_allclose(by_voxel / by_voxel.sum(), [0.25, 0.75])


def test_a_single_giant_is_no_group_of_its_own() -> None:
    groups = size_groups(np.array([1] * 6 + [9] * 6 + [4000]))
    assert groups.tolist() == [0] * 6 + [1] * 7
    assert size_groups(np.array([9])).tolist() == [0]


def test_hard_negatives_are_drawn_by_their_peaks() -> None:
    hard = HardNegatives(
        np.array([1, 1]), np.array([[4, 4, 4], [15, 18, 16]]), np.array([0.9, 0.3], np.float64)
    )
    chosen = replace(DEFAULTS, lesion_fraction=0.0, hard_negative_fraction=1.0)
    sampler, rng = Sampler(CASES, chosen, (8, 8, 8), hard), np.random.default_rng(0)
    places = [sampler.draw(rng) for _ in range(800)]
    assert {place.case for place in places} == {1}
    strong = [all(c <= 4 < c + 8 for c in place.corner) for place in places]
    weak = [all(c <= v < c + 8 for c, v in zip(p.corner, (15, 18, 16), strict=True)) for p in places]
    assert all(a != b for a, b in zip(strong, weak, strict=True))
    assert np.mean(strong) == pytest.approx(0.75, abs=0.06)


def test_sets_without_lesions_can_be_drawn_from() -> None:
    sampler = Sampler([make_case()], replace(DEFAULTS, lesion_fraction=1.0), (8, 8, 8))
    assert sampler.draw(np.random.default_rng(0)).case == 0


def test_patches_larger_than_the_grid_are_refused() -> None:
    with pytest.raises(UsageError, match=r"patch: expected at most the grid \(20, 24, 22\), got"):
        Sampler(CASES, DEFAULTS, (21, 8, 8))


def test_validation_shows_every_lesion_and_as_much_else_in_whole_batches() -> None:
    places = validation_patches(CASES, DEFAULTS, (8, 8, 8), np.random.default_rng(0))
    assert len(places) == 12
    stack = cut_patches(CASES, places, (8, 8, 8))
    assert all((patch[..., -1] == 1).any() for patch in stack[:3])
    whole = validation_patches(CASES, replace(DEFAULTS, batch_size=2), GRID, np.random.default_rng(0))
    assert [place.case for place in whole] == [0, 1, 2, 0]
