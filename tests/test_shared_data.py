"""Scans that cannot be generated: tried where a folder of them lies beside the checkout, else skipped."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.anatomy import rough_brain_mask, segment_head
from shiva_cmb.imaging import Preprocessing, check_image, read_volume, to_model_grid, write_volume

DATA = Path(__file__).parents[2] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no folder of scans beside the checkout")


@pytest.mark.parametrize("echo", [0, 1, 2])
def test_a_real_scanners_crop_reads_conforms_and_writes_without_complaint(tmp_path: Path, echo: int) -> None:
    path = DATA / "real_gre" / "mag_4d_crop.nii.gz"
    notes: list[str] = []
    image = check_image(read_volume(path, index=echo, note=notes.append), str(path), notes.append)
    given = to_model_grid(image, None, Preprocessing(), notes.append)
    back = given.chain.invert(given.image, order=1)
    write_volume(back, tmp_path / "back.nii.gz")
    assert notes == []
    saved, source = nib.load(tmp_path / "back.nii.gz"), nib.load(path)
    assert saved.shape == source.shape[:3]
    np.testing.assert_allclose(saved.affine, source.affine, atol=1e-4)
    # the same picture, but for the detail that 1 mm voxels cannot hold
    assert np.corrcoef(np.asarray(saved.dataobj).ravel(), image.data.ravel())[0, 1] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["head_swi", "head_t2s"])
def test_the_rough_estimate_is_near_the_brain_of_native_heads(name: str) -> None:
    image = read_volume(DATA / "practice" / f"{name}.nii.gz", note=lambda line: None)
    brain = read_volume(DATA / "practice" / f"{name}_brainmask.nii.gz", note=lambda line: None).data > 0
    rough = rough_brain_mask(image)
    dice = 2 * (rough & brain).sum() / (rough.sum() + brain.sum())
    assert dice > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["head_swi", "head_t2s"])
def test_the_anatomy_network_finds_the_brain_of_native_heads(name: str) -> None:
    image = read_volume(DATA / "practice" / f"{name}.nii.gz", note=lambda line: None)
    brain = read_volume(DATA / "practice" / f"{name}_brainmask.nii.gz", note=lambda line: None).data > 0
    found = segment_head(image, note=pytest.fail)
    dice = 2 * (found.brain & brain).sum() / (found.brain.sum() + brain.sum())
    assert dice > 0.9
