import weakref
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shiva_cmb.errors import DataError, OutputError
from shiva_cmb.imaging.volume import Volume
from shiva_cmb.reporting import gallery
from shiva_cmb.reporting.gallery import (
    GalleryEntry,
    GalleryKind,
    GalleryVolumes,
    write_gallery,
)

SHAPE = (40, 48, 20)
AFFINE = np.array([[1.0, 0, 0, -20], [0, 1, 0, -24], [0, 0, 3, -30], [0, 0, 0, 1]])
CENTRE = (20, 24, 10)
HALF_MM = 12.0


def volume(*boxes: tuple[slice, slice, slice], value: int = 1, background: int = 0) -> Volume:
    data = np.full(SHAPE, background, np.int16)
    for box in boxes:
        data[box] = value
    return Volume(data, AFFINE)


def box(place: tuple[int, int, int], size: tuple[int, int, int] = (3, 3, 1)) -> tuple[slice, slice, slice]:
    x, y, z = (slice(p - s // 2, p - s // 2 + s) for p, s in zip(place, size, strict=True))
    return x, y, z


def entry(kind: GalleryKind = "missed", case: str = "one", **others: object) -> GalleryEntry:
    x, y, z = volume().grid.to_world(CENTRE)
    return GalleryEntry(case, kind, (x, y, z), 27.0, **others)  # type: ignore[arg-type]


def maps_only(truth: Volume, prediction: Volume | None = None) -> GalleryVolumes:
    return GalleryVolumes(None, truth, prediction)


def pictures(paths: list[Path]) -> list[NDArray[np.float32]]:
    return [imread(path)[..., :3] for path in paths]


def first_panels(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The six panels of the first row: 110 dots per inch, gaps of 0.05 inches."""
    side = round((pixels.shape[1] - 7 * 5.5) / 6)
    top = round((0.72 + 0.24) * 110)
    return [pixels[top : top + side, round(5.5 + k * (side + 5.5)) :][:, :side] for k in range(6)]


def places(panel: NDArray[np.float32], colour: str) -> NDArray[np.float64]:
    """Where the middle of a panel has a colour, in mm to the right and up as drawn, shape (n, 2)."""
    red, green, blue = np.moveaxis(panel, -1, 0)
    is_colour = {
        "cyan": (red < 0.2) & (green > 0.8) & (blue > 0.9),
        "yellow": (red > 0.9) & (green > 0.75) & (blue < 0.2),
        "white": (red > 0.98) & (green > 0.98) & (blue > 0.98),
    }[colour]
    rows, columns = np.nonzero(is_colour)
    middle, scale = (len(panel) - 1) / 2, 2 * HALF_MM / len(panel)
    found = np.stack((columns - middle, middle - rows), axis=1) * scale
    return found[np.all(np.abs(found) < 8.0, axis=1)]  # the letters are white, too


def test_a_row_shows_three_planes_filled_and_outlined(tmp_path: Path) -> None:
    # 3 x 5 x 2 voxels of 1 x 1 x 3 mm: 3 mm across, 5 mm deep, 6 mm high.
    where = box(CENTRE, (3, 5, 2))
    (pixels,) = pictures(write_gallery(tmp_path, [entry()], lambda _: maps_only(volume(where))))
    panels = first_panels(pixels)
    for filled, outlined, size in zip(panels[::2], panels[1::2], ((3, 5), (3, 6), (5, 6)), strict=True):
        seen = places(filled, "cyan")
        np.testing.assert_allclose(np.ptp(seen, axis=0), size, atol=0.4)
        edge = places(outlined, "cyan")
        assert not len(places(outlined, "yellow"))
        assert 0 < np.sum(np.all(np.abs(edge) < 3.5, axis=1)) < len(seen) / 2


def test_right_is_left_front_and_top_are_up(tmp_path: Path) -> None:
    x, y, z = CENTRE
    truth = volume(box((x + 5, y + 4, z)), box((x, y + 4, z + 2)), box((x + 5, y, z + 2)))
    (pixels,) = pictures(write_gallery(tmp_path, [entry()], lambda _: maps_only(truth)))
    axial, _, coronal, _, sagittal, _ = first_panels(pixels)
    # 5 mm to the patient's right, 4 to the front and 6 up; the sagittal slice looks to the left.
    np.testing.assert_allclose(places(axial, "cyan").mean(axis=0), (-5, 4), atol=0.3)
    np.testing.assert_allclose(places(coronal, "cyan").mean(axis=0), (-5, 6), atol=0.3)
    np.testing.assert_allclose(places(sagittal, "cyan").mean(axis=0), (-4, 6), atol=0.3)


def test_truth_is_cyan_prediction_yellow_and_both_white(tmp_path: Path) -> None:
    x, y, z = CENTRE
    truth, prediction = volume(box((x, y, z))), volume(box((x + 2, y, z)), value=7)
    (pixels,) = pictures(write_gallery(tmp_path, [entry()], lambda _: maps_only(truth, prediction)))
    axial, outlined = first_panels(pixels)[:2]
    # Truth from -1.5 to 1.5 mm, prediction from 0.5 to 3.5 mm to the right, which is drawn to the left.
    np.testing.assert_allclose(places(axial, "cyan").mean(axis=0), (0.5, 0), atol=0.3)
    np.testing.assert_allclose(places(axial, "white").mean(axis=0), (-1, 0), atol=0.3)
    np.testing.assert_allclose(places(axial, "yellow").mean(axis=0), (-2.5, 0), atol=0.3)
    assert len(places(outlined, "cyan"))
    assert len(places(outlined, "yellow"))


def test_the_image_is_shown_untouched_beside_the_outlines(tmp_path: Path) -> None:
    image = volume(box(CENTRE), value=20, background=200)
    volumes = GalleryVolumes(image, volume(box(CENTRE)), None)
    (pixels,) = pictures(write_gallery(tmp_path, [entry()], lambda _: volumes))
    plain, outlined = first_panels(pixels)[:2]
    assert not len(places(plain, "cyan"))
    middle = slice(len(plain) // 2 - 5, len(plain) // 2 + 5)
    assert plain[middle, middle].max() < 0.2
    assert plain[middle, 30:60].min() > 0.9
    assert len(places(outlined, "cyan"))


def test_the_picture_is_the_same_however_the_array_is_stored(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (20, -10, 15), degrees=True).as_matrix() * (0.7, 0.7, 3.0)
    x, y, z = CENTRE
    arrays = [volume(background=200).data, volume(box((x + 4, y, z))).data, volume(box((x, y + 3, z))).data]
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("PSL"))
    stored = [
        np.flip(a.transpose(np.argsort(turn[:, 0])), [int(axis) for axis, sign in turn if sign < 0])
        for a in arrays
    ]
    here = (affine @ (*CENTRE, 1))[:3]
    found = GalleryEntry("one", "false alarm", (here[0], here[1], here[2]), 9.0, 0.5)
    seen = []
    for name, data, where in (("ras", arrays, affine), ("psl", stored, affine @ inv_ornt_aff(turn, SHAPE))):
        (tmp_path / name).mkdir()
        volumes = GalleryVolumes(*(Volume(a, where) for a in data))
        seen += pictures(write_gallery(tmp_path / name, [found], lambda _, v=volumes: v))
    np.testing.assert_array_equal(*seen)


def test_pages_are_filled_in_order_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry("missed"), *[entry("false alarm")] * 5, entry("missed")]
    monkeypatch.setattr(gallery, "ROWS_PER_PAGE", 2)
    monkeypatch.setattr(gallery, "MAX_PAGES", 2)
    paths = write_gallery(tmp_path, entries, lambda _: maps_only(volume()))
    names = ["misses_01.png", "false_alarms_01.png", "false_alarms_02.png"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert len({picture.shape for picture in pictures(paths)}) == 1  # two rows each


def test_nothing_wrong_gives_no_pictures(tmp_path: Path) -> None:
    assert write_gallery(tmp_path, [], lambda _: maps_only(volume())) == []
    assert list(tmp_path.iterdir()) == []


def test_each_case_is_loaded_once_and_let_go_of(tmp_path: Path) -> None:
    loaded: list[str] = []
    alive: list[weakref.ref[Volume]] = []

    def load(case: str) -> GalleryVolumes:
        assert all(reference() is None for reference in alive)
        loaded.append(case)
        volumes = GalleryVolumes(volume(background=9), volume(), volume())
        alive.extend(weakref.ref(v) for v in (volumes.image, volumes.truth, volumes.prediction) if v)
        return volumes

    cases = ["b", "a", "b", "c", "a"]
    paths = write_gallery(tmp_path, [entry(case=case) for case in cases], load)
    assert loaded == ["b", "a", "c"]
    assert len(paths) == 1


def test_a_case_that_cannot_be_read_is_noted_and_left_out(tmp_path: Path) -> None:
    def load(case: str) -> GalleryVolumes:
        if case == "bad":
            raise DataError("no such file")
        if case == "elsewhere":
            return maps_only(volume(), Volume(np.zeros(SHAPE), np.eye(4)))
        return maps_only(volume())

    notes: list[str] = []
    entries = [entry(case="bad"), entry(case="good"), entry(case="elsewhere")]
    (pixels,) = pictures(write_gallery(tmp_path / ".", entries, load, note=notes.append))
    assert [line.split(":")[0] for line in notes] == ["bad", "elsewhere"]
    (tmp_path / "alone").mkdir()
    (alone,) = pictures(write_gallery(tmp_path / "alone", [entry(case="good")], load))
    assert pixels.shape == alone.shape


def test_an_image_on_another_grid_is_left_out(tmp_path: Path) -> None:
    notes: list[str] = []
    volumes = GalleryVolumes(Volume(np.ones((4, 4, 4)), np.eye(4)), volume(box(CENTRE)), None)
    (pixels,) = pictures(write_gallery(tmp_path, [entry()], lambda _: volumes, note=notes.append))
    assert "not on the grid" in notes[0]
    assert len(places(first_panels(pixels)[0], "cyan"))  # the filled mask of a case without image


@pytest.mark.parametrize("corner", [(0, 0, 0), (39, 47, 19)])
def test_lesions_at_the_border_and_outside(tmp_path: Path, corner: tuple[int, int, int]) -> None:
    truth = volume()
    truth.data[corner] = 1
    image = volume(background=5)
    image.data[0, 0, 0] = 7
    x, y, z = truth.grid.to_world(corner)
    entries = [
        GalleryEntry("one", "missed", (x, y, z), 3.0),
        GalleryEntry("one", "missed", (900.0, 0.0, -900.0), 3.0, float("nan"), "beyond $the$ image"),
    ]
    (pixels,) = pictures(write_gallery(tmp_path, entries, lambda _: GalleryVolumes(image, truth, None)))
    for outlined, size in zip(first_panels(pixels)[1::2], ((1, 1), (1, 3), (1, 3)), strict=True):
        edge = places(outlined, "cyan")
        edge = edge[np.all(np.abs(edge) < 2.0, axis=1)]
        np.testing.assert_allclose(np.ptp(edge, axis=0), size, atol=0.4)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_gallery(tmp_path / "missing", [entry()], lambda _: maps_only(volume()))
