"""Cases on the model grid, made once and kept on disk, where they are looked at without filling the memory.

Each case has an entry: a folder with its arrays, made under a temporary name and renamed. Its name says what
it was made from, so that jobs with the same or other settings share a cache without asking each other.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.prepare import CaseArrays, PreparedCase, PrepareSettings, StoredArray, prepare_arrays
from shiva_cmb.errors import DataError, Note, OutputError, ShivaCmbError, warn_user
from shiva_cmb.evaluation.lesion_set import LesionSet
from shiva_cmb.files import write_json
from shiva_cmb.imaging import Grid
from shiva_cmb.parallel import Progress, run_cases

FORMAT = 2
"""Changes whenever the same inputs would be prepared or kept in another way."""
ENTRY_NAME = "entry.json"
LEFTOVER_SECONDS = 24 * 3600
"""Unfinished entries of killed jobs are removed after so long; before, another job may be at work on them."""
_ARRAYS = ("image", "brain", "label", "lesion_voxels", "lesion_starts", "lesion_names", "affine", "brain_box")
_LARGE = ("image", "brain", "label")
"""Of these only the parts that are wanted are read."""


@dataclass(frozen=True)
class _Made:
    """How it went with a case; picklable."""

    folder: Path | None
    """Its entry, or None if it failed."""
    lines: tuple[str, ...]
    """Notes, or the error."""


def prepare_cases(
    cases: Sequence[Case],
    how: PrepareSettings,
    cache: Path,
    *,
    processes: int = 1,
    progress: Progress | None = None,
    note: Note = warn_user,
) -> tuple[PreparedCase, ...]:
    """Bring cases to the model grid, or find them as they were brought there before.

    An entry is made anew if a file of the case or a setting has changed, or if it is damaged. What was noted
    when it was made is noted each time. Several jobs may fill one folder at once, and may be killed.

    Args:
        cases: see `read_cases`.
        how: see `PrepareSettings`.
        cache: folder of the entries, made if it is missing; 30 MB for each case of 160 x 214 x 176 voxels.
        processes: cases prepared at once.
        progress: told how many cases are ready.
        note: told what was repaired, guessed or left out.

    Raises:
        DataError: if any case cannot be used, after all were tried; notes name all but the first.
        OutputError: if the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(cache)
    except OSError as error:
        raise OutputError(f"cannot write in the cache folder {cache}: {error.strerror or error}") from error
    # jobs that start together (a fold each, say) begin at different cases and find each other's work
    first = os.getpid() % max(len(cases), 1)
    order = [(first + number) % len(cases) for number in range(len(cases))]
    outcomes = run_cases(
        [cases[number] for number in order], partial(_ensure_entry, how=how, cache=cache), processes, progress
    )
    by_case = dict(zip(order, outcomes, strict=True))
    made = [_as_made(cases[number], by_case[number]) for number in range(len(cases))]
    broken = [line for outcome in made if outcome.folder is None for line in outcome.lines]
    for line in broken[1:]:
        note(line)
    if len(broken) > 1:
        raise DataError(f"{broken[0]} (and {len(broken) - 1} other of {len(cases)} cases, named above)")
    if broken:
        raise DataError(broken[0])
    prepared = []
    for case, outcome in zip(cases, made, strict=True):
        if outcome.folder is not None:
            for line in outcome.lines:
                note(line)
            prepared.append(_open_entry(outcome.folder, case))
    return tuple(prepared)


def _as_made(case: Case, outcome: _Made | str) -> _Made:
    if isinstance(outcome, str):
        return _Made(None, (f"{case.images[0]}: {outcome}",))
    return outcome


def _ensure_entry(case: Case, how: PrepareSettings, cache: Path) -> _Made:
    """Find a case's entry or make it. Does not raise what a user can mend."""
    try:
        identity, state = _identity(case, how), _state(case)
        folder = cache / f"{identity}-{state}"
        kept = _read_good(folder)
        if kept is None:
            notes: list[str] = []
            arrays = prepare_arrays(case, how, note=notes.append)
            if _state(case) != state:
                raise DataError(f"a file of the case {case.name} was changed while it was read: start again")
            kept = _keep(arrays, notes, folder)
            for other in cache.glob(f"{identity}-*"):
                if other != folder:
                    shutil.rmtree(other, ignore_errors=True)
        return _Made(folder, tuple(kept["notes"]))
    except OSError as error:
        where = error.filename or cache
        return _Made(None, (f"{case.images[0]}: {where}: {error.strerror or error}",))
    except ShivaCmbError as error:
        line = str(error)
        named = any(str(path) in line for path in _files(case))
        return _Made(None, (line if named else f"{case.images[0]}: {line}",))


def _files(case: Case) -> list[Path]:
    return [*case.images, case.label, *([case.mask] if case.mask is not None else [])]


