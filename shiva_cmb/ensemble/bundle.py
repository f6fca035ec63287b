"""The model on disk: a folder with `model_info.json` and one Keras file or SavedModel per fold."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from shiva_cmb.ensemble.checksums import Checksums, checksums_of
from shiva_cmb.ensemble.descriptor import (
    Descriptor,
    FileEntry,
    FoldPart,
    OperatingPoint,
    ShivaCmbPart,
    read_descriptor,
)
from shiva_cmb.errors import ModelError, Note, OutputError, warn_user
from shiva_cmb.files import new_directory, replacing

DESCRIPTOR_NAME = "model_info.json"
_FILLING_NAME = ".tmp-bundle"
_SUFFIX_OF_DIRECTORIES = ".tf_inference"  # how the published SHIVA SavedModels are named


@dataclass(frozen=True)
class Bundle:
    """A descriptor and the folder its folds are in. The folds may be missing: `verify_bundle` tells."""

    folder: Path
    """Where the fold names were looked up first; absolute."""
    descriptor_path: Path
    descriptor: Descriptor
    fold_paths: tuple[Path, ...]
    """One file or SavedModel directory per entry of `descriptor.files`, in that order."""

    @property
    def part(self) -> ShivaCmbPart:
        """Our part of the descriptor, or what SHiVAi would do without one."""
        return self.descriptor.part


@dataclass(frozen=True)
class FoldFile:
    """One trained network and what is known of it."""

    path: Path
    """A Keras file (`.h5`, `.keras`) or a SavedModel directory."""
    validation_cases: tuple[str, ...] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """What a descriptor says of the model in SHiVAi's own keys."""

    target: str = "CMB"
    version: str = ""
    release_date: str = ""
    """DD/MM/YYYY, as the published ones write it."""
    author: str = ""
    url: str | None = None


def open_bundle(path: str | Path, model_dir: str | Path | None = None, *, note: Note = warn_user) -> Bundle:
    """Read a bundle's descriptor and find its folds; nothing of the folds is opened.

    Names are looked up as SHiVAi does: below `model_dir`, else, if they start with the name of `model_dir`,
    below its parent. Folds in a folder that was renamed are found as well: there, names count without their
    first component.

    Args:
        path: the bundle's folder, or a descriptor (JSON) anywhere.
        model_dir: folder of the folds; by default the descriptor's own.
        note: told when something has to be assumed.

    Raises:
        ModelError: if there is no descriptor or it cannot be used; not for missing folds.
    """
    descriptor_path = _find_descriptor(Path(path).absolute())
    folder = Path(model_dir).absolute() if model_dir is not None else descriptor_path.parent
    if not folder.is_dir():
        raise ModelError(f"the model folder {folder} does not exist")
    descriptor = read_descriptor(descriptor_path)
    if descriptor.shiva_cmb is None:
        note(
            f"{descriptor_path} has no 'shiva_cmb' part: SHiVAi's preprocessing, scaling and averaging on "
            "160x214x176 voxels of 1 mm are assumed"
        )
    if descriptor.script is not None:
        note(f"{descriptor_path} names the Python script {descriptor.script.name}: it is not run")
    paths = tuple(_resolve(folder, entry.name) for entry in descriptor.files)
    return Bundle(folder, descriptor_path, descriptor, paths)


def verify_bundle(bundle: Bundle, *, note: Note = warn_user) -> tuple[Checksums, ...]:
    """Check that every fold is there and has the recorded checksums.

    Returns:
        The checksums of the folds, in order.

    Raises:
        ModelError: listing every fold that is missing or differs.
    """
    present = [path for path in bundle.fold_paths if path.exists()]
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing lets go of the interpreter lock
        found = dict(zip(present, pool.map(checksums_of, present), strict=True))
    ours = {fold.file: fold for fold in bundle.part.folds}
    problems: list[str] = []
    for entry, path in zip(bundle.descriptor.files, bundle.fold_paths, strict=True):
        recorded = ours.get(entry.name)
        sha256 = recorded.sha256 if recorded is not None else None
        if path not in found:
            problems.append(f"{entry.name} is missing")
        elif entry.md5 is not None and found[path].md5 != entry.md5.lower():
            problems.append(f"{entry.name} has md5 {found[path].md5}, expected {entry.md5.lower()}")
        elif sha256 is not None and found[path].sha256 != sha256:
            problems.append(f"{entry.name} has sha256 {found[path].sha256}, expected {sha256}")
        elif entry.md5 is None and sha256 is None:
            note(f"{bundle.descriptor_path} gives no checksum for {entry.name}: it was not checked")
        if entry.md5 is not None and entry.md5 != entry.md5.lower():
            note(f"the md5 of {entry.name} is in upper case, which SHiVAi takes for a mismatch")
    if problems:
        raise ModelError(
            f"the model of {bundle.descriptor_path} cannot be used: {'; '.join(problems)} (looked in "
            f"{bundle.folder}; download or copy it again, or name the right folder)"
        )
    return tuple(found[path] for path in bundle.fold_paths)


