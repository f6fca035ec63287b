import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from shiva_cmb.ensemble.bundle import Bundle, FoldFile, open_bundle, verify_bundle, write_bundle
from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.ensemble.descriptor import InputPart, ShivaCmbPart
from shiva_cmb.ensemble.importing import import_model
from shiva_cmb.ensemble.packing import pack_bundle, unpack_bundle
from shiva_cmb.errors import ModelError, OutputError, UsageError

LAYER = {"class_name": "InputLayer", "config": {"name": "image", "batch_shape": [None, 32, 40, 36, 1]}}
LAMBDA = {"class_name": "Lambda", "config": {"name": "spy", "function": ["bytecode", None, None]}}


def keras_file(path: Path, *layers: object) -> Path:
    config = {"class_name": "Functional", "config": {"name": "net", "layers": [LAYER, *layers]}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["model_config"] = json.dumps(config)
        file["weights"] = [float(len(path.name))]
    return path


def saved_model(folder: Path, content: bytes) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(content)
    (folder / "variables/variables.index").write_bytes(content)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    keras_file(tmp_path / "a.h5")
    folds = [FoldFile(tmp_path / "a.h5", ("case 1",)), FoldFile(saved_model(tmp_path / "b", b"graph"))]
    return write_bundle(tmp_path / "SWI-CMB", folds, ShivaCmbPart(input=InputPart(shape=(32, 40, 36))))


@pytest.fixture
def packed(bundle: Bundle, tmp_path: Path) -> Path:
    return pack_bundle(bundle, tmp_path / "model.zip")


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of a zip with changed or left-out members."""
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                copy.writestr(name, content)
    return target


def test_a_packed_bundle_comes_back_whole(bundle: Bundle, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    back = unpack_bundle(packed, tmp_path / "elsewhere")
    assert back.folder == tmp_path / "elsewhere" / "SWI-CMB"
    assert back.descriptor == bundle.descriptor
    assert verify_bundle(back) == verify_bundle(bundle)


def test_a_renamed_bundle_packs_under_the_name_its_descriptor_uses(bundle: Bundle, tmp_path: Path) -> None:
    renamed = open_bundle(bundle.folder.rename(tmp_path / "renamed"))
    packed = pack_bundle(renamed, tmp_path / "model.zip")
    assert {name.split("/")[0] for name in zipfile.ZipFile(packed).namelist()} == {"SWI-CMB"}


def test_packing_twice_gives_the_same_bytes(bundle: Bundle, packed: Path, tmp_path: Path) -> None:
    again = pack_bundle(bundle, tmp_path / "again.zip")
    assert sha256_of(again) == sha256_of(packed)


def test_a_bundle_is_not_packed_over_itself(bundle: Bundle) -> None:
    before = sorted(bundle.folder.rglob("*"))
    for path in (bundle.descriptor_path, bundle.folder / ".." / "SWI-CMB" / "fold_0.h5"):
        with pytest.raises(UsageError, match="would be overwritten"):
            pack_bundle(bundle, path)
    with pytest.raises(UsageError, match="inside a fold"):
        pack_bundle(bundle, bundle.fold_paths[1] / "model.zip")
    assert sorted(bundle.folder.rglob("*")) == before
    verify_bundle(bundle)


def test_a_damaged_bundle_is_not_packed(bundle: Bundle, tmp_path: Path) -> None:
    bundle.fold_paths[0].write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"fold_0\.h5 has md5"):
        pack_bundle(bundle, tmp_path / "model.zip")
    assert not (tmp_path / "model.zip").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, data: b"other" if name.endswith(".pb") else data, r"saved_model\.pb differs"),
        (lambda name, data: None if name.endswith(".index") else data, r"variables\.index is missing"),
        (
            lambda name, data: data.split(b"\n", 1)[1] if name.endswith("SUMS") else data,
            r"fold_0\.h5 is not listed",
        ),
    ],
)
def test_an_archive_that_differs_from_its_sums_is_refused(
    packed: Path, tmp_path: Path, change: Callable[[str, bytes], bytes | None], message: str
) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    with pytest.raises(ModelError, match=message):
        unpack_bundle(rewritten(packed, change), place)
    assert list(place.iterdir()) == []


def test_an_archive_without_sums_is_checked_by_its_md5(packed: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    without = rewritten(packed, lambda name, data: None if name.endswith("SUMS") else data)
    notes: list[str] = []
    unpack_bundle(without, place, note=notes.append)
    assert any("no SHA256SUMS" in note for note in notes)


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("/tmp/evil", "would leave the folder"),
        ("m/../../evil", "would leave the folder"),
        ("C:/evil", "would leave the folder"),
        ("m\\..\\..\\evil", "would leave the folder"),
        ("m\\evil", "reads differently"),
        (link("m/fold_9.h5"), "is a link"),
        ("M/FOLD_0.h5", "names a file twice"),
        ("m//./fold_0.h5", "names a file twice"),
        ("m/fold_0.h5/inside", "'m/fold_0.h5' is both a file and a folder"),
    ],
)
def test_an_archive_that_could_write_elsewhere_is_refused(
    tmp_path: Path, member: str | zipfile.ZipInfo, message: str
) -> None:
    place = tmp_path / "inner" / "place"
    place.mkdir(parents=True)
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("m/fold_0.h5", b"weights")
        file.writestr(member, b"/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    for attempt in (lambda: unpack_bundle(archive, place), lambda: import_model([archive], place / "new")):
        with pytest.raises(ModelError, match=message):
            attempt()
        assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_grows_without_measure_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/model_info.json", b"\0" * (80 << 20))
    with pytest.raises(ModelError, match="no trained model"):
        unpack_bundle(archive, tmp_path)


def test_a_truncated_or_damaged_archive_is_refused(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="perhaps cut short"):
        unpack_bundle(packed, tmp_path / "elsewhere")
    spot = whole.index(b"fold_0.h5") + 40
    packed.write_bytes(whole[:spot] + b"\xff" * 30 + whole[spot + 30 :])
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ModelError, match=r"damaged at 'SWI-CMB/fold_0\.h5'"):
        unpack_bundle(packed, tmp_path / "elsewhere")


def test_an_existing_folder_is_left_alone(bundle: Bundle, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        unpack_bundle(packed, tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        import_model([packed], bundle.folder)
    verify_bundle(bundle)


def test_importing_a_zip_renames_the_folds_for_the_new_folder(packed: Path, tmp_path: Path) -> None:
    imported = import_model([packed], tmp_path / "mine")
    assert [entry.name for entry in imported.descriptor.files] == [
        "mine/fold_0.h5",
        "mine/fold_1.tf_inference",
    ]
    assert imported.part.folds[0].validation_cases == ("case 1",)
    verify_bundle(imported)


def test_importing_fold_files_takes_the_size_they_state(tmp_path: Path) -> None:
    notes: list[str] = []
    sources = [keras_file(tmp_path / "a.h5"), keras_file(tmp_path / "bb.h5")]
    imported = import_model(sources, tmp_path / "mine", note=notes.append)
    assert imported.part.input.shape == (32, 40, 36)
    assert len(verify_bundle(imported)) == 2
    assert len(notes) == 1
    assert "no descriptor came with the folds" in notes[0]


def test_importing_folds_with_what_is_known_of_them_assumes_nothing(tmp_path: Path) -> None:
    known = {
        "input": {"spacing_mm": (1.5, 1.5, 1.5)},
        "channels": ["t2s"],
        "preprocessing": "shiva_cmb",
        "scaling": {"scheme": "zscore"},
        "averaging": "predict_one_file",
    }
    source = keras_file(tmp_path / "a.h5")
    imported = import_model([source], tmp_path / "mine", changes=known, note=pytest.fail)
    assert imported.descriptor.modalities == ("t2s",)
    assert imported.part.input == InputPart(shape=(32, 40, 36), spacing_mm=(1.5, 1.5, 1.5))


def test_one_option_leaves_the_others_as_published(tmp_path: Path) -> None:
    notes: list[str] = []
    changes = {"scaling": {"scheme": "zscore"}}
    source = keras_file(tmp_path / "a.h5")
    part = import_model([source], tmp_path / "mine", changes=changes, note=notes.append).part
    assert (part.scaling.scheme, part.preprocessing) == ("zscore", "shivai")
    assert (part.averaging, part.input.shape) == ("shiva_predict_multi", (32, 40, 36))
    assert "preprocessing, averaging, voxel size" in notes[0]


def test_options_are_laid_over_what_the_bundle_says(packed: Path, tmp_path: Path) -> None:
    changes = {"scaling": {"scheme": "zscore"}, "channels": ["t2s"]}
    imported = import_model([packed], tmp_path / "mine", changes=changes, note=pytest.fail)
    assert (imported.part.scaling.scheme, imported.part.scaling.percentile) == ("zscore", 99.0)
    assert imported.part.channels == imported.descriptor.modalities == ("t2s",)
    assert imported.part.input.shape == (32, 40, 36)
    assert imported.part.folds[0].validation_cases == ("case 1",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling": {"scheme": "minmax"}}, r"scaling\.scheme: .* received 'minmax'"),
        ({"channels": []}, "channels"),
        ({"scalling": 1}, "unknown key 'scalling'"),
    ],
)
def test_a_wrong_option_is_named(
    packed: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        import_model([packed], tmp_path / "mine", changes=changes)
    assert not (tmp_path / "mine").exists()


def test_a_descriptor_may_lie_elsewhere(tmp_path: Path) -> None:
    folds = saved_model(tmp_path / "downloads/any/x.tf_inference", b"graph")
    descriptor = tmp_path / "published.json"
    files = [{"name": "SWI-CMB/x.tf_inference"}]
    descriptor.write_text(
        json.dumps({"version": "v2", "architecture": "kept", "modalities": ["t2s"], "files": files})
    )
    for number, source in enumerate((folds, tmp_path / "downloads")):
        notes: list[str] = []
        imported = import_model(
            [source], tmp_path / f"mine{number}", descriptor=descriptor, note=notes.append
        )
        assert imported.fold_paths == (tmp_path / f"mine{number}" / "x.tf_inference",)
        assert (imported.descriptor.model_extra or {})["architecture"] == "kept"
        assert imported.descriptor.modalities == ("t2s",)
        assert any("SHiVAi's preprocessing" in note for note in notes)


def test_an_archive_with_a_wrong_published_checksum_is_refused(packed: Path, tmp_path: Path) -> None:
    descriptor = tmp_path / "published.json"
    files = [{"name": "SWI-CMB/fold_0.h5"}]
    descriptor.write_text(json.dumps({"files": files, "sha256_zip": "AB" * 32}))
    with pytest.raises(ModelError, match=r"model\.zip is not the archive of"):
        import_model([packed], tmp_path / "mine", descriptor=descriptor)
    assert not (tmp_path / "mine").exists()


def test_importing_a_zip_of_bare_folds_finds_them(tmp_path: Path) -> None:
    archive = tmp_path / "folds.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("a.h5", "bb.h5"):
            file.write(keras_file(tmp_path / name), f"some/where/{name}")
        file.writestr("__MACOSX/._a.h5", b"junk")
    notes: list[str] = []
    assert len(import_model([archive], tmp_path / "mine", note=notes.append).fold_paths) == 2


def test_folds_with_foreign_code_are_imported_only_when_trusted(tmp_path: Path) -> None:
    source = keras_file(tmp_path / "a.h5", LAMBDA)
    with pytest.raises(ModelError, match=r"a\.h5 was not loaded.*'spy' \(Lambda.*--trust-model-code"):
        import_model([source], tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    trusted = import_model([source], tmp_path / "mine", trust_model_code=True, note=lambda _: None)
    verify_bundle(trusted)


def test_sources_that_do_not_go_together_are_refused(bundle: Bundle, packed: Path, tmp_path: Path) -> None:
    other = keras_file(tmp_path / "bb.h5")
    for sources in ([], [packed, other], [bundle.folder, other]):
        with pytest.raises(UsageError):
            import_model(sources, tmp_path / "mine")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelError, match="neither a descriptor nor folds"):
        import_model([tmp_path / "nothing"], tmp_path / "mine")


def test_a_zip_without_a_model_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "nothing.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("some/readme.txt", "hello")
    with pytest.raises(ModelError, match=r"nothing\.zip holds neither a descriptor nor folds"):
        import_model([archive], tmp_path / "mine")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("m/model_info.json", "{")
    with pytest.raises(ModelError, match=r"nothing\.zip/m/model_info\.json is not a readable JSON"):
        import_model([archive], tmp_path / "mine")
