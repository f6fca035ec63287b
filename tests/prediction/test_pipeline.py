import json
from pathlib import Path

import nibabel as nib
import nibabel.processing
import numpy as np
import pytest

import shiva_cmb
from shiva_cmb.anatomy.regions import Place
from shiva_cmb.ensemble import Bundle
from shiva_cmb.errors import ImageError
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.lesions import LesionCriteria, LesionTable
from shiva_cmb.prediction import Prediction, PredictionSettings, predict
from tests.conftest import make_dotted_ball, oblique_affine
from tests.imaging.samples import make_grid, world_coordinates


def _distances_mm(table: LesionTable, places: np.ndarray) -> np.ndarray:
    """From each place to the nearest lesion."""
    found = np.array([[lesion.x_mm, lesion.y_mm, lesion.z_mm] for lesion in table])
    return np.linalg.norm(places[:, None] - found[None], axis=2).min(axis=1)


def test_lesions_of_an_oblique_image_are_where_they_were_put(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle
) -> None:
    image, mask, places = saved_ball
    result = shiva_cmb.predict(image, model=dot_bundle.folder, mask=mask)
    assert len(result.lesions) == len(places)
    assert _distances_mm(result.lesions, places).max() < 0.75
    assert {(lesion.folds_agreeing, lesion.folds) for lesion in result.lesions} == {(2, 2)}
    assert all(lesion.contrast is not None and lesion.contrast > 0.3 for lesion in result.lesions)
    native = read_volume(image)
    assert result.probability.grid.matches(native.grid)
    assert result.labels.grid.matches(native.grid)
    assert sorted(np.unique(result.labels.data)) == [0, 1, 2, 3]


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 3.0), (1.5, 1.5, 1.5), (0.7, 2.0, 1.1)])
def test_world_places_hold_for_other_voxel_sizes(
    spacing_mm: tuple[float, float, float], dot_bundle: Bundle
) -> None:
    affine = oblique_affine()
    affine[:3, :3] *= np.array(spacing_mm) / np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int(np.ceil(56 / size)) for size in spacing_mm)
    image, mask, places = make_dotted_ball(affine, shape, np.array([[1.0, 2, -1], [9, -6, 5]]))
    result = predict(image, model=dot_bundle.folder, mask=mask, note=lambda line: None)
    assert _distances_mm(result.lesions, places).max() < max(spacing_mm) / 2 + 0.5


def test_saving_writes_everything_on_the_native_grid(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle, tmp_path: Path
) -> None:
    image, mask, _ = saved_ball
    result = predict(image, model=dot_bundle.folder, mask=mask)
    written = result.save(tmp_path, "swi", model_space=True, spread=True)
    names = {path.name for path in written.values()}
    assert {"swi_prob.nii.gz", "swi_labels.nii.gz", "swi_lesions.tsv", "swi_provenance.json"} <= names
    saved = nib.load(tmp_path / "swi_prob.nii.gz")
    assert saved.shape == nib.load(image).shape
    assert int(saved.header["sform_code"]) > 0
    assert int(saved.header["qform_code"]) > 0
    np.testing.assert_allclose(saved.affine, nib.load(image).affine, atol=1e-4)
    read_back = LesionTable.read_tsv(tmp_path / "swi_lesions.tsv")
    assert [lesion.n_voxels for lesion in read_back] == [lesion.n_voxels for lesion in result.lesions]
    model_map = nib.load(tmp_path / "swi_space-model_prob.nii.gz")
    assert model_map.shape == (48, 56, 44)
    record = json.loads((tmp_path / "swi_provenance.json").read_text())
    assert record["model"]["precision"] in ("f32", "bf16")
    assert record["model"]["folds"][0]["sha256"]
    assert record["criteria"]["threshold"] == 0.5
    assert record["lesions"] == 3
    assert "clinical" in record["notice"]
    assert not list(tmp_path.glob(".tmp*"))


def test_without_a_mask_the_anatomy_network_is_asked_and_its_doubts_are_kept(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle
) -> None:
    image, _, _ = saved_ball
    notes: list[str] = []
    result = predict(image, model=dot_bundle.folder, note=notes.append)
    assert result.notes == tuple(notes)
    assert result.provenance["inputs"]["mask"] == {"source": "anatomy network"}
    said = result.provenance["anatomy"]
    assert said["doubts"]  # a ball of 5 cm is no head
    assert all(any(doubt in line for line in notes) for doubt in said["doubts"])


