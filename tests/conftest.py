"""Models and images that many tests share: made once, small, and with a known answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.ensemble import Bundle, FoldFile, write_bundle
from shiva_cmb.ensemble.descriptor import InputPart, OperatingPoint, ShivaCmbPart
from shiva_cmb.imaging import Volume, write_volume

DOT_GRID = (48, 56, 44)
"""Model grid of the dot finder."""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Converted models go to a folder of the tests', not to the user's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SHIVA_CMB_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    yield
    patch.undo()


def make_dot_finder(path: Path, sharpness: float = 40.0, shape: tuple[int, int, int] = DOT_GRID) -> Path:
    """A Keras model that marks voxels darker than their surroundings: a hand-made, certain detector.

    The probability is sigmoid(sharpness * (mean of 9^3 - mean of 3^3 - 0.2)).
    """
    import keras

    small = np.zeros((9, 9, 9), np.float32)
    small[3:6, 3:6, 3:6] = 1 / 27
    kernel = np.full((9, 9, 9), 1 / 729, np.float32) - small
    image = keras.layers.Input((*shape, 1), name="image")
    conv = keras.layers.Conv3D(1, 9, padding="same", name="darkness")
    output = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(conv(image))
    model = keras.Model(image, output)
    conv.set_weights([sharpness * kernel[..., None, None], np.array([-0.2 * sharpness], np.float32)])
    model.save(path, include_optimizer=False)
    return path


@pytest.fixture(scope="session")
def dot_folds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two dot finders that differ a little, as `.h5`."""
    folder = tmp_path_factory.mktemp("folds")
    return [make_dot_finder(folder / f"fold_{k}.h5", sharpness) for k, sharpness in enumerate((40.0, 44.0))]


@pytest.fixture(scope="session")
def dot_bundle(tmp_path_factory: pytest.TempPathFactory, dot_folds: list[Path]) -> Bundle:
    """The dot finders as a bundle on a 4 mm grid, so that whole heads fit."""
    part = ShivaCmbPart(
        input=InputPart(shape=DOT_GRID, spacing_mm=(1.5, 1.5, 1.5)),
        averaging="shiva_predict_multi",
        operating_point=OperatingPoint(threshold=0.5, min_volume_mm3=2.0),
    )
    return write_bundle(tmp_path_factory.mktemp("models") / "dots", [FoldFile(p) for p in dot_folds], part)


@pytest.fixture
def dotted_ball() -> Callable[..., tuple[Volume, Volume, np.ndarray]]:
    """A maker of native images of a bright ball with dark dots at known world places."""
    return make_dotted_ball


def make_dotted_ball(
    affine: np.ndarray, shape: tuple[int, int, int], centres_mm: np.ndarray, radius_mm: float = 24.0
) -> tuple[Volume, Volume, np.ndarray]:
    """A bright ball of the given radius in the middle of the image, with dark dots of 2 mm radius.

    Args:
        affine: of the image.
        shape: of the image.
        centres_mm: places of the dots relative to the ball's centre, along world axes, shape (n, 3).
        radius_mm: of the ball.

    Returns:
        The image, the ball's mask, and the world places of the dots.
    """
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    middle = (np.array(shape) - 1) / 2 @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(world - middle, axis=-1)
    ball = distance < radius_mm
    noise = np.random.default_rng(3).normal(0, 0.01, shape)
    data = np.where(ball, 0.8 + noise, 0.05)
    places = middle + np.asarray(centres_mm)
    for place in places:
        away = np.linalg.norm(world - place, axis=-1)
        data *= 1 - 0.9 * np.clip(2.6 - away, 0, 1)
    image = Volume((1000 * data).astype(np.int16), affine)
    return image, Volume(ball.astype(np.uint8), affine), places


@pytest.fixture
def saved_ball(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """An oblique, anisotropic, oddly oriented dotted ball on disk: image, mask, places of its dots."""
    image, mask, places = make_dotted_ball(
        oblique_affine(), (62, 34, 70), np.array([[0, 0, 0], [9, -6, 5], [-10, 8, -7]])
    )
    write_volume(image, tmp_path / "swi.nii.gz")
    write_volume(mask, tmp_path / "brain.nii.gz")
    return tmp_path / "swi.nii.gz", tmp_path / "brain.nii.gz", places


def oblique_affine() -> np.ndarray:
    """0.9 x 1.8 x 0.8 mm, axes pointing left, inferior and anterior, tilted by 12 and 7 degrees."""
    a, b = np.deg2rad(12), np.deg2rad(7)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    axes = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]]).T
    affine = np.eye(4)
    affine[:3, :3] = turn_x @ turn_z @ axes @ np.diag([0.9, 1.8, 0.8])
    affine[:3, 3] = [31, -40, 22]
    return affine
