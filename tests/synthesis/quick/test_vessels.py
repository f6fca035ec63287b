from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.vessels import (
    FLOW_VOID,
    PERIVASCULAR_SPACE,
    VesselSettings,
    draw_vessels,
)
from shiva_cmb.synthesis.shapes import Tube
from tests.synthesis.small_heads import round_head

MAPS = Path(__file__).parents[4] / "shared" / "data" / "labelmaps"
COUNTS = {
    "pial_veins": "pial vein",
    "cortical_veins": "cortical vein",
    "medullary_veins": "medullary vein",
    "deep_veins": "deep vein",
    "infratentorial_veins": "infratentorial vein",
    "bridging_veins": "bridging vein",
    "flow_voids": FLOW_VOID,
    "perivascular_spaces": PERIVASCULAR_SPACE,
}


def only(settings: VesselSettings, *names: str) -> VesselSettings:
    """The other kinds switched off."""
    return replace(settings, **{name: 0 for name in COUNTS if name not in names})


@cache
def drawn(
    seed: int, settings: VesselSettings | None = None, head: hm.DeformedHead | None = None
) -> tuple[Tube, ...]:
    return draw_vessels(np.random.default_rng(seed), head or round_head(), settings or VesselSettings())


def share_in(head: hm.DeformedHead, tubes: tuple[Tube, ...], *tissues: int) -> float:
    points = np.concatenate([tube.points_mm for tube in tubes])
    return float(np.isin(head.at(head.tissues, points), tissues).mean())


def test_every_kind_is_there_as_fine_tubes_that_stay_out_of_the_bone() -> None:
    tubes = drawn(1)
    assert {tube.kind for tube in tubes} == set(COUNTS.values())
    for tube in tubes:
        assert tube.points_mm.shape == (len(tube.radii_mm), 3)
        assert len(tube.radii_mm) >= 2
        assert np.linalg.norm(np.diff(tube.points_mm, axis=0), axis=1).max() <= 0.6
        assert 0.1 <= tube.radii_mm.min() <= tube.radii_mm.max() <= 2
    assert share_in(round_head(), tubes, hm.BONE, hm.OUTSIDE) == 0


def test_kinds_lie_where_they_belong() -> None:
    head = round_head()
    tubes = drawn(1) + drawn(2)
    by_kind = {kind: tuple(tube for tube in tubes if tube.kind == kind) for kind in COUNTS.values()}
    assert share_in(head, by_kind["pial vein"], hm.CSF) > 0.6
    assert share_in(head, by_kind["cortical vein"], hm.CORTEX, hm.WHITE, hm.CSF) == 1
    assert share_in(head, by_kind["medullary vein"], hm.WHITE) > 0.9
    assert share_in(head, by_kind[PERIVASCULAR_SPACE], hm.WHITE, *hm.DEEP) == 1
    lateral = head.grid.to_world(np.argwhere(np.isin(head.labels, (4, 43, 14))))
    for tube in by_kind["deep vein"][:10]:
        distance = np.linalg.norm(tube.points_mm[:, None] - lateral[None], axis=2).min(axis=1)
        assert distance.min() < 8


def test_medullary_veins_point_to_the_ventricles() -> None:
    head = round_head()
    tubes = drawn(3, only(VesselSettings(medullary_veins=200, branches_per_30mm=0), "medullary_veins"))
    middle = head.grid.to_world(np.argwhere(np.isin(head.labels, (4, 43)))).mean(axis=0)
    long = [tube for tube in tubes if tube.length_mm > 4]
    assert len(long) > 20
    cosines = []
    for tube in long:
        along = tube.points_mm[-1] - tube.points_mm[0]
        out = tube.points_mm.mean(axis=0) - middle
        cosines.append(along @ out / np.linalg.norm(along) / np.linalg.norm(out))
    assert np.median(cosines) > 0.7
    assert np.mean([tube.length_mm for tube in tubes]) > 9


def test_the_same_seed_gives_the_same_vessels_and_another_others() -> None:
    first, other = drawn(5), drawn(6)
    again = draw_vessels(np.random.default_rng(5), round_head(), VesselSettings())
    assert len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        assert a.kind == b.kind
        np.testing.assert_array_equal(a.points_mm, b.points_mm)
        np.testing.assert_array_equal(a.radii_mm, b.radii_mm)
    assert len(other) != len(first) or not np.array_equal(other[0].points_mm, first[0].points_mm)


@pytest.mark.parametrize("name", ["pial_veins", "deep_veins", "flow_voids"])
def test_a_kind_can_be_left_out_and_nothing_else_changes(name: str) -> None:
    whole = [tube for tube in drawn(7) if tube.kind != COUNTS[name]]
    less = drawn(7, replace(VesselSettings(), **{name: 0}))
    assert [tube.kind for tube in less] == [tube.kind for tube in whole]
    assert all(np.array_equal(a.points_mm, b.points_mm) for a, b in zip(less, whole, strict=True))


def test_no_counts_give_no_vessels_and_counts_set_their_number() -> None:
    assert drawn(1, only(VesselSettings())) == ()
    one = VesselSettings(vessel_density_low=1, vessel_density_high=1, branches_per_30mm=0)
    assert 100 < len(drawn(1, only(replace(one, pial_veins=200), "pial_veins"))) < 320
    plain = only(one, "pial_veins")
    assert len(drawn(1, replace(plain, branches_per_30mm=3))) > 1.3 * len(drawn(1, plain))


def test_heads_without_ventricles_or_anything_but_white_matter_do() -> None:
    tubes = drawn(1, head=round_head(ventricles=False))
    assert {"pial vein", "medullary vein"} <= {tube.kind for tube in tubes}
    assert all(np.isfinite(tube.points_mm).all() for tube in tubes)
    white = hm.DeformedHead("white", np.full((16, 16, 16), 2, np.int16), Grid((16, 16, 16), np.eye(4)))
    assert all(tube.kind in COUNTS.values() for tube in drawn(1, head=white))


@pytest.mark.parametrize(
    ("name", "value"), [(f.name, -1) for f in fields(VesselSettings)] + [("branches_per_30mm", 21)]
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        VesselSettings(**{name: value})


@pytest.mark.slow
@pytest.mark.skipif(not MAPS.is_dir(), reason="no label maps beside the checkout")
def test_a_real_head_has_hundreds_of_vessels_in_the_right_tissues() -> None:
    head = hm.deform(np.random.default_rng(0), hm.read_head_map(MAPS / "head_01.nii.gz"), strength=0)
    tubes = drawn(1, replace(VesselSettings(), vessel_density_low=0.8, vessel_density_high=0.8), head)
    assert 200 < len(tubes) < 900
    assert share_in(head, tubes, hm.BONE, hm.MARROW, hm.OUTSIDE, hm.SKIN) == 0
    pial = tuple(tube for tube in tubes if tube.kind == "pial vein")
    assert share_in(head, pial, hm.CSF) > 0.8
    assert np.quantile([tube.length_mm for tube in pial], 0.9) > 15
    medullary = tuple(tube for tube in tubes if tube.kind == "medullary vein")
    assert share_in(head, medullary, hm.WHITE) > 0.9
    assert np.median([tube.length_mm for tube in medullary]) > 8