def test_regions_come_from_the_users_map(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle, tmp_path: Path
) -> None:
    image, mask, places = saved_ball
    grid = make_grid((30, 30, 30), (2.0, 2.0, 2.0), centre_mm=places[0])
    x = world_coordinates(grid)[..., 0]
    labels = np.where(x < places[0][0] - 4, 10, np.where(x > places[0][0] + 4, 42, 24))
    write_volume(Volume(labels.astype(np.int16), grid.affine), tmp_path / "aseg.nii.gz")
    result = predict(image, model=dot_bundle.folder, mask=mask, regions=tmp_path / "aseg.nii.gz")
    for lesion in result.lesions:
        right = lesion.x_mm > places[0][0]
        if abs(lesion.x_mm - places[0][0]) > 6:
            assert (lesion.region, lesion.side) == (("lobar", "right") if right else ("deep", "left"))
    assert {"lobar", "deep"} <= {lesion.region for lesion in result.lesions}
    source = result.provenance["inputs"]["regions"]["source"]
    assert source == str(tmp_path / "aseg.nii.gz")
    written = result.save(tmp_path, "swi", anatomy=True)
    assert (read_volume(written["brain"]).data == (read_volume(mask).data > 0)).all()
    assert read_volume(written["regions"]).grid.matches(grid)
    by_name = PredictionSettings(region_names={42: Place("frontal", None)})
    again = predict(
        image, model=dot_bundle.folder, mask=mask, regions=tmp_path / "aseg.nii.gz", settings=by_name
    )
    assert {lesion.region for lesion in again.lesions} <= {"frontal", None}
    steps: list[str] = []
    with pytest.raises(ImageError, match=r"aseg.nii.gz: none of its values is a known region"):
        predict(
            image,
            model=dot_bundle.folder,
            mask=mask,
            regions=tmp_path / "aseg.nii.gz",
            settings=PredictionSettings(region_names={99: Place("nowhere", None)}),
            on_step=steps.append,
        )
    assert steps == ["loading the model", "reading"]  # before the networks, which take long


def test_a_mask_without_a_head_leaves_regions_unknown(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle
) -> None:
    image, mask, _ = saved_ball
    result = predict(image, model=dot_bundle.folder, mask=mask)
    assert {(lesion.region, lesion.side) for lesion in result.lesions} == {(None, None)}
    assert "too small" in result.provenance["inputs"]["regions"]["source"]
    assert result.provenance["anatomy"] is None


def test_a_mask_on_another_grid_is_resampled_and_said(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle, tmp_path: Path
) -> None:
    image, mask, places = saved_ball
    native = nib.load(mask)
    coarse = nib.processing.resample_to_output(native, (2, 2, 2), order=0)
    nib.save(coarse, tmp_path / "coarse.nii.gz")
    notes: list[str] = []
    result = predict(image, model=dot_bundle.folder, mask=tmp_path / "coarse.nii.gz", note=notes.append)
    assert any("coarse.nii.gz" in line for line in notes)
    assert _distances_mm(result.lesions, places).max() < 0.75


def test_lesions_outside_the_mask_are_dropped_and_counted(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle, tmp_path: Path
) -> None:
    image, mask, places = saved_ball
    brain = read_volume(mask)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in brain.shape], indexing="ij"), axis=-1)
    near = np.linalg.norm(brain.grid.to_world(voxels) - places[1], axis=-1) < 5
    write_volume(brain.with_data(np.where(near, 0, brain.data)), tmp_path / "hole.nii.gz")
    settings = PredictionSettings(averaging="shiva_predict_multi")
    notes: list[str] = []
    result = predict(
        image, model=dot_bundle.folder, mask=tmp_path / "hole.nii.gz", settings=settings, note=notes.append
    )
    assert len(result.lesions) == 2
    assert _distances_mm(result.lesions, places[[0, 2]]).max() < 0.75


def test_settings_replace_what_the_bundle_says(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle
) -> None:
    image, mask, _ = saved_ball
    settings = PredictionSettings(criteria=LesionCriteria(threshold=0.5, min_volume_mm3=1000))
    result = predict(image, model=dot_bundle.folder, mask=mask, settings=settings)
    assert len(result.lesions) == 0
    assert result.provenance["dropped"]["small"] == 3


def test_the_number_of_channels_must_be_the_models(
    saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle
) -> None:
    image, mask, _ = saved_ball
    with pytest.raises(ImageError, match="1 channel"):
        predict([image, image], model=dot_bundle.folder, mask=mask)


def test_inputs_stay_as_they_are(saved_ball: tuple[Path, Path, np.ndarray], dot_bundle: Bundle) -> None:
    image, mask, _ = saved_ball
    before = image.read_bytes(), mask.read_bytes()
    predict(image, model=dot_bundle.folder, mask=mask)
    assert (image.read_bytes(), mask.read_bytes()) == before


def test_volumes_in_memory_work_too(dot_bundle: Bundle) -> None:
    image, mask, places = make_dotted_ball(oblique_affine(), (62, 34, 70), np.zeros((1, 3)))
    ensemble = shiva_cmb.load_ensemble(dot_bundle.folder)
    result = predict(image, model=ensemble, mask=mask)
    assert isinstance(result, Prediction)
    assert isinstance(result.deviation, Volume)
    assert result.agreement.data.max() == 2
    assert _distances_mm(result.lesions, places).max() < 0.75
