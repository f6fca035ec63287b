from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.ensemble.keras_engine import load_keras_model
from shiva_cmb.ensemble.keras_files import inspect_keras_file
from shiva_cmb.errors import ModelError, UsageError
from shiva_cmb.evaluation import pair_cases
from shiva_cmb.evaluation.metrics.calibration import case_bins, expected_calibration_error
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.networks import build_network
from shiva_cmb.training.calibration.out_of_fold import OutOfFoldCase, write_case_table
from shiva_cmb.training.calibration.temperature import bake_temperature, fit_temperature
from tests.training.calibration.conftest import VALUES

SHAPE = (9, 8, 11)
NETWORKS: dict[str, dict[str, Any]] = {
    "plain_unet": {"filters": (2, 4)},
    "monai_unet": {"filters": (2, 3, 4), "residual_units": 1},
    "stem_unet": {"filters": (2, 4)},
}


@pytest.fixture
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An untrained network whose weights, biases too, are all random."""
    model = build_network(request.param, NETWORKS[request.param], (*SHAPE, 1))
    rng = np.random.default_rng(3)
    model.set_weights([w + rng.normal(0, 0.1, w.shape).astype(w.dtype) for w in model.get_weights()])
    model.save(tmp_path / "fold.h5")
    return tmp_path / "fold.h5"


@pytest.mark.parametrize("saved", NETWORKS, indirect=True)
def test_logits_are_divided(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baked = bake_temperature(saved, 2.5, tmp_path / "baked.h5")
    image = np.random.default_rng(0).random((1, *SHAPE, 1), dtype=np.float32)
    before, after = (np.asarray(load_keras_model(path)(image), np.float64) for path in (saved, baked))
    assert np.ptp(logit(before)) > 0.05
    np.testing.assert_allclose(logit(after), logit(before) / 2.5, atol=1e-5)
    inspected = inspect_keras_file(baked)
    assert (inspected.format, inspected.input_shape) == ("keras3-h5", (None, *SHAPE, 1))
    assert {path.name for path in tmp_path.iterdir()} == {"fold.h5", "baked.h5"}
    # the same file every time: what was made from it before is known again
    assert sha256_of(bake_temperature(saved, 2.5, tmp_path / "again.h5")) == sha256_of(baked)
    bake_temperature(baked, 1 / 2.5, baked)  # over itself, and back
    np.testing.assert_allclose(load_keras_model(baked)(image), before, atol=1e-6)
    assert capsys.readouterr() == ("", "")


def test_a_network_that_ends_otherwise_is_refused(tmp_path: Path) -> None:
    import keras

    image = keras.Input((*SHAPE, 1))
    keras.Model(image, keras.layers.Conv3D(1, 1, activation="tanh")(image)).save(tmp_path / "tanh.h5")
    with pytest.raises(ModelError, match=r"tanh\.h5 does not end in a convolution and a sigmoid"):
        bake_temperature(tmp_path / "tanh.h5", 2.0, tmp_path / "baked.h5")
    assert not (tmp_path / "baked.h5").exists()
    with pytest.raises(UsageError, match="above 0"):
        bake_temperature(tmp_path / "tanh.h5", 0.0, tmp_path / "baked.h5")


def made_maps(maps: tuple[OutOfFoldCase, ...], folder: Path, temperature: float) -> Path:
    """Maps whose voxels are lesions as often as they say, once their logits are divided by a temperature."""
    rng, entries = np.random.default_rng(5), []
    for entry in maps[:2]:
        logits = rng.normal(-1.0, 1.5, (40, 40, 40))
        truth = rng.random(logits.shape) < expit(logits)
        made = replace(
            entry,
            truth=folder / f"{entry.patient}_truth.nii.gz",
            probability=folder / f"{entry.patient}_prob.nii.gz",
            mask=folder / f"{entry.patient}_mask.nii.gz",
            columns={},
        )
        write_volume(Volume(truth.astype(np.uint8), np.eye(4)), made.truth)
        write_volume(Volume(expit(logits * temperature).astype(np.float32), np.eye(4)), made.probability)
        write_volume(Volume(np.ones(logits.shape, np.uint8), np.eye(4)), made.mask)
        entries.append(made)
    return write_case_table(folder / "cases.tsv", entries)


@pytest.mark.parametrize("wanted", [0.5, 2.0])
def test_the_right_temperature_is_found(
    maps: tuple[OutOfFoldCase, ...], tmp_path: Path, wanted: float
) -> None:
    table = made_maps(maps, tmp_path, wanted)
    found = fit_temperature(table, note=pytest.fail)
    assert found.value == pytest.approx(wanted, rel=0.03)
    assert found.error_after < 0.01 < found.error_before
    assert 0 < found.lesion_voxels < found.voxels <= 2 * 40**3
    assert found.as_dict()["value"] == found.value
    # as the evaluation measures it, voxel by voxel
    cases = pair_cases(table, table).cases
    bins = []
    for case in cases:
        probability, truth = read_volume(case.probability).data, read_volume(case.truth).data
        bins.append(case_bins(probability[probability > 0.05], truth[probability > 0.05]))
    assert found.error_before == pytest.approx(expected_calibration_error(bins).value, abs=2e-3)


def test_without_lesions_there_is_no_temperature(maps: tuple[OutOfFoldCase, ...], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.nii.gz"
    entries = [replace(entry, truth=nowhere) for entry in maps[:2]]
    affine = read_volume(entries[0].probability).affine
    write_volume(Volume(np.zeros((62, 34, 70), np.uint8), affine), nowhere)
    notes: list[str] = []
    found = fit_temperature(write_case_table(tmp_path / "cases.tsv", entries), VALUES, note=notes.append)
    assert found.value == 1
    assert notes == ["no temperature was fitted: no voxel that a network takes for a lesion is right"]
