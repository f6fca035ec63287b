from dataclasses import replace

import numpy as np
import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.training.anatomy.draw import draw_image
from shiva_cmb.training.anatomy.settings import AnatomyTrainingSettings, RandomHeadSettings
from shiva_cmb.training.anatomy.shape import coded
from tests.training.anatomy.heads import small_head

WINDOW = (32, 40, 32)
HEAD = coded(small_head())
PLAIN = RandomHeadSettings(
    stripped_share=0, physical_share=1, cut_share=0, thick_share=0, rotation_deg=10, shift_mm=(2, 2, 2)
)


def draw(seed, settings=PLAIN):
    return draw_image(np.random.default_rng(seed), HEAD, WINDOW, settings)


def test_an_image_is_scaled_and_the_same_for_the_same_seed() -> None:
    image, regions = draw(3, RandomHeadSettings())
    again, same = draw(3, RandomHeadSettings())
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(regions, same)
    assert image.shape == regions.shape == WINDOW
    assert (image.dtype, regions.dtype) == (np.float32, np.uint8)
    assert image.min() >= 0
    assert image.max() <= 1
    assert not np.array_equal(image, draw(4)[0])


@pytest.mark.parametrize("seed", range(6))
def test_left_stays_left_whether_or_not_the_head_is_mirrored(seed: int) -> None:
    _, regions = draw(seed)
    assert set(np.unique(regions)) >= {0, 1, 2, 3, 4, 5, 6}
    for left, right in ((1, 2), (3, 4)):
        assert np.argwhere(regions == left)[:, 0].mean() < np.argwhere(regions == right)[:, 0].mean() - 3
    assert np.argwhere(regions == 5)[:, 2].mean() < np.argwhere(regions == 1)[:, 2].mean()


def test_a_stripped_image_has_nothing_around_the_brain() -> None:
    image, regions = draw(1, replace(PLAIN, stripped_share=1.0))
    whole, _ = draw(1)
    outside = regions == 0
    assert np.median(image[outside]) == 0
    assert image[outside].mean() < 0.5 * whole[outside].mean()


def test_what_the_field_of_view_cuts_off_is_no_brain() -> None:
    settings = replace(PLAIN, cut_share=1.0)
    cut = [draw(seed, settings) for seed in range(8)]
    blank = [(image == 0).all(axis=(0, 1)) for image, _ in cut]
    assert any(planes.any() for planes in blank)
    for (_, regions), planes in zip(cut, blank, strict=True):
        assert not regions[..., planes].any()


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(UsageError, match="cut_share: expected a share from 0 to 1, got 2"):
        RandomHeadSettings(cut_share=2)
    with pytest.raises(UsageError, match="window: expected multiples of 16"):
        AnatomyTrainingSettings(window=(90, 112, 96))
    with pytest.raises(UsageError, match="steps: expected 1 or more"):
        AnatomyTrainingSettings(steps=0)
