"""The scanner's layers do what the NumPy path does."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.layers.scanner import DipoleField, GradientEcho, Receive
from shiva_cmb.synthesis.quick.acquisition import Receiver, tissue_signal
from shiva_cmb.synthesis.quick.protocol import Protocol, ProtocolSettings, draw_protocol
from shiva_cmb.synthesis.quick.scene import _field

TE_S, FIELD_T = 0.025, 3.0
SHAPE = (18, 21, 14)


def smooth(seed: int, spread: float, sigma: float = 1.5) -> NDArray[np.float32]:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), sigma)
    return (values * (spread / values.std())).astype(np.float32)


def protocol(**changes: object) -> Protocol:
    drawn = vars(draw_protocol(np.random.default_rng(0), ProtocolSettings()))
    return Protocol(**(drawn | {"te_s": TE_S, "field_t": FIELD_T} | changes))  # type: ignore[arg-type]


def as_channels(signal: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.stack([signal.real, signal.imag], axis=-1).astype(np.float32)


def test_the_field_is_that_of_the_scene_for_each_direction() -> None:
    chi = np.stack([smooth(0, 0.5), smooth(1, 2.0) + 9.4])
    directions = np.array([[0.0, 0.0, 1.0], [0.3, -0.5, 0.812]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = DipoleField((1.0, 1.0, 1.0))(chi[..., None], directions.astype(np.float32))
    for one, map_ppm, direction in zip(np.asarray(found)[..., 0], chi, directions, strict=True):
        np.testing.assert_allclose(one, _field(map_ppm, direction), atol=1e-3)


def test_the_field_knows_the_voxels_size() -> None:
    """Outside of a ball: chi / 3 (r0 / r)^3 (3 cos^2 - 1), with twice as thick voxels along z."""
    index = np.indices((33, 33, 17)).astype(np.float32)
    x, y, z = index[0] - 16, index[1] - 16, 2 * (index[2] - 8)
    chi = ndimage.zoom((np.sqrt(x**2 + y**2 + z**2) <= 5).astype(np.float32), 1)
    field = np.asarray(DipoleField((1.0, 1.0, 2.0))(chi[None, ..., None], np.array([[0, 0, 1]], np.float32)))
    moment = chi.sum() * 2 / (4 * np.pi)
    assert field[0, 16, 16, 13, 0] == pytest.approx(2 * moment / 10**3, rel=0.1)
    assert field[0, 26, 16, 8, 0] == pytest.approx(-moment / 10**3, rel=0.1)


def test_the_signal_decays_turns_and_dephases_as_in_the_acquisition() -> None:
    field, brightness, r2s = smooth(2, 0.2), 1 + smooth(3, 0.2), 20 + smooth(4, 5.0)
    grid = Grid(SHAPE, np.eye(4))
    decayed = (brightness * np.exp(-TE_S * r2s)).astype(np.float32)
    scene = SimpleNamespace(field_ppm=field, brightness=decayed, head=SimpleNamespace(grid=grid))
    expected = tissue_signal(scene, grid, protocol())  # type: ignore[arg-type]
    te_s, field_t = np.array([TE_S, TE_S / 2], np.float32), np.array([FIELD_T, FIELD_T], np.float32)
    maps = (np.stack([m, m])[..., None] for m in (brightness, r2s, field))
    found = np.asarray(GradientEcho()(*maps, te_s, field_t))
    np.testing.assert_allclose(found[0], as_channels(expected), atol=1e-4)
    assert np.abs(expected).min() < 0.5 * decayed.min(), "the field is steep enough to test the sinc"
    assert np.hypot(*np.moveaxis(found[1], -1, 0)).mean() > np.abs(expected).mean()


@pytest.mark.parametrize("power", [0, 4])
def test_the_image_is_that_of_the_receiver(power: int) -> None:
    spacing = (0.8, 1.1, 2.0)
    signal = ((1 + smooth(5, 0.2)) * np.exp(1j * smooth(6, 2.0))).astype(np.complex64)
    sensitivity = np.exp(smooth(7, 0.2, sigma=4))
    how = protocol(spacing_mm=spacing, kept_fraction=0.7, phase_window_mm=12.0, phase_power=power)
    receiver = Receiver(how, sensitivity)
    sampled = receiver.sampled(signal * sensitivity)
    slow = receiver.slow_phase(sampled) if power else None
    numbers = (np.array([n], np.float32) for n in (0.0, 0.7, 12.0, power))
    found = Receive(spacing, seed=1)(as_channels(signal)[None], sensitivity[None, ..., None], *numbers)
    np.testing.assert_allclose(np.asarray(found)[0, ..., 0], receiver.magnitude(sampled, slow), atol=2e-4)


def test_noise_is_as_strong_as_asked_for_and_another_each_time() -> None:
    receive = Receive((1.0, 1.0, 1.0), seed=1)
    numbers = [np.array([n, n], np.float32) for n in (0.1, 1.0, 12.0, 0.0)]
    numbers[0][1] = 0.0
    signal = np.zeros((2, *SHAPE, 2), np.float32)
    signal[..., 0] = 1.0
    first, second = (np.asarray(receive(signal, np.ones_like(signal[..., :1]), *numbers)) for _ in range(2))
    assert first[0].std() == pytest.approx(0.1, rel=0.1)
    assert np.any(first[0] != second[0])
    np.testing.assert_allclose(first[1], 1.0, atol=1e-5)


def test_the_package_itself_needs_no_keras() -> None:
    code = (
        "import sys, shiva_cmb.synthesis; raise SystemExit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
