import json
import shutil
from pathlib import Path

import pytest

from shiva_cmb.ensemble.bundle import (
    Bundle,
    FoldFile,
    Identity,
    open_bundle,
    update_operating_point,
    verify_bundle,
    write_bundle,
)
from shiva_cmb.ensemble.checksums import md5_of
from shiva_cmb.ensemble.descriptor import OperatingPoint, ShivaCmbPart
from shiva_cmb.ensemble.exporting import export_bundle
from shiva_cmb.ensemble.importing import import_model
from shiva_cmb.ensemble.packing import pack_bundle, unpack_bundle
from shiva_cmb.errors import ModelError, OutputError

PUBLISHED = Path(__file__).parents[2] / "model_info"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """One fold as a file, one as a SavedModel folder."""
    (tmp_path / "trained.h5").write_bytes(b"weights of fold 0")
    saved = tmp_path / "saved"
    (saved / "variables").mkdir(parents=True)
    (saved / "saved_model.pb").write_bytes(b"graph")
    (saved / "variables/variables.index").write_bytes(b"weights of fold 1")
    folds = [FoldFile(tmp_path / "trained.h5", ("case 1",), {"dice": 0.7}), FoldFile(saved)]
    return write_bundle(tmp_path / "SWI-CMB", folds, ShivaCmbPart(), Identity(version="v3", author="us"))


def test_a_written_bundle_opens_and_verifies(bundle: Bundle) -> None:
    again = open_bundle(bundle.folder)
    assert again == bundle
    assert [path.name for path in again.fold_paths] == ["fold_0.h5", "fold_1.tf_inference"]
    assert [sums.md5 for sums in verify_bundle(again)] == [entry.md5 for entry in again.descriptor.files]
    assert again.part.folds[0].validation_cases == ("case 1",)


@pytest.fixture
def run_folder(bundle: Bundle, tmp_path: Path) -> Path:
    """A folder with the files of a training, one of them a fold, and leftovers of a killed attempt."""
    folder = tmp_path / "run"
    (folder / "training/out_of_fold").mkdir(parents=True)
    (folder / "training/fold_0.h5").write_bytes(b"weights of training")
    (folder / "training/folds.json").write_text("{}")
    (folder / "fold_1.tf_inference").mkdir()
    (folder / "fold_1.tf_inference/half").write_bytes(b"written")
    (folder / ".tmp-bundle").mkdir()
    (folder / ".tmp-bundle/fold_0.h5").write_bytes(b"half")
    folds = [FoldFile(path) for path in bundle.fold_paths]
    write_bundle(folder, folds, ShivaCmbPart(), keep_others=True)
    return folder


def test_a_bundle_is_written_beside_other_files(run_folder: Path, bundle: Bundle) -> None:
    written = open_bundle(run_folder, note=pytest.fail)
    assert [sums.md5 for sums in verify_bundle(written)] == [entry.md5 for entry in bundle.descriptor.files]
    assert {path.name for path in run_folder.iterdir()} == {
        *("training", "fold_0.h5", "fold_1.tf_inference", "model_info.json")
    }
    assert (run_folder / "training/fold_0.h5").read_bytes() == b"weights of training"
    with pytest.raises(OutputError, match="holds a model already"):
        write_bundle(run_folder, [FoldFile(bundle.fold_paths[0])], ShivaCmbPart(), keep_others=True)


def test_what_lies_beside_a_model_is_no_part_of_it(run_folder: Path, tmp_path: Path) -> None:
    archive = pack_bundle(open_bundle(run_folder), tmp_path / "run.zip", note=pytest.fail)
    (tmp_path / "elsewhere").mkdir()
    unpacked = unpack_bundle(archive, tmp_path / "elsewhere", note=pytest.fail)
    exported = export_bundle(open_bundle(_saved_models_only(run_folder)), tmp_path / "exported", "savedmodel")
    for folder in (unpacked.folder, exported):
        assert not (folder / "training").exists()
        verify_bundle(open_bundle(folder), note=pytest.fail)


