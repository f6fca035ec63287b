import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.quick.acquisition import (
    Receiver,
    add_vessels,
    average_slices,
    draw_noise,
    draw_sensitivity,
    scan_grid,
    slice_grid,
    tissue_signal,
)
from shiva_cmb.synthesis.quick.scene import Scene
from tests.imaging.samples import make_grid, world_coordinates
from tests.synthesis.small_heads import plain_protocol, round_head


def empty_scene(head: hm.DeformedHead) -> Scene:
    nothing = np.zeros(head.grid.shape, np.float32)
    return Scene(head, nothing, nothing, 1.0)


def receiver(shape: tuple[int, int, int] = (40, 40, 3), **changes: object) -> Receiver:
    protocol = plain_protocol(sequence="swi", spacing_mm=(1.0, 1.0, 1.5), **changes)
    return Receiver(protocol, np.ones(shape, np.float32))


def test_a_field_of_1_ppm_turns_the_phase_by_the_larmor_frequency() -> None:
    # 127.7 Hz at 3 T: 2.55 turns in 20 ms
    assert radians_per_ppm(0.020, 3.0) / (2 * np.pi) == pytest.approx(127.731 * 0.020, rel=1e-4)
    assert radians_per_ppm(0.040, 1.5) == pytest.approx(radians_per_ppm(0.020, 3.0))


@pytest.mark.parametrize("slope", [(0.0, 0.0, 0.0), (0.05, -0.03, 0.06), (0.0, 0.11, -0.02)])
def test_a_slope_of_the_field_dephases_a_voxel_as_its_parts_would(slope: tuple[float, float, float]) -> None:
    source = make_grid((32, 32, 32), (1.0, 1.0, 1.0))
    head = hm.DeformedHead("field", np.full(source.shape, 2, np.int16), source)
    field = (world_coordinates(source) - (3.0, -7.0, 11.0)) @ slope
    scene = Scene(head, np.full(source.shape, 0.6, np.float32), field.astype(np.float32), 0.6)
    target = make_grid((9, 7, 6), (1.5, 2.0, 2.5), "LPS", (10, -5, 8))
    signal = tissue_signal(scene, target, plain_protocol())
    parts = (np.arange(24) + 0.5) / 24 - 0.5
    offsets = np.stack(np.meshgrid(parts, parts, parts), axis=-1).reshape(-1, 3) @ target.affine[:3, :3].T
    voxel = (4, 3, 2)
    places = target.to_world(voxel) + offsets - (3.0, -7.0, 11.0)
    expected = 0.6 * np.exp(1j * radians_per_ppm(0.020, 3.0) * (places @ slope)).mean()
    assert np.abs(signal[voxel] - expected) < 0.003
    if any(slope):
        assert np.abs(expected) < 0.5


def test_blood_replaces_tissue_and_turns_by_the_field_inside_a_cylinder() -> None:
    protocol = plain_protocol()
    tissue = np.full((2, 2, 1), 0.5 * np.exp(0.4j), np.complex64)
    filled = np.array([[0.0, 1.0], [1.0, 0.5]], np.float32)[..., None]
    along, across = 1 - 1 / 3, -1 / 3
    oriented = filled * np.array([[0.0, along], [across, across]], np.float32)[..., None]
    signal = tissue.copy()
    add_vessels(signal, filled, oriented, 0.8, 0.3, protocol)
    turn = radians_per_ppm(0.020, 3.0) * 0.3
    blood = 0.8 * np.exp(0.4j)
    assert signal[0, 0, 0] == tissue[0, 0, 0]
    assert signal[0, 1, 0] == pytest.approx(blood * np.exp(1j * turn / 3), abs=1e-4)
    assert signal[1, 0, 0] == pytest.approx(blood * np.exp(-1j * turn / 6), abs=1e-4)
    half = 0.5 * blood * np.exp(-1j * turn / 6) + 0.5 * tissue[1, 1, 0]
    assert signal[1, 1, 0] == pytest.approx(half, abs=1e-4)


def test_thick_slices_are_the_mean_of_their_parts_and_opposite_phases_cancel() -> None:
    signal = np.zeros((2, 3, 4), np.complex64)
    signal[..., 0], signal[..., 1] = 1, 3j
    signal[..., 2], signal[..., 3] = 1, -1
    thick = average_slices(signal, 2)
    assert thick.shape == (2, 3, 2)
    np.testing.assert_allclose(thick[..., 0], 0.5 + 1.5j)
    np.testing.assert_allclose(thick[..., 1], 0)
    same = average_slices(signal, 1)
    np.testing.assert_array_equal(same, signal)
    assert not np.shares_memory(same, signal)


