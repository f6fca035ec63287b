"""A bundle as one zip file, and back; an archive from elsewhere is not trusted."""

import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from shiva_cmb.ensemble.bundle import DESCRIPTOR_NAME, Bundle, open_bundle, verify_bundle
from shiva_cmb.errors import ModelError, Note, UsageError, warn_user
from shiva_cmb.files import new_directory, replacing, require_not_inputs

SUMS_NAME = "SHA256SUMS"
_MAX_TOTAL_BYTES = 8 << 30
_MAX_FILES = 10_000
_MAX_RATIO = 200  # trained weights hardly shrink; a file of zeros by about 1000
_SMALL_BYTES = 64 << 20  # below this the ratio does not matter
_JUNK = ("__MACOSX/",)  # what macOS adds to its archives
_CHUNK_BYTES = 1 << 20


def pack_bundle(bundle: Bundle, zip_path: str | Path, *, note: Note = warn_user) -> Path:
    """Write a bundle into a zip that unpacks to one folder, with the checksum of every file in it.

    The same bundle gives the same bytes: no dates or owners are stored. `sha256sum -c SHA256SUMS` in the
    unpacked folder checks it without this package.

    Raises:
        UsageError: if the zip would overwrite a file of the bundle, or lie in a fold's folder.
        ModelError: if a fold is missing or has a wrong checksum.
        OutputError: if the zip cannot be written.
    """
    require_not_inputs([zip_path], [bundle.descriptor_path, *bundle.fold_paths])
    if any(fold.resolve() in Path(zip_path).resolve().parents for fold in bundle.fold_paths):
        raise UsageError(f"{zip_path} would lie inside a fold and change it: name another place")
    verify_bundle(bundle, note=note)
    root = _root_name(bundle)
    files = sorted(_files_of(bundle, root))
    with replacing() as pending:
        temporary = pending.path(zip_path)
        sums = []
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, path in files:
                sums.append(f"{_add(archive, f'{root}/{name}', path)}  {name}\n")
            archive.writestr(_entry(f"{root}/{SUMS_NAME}"), "".join(sums))
    return Path(zip_path)


def unpack_bundle(zip_path: str | Path, folder: str | Path, *, note: Note = warn_user) -> Bundle:
    """Unpack a bundle's zip into the folder that it names, below `folder`, and check it.

    Args:
        zip_path: written by `pack_bundle`, or a published SHIVA archive with its descriptor inside.
        folder: an existing folder, as for `unzip -d`.
        note: told if the archive has no checksums of its own.

    Raises:
        ModelError: if the archive is damaged, unsafe (paths that leave the folder, links, absurd sizes), has
            no single folder with a descriptor, or a file has a wrong checksum.
        OutputError: if the folder is there already, or cannot be written.
    """
    with _opened(zip_path) as archive:
        members = _safe_members(archive, zip_path)
        roots = {PurePosixPath(member.filename).parts[0] for member in members}
        if len(roots) != 1 or any(len(PurePosixPath(member.filename).parts) < 2 for member in members):
            raise ModelError(f"{zip_path} is not one folder with a model: use `shiva-cmb model import`")
        final = Path(folder) / roots.pop()
        with new_directory(final) as temporary:
            _extract(archive, members, temporary, strip=1)
            check_sums(temporary, str(zip_path), note=note)
            verify_bundle(open_bundle(temporary, note=lambda _: None), note=note)
    return open_bundle(final, note=note)


def extract_archive(zip_path: str | Path, folder: Path) -> None:
    """Unpack a zip from elsewhere into an empty folder, refusing whatever could do harm.

    Raises:
        ModelError: see `unpack_bundle`.
    """
    with _opened(zip_path) as archive:
        _extract(archive, _safe_members(archive, zip_path), folder, strip=0)