def test_importing_leaves_out_what_lies_beside_a_model(run_folder: Path, tmp_path: Path) -> None:
    folder = _saved_models_only(run_folder)  # files that are no real networks are looked into
    (folder / "training/metrics.json").write_text("{}")
    imported = import_model([folder], tmp_path / "imported", note=pytest.fail)
    assert {path.name for path in imported.folder.iterdir()} == {"model_info.json", "fold_0.tf_inference"}


def _saved_models_only(run_folder: Path) -> Path:
    """The same folder with a model of its second fold alone, which needs no TensorFlow to be copied."""
    second = open_bundle(run_folder).fold_paths[1]
    (run_folder / "model_info.json").unlink()
    write_bundle(run_folder, [FoldFile(second)], ShivaCmbPart(), keep_others=True)
    return run_folder


def test_an_interrupted_bundle_has_no_descriptor(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    real = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if self.name == "fold_1.tf_inference":
            raise OSError("the disk is full")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    folds = [FoldFile(path) for path in bundle.fold_paths]
    with pytest.raises(OutputError, match="the disk is full"):
        write_bundle(folder, folds, ShivaCmbPart(), keep_others=True)
    assert [path.name for path in folder.iterdir()] == ["fold_0.h5"]
    monkeypatch.undo()
    verify_bundle(write_bundle(folder, folds, ShivaCmbPart(), keep_others=True))


def test_another_operating_point_changes_only_what_depends_on_it(bundle: Bundle) -> None:
    before = json.loads(bundle.descriptor_path.read_text())
    before["shiva_cmb"]["metrics"] = {"f1": 0.5}  # at the former one
    bundle.descriptor_path.write_text(json.dumps(before))
    bundle = open_bundle(bundle.folder)
    point = OperatingPoint(threshold=0.3, min_volume_mm3=4.0, curve=({"threshold": 0.3, "f1": 0.8},))
    update_operating_point(bundle, point)
    again = open_bundle(bundle.folder)
    assert again.part.lesion_criteria().threshold == 0.3
    assert again.part.lesion_criteria().min_volume_mm3 == 4.0
    after = json.loads(bundle.descriptor_path.read_text())
    assert after["shiva_cmb"].pop("operating_point")["curve"] == [{"threshold": 0.3, "f1": 0.8}]
    before["shiva_cmb"].pop("operating_point")
    assert before["shiva_cmb"].pop("metrics") == {"f1": 0.5}
    assert not after["shiva_cmb"].pop("metrics", {})
    assert after == before
    verify_bundle(again)


def test_the_descriptor_has_what_shivai_reads(bundle: Bundle) -> None:
    content = json.loads(bundle.descriptor_path.read_text())
    assert content["modalities"] == ["swi"]
    assert content["target"] == "CMB"
    for entry in content["files"]:  # SHiVAi looks below the parent of the folder that its names start with
        assert md5_of(bundle.folder.parent / entry["name"]) == entry["md5"]
        assert entry["md5"] == entry["md5"].lower()


@pytest.mark.parametrize("model_dir", [None, ".", ".."])
def test_folds_are_found_from_the_folder_and_from_its_parent(bundle: Bundle, model_dir: str | None) -> None:
    place = None if model_dir is None else (bundle.folder / model_dir).resolve()
    assert open_bundle(bundle.descriptor_path, place).fold_paths == bundle.fold_paths


def test_a_renamed_bundle_still_works(bundle: Bundle) -> None:
    moved = bundle.folder.rename(bundle.folder.with_name("my copy"))
    verify_bundle(open_bundle(moved))


def test_a_relative_path_works(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.folder)
    verify_bundle(open_bundle("."))
    verify_bundle(open_bundle("model_info.json"))


def test_every_missing_or_changed_fold_is_listed(bundle: Bundle) -> None:
    bundle.fold_paths[0].write_bytes(b"other weights")
    shutil.rmtree(bundle.fold_paths[1])
    with pytest.raises(ModelError, match=r"fold_0\.h5 has md5 .* expected .*fold_1\.tf_inference is missing"):
        verify_bundle(open_bundle(bundle.folder))


def test_a_renamed_variable_file_is_caught_by_the_sha256(bundle: Bundle) -> None:
    variables = bundle.fold_paths[1] / "variables"
    (variables / "variables.index").rename(variables / "variables.other")
    with pytest.raises(ModelError, match=r"fold_1\.tf_inference has sha256"):
        verify_bundle(open_bundle(bundle.folder))


def test_a_fold_without_a_checksum_is_said_to_be_unchecked(tmp_path: Path) -> None:
    (tmp_path / "fold.h5").write_bytes(b"weights")
    (tmp_path / "model_info.json").write_text('{"files": [{"name": "fold.h5"}]}')
    notes: list[str] = []
    verify_bundle(open_bundle(tmp_path, note=notes.append), note=notes.append)
    assert any("no 'shiva_cmb' part" in note for note in notes)
    assert any("no checksum for fold.h5" in note for note in notes)


def test_an_upper_case_md5_is_accepted_and_said(bundle: Bundle) -> None:
    content = json.loads(bundle.descriptor_path.read_text())
    content["files"][0]["md5"] = content["files"][0]["md5"].upper()
    bundle.descriptor_path.write_text(json.dumps(content))
    notes: list[str] = []
    verify_bundle(open_bundle(bundle.folder), note=notes.append)
    assert notes == ["the md5 of SWI-CMB/fold_0.h5 is in upper case, which SHiVAi takes for a mismatch"]


def test_a_script_is_named_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "model_info.json").write_text(
        '{"files": [{"name": "a.keras"}], "script": {"name": "layers.py"}, "shiva_cmb": {}}'
    )
    notes: list[str] = []
    open_bundle(tmp_path, note=notes.append)
    assert len(notes) == 1
    assert "layers.py: it is not run" in notes[0]


