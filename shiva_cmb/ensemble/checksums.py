"""Checksums of model files: SHiVAi's md5, and a sha256 that also covers file names."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shiva_cmb.errors import ModelError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Checksums:
    """Both checksums of one model, lower-case hexadecimal."""

    md5: str
    """What SHiVAi compares: for a directory, one md5 over the contents of all its files."""
    sha256: str
    """For a directory, the sha256 of what `sha256sum` lists for its files."""


def checksums_of(path: str | Path) -> Checksums:
    """Both checksums of a model file or directory, read once.

    The md5 follows SHiVAi: a file's own md5; for a directory, the contents of every file below it (hidden
    ones too), in the order of their paths compared component by component, fed to one md5. Names do not
    count. The sha256 of a directory covers names and contents; this shell line gives the same:
    `find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`.

    Args:
        path: a model file (`.h5`, `.keras`) or directory (SavedModel).

    Raises:
        ModelError: if it does not exist or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _directory_checksums(path)
        return _file_checksums(path)
    except FileNotFoundError as error:
        raise ModelError(f"the model {path} does not exist") from error
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror or error}") from error


def md5_of(path: str | Path) -> str:
    """The md5 SHiVAi expects for a model file or directory; see `checksums_of`."""
    return checksums_of(path).md5


def sha256_of(path: str | Path) -> str:
    """The sha256 of a model file or directory; see `checksums_of`."""
    return checksums_of(path).sha256


def _file_checksums(path: Path) -> Checksums:
    # usedforsecurity=False: md5 is here for SHiVAi's sake, and some hardened systems refuse it otherwise.
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    for chunk in _chunks(path):
        md5.update(chunk)
        sha256.update(chunk)
    return Checksums(md5.hexdigest(), sha256.hexdigest())


def _directory_checksums(folder: Path) -> Checksums:
    md5 = hashlib.md5(usedforsecurity=False)
    listing: dict[str, str] = {}
    # Path objects sort component by component: `a/b` comes before `a.txt`, unlike in a sort of strings.
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        sha256 = hashlib.sha256()
        for chunk in _chunks(file):
            md5.update(chunk)
            sha256.update(chunk)
        listing[file.relative_to(folder).as_posix()] = sha256.hexdigest()
    names = sorted(listing, key=lambda name: name.encode())
    lines = "".join(f"{listing[name]}  {name}\n" for name in names)
    return Checksums(md5.hexdigest(), hashlib.sha256(lines.encode()).hexdigest())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