def check_sums(folder: Path, origin: str, *, note: Note = warn_user) -> None:
    """Compare the files of a folder with its `SHA256SUMS`, if there is one.

    Raises:
        ModelError: if a file differs, is missing, or is not listed.
    """
    sums = folder / SUMS_NAME
    if not sums.is_file():
        note(f"{origin} has no {SUMS_NAME}: only the checksums in its descriptor are compared")
        return
    listed: dict[str, str] = {}
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    present.pop(SUMS_NAME)
    problems = [f"{name} is not listed" for name in sorted(present.keys() - listed.keys())]
    problems += [f"{name} is missing" for name in sorted(listed.keys() - present.keys())]
    for name in sorted(present.keys() & listed.keys()):
        with present[name].open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != listed[name]:
                problems.append(f"{name} differs")
    if problems:
        raise ModelError(
            f"{origin} does not agree with its {SUMS_NAME}: {'; '.join(problems[:5])}; download it again"
        )


def _root_name(bundle: Bundle) -> str:
    prefixes = {PurePosixPath(entry.name).parts[0] for entry in bundle.descriptor.files}
    if len(prefixes) == 1 and all(len(PurePosixPath(e.name).parts) > 1 for e in bundle.descriptor.files):
        return prefixes.pop()
    return bundle.folder.name


def _files_of(bundle: Bundle, root: str) -> Iterator[tuple[str, Path]]:
    yield DESCRIPTOR_NAME, bundle.descriptor_path
    for entry, path in zip(bundle.descriptor.files, bundle.fold_paths, strict=True):
        name = entry.name.removeprefix(f"{root}/")
        if path.is_dir():
            for file in path.rglob("*"):
                if file.is_file():
                    yield f"{name}/{file.relative_to(path).as_posix()}", file
        else:
            yield name, path


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as target:
        while chunk := source.read(_CHUNK_BYTES):
            sha256.update(chunk)
            target.write(chunk)
    return sha256.hexdigest()


@contextmanager
def _opened(zip_path: str | Path) -> Iterator[zipfile.ZipFile]:
    """The archive, with what goes wrong in reading it told in one line."""
    try:
        archive = zipfile.ZipFile(zip_path)
    except FileNotFoundError as error:
        raise ModelError(f"the archive {zip_path} does not exist") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{zip_path} is no readable zip, perhaps cut short: {error}") from error
    with archive:
        yield archive


def _safe_members(archive: zipfile.ZipFile, origin: str | Path) -> list[zipfile.ZipInfo]:
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith(_JUNK)]
    for member in members:
        reason = _danger(member)
        if reason:
            raise ModelError(f"{origin} was not unpacked: {member.filename!r} {reason}")
    names = {PurePosixPath(member.filename.casefold()) for member in members}
    if not names or len(names) < len(members):
        raise ModelError(f"{origin} was not unpacked: it is empty or names a file twice")
    both = sorted(str(parent) for name in names for parent in name.parents if parent in names)
    if both:
        raise ModelError(f"{origin} was not unpacked: {both[0]!r} is both a file and a folder in it")
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > _MAX_FILES or total > _MAX_TOTAL_BYTES:
        raise ModelError(f"{origin} was not unpacked: {len(members)} files of {total >> 20} MiB are too much")
    if total > _SMALL_BYTES and total > _MAX_RATIO * packed:
        raise ModelError(f"{origin} was not unpacked: {packed} bytes becoming {total} are no trained model")
    return members


def _danger(member: zipfile.ZipInfo) -> str | None:
    posix, windows = PurePosixPath(member.filename), PureWindowsPath(member.filename)
    if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or not posix.parts:
        return "would leave the folder"
    if "\\" in member.filename or "\0" in member.orig_filename:
        return "has a name that reads differently on other systems"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device, not a plain file"
    return "is encrypted" if member.flag_bits & 0x1 else None


def _extract(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, *, strip: int) -> None:
    for member in members:
        target = folder.joinpath(*PurePosixPath(member.filename).parts[strip:])
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # reads no more than the declared size, and checks it
            with archive.open(member) as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ModelError(f"{archive.filename} is damaged at {member.filename!r}: {error}") from error
