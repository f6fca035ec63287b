from dataclasses import asdict

import numpy as np
import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.bleeds.draw import (
    BleedSettings,
    core_diameter_mm,
    draw_bleeds,
    visible_diameter_mm,
)
from shiva_cmb.synthesis.bleeds.size_prior import DATASETS, draw_count, draw_diameters_mm, region_shares
from shiva_cmb.synthesis.head_map import REGION_NAMES, DeformedHead


@pytest.fixture(scope="module")
def head() -> DeformedHead:
    """A ball of white matter in cortex in fluid, with a nucleus on the left and a brain stem below."""
    n = 72
    x, y, z = np.meshgrid(*[np.arange(n) - (n - 1) / 2] * 3, indexing="ij")
    far = np.sqrt(x**2 + y**2 + z**2)
    labels = np.zeros((n, n, n), np.int16)
    labels[far < 34] = 24
    labels[far < 31] = 3
    labels[far < 26] = 2
    right = (x > 0) & np.isin(labels, (2, 3))
    labels[right] = np.where(labels[right] == 2, 41, 42)
    labels[np.sqrt((x + 8) ** 2 + y**2 + z**2) < 6] = 10
    labels[(np.hypot(x, y) < 7) & (z < -12) & (far < 31)] = 16
    affine = np.eye(4)
    affine[:3, 3] = (-20, 5, 40)
    return DeformedHead("ball", labels, Grid((n, n, n), affine))


MANY = BleedSettings(lesion_free_share=0, bleed_count=(25, 25), bleed_diameter_mm=(1.5, 5), pair_share=0)


def test_bleeds_lie_in_the_brain_and_are_told_by_the_heads_own_regions(head: DeformedHead) -> None:
    bleeds = draw_bleeds(np.random.default_rng(1), head, MANY, 0.02, 3.0)
    assert len(bleeds) == 25
    for bleed in bleeds:
        value = int(head.at(head.regions, bleed.ball.centre_mm[None])[0])
        assert value in (1, 2, 3, 5)
        assert (bleed.region, bleed.side) == REGION_NAMES[value]
    assert {bleed.region for bleed in bleeds} == {"lobar", "deep", "infratentorial"}


def test_bleeds_keep_their_distance_also_where_they_bloom(head: DeformedHead) -> None:
    bleeds = draw_bleeds(np.random.default_rng(2), head, MANY, 0.06, 3.0)
    wide = [visible_diameter_mm(bleed.core_diameter_mm, bleed.chi_ppm, 0.06, 3.0) for bleed in bleeds]
    for i, one in enumerate(bleeds):
        for j, other in enumerate(bleeds[:i]):
            apart = np.linalg.norm(one.ball.centre_mm - other.ball.centre_mm)
            assert apart >= 1.49 * (wide[i] + wide[j]) / 2


def test_pairs_lie_side_by_side(head: DeformedHead) -> None:
    settings = BleedSettings(
        lesion_free_share=0, bleed_count=(12, 12), bleed_diameter_mm=(2, 3), pair_share=1.0
    )
    bleeds = draw_bleeds(np.random.default_rng(3), head, settings, 0.02, 3.0)
    numbers = {bleed.pair for bleed in bleeds} - {None}
    assert len(numbers) >= 3
    for number in numbers:
        one, other = (bleed.ball.centre_mm for bleed in bleeds if bleed.pair == number)
        assert 2.99 <= np.linalg.norm(one - other) <= 8.01


def test_pairs_keep_their_distance_from_other_bleeds(head: DeformedHead) -> None:
    settings = BleedSettings(
        lesion_free_share=0, bleed_count=(60, 60), bleed_diameter_mm=(3, 4), pair_share=1.0
    )
    bleeds = draw_bleeds(np.random.default_rng(8), head, settings, 0.02, 3.0)
    wide = [visible_diameter_mm(bleed.core_diameter_mm, bleed.chi_ppm, 0.02, 3.0) for bleed in bleeds]
    assert len({bleed.pair for bleed in bleeds}) > 10
    for i, one in enumerate(bleeds):
        for j, other in enumerate(bleeds[:i]):
            if one.pair is None or one.pair != other.pair:
                apart = np.linalg.norm(one.ball.centre_mm - other.ball.centre_mm)
                assert apart >= 1.49 * (wide[i] + wide[j]) / 2


