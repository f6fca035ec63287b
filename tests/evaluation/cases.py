"""Small cases on disk, oblique and anisotropic, whose lesions are boxes that can be counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.evaluation.sweep import SweepSettings
from shiva_cmb.imaging import Volume, write_volume
from tests.conftest import oblique_affine
from tests.evaluation.boxes import Box

SHAPE = (24, 20, 24)
AFFINE = oblique_affine()
VOXEL_MM3 = 0.9 * 1.8 * 0.8
"""1.296 mm3."""

SETTINGS = EvaluationSettings(
    replicates=100, sweep=SweepSettings(thresholds=(0.3, 0.5, 0.7), min_volumes_mm3=(0.0, 2.0))
)


def settings(**changes: object) -> EvaluationSettings:
    """`SETTINGS` with changes."""
    return replace(SETTINGS, **changes)  # type: ignore[arg-type]


def labels(*boxes: Box, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """A label map: the first box is 1, the next 2, and so on."""
    data = np.zeros(shape, np.uint8)
    for number, box in enumerate(boxes, start=1):
        data[box] = number
    return data


def chances(*boxes: tuple[Box, float], shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float32]:
    """A probability map: each box has its probability, later ones over earlier ones."""
    data = np.zeros(shape, np.float32)
    for box, value in boxes:
        data[box] = value
    return data


def write(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> Path:
    """An image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(data, AFFINE if affine is None else affine), path)
    return path


def make_case(
    folder: Path,
    name: str,
    truth: NDArray[np.generic],
    prediction: NDArray[np.generic] | None,
    **more: object,
) -> EvaluationCase:
    """Both sides of one case as files; `more` goes to the case."""
    return EvaluationCase(
        name=name,
        truth=write(folder / "truth" / f"{name}.nii", truth),
        prediction=None if prediction is None else write(folder / "prediction" / f"{name}.nii", prediction),
        **{"patient": name, **more},  # type: ignore[arg-type]
    )


def case_list(*cases: EvaluationCase) -> CaseList:
    """As `pair_cases` gives it."""
    return CaseList(tuple(cases), missing=tuple(c.name for c in cases if c.prediction is None))
