from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.cli.predict_one_file import main
from tests.conftest import DOT_GRID


@pytest.fixture
def scaled(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """An image and a mask with values between 0 and 1 on the model grid: paths and arrays."""
    rng = np.random.default_rng(0)
    image = rng.random(DOT_GRID, dtype=np.float32)
    image[20:23, 20:23, 20:23] = 0
    mask = np.zeros(DOT_GRID, np.float32)
    mask[5:40, 5:50, 5:40] = 1
    mask[5] = 0.5
    affine = np.diag([1.5, 1.5, 1.5, 1])
    affine[:3, 3] = -30, -40, -33
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "swi.nii.gz")
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "mask.nii.gz")
    return tmp_path / "swi.nii.gz", tmp_path / "mask.nii.gz", image, mask


def _reference(folds: list[Path], image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the published script does, in plain Keras."""
    import keras

    batch = (image * mask)[None, ..., None]
    maps = [
        keras.models.load_model(fold, compile=False)(batch, training=False).numpy()[0] * mask[..., None]
        for fold in folds
    ]
    return np.mean(maps, axis=0)


@pytest.mark.parametrize("mask_flag", ["-b", "--braimask", "--brainmask", "--br", "--brai", "--brain"])
def test_the_map_is_the_published_scripts(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray], dot_folds: list[Path], tmp_path: Path, mask_flag: str
) -> None:
    image_path, mask_path, image, mask = scaled
    output = tmp_path / "map.nii.gz"
    models = [part for fold in dot_folds for part in ("-m", str(fold))]
    arguments = ["-i", str(image_path), mask_flag, str(mask_path), "-o", str(output), *models]
    assert main([*arguments, "-g", "-1", "--batch_size", "1", "--precision", "f32"]) == 0
    saved = nib.load(output)
    assert saved.shape == (*DOT_GRID, 1)
    assert saved.get_data_dtype() == np.float32
    np.testing.assert_allclose(saved.affine, nib.load(image_path).affine)
    np.testing.assert_allclose(
        np.asarray(saved.dataobj), _reference(dot_folds, image, mask), rtol=0, atol=1e-5
    )


def test_labels_and_table_come_too(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray], dot_folds: list[Path], tmp_path: Path
) -> None:
    image_path, mask_path, _, _ = scaled
    arguments = ["-i", str(image_path), "-b", str(mask_path), "-m", str(dot_folds[0])]
    outputs = ["-o", str(tmp_path / "map.nii"), "--labels", str(tmp_path / "labels.nii.gz")]
    more = ["--table", str(tmp_path / "lesions.tsv"), "--threshold", "0.4", "--min-volume-mm3", "5"]
    assert main([*arguments, *outputs, *more]) == 0
    labels = np.asarray(nib.load(tmp_path / "labels.nii.gz").dataobj)
    rows = (tmp_path / "lesions.tsv").read_text().splitlines()
    assert labels[21, 21, 21] > 0
    assert labels.max() == len(rows) - 1 >= 1


def test_a_bundle_works_as_model(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray], dot_bundle: object, tmp_path: Path
) -> None:
    folder = dot_bundle.folder  # type: ignore[attr-defined]
    assert main(["-i", str(scaled[0]), "-m", str(folder), "-o", str(tmp_path / "map.nii.gz")]) == 0


@pytest.mark.parametrize("missing", ["-i", "-m", "-o"])
def test_a_missing_flag_is_wrong_usage(
    missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"-i": "a.nii.gz", "-m": "m.h5", "-o": str(tmp_path / "o.nii.gz")}
    arguments = [part for flag, value in given.items() if flag != missing for part in (flag, value)]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {missing} is missing")


def test_unknown_flags_are_wrong_usage() -> None:
    assert main(["--nonsense"]) == 2


@pytest.mark.parametrize(
    ("output", "code", "word"),
    [("nowhere/map.nii.gz", 1, "does not exist"), ("map.png", 2, ".nii"), ("swi.nii.gz", 2, "input")],
)
def test_an_output_that_cannot_be_written_is_said_before_the_model_is_opened(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray],
    tmp_path: Path,
    output: str,
    code: int,
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = scaled[0].read_bytes()
    arguments = ["-i", str(scaled[0]), "-m", str(tmp_path / "no_model.h5"), "-o", str(tmp_path / output)]
    assert main(arguments) == code
    assert word in capsys.readouterr().err
    assert scaled[0].read_bytes() == before


def test_a_failing_run_leaves_no_file(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray], dot_folds: list[Path], tmp_path: Path
) -> None:
    small = tmp_path / "small.nii.gz"
    nib.save(nib.Nifti1Image(scaled[2][:8, :8, :8], np.eye(4)), small)
    out = tmp_path / "out"
    out.mkdir()
    assert main(["-i", str(small), "-m", str(dot_folds[0]), "-o", str(out / "map.nii.gz")]) == 1
    assert list(out.iterdir()) == []


def test_an_unscaled_image_is_said(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray],
    dot_folds: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raw = tmp_path / "raw.nii.gz"
    source = nib.load(scaled[0])
    nib.save(nib.Nifti1Image(scaled[2] * 900, source.affine), raw)
    assert main(["-i", str(raw), "-m", str(dot_folds[0]), "-o", str(tmp_path / "map.nii.gz")]) == 0
    assert "shiva-cmb predict" in capsys.readouterr().err


def test_one_broken_fold_stops_the_run(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray], dot_folds: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(dot_folds[0].read_bytes()[:2000])
    arguments = ["-i", str(scaled[0]), "-m", str(dot_folds[0]), "-m", str(broken)]
    assert main([*arguments, "-o", str(tmp_path / "map.nii.gz")]) == 1
    assert not (tmp_path / "map.nii.gz").exists()


def test_a_mask_of_0_and_255_means_0_and_1(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray],
    dot_folds: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image_path, _, image, mask = scaled
    affine = nib.load(image_path).affine
    nib.save(nib.Nifti1Image((255 * (mask > 0.5)).astype(np.uint8), affine), tmp_path / "m255.nii.gz")
    output = tmp_path / "map.nii.gz"
    arguments = ["-i", str(image_path), "-b", str(tmp_path / "m255.nii.gz"), "-m", str(dot_folds[0])]
    assert main([*arguments, "-o", str(output), "--precision", "f32"]) == 0
    assert "255" in capsys.readouterr().err
    expected = _reference(dot_folds[:1], image, (mask > 0.5).astype(np.float32))
    np.testing.assert_allclose(np.asarray(nib.load(output).dataobj), expected, rtol=0, atol=1e-5)


def test_a_model_is_never_overwritten(
    scaled: tuple[Path, Path, np.ndarray, np.ndarray], dot_folds: list[Path], tmp_path: Path
) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes(dot_folds[0].read_bytes())
    outputs = ["-o", str(tmp_path / "map.nii.gz"), "--table", str(model)]
    assert main(["-i", str(scaled[0]), "--m", str(model), *outputs]) == 2
    assert model.read_bytes() == dot_folds[0].read_bytes()
