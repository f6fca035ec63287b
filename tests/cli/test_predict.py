import json
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.anatomy import Anatomy
from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import Bundle
from shiva_cmb.errors import Note
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.lesions import Lesion, LesionTable
from shiva_cmb.prediction import inputs
from shiva_cmb.prediction import regions as prediction_regions
from tests.imaging.samples import make_grid, world_coordinates

Capture = pytest.CaptureFixture[str]
Ball = tuple[Path, Path, np.ndarray]
LEFT_THALAMUS, RIGHT_CORTEX = 10, 42


@pytest.fixture
def network(saved_ball: Ball, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Stands for the anatomy network: it finds the ball, all of it infratentorial; gives its mask."""
    brain = read_volume(saved_ball[1]).data > 0

    def segmented(image: Volume, note: Note) -> Anatomy:
        return Anatomy(brain, np.where(brain, 5, 0).astype(np.uint8), (), 0.9, 60.0, brain)

    monkeypatch.setattr(inputs, "segment_head", segmented)
    return brain


@pytest.fixture
def parcellation(saved_ball: Ball, tmp_path: Path) -> Path:
    """A user's map of regions on a grid of its own: thalamus on the left of the ball, cortex on the right."""
    middle = saved_ball[2][0]
    grid = make_grid((30, 30, 30), (2.0, 2.0, 2.0), centre_mm=middle)
    left = world_coordinates(grid)[..., 0] < middle[0]
    labels = np.where(left, LEFT_THALAMUS, RIGHT_CORTEX).astype(np.int16)
    write_volume(Volume(labels, grid.affine), tmp_path / "aseg.nii.gz")
    return tmp_path / "aseg.nii.gz"


def _lesions(folder: Path) -> tuple[Lesion, ...]:
    return LesionTable.read_tsv(folder / "swi_lesions.tsv").lesions


def test_the_anatomy_networks_regions_are_in_the_table_and_can_be_written(
    saved_ball: Ball, dot_bundle: Bundle, network: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["predict", str(saved_ball[0]), "-m", str(dot_bundle.folder), "-o", str(out), "--anatomy"]
    assert main(command) == 0
    assert [(lesion.region, lesion.side) for lesion in _lesions(out)] == [("infratentorial", "midline")] * 3
    np.testing.assert_array_equal(read_volume(out / "swi_brain.nii.gz").data, network)
    regions = read_volume(out / "swi_regions.nii.gz")
    np.testing.assert_array_equal(regions.data, 5 * network)
    assert regions.grid.matches(read_volume(saved_ball[0]).grid)


def test_a_users_regions_win_over_the_anatomy_network(
    saved_ball: Ball, dot_bundle: Bundle, network: np.ndarray, parcellation: Path, tmp_path: Path
) -> None:
    image, _, places = saved_ball
    out = tmp_path / "out"
    command = ["predict", str(image), "-m", str(dot_bundle.folder), "-o", str(out), "--anatomy"]
    assert main([*command, "--regions", str(parcellation)]) == 0
    aside = [lesion for lesion in _lesions(out) if abs(lesion.x_mm - places[0][0]) > 3]
    assert len(aside) == 2
    for lesion in aside:
        expected = ("deep", "left") if lesion.x_mm < places[0][0] else ("lobar", "right")
        assert (lesion.region, lesion.side) == expected
    np.testing.assert_array_equal(
        read_volume(out / "swi_regions.nii.gz").data, read_volume(parcellation).data
    )
    np.testing.assert_array_equal(read_volume(out / "swi_brain.nii.gz").data, network)
    record = json.loads((out / "swi_provenance.json").read_text())
    assert record["inputs"]["regions"]["source"] == str(parcellation)
    assert record["inputs"]["mask"]["source"] == "anatomy network"


@pytest.mark.parametrize("with_mask", [False, True])
def test_what_lies_in_the_midst_of_fluid_is_dropped_and_said(
    saved_ball: Ball,
    dot_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    with_mask: bool,
) -> None:
    image, mask, places = saved_ball
    brain = read_volume(mask).data > 0
    near = np.linalg.norm(world_coordinates(read_volume(image).grid) - places[0], axis=-1) < 5

    def segmented(image: Volume, note: Note) -> Anatomy:
        regions = np.where(brain, np.where(near, 6, 1), 0).astype(np.uint8)
        return Anatomy(brain, regions, (), 0.9, 60.0, brain & ~near)

    for module in (inputs, prediction_regions):
        monkeypatch.setattr(module, "segment_head", segmented)
    monkeypatch.setattr(prediction_regions, "LEAST_FOUND_CM3", 1.0)
    command = ["predict", str(image), "-m", str(dot_bundle.folder), "-o", str(tmp_path), "--anatomy"]
    assert main([*command, *(["-b", str(mask)] if with_mask else [])]) == 0
    found = np.array([(lesion.x_mm, lesion.y_mm, lesion.z_mm) for lesion in _lesions(tmp_path)])
    distances = np.linalg.norm(places[:, None] - found[None], axis=2).min(axis=1)
    assert distances[0] > 5
    assert (distances[1:] < 1).all()
    np.testing.assert_array_equal(read_volume(tmp_path / "swi_searched.nii.gz").data, brain & ~near)
    record = json.loads((tmp_path / "swi_provenance.json").read_text())
    dropped = record["dropped"]["outside the brain"]
    assert dropped == 1 if with_mask else dropped >= 1  # this network finds something outside of the ball too
    assert "outside where lesions can be (tissue of the brain)" in capsys.readouterr().err


def test_each_image_needs_its_own_map_of_regions(tmp_path: Path, capsys: Capture) -> None:
    command = ["predict", "a.nii.gz", "b.nii.gz", "-o", str(tmp_path), "--regions", "aseg.nii.gz"]
    assert main(command) == 2
    assert "2 images but 1 maps of regions were given" in capsys.readouterr().err