@given(
    angles=st.tuples(*[st.floats(-25, 25)] * 3),
    spacing=st.tuples(st.floats(0.5, 3), st.floats(0.5, 3), st.floats(0.8, 6)),
    sub_slices=st.integers(1, 5),
    margin=st.floats(0, 10),
)
@settings(max_examples=10, deadline=None)
def test_the_grid_holds_the_head_in_slices_and_the_brain_across_them(
    angles: tuple[float, ...], spacing: tuple[float, float, float], sub_slices: int, margin: float
) -> None:
    head = round_head()
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    protocol = plain_protocol(spacing_mm=spacing, sub_slices=sub_slices, rotation=rotation)
    fine = scan_grid(empty_scene(head), protocol, (margin,) * 3)
    thick = slice_grid(fine, sub_slices)
    np.testing.assert_allclose(thick.spacing_mm, spacing)
    np.testing.assert_allclose(thick.affine[:3, :3] / spacing, rotation, atol=1e-12)
    for number in (0, thick.shape[2] - 1):
        parts = [(1, 1, number * sub_slices + part) for part in range(sub_slices)]
        middle = fine.to_world(parts).mean(axis=0)
        np.testing.assert_allclose(thick.to_world((1, 1, number)), middle, atol=1e-9)
    for mask, axes in ((head.tissues > 0, (0, 1)), (head.brain, (2,))):
        there = thick.to_voxel(head.grid.to_world(np.argwhere(mask)[::5]))
        for axis in axes:
            air_mm = np.array([there[:, axis].min() + 0.5, thick.shape[axis] - 0.5 - there[:, axis].max()])
            air_mm *= spacing[axis]
            assert (air_mm > margin - 3.5).all()  # every third voxel is looked at
            assert (air_mm < margin + 0.5 + max(spacing)).all()


def test_a_part_of_the_brain_may_be_left_out() -> None:
    head = round_head()
    brain = head.grid.to_world(np.argwhere(head.brain))[:, 2]
    for part, low, high in (((8.0, 0.0), 8, 0), ((0.0, 12.0), 0, 12)):
        grid = scan_grid(empty_scene(head), plain_protocol(part_mm=part), (0, 0, 0))
        ends = grid.to_world([(0, 0, -0.5), (0, 0, grid.shape[2] - 0.5)])[:, 2]
        assert ends[0] - brain.min() == pytest.approx(low, abs=2.1)
        assert brain.max() - ends[1] == pytest.approx(high, abs=2.1)


def test_zero_filling_keeps_the_mean_and_blurs_along_one_axis() -> None:
    rng = np.random.default_rng(0)
    signal = (rng.normal(size=(32, 5, 4)) + 1j * rng.normal(size=(32, 5, 4)) + 2).astype(np.complex64)
    coarse = receiver(kept_fraction=0.6)
    blurred = coarse.sampled(signal)
    np.testing.assert_allclose(blurred.mean(axis=0), signal.mean(axis=0), atol=1e-5)
    assert np.abs(np.fft.fft(blurred, axis=0)[12:21]).max() < 1e-3
    assert blurred.std() < 0.9 * signal.std()
    dot = np.zeros((32, 5, 4), np.complex64)
    dot[16, 2, 1] = 1
    spread = np.abs(coarse.sampled(dot)) > 1e-3
    assert spread.any(axis=0).sum() == 1
    assert spread[:, 2, 1].sum() > 3
    np.testing.assert_array_equal(receiver().sampled(signal), signal)


def test_the_phase_mask_darkens_positive_phases_only() -> None:
    phase = np.zeros((40, 40, 3), np.float32)
    phase[10, 10, 1], phase[30, 30, 1] = 1.0, -1.0
    signal = np.exp(1j * phase).astype(np.complex64)
    one = receiver()
    image = one.magnitude(signal, one.slow_phase(signal))
    assert image[10, 10, 1] == pytest.approx((1 - 1 / np.pi) ** 4, abs=0.03)
    assert image[30, 30, 1] == pytest.approx(1, abs=0.01)
    phase[[10, 30], [10, 30], 1] = 0
    elsewhere = phase == 0
    elsewhere[[10, 30], [10, 30], 1] = False
    np.testing.assert_allclose(image[elsewhere], 1, atol=0.02)
    np.testing.assert_allclose(one.magnitude(signal, None), 1, rtol=1e-5)


def test_a_slow_phase_is_filtered_away_before_the_mask() -> None:
    slow = np.linspace(0, 2.0, 40, dtype=np.float32)[:, None, None] * np.ones((1, 40, 3), np.float32)
    signal = np.exp(1j * slow).astype(np.complex64)
    one = receiver(phase_window_mm=8.0)
    image = one.magnitude(signal, one.slow_phase(signal))
    np.testing.assert_allclose(image[8:-8], 1, atol=0.05)


def test_noise_is_complex_and_makes_the_background_rayleigh() -> None:
    noise = draw_noise(np.random.default_rng(0), (40, 40, 20), 0.3)
    assert noise.real.std() == pytest.approx(0.3, rel=0.02)
    assert noise.imag.std() == pytest.approx(0.3, rel=0.02)
    assert np.abs(noise).mean() == pytest.approx(0.3 * np.sqrt(np.pi / 2), rel=0.02)


def test_a_coils_sensitivity_is_slow_and_as_uneven_as_was_asked_for() -> None:
    grid = Grid((30, 40, 12), np.diag([2.0, 2.0, 5.0, 1.0]))
    sensitivity = draw_sensitivity(np.random.default_rng(1), grid, 0.2)
    assert sensitivity.shape == grid.shape
    assert np.log(sensitivity).std() == pytest.approx(0.2, rel=0.01)
    assert np.log(sensitivity).mean() == pytest.approx(0, abs=0.01)
    assert max(np.abs(np.diff(sensitivity, axis=axis)).max() for axis in range(3)) < 0.15
    np.testing.assert_allclose(draw_sensitivity(np.random.default_rng(1), grid, 0.0), 1)