def test_the_only_descriptor_of_a_folder_may_have_any_name(bundle: Bundle) -> None:
    bundle.descriptor_path.rename(bundle.folder / "model_info_swi-cmb-v3.json")
    verify_bundle(open_bundle(bundle.folder))
    (bundle.folder / "other.json").write_text("{}")
    with pytest.raises(ModelError, match="several descriptors"):
        open_bundle(bundle.folder)


def test_a_folder_without_a_descriptor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model_info\.json"):
        open_bundle(tmp_path)


def test_an_existing_folder_is_not_written_over(bundle: Bundle, tmp_path: Path) -> None:
    before = bundle.descriptor_path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_bundle(bundle.folder, [FoldFile(tmp_path / "trained.h5")], ShivaCmbPart())
    assert bundle.descriptor_path.read_bytes() == before


def test_nothing_is_left_of_a_bundle_whose_fold_is_missing(bundle: Bundle, tmp_path: Path) -> None:
    folds = [FoldFile(tmp_path / "trained.h5"), FoldFile(tmp_path / "gone.h5")]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match=r"gone\.h5 does not exist"):
        write_bundle(tmp_path / "new", folds, ShivaCmbPart())
    with pytest.raises(ModelError, match="no folds"):
        write_bundle(tmp_path / "new", [], ShivaCmbPart())
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_published_descriptors_find_downloaded_folds(version: str, tmp_path: Path) -> None:
    path = PUBLISHED / f"SHIVA-CMB_{version}.json"
    names = [entry["name"] for entry in json.loads(path.read_text())["files"]]
    downloads = tmp_path / "downloads"
    for name in names:
        file = downloads / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"not the weights")
    for place in (downloads, downloads / Path(names[0]).parts[0]):
        published = open_bundle(path, place)
        assert [fold.exists() for fold in published.fold_paths] == [True] * 3
    assert published.part.input.shape == (160, 214, 176)
    with pytest.raises(ModelError, match=r"fold_0.*fold_1.*fold_2"):
        verify_bundle(published)
    with pytest.raises(ModelError, match=r"fold_2\S* is missing"):
        verify_bundle(open_bundle(path))
