import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.visible import numbered_mask, visible_mask

GRID = Grid((30, 30, 20), np.diag([1.0, 1.0, 2.0, 1.0]))


def dot(at: tuple[int, int, int], loss: float, radius: int = 1) -> NDArray[np.float32]:
    """What is left of the signal where a small cube is dark."""
    left = np.ones(GRID.shape, np.float32)
    left[tuple(slice(i - radius, i + radius + 1) for i in at)] = 1 - loss
    return left


def test_voxels_that_lose_more_than_30_percent_are_the_bleed() -> None:
    without = np.full(GRID.shape, 100.0, np.float32)
    without[:, :15] = 50.0  # what is dark anyway is not lost
    left = dot((10, 14, 8), 0.6)
    left[9, 14, 8] = 0.75
    label, (facts,) = visible_mask(without * left, without, GRID, 2.0, [(10, 14, 16)], [1.0])
    assert set(np.argwhere(label == 1).tolist()[0]) <= {9, 13, 7}
    assert (label == 1).sum() == 26
    assert label[9, 14, 8] == 0
    assert facts.visible
    assert facts.voxels == 26
    assert facts.volume_mm3 == pytest.approx(52)
    assert facts.diameter_mm == pytest.approx((6 * 52 / np.pi) ** (1 / 3))
    assert facts.contrast == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "sigma", "visible"), [(0.24, 0.1, False), (0.27, 0.1, True), (0.6, 20, False)]
)
def test_what_is_faint_against_tissue_or_noise_is_to_be_ignored(
    loss: float, sigma: float, visible: bool
) -> None:
    without = np.full(GRID.shape, 100.0, np.float32)
    label, (facts,) = visible_mask(
        without * dot((10, 10, 10), loss), without, GRID, sigma, [(10, 10, 20)], [1.0]
    )
    assert facts.visible is visible
    assert set(np.unique(label)) == {0, 1 if visible else 2}
    assert (label > 0).sum() == 27
    assert facts.cnr == pytest.approx(100 * loss / sigma, rel=1e-3)


def test_only_what_hangs_together_with_the_place_counts() -> None:
    without = np.full(GRID.shape, 100.0, np.float32)
    left = np.minimum(dot((10, 10, 10), 0.5), dot((15, 10, 10), 0.9))
    label, (facts,) = visible_mask(without * left, without, GRID, 1.0, [(10, 10, 20)], [1.5])
    assert facts.voxels == 27
    assert label[15, 10, 10] == 0


def test_two_that_touch_are_told_apart_by_the_nearer_place() -> None:
    without = np.full(GRID.shape, 100.0, np.float32)
    left = np.minimum(dot((10, 10, 10), 0.5), dot((13, 10, 10), 0.9))
    numbers, facts = numbered_mask(
        without * left, without, GRID, 1.0, [(10, 10, 20), (13, 10, 20)], [1.5, 1.5]
    )
    assert [one.voxels for one in facts] == [27, 27]
    assert numbers[11, 10, 10] == 1
    assert numbers[12, 10, 10] == 2
    assert facts[0].contrast == pytest.approx(0.5, abs=1e-4)


def test_a_bleed_that_changes_nothing_marks_its_place_as_ignored_and_one_outside_nothing() -> None:
    without = np.full(GRID.shape, 100.0, np.float32)
    label, facts = visible_mask(without, without, GRID, 1.0, [(4, 5, 6), (-300, 0, 0)], [1.0, 1.0])
    assert label[4, 5, 3] == 2
    assert (label > 0).sum() == 1
    assert [one.visible for one in facts] == [False, False]
    assert facts[1].voxels == 0
