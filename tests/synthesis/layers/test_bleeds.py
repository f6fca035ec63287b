"""Bleeds in patches: the same as on the NumPy path, in the brain, labelled where they can be seen."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.bleeds.blooming import attenuation
from shiva_cmb.synthesis.bleeds.draw import core_diameter_mm
from shiva_cmb.synthesis.layers.bleeds import (
    ImplantBleeds,
    Implanter,
    Numbers,
    PatchBleeds,
    core_radius_mm,
)
from shiva_cmb.synthesis.phase import radians_per_ppm
from shiva_cmb.synthesis.shapes import Ball

MM = (1.0, 1.0, 1.0)
SHAPE = (20, 22, 18)
MANY = PatchBleeds(bleeds=(2, 2), diameter_mm=(2.0, 4.0), echo_t_ms=(40.0, 90.0), swi_share=0.5)


def drawn(implanter: Implanter, batch: int, seed: int = 0) -> Numbers:
    rng = np.random.default_rng(seed)
    return implanter.draw(
        lambda low, high, *shape: rng.uniform(low, high, (batch, *shape)).astype(np.float32)
    )


def patches(batch: int, level: float = 1.0, noise: float = 0.01) -> tuple[NDArray[np.float32], ...]:
    """A stripped brain that fills two thirds along x."""
    brain = np.zeros((batch, *SHAPE, 1), np.float32)
    brain[:, :14] = 1.0
    image = (level + noise * np.random.default_rng(1).standard_normal(brain.shape)) * brain
    return np.abs(image).astype(np.float32), brain, np.zeros_like(brain)


def test_each_factor_is_that_of_the_numpy_path() -> None:
    implanter = Implanter(MANY, MM)
    numbers = drawn(implanter, 3)
    real, imaginary = (np.asarray(part) for part in implanter.factors(numbers))
    affine = np.eye(4)
    affine[:3, 3] = -(np.array(implanter.window) - 1) / 2
    grid = Grid(implanter.window, affine)  # type: ignore[arg-type]
    differs = []
    for sample, bleed in np.ndindex(3, 2):
        radius, core, surface = (
            float(np.asarray(values)[sample, bleed])
            for values in (numbers.radius_mm, numbers.core_signal, numbers.surface_rad)
        )
        ball = Ball("microbleed", np.asarray(numbers.within, float)[sample, bleed][None], np.array([radius]))
        chi_ppm = 3 * surface / radians_per_ppm(1.0, 1.0)
        b0 = np.asarray(numbers.b0)[sample]
        box, values = attenuation(ball, chi_ppm, -np.log(core), grid, 1.0, 1.0, b0)
        expected = np.ones(grid.shape, np.complex64)
        expected[box] = values
        found = np.hypot(real[sample, bleed], imaginary[sample, bleed])
        off = np.abs(found - np.abs(expected))
        assert off.max() < 0.12, "a voxel at the core's surface"
        differs.append(off.sum() / (1 - np.abs(expected)).sum())
        near = np.indices(grid.shape) - (np.array(grid.shape) - 1)[:, None, None, None] / 2
        clear = (np.linalg.norm(near, axis=0) < 4) & (np.abs(expected) > 0.8)
        turned = np.angle((real + 1j * imaginary)[sample, bleed] / expected)
        assert np.abs(turned[clear]).max() < 0.1
    assert np.mean(differs) < 0.05


def test_cores_are_as_large_as_on_the_numpy_path() -> None:
    diameter, chi = np.array([2.0, 4.0, 9.0]), np.array([0.4, 3.0, 1.0])
    found = np.asarray(core_radius_mm(diameter.astype(np.float32), chi.astype(np.float32)))
    expected = [core_diameter_mm(*pair) / 2 for pair in zip(diameter, chi, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_bleeds_are_dark_labelled_and_in_the_brain() -> None:
    image, brain, label = patches(8)
    layer = ImplantBleeds(MANY, MM, seed=3)
    changed, marked = (np.asarray(part) for part in layer(image, brain, label, training=True))
    assert set(np.unique(marked)) == {0.0, 1.0}, "such as these can be seen"
    bleeding = marked == 1
    assert bleeding.any(axis=(1, 2, 3, 4)).all()
    assert (changed[bleeding] < 0.78).all(), "30 % less, and noise"
    assert changed[bleeding].mean() < 0.4
    assert (changed[(marked == 0) & (brain > 0)] > 0.6).all()
    assert 2 * 3 < bleeding.sum() / 8 < 2 * 150
    np.testing.assert_array_equal(changed[brain == 0], 0.0)
    assert not bleeding[brain == 0].any()
    assert (changed == image)[brain > 0].mean() > 0.1, "beyond the bleeds nothing changes"
    assert changed[bleeding & (changed < 0.05)].std() > 0.002, "voids are filled with noise"


def test_those_that_nobody_could_see_are_ignored() -> None:
    image, brain, label = patches(4, noise=0.3)
    _, marked = ImplantBleeds(MANY, MM, seed=3)(image, brain, label, training=True)
    assert set(np.unique(marked)) == {0.0, 2.0}


def test_what_is_labelled_stays_and_nothing_is_put_where_there_is_no_brain() -> None:
    image, brain, label = patches(4)
    layer = ImplantBleeds(MANY, MM, seed=0)
    label[:, 3:9, 3:9, 3:9] = 1.0
    label[:, 9:12] = 2.0
    _, marked = (np.asarray(part) for part in layer(image, brain, label, training=True))
    np.testing.assert_array_equal(marked[label > 0], label[label > 0])
    assert (marked != label).any()
    nothing = layer(image, np.zeros_like(brain), label, training=True)
    np.testing.assert_array_equal(nothing[0], image)
    np.testing.assert_array_equal(nothing[1], label)


def test_the_phase_mask_darkens_along_the_field() -> None:
    """Bleeds of SWI are larger, and longer along the main field; each seed draws its own."""
    image, brain, label = patches(12)
    sizes, lengths = [], []
    for share in (0.0, 1.0):
        how = PatchBleeds((1, 1), (3.0, 3.0), (60.0, 60.0), share)
        _, marked = ImplantBleeds(how, MM, seed=5)(image, brain, label, training=True)
        where = np.asarray(marked)[..., 0] == 1
        sizes.append(where.sum())
        spread = [np.ptp(np.argwhere(one), axis=0) for one in where if one.any()]
        lengths.append(np.mean([s[2] - (s[0] + s[1]) / 2 for s in spread]))
    assert sizes[1] > 1.2 * sizes[0]
    assert lengths[1] > lengths[0]


def test_nothing_happens_in_inference_and_a_seed_repeats_itself() -> None:
    stack = patches(2)
    layers = [ImplantBleeds(MANY, MM, seed) for seed in (4, 4, 5)]
    np.testing.assert_array_equal(layers[0](*stack)[0], stack[0])
    first, same, other = (np.asarray(layer(*stack, training=True)[0]) for layer in layers)
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
    assert np.any(first != np.asarray(layers[0](*stack, training=True)[0]))


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 0.5), (1.0, 1.0, 3.0)])
def test_other_voxels(spacing_mm: tuple[float, float, float]) -> None:
    image, brain, label = patches(2)
    how = PatchBleeds((1, 1), (3.0, 3.0), (60.0, 60.0), 0.0)
    _, marked = ImplantBleeds(how, spacing_mm, seed=5)(image, brain, label, training=True)
    volume = float(np.sum(np.asarray(marked) == 1)) / 2 * np.prod(spacing_mm)
    assert 4 < volume < 40, "about 14 mm3"