def _identity(case: Case, how: PrepareSettings) -> str:
    """Which case and which settings: what stays as long as one entry takes the place of another."""
    named = {
        "format": FORMAT,
        "images": [str(path.resolve()) for path in case.images],
        "label": str(case.label.resolve()),
        "mask": str(case.mask.resolve()) if case.mask is not None else None,
        "how": asdict(how),
    }
    return _short_hash(named, 24)


def _state(case: Case) -> str:
    """Size and time of last change of every file."""
    stats = [path.stat() for path in _files(case)]
    return _short_hash([[stat.st_size, stat.st_mtime_ns] for stat in stats], 16)


def _short_hash(content: Any, digits: int) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:digits]


def _keep(arrays: CaseArrays, notes: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write an entry and give it its name, unless another job was faster."""
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        contents = {
            "image": arrays.image,
            "brain": arrays.brain,
            "label": arrays.label,
            "lesion_voxels": arrays.lesions.voxels,
            "lesion_starts": arrays.lesions.starts,
            "lesion_names": arrays.lesions.names,
            "affine": arrays.lesions.grid.affine,
            "brain_box": arrays.brain_box,
        }
        files = {}
        for name in _ARRAYS:
            path = temporary / f"{name}.npy"
            np.save(path, np.ascontiguousarray(contents[name]))
            _to_disk(path)
            files[path.name] = _facts(path) | {"sha256": _sha256(path)}
        entry = {
            "format": FORMAT,
            "fingerprint": arrays.fingerprint,
            "shape": list(arrays.image.shape),
            "notes": list(notes),
            "files": files,
        }
        write_json(entry, temporary / ENTRY_NAME)
        _to_disk(temporary / ENTRY_NAME)
        temporary.chmod(0o755)  # mkdtemp makes folders private; a cache may be shared
        return _give_name(temporary, folder, entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _give_name(temporary: Path, folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    for _ in range(3):
        try:
            temporary.rename(folder)
            return entry
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        there = _read_good(folder)
        if there is not None:
            return there  # another job's
        damaged = Path(tempfile.mkdtemp(prefix=".tmp-damaged-", dir=folder.parent))
        try:
            folder.rename(damaged)
        except FileNotFoundError:
            pass  # another job was faster with this too
        finally:
            shutil.rmtree(damaged, ignore_errors=True)
    raise DataError(f"cannot write the cache entry {folder}: other jobs keep on writing it")


def _read_good(folder: Path) -> dict[str, Any] | None:
    """The description of an entry, or None if it is missing or damaged.

    A file of the size and the time it was written with is trusted; with another time its checksum decides.
    """
    try:
        entry: dict[str, Any] = json.loads((folder / ENTRY_NAME).read_text(encoding="utf-8"))
        if entry["format"] != FORMAT or set(entry["files"]) != {f"{name}.npy" for name in _ARRAYS}:
            return None
        for name, written in entry["files"].items():
            found = _facts(folder / name)
            if found["bytes"] != written["bytes"]:
                return None
            if found["mtime_ns"] != written["mtime_ns"] and _sha256(folder / name) != written["sha256"]:
                return None
        _, _, _, _ = entry["shape"]
        complete = isinstance(entry["notes"], list) and isinstance(entry["fingerprint"], str)
        return entry if complete and all("sha256" in written for written in entry["files"].values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _open_entry(folder: Path, case: Case) -> PreparedCase:
    try:
        entry = json.loads((folder / ENTRY_NAME).read_text(encoding="utf-8"))
        small = {name: np.load(folder / f"{name}.npy") for name in _ARRAYS if name not in _LARGE}
        x, y, z, channels = entry["shape"]
        digest = _short_hash([entry["files"][f"{name}.npy"]["sha256"] for name in _LARGE], 32)
        fingerprint = entry["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:  # changed since it was looked at
        raise DataError(f"cannot read the cache entry {folder}: {error}; start again") from error
    lesions = LesionSet(
        Grid((x, y, z), small["affine"]),
        small["lesion_voxels"],
        small["lesion_starts"],
        small["lesion_names"],
    )
    return PreparedCase(
        name=case.name,
        patient=case.patient,
        image=StoredArray(folder / "image.npy", (x, y, z, channels), np.dtype(np.float32)),
        brain=StoredArray(folder / "brain.npy", (x, y, z), np.dtype(np.uint8)),
        label=StoredArray(folder / "label.npy", (x, y, z), np.dtype(np.uint8)),
        lesions=lesions,
        brain_box=small["brain_box"],
        fingerprint=fingerprint,
        digest=digest,
    )


def _facts(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until a file is on the disk: a name must not outlive a power cut that its content does not."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _remove_leftovers(cache: Path) -> None:
    oldest = time.time() - LEFTOVER_SECONDS
    for path in cache.glob(".tmp-*"):
        try:
            old = path.stat().st_mtime < oldest
        except FileNotFoundError:
            continue  # its owner is at work
        if old:
            shutil.rmtree(path, ignore_errors=True)
