from dataclasses import fields, replace

import numpy as np
import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.mimics import CALCIFICATION, CAVERNOMA, INFARCT, MimicSettings, draw_mimics
from shiva_cmb.synthesis.shapes import Ball
from tests.synthesis.small_heads import round_head

NONE = MimicSettings(**{field.name: 0 for field in fields(MimicSettings)})
PLACES = {
    "choroid_share": (hm.VENTRICLE,),
    "pallidum_share": (hm.PALLIDUM, hm.PUTAMEN, hm.WHITE),
    "dentate_share": (hm.CEREBELLAR_WHITE, hm.CEREBELLAR_CORTEX),
    "dural_share": (hm.CSF, hm.CORTEX),
    "cortical_calcifications": (hm.CORTEX, hm.WHITE, hm.CSF),
}


def drawn(seed: int, settings: MimicSettings, head: hm.DeformedHead | None = None) -> tuple[Ball, ...]:
    return draw_mimics(np.random.default_rng(seed), head or round_head(), settings)


@pytest.mark.parametrize("name", PLACES)
def test_calcifications_lie_where_they_belong(name: str) -> None:
    head = round_head()
    balls = [ball for seed in range(8) for ball in drawn(seed, replace(NONE, **{name: 1}))]
    assert len(balls) >= 4
    assert {ball.kind for ball in balls} == {CALCIFICATION}
    # the first ball of a lump lies at its place, the others around it
    firsts = head.at(head.tissues, np.array([ball.centres_mm[0] for ball in balls]))
    assert np.isin(firsts, PLACES[name]).mean() == 1
    assert max(ball.radii_mm.max() for ball in balls) < 2.5


@pytest.mark.parametrize("name", ["pallidum_share", "dentate_share"])
def test_nuclei_are_calcified_on_both_sides(name: str) -> None:
    head = round_head()
    if name == "dentate_share":  # the made head has one cerebellum for both sides
        labels = head.labels.copy()
        labels[32:][labels[32:] == 7] = 46
        head = hm.DeformedHead("two", labels, head.grid)
    middle = head.grid.to_world((31.5, 31.5, 31.5))[0]
    for seed in range(5):
        sides = [
            np.sign(ball.centres_mm[0, 0] - middle) for ball in drawn(seed, replace(NONE, **{name: 1}), head)
        ]
        assert set(sides) == {-1, 1}


def test_the_pineal_gland_lies_behind_the_third_ventricle() -> None:
    head = round_head()
    third = head.grid.to_world(np.argwhere(head.labels == 14))
    (ball,) = drawn(1, replace(NONE, pineal_share=1))
    offset = ball.centres_mm[0] - third.mean(axis=0)
    assert -16 < offset[1] < -6
    assert abs(offset[0]) < 4


def test_rare_ones_are_large_and_of_several_balls() -> None:
    balls = drawn(1, replace(NONE, cavernomas=5, haemorrhagic_infarcts=5))
    assert {ball.kind for ball in balls} == {CAVERNOMA, INFARCT}
    for ball in balls:
        assert len(ball.radii_mm) >= 5
        extent = (ball.centres_mm + ball.radii_mm[:, None]).max(0) - (
            ball.centres_mm - ball.radii_mm[:, None]
        ).min(0)
        assert 3 < extent.max() < 40


def test_shares_and_counts_are_kept_and_zero_leaves_a_kind_out() -> None:
    assert drawn(1, NONE) == ()
    heads = [drawn(seed, replace(NONE, pineal_share=0.5)) for seed in range(60)]
    assert 15 < sum(bool(balls) for balls in heads) < 45
    counts = [len(drawn(seed, replace(NONE, cortical_calcifications=2))) for seed in range(40)]
    assert 1.3 < np.mean(counts) < 2.7
    every = MimicSettings(1, 1, 1, 1, 1, 3, 3, 3)
    whole, less = drawn(2, every), drawn(2, replace(every, cavernomas=0))
    others = [ball for ball in whole if ball.kind != CAVERNOMA]
    assert len(others) == len(less) < len(whole)
    assert all(np.array_equal(a.centres_mm, b.centres_mm) for a, b in zip(less, others, strict=True))


def test_the_same_seed_gives_the_same_mimics() -> None:
    every = MimicSettings(1, 1, 1, 1, 1, 3, 3, 3)
    first, again, other = drawn(3, every), drawn(3, every), drawn(4, every)
    assert all(np.array_equal(a.radii_mm, b.radii_mm) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].centres_mm, other[0].centres_mm)


def test_heads_that_lack_a_structure_lack_its_calcification() -> None:
    every = MimicSettings(1, 1, 1, 1, 1, 3, 3, 3)
    bare = drawn(1, every, round_head(ventricles=False))
    assert len(bare) > 0
    assert all(np.isfinite(ball.centres_mm).all() for ball in bare)
    white = hm.DeformedHead("white", np.full((16, 16, 16), 2, np.int16), Grid((16, 16, 16), np.eye(4)))
    assert {ball.kind for ball in drawn(1, every, white)} == {CALCIFICATION, CAVERNOMA}


@pytest.mark.parametrize("name", [field.name for field in fields(MimicSettings)])
def test_settings_out_of_range_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        MimicSettings(**{name: -0.1})
