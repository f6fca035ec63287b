"""Writing files so that a killed or failed run leaves nothing half-written under a final name."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shiva_cmb.errors import OutputError, UsageError


class PendingFiles:
    """Files written under temporary names beside their final ones, renamed together by `replacing`."""

    def __init__(self) -> None:
        self._pending: dict[Path, Path] = {}

    def path(self, final: str | Path) -> Path:
        """A temporary path in the folder of `final`, with the same extension, to write to."""
        final = Path(final)
        if final.is_symlink():
            final = final.resolve()  # write what the link names, and keep the link
        double = final.name.endswith((".gz", ".weights.h5"))  # nibabel and Keras look at both parts
        suffix = "".join(final.suffixes[-2:]) if double else final.suffix
        try:
            handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=suffix, dir=final.parent)
        except OSError as error:
            raise OutputError(f"cannot write in {final.parent}: {error.strerror}") from error
        os.close(handle)
        self._pending[final] = Path(name)
        return Path(name)

    def commit(self) -> None:
        """Give every file its final name."""
        umask = os.umask(0)
        os.umask(umask)
        for final, temporary in self._pending.items():
            temporary.chmod(0o666 & ~umask)  # mkstemp makes files private; results should not be
            temporary.replace(final)
        self._pending.clear()

    def discard(self) -> None:
        """Remove what was written."""
        for temporary in self._pending.values():
            temporary.unlink(missing_ok=True)
        self._pending.clear()


@contextmanager
def replacing() -> Iterator[PendingFiles]:
    """Write several files, all or none: they get their final names when the block ends without an error.

    Raises:
        OutputError: if a folder is missing or not writable, or the disk is full.
    """
    pending = PendingFiles()
    try:
        yield pending
        pending.commit()
    except OSError as error:
        raise OutputError(f"could not write the results: {error.strerror or error}") from error
    finally:
        pending.discard()


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file that people and every strict reader can read.

    Arrays and numpy's numbers become lists and numbers, NaN null, infinity the text `inf`, anything else that
    JSON does not know its text.
    """
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    # file names that are no valid text hold half characters: written as JSON's own escapes
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def plain(value: Any) -> Any:
    """Only numbers, texts, lists and mappings that JSON knows, as `write_json` writes them."""
    if hasattr(value, "tolist"):  # arrays and numpy's numbers; this file does without numpy
        value = value.tolist()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value if value is None or isinstance(value, str | int) else str(value)


@contextmanager
def new_directory(final: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `final` when the block ends without an error.

    Raises:
        OutputError: if `final` exists and is not an empty folder, or its parent is missing or not writable.
    """
    final = Path(final)
    require_new(final)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{final.name}-", dir=final.absolute().parent))
    except OSError as error:
        raise OutputError(f"cannot write in {final.absolute().parent}: {error.strerror}") from error
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        temporary.replace(final)
    except OSError as error:
        raise OutputError(f"could not write {final}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new(final: Path) -> None:
    """Refuse to write a folder over something that is there.

    Raises:
        OutputError: if `final` exists and is not an empty folder.
    """
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        raise OutputError(f"{final} exists already: name a new folder, or remove it first")


def require_writable_folder(folder: str | Path) -> None:
    """Say early that results could not be written there.

    Raises:
        OutputError: if `folder` does not exist, is no folder, or cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: name a folder for the results")
    if not folder.is_dir():
        raise OutputError(f"the output folder {folder} does not exist: create it or name another")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {error.strerror}") from error


def require_can_hold_results(folder: str | Path) -> None:
    """Say early that results could not be written to a folder that is there, or is still to be made.

    Raises:
        OutputError: see `require_writable_folder`.
    """
    folder = Path(folder)
    require_writable_folder(folder if folder.exists() else folder.absolute().parent)


def require_not_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse to overwrite what a command reads, by whatever path it is named.

    Raises:
        UsageError: naming the file.
    """
    read = {Path(path).resolve() for path in inputs}
    for output in outputs:
        if Path(output).resolve() in read:
            raise UsageError(
                f"{output} is an input of this command and would be overwritten: name another output (-o)"
            )
