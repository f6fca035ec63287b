"""Two hand-made networks with two native cases each, and their out-of-fold maps."""

from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.ensemble import EngineOptions
from shiva_cmb.ensemble.descriptor import InputPart, ShivaCmbPart
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.training.calibration.out_of_fold import (
    MapSettings,
    OutOfFoldCase,
    out_of_fold_maps,
    write_case_table,
)
from tests.conftest import make_dot_finder, make_dotted_ball, oblique_affine

GRID = (40, 40, 40)
KERAS = EngineOptions(engine="keras", precision="f32", gpu=-1)
"""In this process: no other one has to be started."""
VALUES = LabelValues(lesion=(3,), ignore=(7,))
"""What the labels hold: 5 marks vessels."""
PLACES = np.array([[0, 0, 0], [8, -6, 5], [-8, 7, -7], [4, 9, 8.0]])
"""Of dark dots, in mm. The first one, which is seen best, is no lesion, and the third is ignored."""
UNSEEN = np.array([-13, -4, 6.0])
"""Where there is a lesion that the image does not show."""


def make_map_settings(folder: Path) -> MapSettings:
    part = ShivaCmbPart(
        input=InputPart(shape=GRID, spacing_mm=(1.5, 1.5, 1.5)), averaging="shiva_predict_multi"
    )
    return MapSettings(part, folder, VALUES, KERAS)


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("networks")
    return [make_dot_finder(folder / f"fold_{k}.h5", 30.0 + k, GRID) for k in range(2)]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Two lesions each, an ignored dot, a dot that is no lesion, and, but for the first, an unseen lesion."""
    folder = tmp_path_factory.mktemp("data")
    image, ball, places = make_dotted_ball(oblique_affine(), (62, 34, 70), PLACES)
    found = []
    for k in range(4):
        rng = np.random.default_rng(k)
        noisy = image.with_data((image.data + rng.normal(0, 10, image.shape)).astype(np.int16))
        label = np.zeros(image.shape, np.uint8)
        world = image.grid.to_world(np.argwhere(ball.data > 0))
        lesions = [(5, places[0]), (3, places[1]), (7, places[2]), (3, places[3])]
        for value, place in lesions + ([(3, places[0] + UNSEEN)] if k else []):
            near = np.linalg.norm(world - place, axis=1) < 2.2
            label[tuple(np.argwhere(ball.data > 0)[near].T)] = value
        write_volume(noisy, folder / f"{k}_swi.nii.gz")
        write_volume(ball, folder / f"{k}_mask.nii.gz")
        write_volume(Volume(label, image.affine), folder / f"{k}_label.nii.gz")
        found.append(
            Case(
                name=f"site A/{k}",
                images=(folder / f"{k}_swi.nii.gz",),
                label=folder / f"{k}_label.nii.gz",
                mask=None if k == 3 else folder / f"{k}_mask.nii.gz",
                patient=f"p{k}",
                columns={"site": "A", "label": "third reading", "session_id": "2"},
            )
        )
    return found


@pytest.fixture(scope="session")
def maps(
    tmp_path_factory: pytest.TempPathFactory, cases: list[Case], networks: list[Path]
) -> tuple[OutOfFoldCase, ...]:
    how = make_map_settings(tmp_path_factory.mktemp("run") / "out_of_fold")
    return tuple(
        entry
        for fold, path in enumerate(networks)
        for entry in out_of_fold_maps(fold, path, cases[fold::2], how, note=pytest.fail)
    )


@pytest.fixture(scope="session")
def table(maps: tuple[OutOfFoldCase, ...]) -> Path:
    return write_case_table(maps[0].probability.parent / "cases.tsv", maps)
