import numpy as np
import pytest
from scipy import ndimage

from shiva_cmb.anatomy import segment_head
from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Volume
from tests.anatomy.fake_network import bright_is_brain
from tests.imaging.samples import make_grid, world_coordinates

CENTRE = np.array([3.0, -7.0, 11.0])


def head(grid, centre=CENTRE, radii_mm=(65, 82, 60)):
    """A brain without a head, and its mask."""
    brain = (((world_coordinates(grid) - centre) / radii_mm) ** 2).sum(axis=-1) < 1
    return Volume(np.where(brain, 900, 20).astype(np.int16), grid.affine), brain


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(
    "grid",
    [
        make_grid((84, 110, 36), (1.9, 1.8, 4.5), "LPS", (9, -4, 6)),
        make_grid((70, 44, 64), (2.7, 3.5, 2.9), "PSR", (-12, 5, 8)),
        make_grid((75, 95, 75), (2.0, 2.0, 2.0)),
    ],
    ids=["thick", "permuted", "2 mm"],
)
def test_mask_and_sides_are_right_on_any_grid(grid) -> None:
    image, brain = head(grid)
    found = segment_head(image, pytest.fail, network=bright_is_brain())
    assert dice(found.brain, brain) > 0.98
    assert ((found.regions > 0) == found.brain).all()
    x = world_coordinates(grid)[..., 0]
    # the head is tilted by up to 12 degrees against the grid's own left and right
    far_left, far_right = brain & (x < CENTRE[0] - 25), brain & (x > CENTRE[0] + 25)
    assert (found.regions[far_left & found.brain] == 1).all()
    assert (found.regions[far_right & found.brain] == 2).all()
    assert found.flags == ()
    assert found.confidence > 0.9
    assert found.volume_cm3 == pytest.approx(brain.sum() * grid.voxel_volume_mm3 / 1000, rel=0.02)


def test_a_brain_far_from_the_middle_of_a_large_field_of_view_is_still_whole() -> None:
    grid = make_grid((70, 80, 80), (3.2, 3.2, 4.0))
    image, brain = head(grid, CENTRE + np.array([20, -30, 60]))
    world = world_coordinates(grid) - CENTRE
    neck = (np.abs(world[..., :2]) < 60).all(axis=-1) & (world[..., 2] < 0)
    image.data[neck & ~brain] = 300  # draws the first window down
    found = segment_head(image, pytest.fail, network=bright_is_brain())
    assert dice(found.brain, brain) > 0.98


def test_holes_and_specks_do_not_matter() -> None:
    grid = make_grid((75, 95, 75), (2.0, 2.0, 2.0))
    image, brain = head(grid)
    image.data[36:40, 46:50, 36:40] = 0
    image.data[2:5, 2:5, 2:5] = 900
    found = segment_head(image, pytest.fail, network=bright_is_brain())
    assert dice(found.brain, brain) > 0.98
    assert found.brain[38, 48, 38]
    assert not found.brain[3, 3, 3]


def test_bleeds_may_lie_in_tissue_and_close_to_it_but_not_in_the_midst_of_fluid() -> None:
    grid = make_grid((84, 110, 60), (1.9, 1.8, 2.6), "LPS", (9, -4, 6))
    image, brain = head(grid)
    image.data[brain] = 600
    away_mm = np.linalg.norm(world_coordinates(grid) - CENTRE, axis=-1)
    image.data[away_mm < 28] = 900
    found = segment_head(image, pytest.fail, network=bright_is_brain(fluid_above=0.85))
    assert (found.regions[away_mm < 25] == 6).all()
    assert not found.searched[away_mm < 25.4].any()  # a millimetre from 28, but for the network's 2 mm
    assert found.searched[(away_mm > 28.6) & brain].mean() > 0.99
    beyond = ~ndimage.binary_dilation(brain, iterations=3)
    assert not found.searched[beyond].any()


def test_what_is_doubtful_is_said_and_kept() -> None:
    grid = make_grid((75, 95, 34), (2.0, 2.0, 2.0))
    image, _ = head(grid)
    notes: list[str] = []
    found = segment_head(image, notes.append, network=bright_is_brain())
    assert found.flags == tuple(notes)
    assert len(notes) == 1
    assert "cuts the brain at its lower edge and upper edge" in notes[0]


def test_without_a_brain_for_the_network_brightness_decides() -> None:
    grid = make_grid((75, 95, 75), (2.0, 2.0, 2.0))
    image, brain = head(grid)
    blind = bright_is_brain()
    nothing = np.zeros((1, 44, 52, 40, 8, 8), np.float32)
    nothing[..., 0] = 1
    object.__setattr__(blind, "run", lambda batch: nothing)
    notes: list[str] = []
    found = segment_head(image, notes.append, network=blind)
    assert dice(found.brain, brain) > 0.9
    assert found.regions is None
    assert found.searched[found.brain].all()
    assert not found.searched[0, 0].any()
    assert "found no brain" in notes[0]
    noise = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)
    with pytest.raises(ImageError, match="anatomy network found no brain, and no brain found"):
        segment_head(Volume(noise, np.diag([5.0, 5, 5, 1])), notes.append, network=blind)
