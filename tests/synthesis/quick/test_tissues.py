import numpy as np
import pytest

from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.tissues import FACTS, TissueTables, draw_tissues, venous_ppm

DARKENED_BY_IRON = (hm.PALLIDUM, hm.PUTAMEN, hm.CAUDATE, hm.DIENCEPHALON)


def mean_tables(field_t: float, number: int = 60) -> TissueTables:
    drawn = [draw_tissues(np.random.default_rng(seed), field_t) for seed in range(number)]
    names = ("density", "t1_ms", "r2s", "chi_ppm")
    return TissueTables(*(np.mean([getattr(one, name) for one in drawn], axis=0) for name in names))


def test_every_tissue_has_facts() -> None:
    assert sorted(FACTS) == list(range(len(hm.TISSUE_NAMES)))


def test_signals_decay_faster_and_recover_slower_in_a_stronger_field() -> None:
    weak, strong = (draw_tissues(np.random.default_rng(5), field_t) for field_t in (1.5, 3.0))
    inside = np.arange(len(hm.TISSUE_NAMES)) != hm.OUTSIDE
    assert (strong.r2s > weak.r2s)[inside].all()
    assert (strong.t1_ms > weak.t1_ms)[inside].all()
    np.testing.assert_allclose(strong.chi_ppm, weak.chi_ppm)  # a property of what is there


def test_values_are_those_of_the_literature() -> None:
    """T2* of white matter and cortex: Peters 2007, "T2* measurements in human brain at 1.5, 3 and 7 T"."""
    for field_t, white_ms, cortex_ms in ((1.5, 66, 84), (3.0, 53, 66)):
        t2s_ms = 1000 / mean_tables(field_t).r2s
        assert t2s_ms[hm.WHITE] == pytest.approx(white_ms, rel=0.15)
        assert t2s_ms[hm.CORTEX] == pytest.approx(cortex_ms, rel=0.2)
        assert t2s_ms[hm.CSF] > 200
        assert 20 < t2s_ms[hm.VEIN] < 45


def test_iron_darkens_the_deep_nuclei_the_pallidum_most() -> None:
    tables = mean_tables(3.0)
    assert tables.r2s[hm.PALLIDUM] == max(tables.r2s[[*hm.NERVOUS, hm.CSF]])
    assert tables.chi_ppm[hm.PALLIDUM] == max(tables.chi_ppm[list(hm.NERVOUS)])
    for tissue in DARKENED_BY_IRON:
        assert tables.r2s[tissue] > tables.r2s[hm.THALAMUS] > tables.r2s[hm.CORTEX]
    # and differs between heads by more than that which holds none
    drawn = [draw_tissues(np.random.default_rng(seed), 3.0).r2s for seed in range(60)]
    spread = np.std(drawn, axis=0) / np.mean(drawn, axis=0)
    assert spread[hm.PALLIDUM] > 1.5 * spread[hm.WHITE]


def test_air_bone_and_blood_have_the_sign_of_their_susceptibility() -> None:
    chi = mean_tables(3.0).chi_ppm
    assert chi[hm.OUTSIDE] == pytest.approx(9.4, abs=0.1)
    assert -3 < chi[hm.BONE] < -1.5
    assert abs(chi[hm.CSF]) < 0.05
    drawn = [venous_ppm(np.random.default_rng(seed)) for seed in range(100)]
    # 0.27 ppm (CGS) x 4 pi x haematocrit x (1 - saturation)
    assert 0.29 < min(drawn) < max(drawn) < 0.74
    assert np.mean(drawn) == pytest.approx(0.27 * 4 * np.pi * 0.415 * 0.35, rel=0.1)


def test_the_steady_state_is_ernsts() -> None:
    one = np.ones(1, np.float32)
    tissue = TissueTables(0.8 * one, 1000 * one, one, one)
    assert tissue.steady_state(1e5, 90)[0] == pytest.approx(0.8, rel=1e-4)  # all has recovered
    signals = [float(tissue.steady_state(50, angle)[0]) for angle in range(1, 90)]
    best = np.rad2deg(np.arccos(np.exp(-50 / 1000)))
    assert np.argmax(signals) + 1 == pytest.approx(best, abs=1)
    assert tissue.steady_state(500, 20)[0] > tissue.steady_state(30, 20)[0]


def test_the_same_seed_gives_the_same_tissues() -> None:
    first, again, other = (draw_tissues(np.random.default_rng(seed), 3.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.r2s, again.r2s)
    assert (first.density[1:] != other.density[1:]).all()
