"""What a bleed does to the signal: more with echo time and field, less in thick slices."""

from dataclasses import replace

import numpy as np
import pytest

from shiva_cmb.synthesis.physical.frame import Frame, place_head
from shiva_cmb.synthesis.physical.haemorrhages import Haemorrhage, Lump
from shiva_cmb.synthesis.physical.settings import PhysicalSettings, Protocol
from shiva_cmb.synthesis.physical.signal import FineSignal, native_voxels, radians_per_ppm
from shiva_cmb.synthesis.physical.simulation import with_bleeds
from shiva_cmb.synthesis.physical.tissue import draw_tissue, granular_rate
from tests.synthesis.physical.small_head import ellipsoid_head

PROTOCOL = Protocol(
    kind="t2s",
    field_t=1.5,
    te_ms=20.0,
    tr_ms=600.0,
    flip_deg=20.0,
    pixel_mm=1.0,
    slice_mm=1.0,
    gap_mm=0.0,
    kept_of_k_space=1.0,
    partial_fourier=1.0,
    phase_power=4,
    smooth_mm=4.0,
    snr=20.0,
)


@pytest.fixture(scope="module")
def frame() -> Frame:
    return place_head(np.random.default_rng(0), ellipsoid_head(), PhysicalSettings(fine_mm=0.5, tilt_deg=0))


def _loss(frame: Frame, protocol: Protocol) -> np.ndarray:
    """Share of the signal that a 2 mm core takes from a uniform head."""
    shape = frame.fine_grid.shape
    fine = FineSignal(np.ones(shape, np.float32), np.zeros(shape, np.float32), radians_per_ppm(protocol))
    voxels = native_voxels(np.random.default_rng(0), frame, protocol)
    lump = Lump(np.zeros(3), np.ones(3), np.eye(3), np.zeros((0, 5)))
    middle = frame.fine_grid.to_world((np.array(shape) - 1) / 2)
    bleed = Haemorrhage(middle, (lump,), 2.0, 0.8, 0.8)
    without = np.ones(voxels.grid.shape, np.complex64)
    return 1 - np.abs(with_bleeds(fine, without, [bleed], frame, voxels, protocol))


def test_the_void_grows_with_echo_time_and_field(frame: Frame) -> None:
    short = (_loss(frame, PROTOCOL) > 0.3).sum()
    long = (_loss(frame, replace(PROTOCOL, te_ms=40.0)) > 0.3).sum()
    strong = (_loss(frame, replace(PROTOCOL, field_t=3.0)) > 0.3).sum()
    assert 3 < short < long
    assert long == pytest.approx(strong, rel=0.1)  # what counts is their product


def test_thick_slices_show_less(frame: Frame) -> None:
    thin, thick = (_loss(frame, replace(PROTOCOL, slice_mm=mm)).max() for mm in (1.0, 5.0))
    assert thin > 0.6
    assert 0.1 < thick < 0.75 * thin


def test_the_void_is_larger_than_the_core(frame: Frame) -> None:
    volume = (_loss(frame, replace(PROTOCOL, field_t=3.0)) > 0.3).sum()  # voxels of 1 mm3
    assert np.cbrt(6 * volume / np.pi) > 2.5


def test_grains_decay_the_signal_in_proportion_to_field_and_iron() -> None:
    assert granular_rate(1.0, 3.0) == pytest.approx(323, rel=0.01)  # 1.209 * 2.675e8 * 3 * 1e-6 / 3
    assert granular_rate(-0.5, 1.5) == pytest.approx(granular_rate(1.0, 3.0) / 4)


def test_fluid_is_dark_with_short_and_bright_with_long_repetition() -> None:
    short = replace(PROTOCOL, tr_ms=35.0, flip_deg=18.0)
    for seed in range(3):
        dark = draw_tissue(np.random.default_rng(seed), short).signal
        bright = draw_tissue(np.random.default_rng(seed), PROTOCOL).signal
        assert dark[3] < 1 < bright[3]  # of white matter
