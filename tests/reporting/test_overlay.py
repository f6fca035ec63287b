from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError
from shiva_cmb.imaging.volume import Volume
from shiva_cmb.reporting import write_overlay

SHAPE = (50, 60, 24)


def head(place: tuple[int, int, int] | None) -> tuple[Volume, Volume]:
    """A grey block with one dark dot, 1 x 1 x 3 mm, the patient's right at low or high indices by affine."""
    data = np.full(SHAPE, 100, np.int16)
    labels = np.zeros(SHAPE, np.int16)
    if place:
        labels[place] = data[place] = 1
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = (-25.0, -30.0, -36.0)
    return Volume(data, affine), Volume(labels, affine)


def picture(path: Path) -> NDArray[np.float32]:
    pixels: NDArray[np.float32] = imread(path)
    return pixels[..., :3]


def yellow(pixels: NDArray[np.float32]) -> NDArray[np.intp]:
    """Places of lesion-coloured pixels in the first column, without title and legend, shape (n, 2)."""
    body = pixels[110:-60, : pixels.shape[1] // 4]
    return np.argwhere((body[..., 0] > 0.8) & (body[..., 1] > 0.6) & (body[..., 2] < 0.3))


def test_the_patients_right_is_on_the_left_and_the_front_is_up(tmp_path: Path) -> None:
    image, labels = head((40, 50, 12))  # RAS: right and front
    write_overlay(tmp_path / "o.png", image, labels)
    pixels = picture(tmp_path / "o.png")
    rows, columns = yellow(pixels).T
    assert columns.mean() < pixels.shape[1] / 8
    assert rows.mean() < (pixels.shape[0] - 170) / 2


def test_the_picture_is_the_same_however_the_array_is_stored(tmp_path: Path) -> None:
    image, labels = head((40, 50, 12))
    write_overlay(tmp_path / "ras.png", image, labels, truth_mm=[image.grid.to_world((40, 50, 12))])
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("PSL"))
    turned = []
    for volume in (image, labels):
        # Axis order and direction change; the world position of every voxel stays.
        data = np.transpose(volume.data, np.argsort(turn[:, 0]))
        data = np.flip(data, [int(axis) for axis, sign in turn if sign < 0])
        turned.append(Volume(data, volume.affine @ inv_ornt_aff(turn, SHAPE)))
    assert turned[0].grid.orientation == "PSL"
    write_overlay(tmp_path / "psl.png", *turned, truth_mm=[image.grid.to_world((40, 50, 12))])
    np.testing.assert_array_equal(picture(tmp_path / "ras.png"), picture(tmp_path / "psl.png"))


def test_there_is_a_row_for_each_lesion_and_each_missed_bleed(tmp_path: Path) -> None:
    image, labels = head((40, 50, 12))
    heights = []
    for name, truth in (
        ("a", None),
        ("b", [(15.0, 20.0, 0.0)]),
        ("c", [(15.0, 20.0, 0.0), (-20.0, 0.0, 9.0)]),
    ):
        write_overlay(tmp_path / name, image, labels, truth_mm=truth)
        heights.append(picture(tmp_path / name).shape[0])
    assert heights[0] == heights[1]  # the first true bleed is where the lesion is
    assert heights[2] > heights[1]


def test_many_lesions_are_cut_off(tmp_path: Path) -> None:
    image, labels = head(None)
    labels.data[2::6, 5, 5] = np.arange(1, 9)
    write_overlay(tmp_path / "all.png", image, labels, max_rows=8)
    write_overlay(tmp_path / "two.png", image, labels, max_rows=2)
    assert picture(tmp_path / "two.png").shape[0] < picture(tmp_path / "all.png").shape[0] / 2


def test_no_lesions_still_gives_a_picture(tmp_path: Path) -> None:
    write_overlay(tmp_path / "none.png", *head(None))
    pixels = picture(tmp_path / "none.png")
    assert len(yellow(pixels)) == 0
    assert pixels.max() > 0.5


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    image, labels = head(None)
    shifted = Volume(labels.data, labels.affine + np.eye(4) * 0.5)
    with pytest.raises(ImageError, match="not on the grid"):
        write_overlay(tmp_path / "o.png", image, shifted)
    assert not (tmp_path / "o.png").exists()
