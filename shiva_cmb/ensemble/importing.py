"""Making a bundle of models from elsewhere: published archives and descriptors, or bare fold files."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from shiva_cmb.ensemble.bundle import (
    DESCRIPTOR_NAME,
    Bundle,
    FoldFile,
    open_bundle,
    verify_bundle,
    write_bundle,
)
from shiva_cmb.ensemble.checksums import checksums_of
from shiva_cmb.ensemble.descriptor import (
    ASSUMED_SHIVAI_PART,
    FoldPart,
    ShivaCmbPart,
    first_problem,
    read_descriptor,
)
from shiva_cmb.ensemble.formats import detect_format
from shiva_cmb.ensemble.keras_files import refuse_foreign_code
from shiva_cmb.ensemble.packing import SUMS_NAME, check_sums, extract_archive
from shiva_cmb.errors import ModelError, Note, OutputError, UsageError, warn_user
from shiva_cmb.files import new_directory, require_new

_FOLD_SUFFIXES = (".h5", ".hdf5", ".keras")


def import_model(
    sources: Sequence[str | Path],
    folder: str | Path,
    *,
    descriptor: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    trust_model_code: bool = False,
    note: Note = warn_user,
) -> Bundle:
    """Make a new bundle out of a model from elsewhere; the sources stay as they are.

    Args:
        sources: one zip, one folder or descriptor (JSON), or the fold files themselves.
        folder: the new bundle.
        descriptor: a `model_info.json` for sources that have none, such as one of `model_info/`.
        changes: what is known better than the descriptor does, in the structure of its `shiva_cmb` part, such
            as `{"scaling": {"scheme": "zscore"}}`. It is laid over that part, or, where there is none, over
            what the files state and else the published SHIVA models expect.
        trust_model_code: whether Keras files with code of their author are accepted.
        note: told what had to be assumed.

    Raises:
        ModelError: if a source is damaged, unsafe, has a wrong checksum, or holds untrusted code.
        UsageError: if several sources are given and one is not a fold, or `changes` has a wrong key or value.
        OutputError: if the folder is there already, or cannot be written.
    """
    paths, folder = [Path(source).absolute() for source in sources], Path(folder).absolute()
    changes = changes or {}
    if not paths:
        raise UsageError("nothing to import: name a zip, a bundle, or fold files")
    require_new(folder)
    if len(paths) > 1 and not all(_is_fold(path) for path in paths):
        raise UsageError("name one zip, one bundle, or several fold files, not a mixture")
    with _unpacked(paths, folder, descriptor, note) as paths:
        found = _find_bundle(paths, descriptor)
        if found is not None:
            verify_bundle(found, note=note)
            shapes = _look_inside(found.fold_paths, trust_model_code)
            known = found.descriptor.shiva_cmb
            part = _with_changes(known or _assumed_part(shapes, found.descriptor.modalities), changes)
            if known is None:
                why = f"{found.descriptor_path.name} says nothing of preprocessing"
                _note_assumptions(why, part, changes, note)
            modalities = part.channels if "channels" in changes else found.descriptor.modalities
            return _copy_bundle(found, folder, part, modalities, note)
        folds = paths if _is_fold(paths[0]) else _folds_below(paths[0])
        shapes = _look_inside(folds, trust_model_code)
        part = _with_changes(_assumed_part(shapes, ()), changes)
        _note_assumptions("no descriptor came with the folds", part, changes, note)
        return write_bundle(folder, [FoldFile(fold) for fold in folds], part)


@contextmanager
def _unpacked(
    paths: list[Path], folder: Path, descriptor: str | Path | None, note: Note
) -> Iterator[list[Path]]:
    """The sources, a zip replaced by a temporary folder beside the new bundle."""
    if paths[0].is_dir() or paths[0].suffix.lower() == ".json" or detect_format(paths[0]) != "zip":
        yield paths
        return
    if descriptor is not None:
        _check_archive_sum(paths[0], descriptor)
    try:
        workspace = tempfile.TemporaryDirectory(prefix=f".tmp-{folder.name}-", dir=folder.parent)
    except OSError as error:
        raise OutputError(f"cannot write in {folder.parent}: {error.strerror}") from error
    with workspace as temporary:
        try:
            extract_archive(paths[0], Path(temporary))
        except OSError as error:
            raise OutputError(f"could not unpack {paths[0]} in {folder.parent}: {error.strerror}") from error
        for sums in Path(temporary).rglob(SUMS_NAME):
            check_sums(sums.parent, str(paths[0]), note=note)
        try:
            yield [Path(temporary)]
        except ModelError as error:  # the user knows the zip, not the folder that is gone by now
            raise ModelError(str(error).replace(temporary, str(paths[0]))) from error


def _check_archive_sum(archive: Path, descriptor: str | Path) -> None:
    extra = read_descriptor(descriptor).model_extra or {}
    found = checksums_of(archive)
    for key, digest in (("sha256_zip", found.sha256), ("md5_zip", found.md5)):
        if key in extra and str(extra[key]).lower() != digest:
            raise ModelError(
                f"{archive} is not the archive of {descriptor}: expected {key} {str(extra[key]).lower()}, "
                f"received {digest}; download it again"
            )


def _is_fold(path: Path) -> bool:
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.suffix.lower() != ".json" and detect_format(path) in ("h5", "keras")


def _find_bundle(paths: list[Path], descriptor: str | Path | None) -> Bundle | None:
    """The bundle among the sources; its missing part is not noted here but where it is filled in."""

    def quietly(_: str) -> None:
        return

    first = paths[0]
    if descriptor is not None:
        if first.is_file() or _is_fold(first):
            places = [first.parent]
        else:
            places = [first, *sorted(path for path in first.rglob("*") if path.is_dir())]
        bundles = [open_bundle(descriptor, place, note=quietly) for place in places]
        complete = [bundle for bundle in bundles if all(path.exists() for path in bundle.fold_paths)]
        return complete[0] if complete else bundles[0]
    if _is_fold(first):
        return None
    if first.is_file():
        return open_bundle(first, note=quietly)
    found = sorted(path for path in first.rglob("*.json") if not (path.parent / "saved_model.pb").exists())
    if len(found) > 1:
        found = [path for path in found if path.name == DESCRIPTOR_NAME] or found
    if len(found) > 1:
        names = ", ".join(path.relative_to(first).as_posix() for path in found)
        raise ModelError(f"{first} holds several descriptors ({names}): name the one to use")
    return open_bundle(found[0], note=quietly) if found else None


def _folds_below(folder: Path) -> list[Path]:
    directories = sorted(path.parent for path in folder.rglob("saved_model.pb"))
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _FOLD_SUFFIXES)
    folds = directories or files
    if not folds:
        raise ModelError(f"{folder} holds neither a descriptor nor folds (.h5, .keras, SavedModel)")
    return folds


def _look_inside(folds: Sequence[Path], trust_model_code: bool) -> set[tuple[int | None, ...]]:
    """Refuse foreign code; the input shapes that Keras files state."""
    files = [refuse_foreign_code(fold, trust_model_code) for fold in folds if fold.is_file()]
    return {file.input_shape for file in files if file.input_shape is not None}


def _assumed_part(shapes: set[tuple[int | None, ...]], modalities: Sequence[str]) -> ShivaCmbPart:
    """What the published SHIVA models expect, with the grid and channels that the files state."""
    part = ASSUMED_SHIVAI_PART
    if len(shapes) > 1:
        raise ModelError(f"the folds take different inputs and are no ensemble: {sorted(map(str, shapes))}")
    for _, x, y, z, channels in (shape for shape in shapes if len(shape) == 5):
        found: dict[str, object] = {}
        if x is not None and y is not None and z is not None:
            found["input"] = part.input.model_copy(update={"shape": (x, y, z)})
        if channels is not None and channels == len(modalities):
            found["channels"] = tuple(modalities)
        elif channels is not None and channels > 1:
            found["channels"] = tuple(f"channel_{number}" for number in range(channels))
        part = part.model_copy(update=found)
    return part


def _with_changes(part: ShivaCmbPart, changes: Mapping[str, Any]) -> ShivaCmbPart:
    try:
        return ShivaCmbPart.model_validate(_laid_over(part.model_dump(), changes))
    except ValidationError as error:
        raise UsageError(f"the model cannot be described so: {first_problem(error)}") from error


def _laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = _laid_over(old, value)
        else:
            result[key] = value
    return result


def _note_assumptions(why: str, part: ShivaCmbPart, changes: Mapping[str, Any], note: Note) -> None:
    assumed = [key for key in ("preprocessing", "scaling", "averaging") if key not in changes]
    if "spacing_mm" not in changes.get("input", {}):
        assumed.append("voxel size")
    if assumed:
        size = "x".join(map(str, part.input.shape))
        note(
            f"{why}: SHiVAi's {', '.join(assumed)} on a grid of {size} voxels are written into the new "
            "descriptor; correct it there if that is wrong"
        )


def _copy_bundle(
    source: Bundle, folder: Path, part: ShivaCmbPart, modalities: tuple[str, ...], note: Note
) -> Bundle:
    """Copy the folds under their own names and write the descriptor for the new folder."""
    names = [f"{folder.name}/{PurePosixPath(entry.name).name}" for entry in source.descriptor.files]
    if len(set(names)) < len(names):
        raise ModelError(f"{source.descriptor_path} names folds that differ only in their folder")
    previous = {fold.file: fold for fold in part.folds}
    entries, folds = [], []
    with new_directory(folder) as temporary:
        for entry, path, name in zip(source.descriptor.files, source.fold_paths, names, strict=True):
            copy = temporary / PurePosixPath(name).name
            if path.is_dir():
                shutil.copytree(path, copy)
            else:
                shutil.copyfile(path, copy)
            sums = checksums_of(copy)
            entries.append(entry.model_copy(update={"name": name, "md5": sums.md5}))
            fold = previous.get(entry.name, FoldPart(file=name))
            folds.append(fold.model_copy(update={"file": name, "sha256": sums.sha256}))
        update = {
            "files": tuple(entries),
            "script": None,  # Python that SHiVAi would run; not copied
            "modalities": modalities,
            "shiva_cmb": part.model_copy(update={"folds": tuple(folds)}),
        }
        text = source.descriptor.model_copy(update=update).to_json()
        (temporary / DESCRIPTOR_NAME).write_text(text, encoding="utf-8")
    return open_bundle(folder, note=note)
