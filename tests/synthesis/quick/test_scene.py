from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.scene import Scene, make_scene, sample
from shiva_cmb.synthesis.quick.tissues import draw_tissues
from tests.imaging.samples import make_grid, world_coordinates
from tests.synthesis.small_heads import plain_protocol, round_head

TABLES = draw_tissues(np.random.default_rng(0), 3.0)


def scene_of(head: hm.DeformedHead, seed: int = 0, **changes: object) -> Scene:
    return make_scene(np.random.default_rng(seed), head, TABLES, plain_protocol(**changes))


def quadratic_part(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The quadratic of the place that fits the values best: what shim coils take off."""
    powers = [p for p in product(range(3), repeat=3) if sum(p) <= 2]
    basis = np.stack([np.prod(places**power, axis=1) for power in powers], axis=1)
    return basis @ np.linalg.lstsq(basis, values, rcond=None)[0]


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.6, 0.0, 0.8)])
def test_a_ball_in_a_head_makes_a_dipole_field(direction: tuple[float, float, float]) -> None:
    n, radius, chi = 56, 6.0, 0.7
    places = np.indices((n, n, n)) - (n - 1) / 2
    distance = np.sqrt((places**2).sum(axis=0))
    labels = np.where(distance < radius, 51, 2).astype(np.int16)
    head = hm.DeformedHead("ball", labels, Grid((n, n, n), np.eye(4)))
    chi_ppm = np.zeros_like(TABLES.chi_ppm)
    chi_ppm[hm.PUTAMEN] = chi
    protocol = plain_protocol(b0_direction=np.array(direction))
    scene = make_scene(np.random.default_rng(0), head, replace(TABLES, chi_ppm=chi_ppm), protocol)
    cosine = np.tensordot(direction, places, axes=1) / distance
    expected = chi / 3 * (radius / np.maximum(distance, radius)) ** 3 * (3 * cosine**2 - 1)
    expected[distance < radius] = 0  # the field inside a ball is that outside of it
    away = (np.abs(distance - radius) > 2) & (distance < 26)
    difference = (scene.field_ppm - expected)[away]
    difference -= quadratic_part(difference, places[:, away].T / n)
    # a tilted field rings about edges as sharp as those of labels
    assert np.abs(difference).max() < (0.03 if direction[2] == 1 else 0.08) * chi
    assert np.sqrt(np.mean(difference**2)) < 0.01 * chi
    assert expected[away].max() > 0.2 * chi


def test_air_and_bone_disturb_the_field_and_the_shim_takes_off_what_is_quadratic() -> None:
    head = round_head()
    scene = scene_of(head)
    inside = np.argwhere(head.brain)
    field = scene.field_ppm[head.brain]
    assert np.abs(quadratic_part(field, inside / 64)).max() < 0.25 * field.std()
    near_air = ndimage.binary_erosion(head.tissues > 0, iterations=1) ^ (head.tissues > 0)
    assert scene.field_ppm[near_air].std() > 3 * field.std()


def test_tissues_have_the_brightness_of_their_density_and_relaxation() -> None:
    head = round_head()
    scene = scene_of(head)
    level = TABLES.steady_state(500, 20) * np.exp(-0.020 * TABLES.r2s)
    assert scene.white == pytest.approx(level[hm.WHITE])
    for tissue in (hm.WHITE, hm.PUTAMEN, hm.CEREBELLAR_CORTEX):
        deep = ndimage.binary_erosion(head.tissues == tissue, iterations=2)
        assert np.median(scene.brightness[deep]) == pytest.approx(level[tissue], rel=0.03)
    assert np.abs(scene.brightness[:4, :4, :4]).max() < 1e-6
    later = scene_of(head, te_s=0.040)
    white = head.tissues == hm.WHITE
    lost = later.brightness[white].mean() / scene.brightness[white].mean()
    assert lost == pytest.approx(np.exp(-0.020 * TABLES.r2s[hm.WHITE]), rel=0.05)


def test_random_contrasts_turn_bright_and_dark_around() -> None:
    head = round_head()
    white, cortex = (head.tissues == tissue for tissue in (hm.WHITE, hm.CORTEX))
    scenes = [scene_of(head, seed, random_contrast=True) for seed in range(4)]
    ratios = [scene.brightness[white].mean() / scene.brightness[cortex].mean() for scene in scenes]
    assert max(ratios) > 1.1 * min(ratios)
    assert all(np.abs(scene.brightness[:4, :4, :4]).max() < 1e-6 for scene in scenes)  # air stays dark


def test_values_are_sampled_at_their_world_places() -> None:
    source = make_grid((20, 24, 22), (1.0, 1.0, 1.0))
    target = make_grid((8, 30, 9), (1.7, 0.9, 2.2), "LPS", (2, -1, 1))
    slope = np.array([0.3, -0.2, 0.5])
    sampled = sample(world_coordinates(source) @ slope, source, target, order=1)
    world = world_coordinates(target)
    index = source.to_voxel(world)
    inside = ((index > 0) & (index < np.array(source.shape) - 1)).all(axis=-1)
    assert 0.1 < inside.mean() < 0.95
    np.testing.assert_allclose(sampled[inside], (world @ slope)[inside], atol=1e-4)
    labels = np.arange(20 * 24 * 22).reshape(20, 24, 22)
    nearest = sample(labels, source, target, order=0)
    there = np.rint(index[inside]).astype(int)
    assert (nearest[inside] == labels[tuple(there.T)]).mean() > 0.99
    beyond = ((index < -1) | (index > np.array(source.shape))).any(axis=-1)
    assert not sampled[beyond].any()
