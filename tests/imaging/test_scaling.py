import numpy as np
import pytest

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.imaging import Scaling, scale_intensity

RNG = np.random.default_rng(5)
DATA = RNG.gamma(9.0, 60.0, (20, 20, 20)).astype(np.float32)
BRAIN = np.zeros(DATA.shape, bool)
BRAIN[5:15, 5:15, 5:15] = True


def test_p99_puts_the_minimum_at_0_and_the_percentile_at_1():
    shifted = DATA - 40
    scaled = scale_intensity(shifted, BRAIN, Scaling())
    top = np.percentile(shifted[BRAIN], 99)
    expected = np.clip((shifted - shifted.min()) / (top - shifted.min()), 0, 1)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, expected, atol=1e-5)
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_shivai_puts_the_percentile_at_0769():
    data = DATA - 400
    data[0, 0, 0] = np.nan
    scaled = scale_intensity(data, BRAIN, Scaling("shivai"))
    clean = np.maximum(np.nan_to_num(data), 0)
    expected = np.clip(clean / np.percentile(clean[BRAIN], 99), None, 1.3) / 1.3
    assert np.allclose(scaled, expected, atol=1e-6)
    assert scaled[0, 0, 0] == 0
    assert np.isclose(np.percentile(scaled[BRAIN], 99), 1 / 1.3, atol=1e-4)


def test_zscore_uses_the_brain_only():
    data = np.where(BRAIN, DATA, 1e4)
    scaled = scale_intensity(data, BRAIN, Scaling("zscore"))
    assert abs(scaled[BRAIN].mean()) < 1e-4
    assert abs(scaled[BRAIN].std() - 1) < 1e-4


@pytest.mark.parametrize("scheme", ["p99", "shivai"])
def test_percentile_is_a_setting(scheme):
    low, high = (scale_intensity(DATA, BRAIN, Scaling(scheme, p)).mean() for p in (99.9, 90.0))
    assert high > low


@pytest.mark.parametrize("scheme", ["p99", "shivai", "zscore"])
def test_input_is_not_changed_and_integers_work(scheme):
    data = DATA.astype(np.int16)
    before = data.copy()
    assert scale_intensity(data, None, Scaling(scheme)).dtype == np.float32
    assert np.array_equal(data, before)


@pytest.mark.parametrize("scheme", ["p99", "shivai", "zscore"])
def test_brain_without_signal_is_refused(scheme):
    data = np.where(BRAIN, 0, DATA)
    with pytest.raises(ImageError, match="expected above 0"):
        scale_intensity(data, BRAIN, Scaling(scheme))
    with pytest.raises(ImageError, match="empty"):
        scale_intensity(data, np.zeros_like(BRAIN), Scaling(scheme))


def test_nan_is_refused_where_it_would_spread():
    data = DATA.copy()
    data[7, 7, 7] = np.nan
    for scheme in ("p99", "zscore"):
        with pytest.raises(ImageError, match="nan"):
            scale_intensity(data, BRAIN, Scaling(scheme))


def test_settings_are_checked():
    with pytest.raises(UsageError, match="p98"):
        Scaling("p98")
    with pytest.raises(UsageError, match="percentile"):
        Scaling(percentile=0)
