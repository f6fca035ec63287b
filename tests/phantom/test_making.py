import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from shiva_cmb.errors import UsageError
from tests.phantom import Phantom, PhantomSettings, make_head

SMALL = PhantomSettings(spacing_mm=(0.8, 0.8, 2.0), head_mm=(64.0, 76.0, 66.0), bleeds=(3, 3), vessels=6)


def small(seed: int, **changes: object) -> Phantom:
    return make_head(np.random.default_rng(seed), PhantomSettings(**{**vars(SMALL), **changes}))  # type: ignore[arg-type]


@given(
    seed=st.integers(0, 10**6),
    orientation=st.sampled_from(["RAS", "LPS", "PSR", "SAR", "ILP"]),
    spacing=st.sampled_from([(0.8, 0.8, 2.0), (1.0, 1.0, 1.0), (0.9, 0.9, 4.0), (2.0, 0.7, 0.7)]),
)
@settings(max_examples=6, deadline=None)
def test_every_bleed_is_labelled_where_the_truth_says(
    seed: int, orientation: str, spacing: tuple[float, float, float]
) -> None:
    head = small(seed, orientations=(orientation,), spacing_mm=spacing)
    assert head.image.grid.orientation == orientation
    assert head.image.spacing_mm == pytest.approx(spacing)
    assert len(head.truth) == 3
    for number, bleed in enumerate(head.truth, start=1):
        voxels = np.argwhere(head.bleeds.data == number)
        assert len(voxels)
        centre = head.bleeds.grid.to_world(voxels.mean(axis=0))
        assert np.linalg.norm(centre - bleed.centre_mm) < max(spacing) / 2 + 0.3
        assert head.brain.data[tuple(voxels.T)].all()


def test_bleeds_are_the_size_that_was_asked_for() -> None:
    head = small(3, spacing_mm=(0.5, 0.5, 0.5), bleed_diameter_mm=(3.0, 4.0))
    for number, bleed in enumerate(head.truth, start=1):
        volume_mm3 = (head.bleeds.data == number).sum() * 0.5**3
        assert np.cbrt(6 / np.pi * volume_mm3) == pytest.approx(bleed.diameter_mm, abs=0.3)
        assert 3.0 <= bleed.diameter_mm <= 4.0


def test_bleeds_are_dark_against_their_surroundings() -> None:
    head = small(5, bleed_diameter_mm=(3.0, 5.0))
    for number in range(1, 4):
        dot = head.bleeds.data == number
        around = ndimage.binary_dilation(dot, iterations=4) & ~ndimage.binary_dilation(dot, iterations=2)
        assert head.image.data[dot].mean() < 0.65 * head.image.data[around].mean()


def test_the_same_seed_gives_the_same_head_and_another_seed_another() -> None:
    first, again, other = small(17), small(17), small(18)
    np.testing.assert_array_equal(first.image.data, again.image.data)
    assert first.truth == again.truth
    assert first.truth != other.truth


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bleeds": (200, 200), "bleed_diameter_mm": (5.0, 9.0)}, "bleeds fit"),
        ({"bleeds": (3, 2)}, "fewest"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "above 0 mm"),
        ({"head_mm": (20.0, 20.0, 20.0)}, "40 mm or more"),
    ],
)
def test_impossible_wishes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(0, **changes)
