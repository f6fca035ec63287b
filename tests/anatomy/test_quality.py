import numpy as np
import pytest

from shiva_cmb.anatomy.quality import cut_edges, quality_flags
from shiva_cmb.imaging import Volume
from tests.imaging.samples import make_grid, world_coordinates

GRID = make_grid((44, 52, 40), (4.0, 4.0, 4.0))
INSIDE = np.ones(GRID.shape, bool)


def ellipsoid(radii_mm=(66, 84, 62), shift_mm=(0, 0, 0)):
    world = world_coordinates(GRID) - [3.0, -7.0, 11.0] - np.array(shift_mm)
    return ((world / radii_mm) ** 2).sum(axis=-1) < 1


def box():
    return (np.abs(world_coordinates(GRID) - [3.0, -7.0, 11.0]) < (60, 70, 55)).all(axis=-1)


def flags(brain, regions=None, pieces=None, confidence=0.97, inside=INSIDE):
    if regions is None:
        regions = np.where(np.arange(GRID.shape[0])[:, None, None] < 22, 1, 2) * brain
    return quality_flags(Volume(brain, GRID.affine), regions, inside, pieces or [brain], confidence)


def test_a_brain_raises_no_doubt() -> None:
    assert flags(ellipsoid()) == ()


@pytest.mark.parametrize(
    ("brain", "word"),
    [
        (ellipsoid((40, 50, 40)), "volume is 3"),
        (ellipsoid((84, 98, 76)), "volume is 2"),
        (ellipsoid((30, 100, 76)), "width is "),
        (ellipsoid() & ~ellipsoid((60, 78, 56)), "fills"),
        (box(), "fills 100%"),
    ],
    ids=["small", "large", "narrow", "hollow", "box"],
)
def test_an_implausible_size_or_shape_is_said(brain: np.ndarray, word: str) -> None:
    inside = np.pad(INSIDE, 1)  # so that nothing is at the edge of the field of view
    grid = Volume(np.pad(brain, 1), GRID.affine)
    regions = np.pad(np.where(np.arange(GRID.shape[0])[:, None, None] < 22, 1, 2) * brain, 1)
    said = quality_flags(grid, regions, inside, [grid.data], 0.97)
    assert any(word in line for line in said)
    assert all(line.startswith("the brain mask is doubtful: ") for line in said)


def test_pieces_sides_and_confidence_are_watched() -> None:
    brain = ellipsoid()
    assert (
        "second one, 20%"
        in flags(
            brain, pieces=[brain, ellipsoid() & (np.cumsum(brain).reshape(brain.shape) < brain.sum() * 0.2)]
        )[0]
    )
    one_sided = np.where(np.arange(GRID.shape[0])[:, None, None] < 27, 1, 2) * brain
    assert "hemispheres differ" in flags(brain, regions=one_sided)[0]
    assert "confidence 0.60" in flags(brain, confidence=0.6)[0]


def test_edges_that_cut_are_named_and_excuse_the_size() -> None:
    inside = INSIDE.copy()
    inside[..., 30:] = False
    inside[..., :5] = False
    brain = ellipsoid() & inside
    assert cut_edges(brain, inside, (4.0, 4.0, 4.0)) == ["lower", "upper"]
    (line,) = flags(brain, inside=inside)
    assert "lower edge and upper edge" in line
    assert cut_edges(brain, np.zeros_like(inside), (4.0, 4.0, 4.0)) == []


def test_a_brain_stem_at_the_lower_edge_is_no_cut() -> None:
    brain = ellipsoid()
    stem = ellipsoid((14, 14, 200)) & (np.arange(GRID.shape[2]) < 20)
    assert flags(brain | stem) == () or "height" in flags(brain | stem)[0]
    assert cut_edges(brain | stem, INSIDE, (4.0, 4.0, 4.0)) == []