def test_irregular_cores_have_the_volume_of_round_ones(head: DeformedHead) -> None:
    settings = BleedSettings(
        lesion_free_share=0, bleed_count=(10, 10), bleed_diameter_mm=(4, 4), irregular_share=1
    )
    for bleed in draw_bleeds(np.random.default_rng(4), head, settings, 0.02, 3.0):
        assert len(bleed.ball.radii_mm) >= 2
        assert bleed.core_diameter_mm == pytest.approx(core_diameter_mm(4.0, bleed.chi_ppm), rel=0.03)


def test_what_is_switched_off_stays_off(head: DeformedHead) -> None:
    off = BleedSettings(
        lesion_free_share=0, bleed_count=(8, 8), pair_share=0, irregular_share=0, pial_share=0
    )
    bleeds = draw_bleeds(np.random.default_rng(5), head, off, 0.02, 3.0)
    assert all(bleed.pair is None and len(bleed.ball.radii_mm) == 1 for bleed in bleeds)
    assert draw_bleeds(np.random.default_rng(5), head, BleedSettings(lesion_free_share=1), 0.02, 3.0) == ()
    none = BleedSettings(lesion_free_share=0, bleed_count=(0, 0))
    assert draw_bleeds(np.random.default_rng(5), head, none, 0.02, 3.0) == ()


def test_the_same_seed_gives_the_same_bleeds(head: DeformedHead) -> None:
    first, second = (draw_bleeds(np.random.default_rng(6), head, MANY, 0.02, 3.0) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.ball.centres_mm, other.ball.centres_mm)
        assert one.chi_ppm == other.chi_ppm


@pytest.mark.parametrize("visible", [1.2, 2.7, 6.0, 10.0])
@pytest.mark.parametrize("chi", [0.4, 3.0])
def test_cores_have_the_size_that_looks_as_wanted_at_the_reference(visible: float, chi: float) -> None:
    core = core_diameter_mm(visible, chi)
    assert core < visible
    for te_s, b0_t in ((0.02, 3.0), (0.04, 1.5)):
        magnitude = visible_diameter_mm(core, chi, te_s, b0_t)
        assert magnitude < visible < 1.28 * magnitude  # which SWI makes of it
    assert visible_diameter_mm(core, chi, 0.01, 1.5) < magnitude < visible_diameter_mm(core, chi, 0.04, 3.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lesion_free_share": 1.5},
        {"pair_share": -0.1},
        {"bleed_count": (5, 2)},
        {"bleed_diameter_mm": (0.0, 3.0)},
        {"bleed_susceptibility_ppm": (2.0, 1.0)},
        {"bleed_count": (5, 1001)},
        {"bleed_diameter_mm": (1.0, float("inf"))},
        {"bleed_diameter_mm": (1.0, float("nan"))},
        {"bleed_diameter_mm": (1.0, 60.1)},
        {"bleed_susceptibility_ppm": (1.0, 101.0)},
        {"bleed_core_decay": (1.0, float("inf"))},
    ],
)
def test_impossible_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        BleedSettings(**wrong)  # type: ignore[arg-type]


def test_sizes_and_counts_are_those_of_the_datasets() -> None:
    rng = np.random.default_rng(7)
    diameters = draw_diameters_mm(rng, 4000)
    assert diameters.min() >= 1.2
    assert diameters.max() <= 10.0
    known = np.array([facts.diameters_mm for facts in DATASETS.values()])
    weights = [facts.bleeds for facts in DATASETS.values()]
    expected = np.average(known, axis=0, weights=weights)
    np.testing.assert_allclose(np.quantile(diameters, (0.25, 0.5, 0.75)), expected[1:4], rtol=0.15)
    counts = np.array([draw_count(rng) for _ in range(3000)])
    assert counts.min() == 1
    assert counts.max() <= 83
    scans = sum(facts.scans for facts in DATASETS.values())
    assert counts.mean() == pytest.approx(957 / scans, rel=0.2)
    assert (counts == 1).mean() == pytest.approx(0.48, abs=0.05)
    assert sum(region_shares()) == pytest.approx(1)
    assert region_shares()[0] == pytest.approx(0.73, abs=0.02)


def test_settings_at_their_limits_are_taken() -> None:
    limits = {
        "bleed_count": (0, 1000),
        "bleed_diameter_mm": (0.1, 60),
        "bleed_susceptibility_ppm": (0.1, 100),
        "bleed_core_decay": (1, 1e4),
    }
    assert asdict(BleedSettings(**limits)).items() >= limits.items()  # type: ignore[arg-type]