def size_bytes(bundle: Bundle) -> int:
    """Of all folds that are there."""
    files = (file for path in bundle.fold_paths for file in (path.rglob("*") if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files if file.is_file())


def write_bundle(
    folder: str | Path,
    folds: Sequence[FoldFile],
    part: ShivaCmbPart,
    identity: Identity | None = None,
    *,
    keep_others: bool = False,
) -> Bundle:
    """Copy the folds into a folder and write their descriptor.

    Args:
        folder: made new, unless `keep_others`; its name becomes the prefix of the fold names, as SHiVAi
            expects.
        folds: in order; the copies are called `fold_0.h5`, `fold_1.h5`, ...
        part: our part; its `folds` are filled in here.
        identity: SHiVAi's keys.
        keep_others: write into a folder that exists and has no descriptor yet, and leave its other files
            alone. Each fold appears whole, and the descriptor last: without it there is no model.

    Raises:
        ModelError: if there is no fold or one is missing.
        OutputError: if the folder is there already, or with `keep_others` holds a model already; or if it
            cannot be written.
    """
    folder, identity = Path(folder).absolute(), identity or Identity()
    if not folds:
        raise ModelError(f"no folds were given for the bundle {folder}: a model needs at least one")
    entries: list[FileEntry] = []
    parts: list[FoldPart] = []
    with _filling(folder) if keep_others else new_directory(folder) as temporary:
        for number, fold in enumerate(folds):
            copy = temporary / _fold_name(number, fold.path)
            _copy(fold.path, copy)
            checksums = checksums_of(copy)
            name = f"{folder.name}/{copy.name}"
            entries.append(FileEntry(name=name, md5=checksums.md5))
            parts.append(
                FoldPart(
                    file=name,
                    sha256=checksums.sha256,
                    validation_cases=fold.validation_cases,
                    metrics=fold.metrics,
                )
            )
        descriptor = Descriptor(
            version=identity.version,
            release_date=identity.release_date,
            author=identity.author,
            url=identity.url,
            target=identity.target,
            modalities=part.channels,
            files=tuple(entries),
            shiva_cmb=part.model_copy(update={"folds": tuple(parts)}),
        )
        (temporary / DESCRIPTOR_NAME).write_text(descriptor.to_json(), encoding="utf-8")
    return open_bundle(folder)


def update_operating_point(bundle: Bundle, point: OperatingPoint) -> Bundle:
    """Write another operating point into a bundle's descriptor; figures at the former one go, all else stays.

    Raises:
        OutputError: if the descriptor cannot be written.
    """
    part = bundle.part.model_copy(update={"operating_point": point, "metrics": {}})
    descriptor = bundle.descriptor.model_copy(update={"shiva_cmb": part})
    with replacing() as pending:
        pending.path(bundle.descriptor_path).write_text(descriptor.to_json(), encoding="utf-8")
    return replace(bundle, descriptor=descriptor)


@contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """A temporary folder within an existing one, whose content goes there if the block ends without an error.

    The descriptor comes last. What a killed run left of an earlier attempt is replaced.
    """
    if (folder / DESCRIPTOR_NAME).exists():
        raise OutputError(f"{folder} holds a model already: name another folder, or remove it first")
    temporary = folder / _FILLING_NAME
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        for path in sorted(temporary.iterdir(), key=lambda path: (path.name == DESCRIPTOR_NAME, path.name)):
            final = folder / path.name
            if final.is_dir():  # a folder is not renamed over one that holds files
                shutil.rmtree(final)
            path.replace(final)
    except OSError as error:
        raise OutputError(f"could not write the model into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _find_descriptor(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / DESCRIPTOR_NAME).is_file():
        return path / DESCRIPTOR_NAME
    others = sorted(path.glob("*.json"))  # SHIVA's archives carry theirs under longer names
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(other.name for other in others)
        raise ModelError(f"{path} holds several descriptors ({names}): name the one to use")
    raise ModelError(f"{path} holds no {DESCRIPTOR_NAME}: name a bundle's folder or a descriptor")


def _resolve(folder: Path, name: str) -> Path:
    relative = PurePosixPath(name)
    candidates = [folder / relative]
    if len(relative.parts) > 1:
        if relative.parts[0] == folder.name:
            candidates.append(folder.parent / relative)
        candidates.append(folder.joinpath(*relative.parts[1:]))
    return next((path for path in candidates if path.exists()), candidates[0])


def _fold_name(number: int, source: Path) -> str:
    suffix = _SUFFIX_OF_DIRECTORIES if source.is_dir() else source.suffix.lower()
    return f"fold_{number}{'.h5' if suffix == '.hdf5' else suffix}"


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise ModelError(f"the fold {source} does not exist")
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
