"""A generated scan and its truth, and the files they are written to: the same for both generators."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import OutputError, ShivaCmbError, UsageError
from shiva_cmb.files import replacing, write_json
from shiva_cmb.imaging import Grid, Volume, write_volume
from shiva_cmb.parallel import Progress, run_cases
from shiva_cmb.synthesis.head_map import REGION_NAMES
from shiva_cmb.synthesis.shapes import Ball, Tube
from shiva_cmb.synthesis.visible import BLEED, IGNORED
from shiva_cmb.tables import write_tsv

LIST_NAME = "cases.json"
HOW_NAME = "generator.json"
VOLUME_ENDINGS = ("", "_label", "_brain", "_regions", "_mimics")
TABLE_ENDINGS = ("_bleeds", "_mimics")
_ANY_SCAN = "scan_[0-9][0-9][0-9][0-9]*"


@dataclass(frozen=True)
class TrueBleed:
    """One bleed of a generated scan. Lengths in mm, world coordinates in RAS."""

    bleed: int
    """Number, from 1."""
    x_mm: float
    """World position of its middle, to the right."""
    y_mm: float
    """World position of its middle, to the front."""
    z_mm: float
    """World position of its middle, upwards."""
    diameter_mm: float
    """Of the ball with the volume of its mask; 0: outside of the image."""
    core_diameter_mm: float
    """Of what is really there: it blooms."""
    volume_mm3: float
    """Of its mask."""
    region: str
    """Lobar, deep or infratentorial."""
    side: str
    """Left, right or midline."""
    contrast: float
    """Its largest loss of signal in a voxel, 0 to 1."""
    cnr: float
    """That loss over the noise."""
    visible: bool
    """Whether it counts; others are marked as to be ignored."""
    pair: int | None = None
    """Number of the pair it belongs to."""


@dataclass(frozen=True, eq=False)
class GeneratedScan:
    """A scan and what is true about it; the volumes share one grid."""

    head: str
    """Name of the label map it was made from."""
    image: Volume
    """As a scanner would give it, int16."""
    label: Volume
    """1 in bleeds that can be seen, 2 where fainter ones are, uint8."""
    brain: Volume
    """Brain mask, uint8."""
    regions: Volume
    """Values of `head_map.REGION_NAMES`, uint8."""
    bleeds: tuple[TrueBleed, ...]
    """One for each bleed, seen or not."""
    mimics: tuple[Ball | Tube, ...]
    """What looks like them."""
    facts: Mapping[str, str | float]
    """The sequence, for the list of cases."""


class Source(Protocol):
    """What scans are made from: a label map, or a real scan."""

    @property
    def name(self) -> str:
        """Of the subject: scans of one belong into one fold."""


MakeScan = Callable[[np.random.Generator, Any], GeneratedScan]
"""Makes one scan from a source of its own kind."""


def write_scans(
    make: MakeScan,
    heads: Sequence[Source],
    folder: str | Path,
    *,
    count: int,
    seed: int,
    how: Mapping[str, Any],
    processes: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Make scans and write them, with the list of cases that `train` and `evaluate` read.

    Scan number k is the same whatever the count; those that are there already are kept and listed, so that
    an interrupted run goes on. The heads take turns.

    Args:
        make: makes one scan.
        heads: whose label maps, or other sources that `make` takes.
        folder: made if missing.
        count: how many scans.
        seed: of all of them.
        how: which generator with which settings, for the record; kept in the folder. `checksums` in it are
            compared only with a record that has them.
        processes: how many at once.
        progress: told how far it is.

    Returns:
        The list of cases.

    Raises:
        UsageError: if there is nothing to do, or the folder holds scans made in another way, or files of
            these names that are not from here.
        OutputError: if something cannot be written.
    """
    if count < 1 or not heads:
        raise UsageError(f"expected at least one scan and one head, got {count} and {len(heads)}")
    if seed < 0:
        raise UsageError(f"seed: expected 0 or more, got {seed}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    _require_same(folder, {**how, "seed": seed, "heads": [head.name for head in heads]})
    # each job has its own head alone: other processes are sent no more than they need
    jobs = [(number, _scan_name(number), heads[number % len(heads)]) for number in range(count)]
    work = partial(_one, make=make, folder=folder, seed=seed)
    for (_, name, _), problem in zip(jobs, run_cases(jobs, work, processes, progress), strict=True):
        if problem is not None:
            raise OutputError(f"{folder / name}: {problem}")
    named = sorted(folder.glob(f"{_ANY_SCAN}.json"), key=lambda path: (len(path.name), path.name))
    entries = [entry for path in named if (entry := _entry(folder, path.stem)) is not None]
    content = {"channels": ["swi"], "lesion_values": [BLEED], "ignore_values": [IGNORED], "cases": entries}
    with replacing() as pending:
        write_json(content, pending.path(folder / LIST_NAME))
    return folder / LIST_NAME


def files_to_write(folder: Path, count: int) -> Iterator[Path]:
    """Every file that `write_scans` writes or replaces."""
    yield from (folder / LIST_NAME, folder / HOW_NAME)
    for number in range(count):
        yield folder / f"{_scan_name(number)}.json"
        yield from _files(folder, _scan_name(number))


def _scan_name(number: int) -> str:
    return f"scan_{number:04d}"


def _files(folder: Path, name: str) -> list[Path]:
    """The volumes and tables of one scan."""
    volumes = [folder / f"{name}{ending}.nii.gz" for ending in VOLUME_ENDINGS]
    return volumes + [folder / f"{name}{ending}.tsv" for ending in TABLE_ENDINGS]


def _require_same(folder: Path, how: Mapping[str, Any]) -> None:
    """Keep what the scans of a folder are made from, or refuse if those that are there differ."""
    path = folder / HOW_NAME
    wanted = json.loads(json.dumps(how))
    scans = sorted(folder.glob(_ANY_SCAN))
    if path.exists():
        there = _read_how(path)
        there.setdefault("checksums", wanted.get("checksums"))  # records of earlier versions have none
        different = [key for key in {**wanted, **there} if wanted.get(key) != there.get(key)]
        if scans and different:
            raise UsageError(
                f"{folder} holds scans that were made otherwise ({', '.join(sorted(different))} differ, see "
                f"{HOW_NAME}): name another folder"
            )
        if scans:
            return
    elif foreign := [file for file in (folder / LIST_NAME, *scans) if file.exists()]:
        raise UsageError(
            f"{folder} holds {foreign[0].name} of another origin (there is no {HOW_NAME}), which would be "
            "replaced: name another folder"
        )
    with replacing() as pending:
        write_json(wanted, pending.path(path))


def _read_how(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not {"seed", "heads"} <= content.keys():
        raise UsageError(
            f"{path}: expected the record of how the scans there were made, but it is damaged or something "
            "else: name another folder, or remove it and the scans"
        )
    return content


def _one(job: tuple[int, str, Source], *, make: MakeScan, folder: Path, seed: int) -> str | None:
    """Make one scan unless it is there; what went wrong, or None."""
    number, name, head = job
    try:
        if _entry(folder, name) is None:
            entry = write_scan(make(np.random.default_rng([seed, number]), head), folder, name)
            with replacing() as pending:
                write_json(entry, pending.path(folder / f"{name}.json"))  # last: now the scan is there
    except (ShivaCmbError, OSError) as error:
        return str(error)
    return None


def _entry(folder: Path, name: str) -> dict[str, Any] | None:
    """The entry of a scan in the list of cases; None if the scan is not there, or a file is lost or empty."""
    try:
        entry = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        complete = all(file.stat().st_size for file in _files(folder, name))
    except (OSError, ValueError):
        return None
    known = isinstance(entry, dict) and entry.get("case") == name
    return entry if known and complete else None


def write_scan(scan: GeneratedScan, folder: Path, name: str) -> dict[str, Any]:
    """Write one scan's files: image, label, brain mask, regions, and the tables of bleeds and mimics.

    Returns:
        Its entry in a list of cases.

    Raises:
        OutputError: if something cannot be written.
    """
    marks = mark_mimics(scan.mimics, scan.image.grid)
    volumes = (scan.image, scan.label, scan.brain, scan.regions, marks)
    bleed_rows = [asdict(b) | {"visible": "yes" if b.visible else "no"} for b in scan.bleeds]
    *volume_files, bleed_file, mimic_file = _files(folder, name)
    with replacing() as pending:
        for file, volume in zip(volume_files, volumes, strict=True):
            write_volume(volume, pending.path(file))
        write_tsv(pending.path(bleed_file), tuple(TrueBleed.__dataclass_fields__), bleed_rows)
        write_tsv(pending.path(mimic_file), MIMIC_COLUMNS, mimic_rows(scan.mimics))
    seen = sum(bleed.visible for bleed in scan.bleeds)
    return {
        "case": name,
        "patient": scan.head,
        "images": {"swi": f"{name}.nii.gz"},
        "label": f"{name}_label.nii.gz",
        "mask": f"{name}_brain.nii.gz",
        **scan.facts,
        "bleeds": seen,
    }


MIMIC_COLUMNS = ("kind", "x_mm", "y_mm", "z_mm", "length_mm", "diameter_mm")


def mimic_rows(mimics: Sequence[Ball | Tube]) -> list[dict[str, str | float]]:
    """One row for each mimic: the middle of its curve or its centre, its length and its largest width."""
    return [_mimic_row(mimic) for mimic in mimics]


def _mimic_row(mimic: Ball | Tube) -> dict[str, str | float]:
    width = 2 * float(mimic.radii_mm.max())
    if isinstance(mimic, Ball):
        x, y, z = (float(value) for value in mimic.centre_mm)
        length = float(np.ptp(mimic.centres_mm, axis=0).max()) + width
    else:
        x, y, z = (float(value) for value in mimic.points_mm[len(mimic.points_mm) // 2])
        length = mimic.length_mm
    return {
        "kind": mimic.kind,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "length_mm": length,
        "diameter_mm": width,
    }


def mark_mimics(mimics: Sequence[Ball | Tube], grid: Grid) -> Volume:
    """Where mimics are: their number in the table of mimics (from 1), later ones over earlier ones, int16."""
    marks: NDArray[np.int16] = np.zeros(grid.shape, np.int16)
    for number, mimic in enumerate(mimics, start=1):
        if isinstance(mimic, Tube):
            points = mimic.points_mm
        else:
            step = np.linspace(-1, 1, 9)
            unit = np.stack(np.meshgrid(step, step, step), axis=-1).reshape(-1, 3)
            unit = unit[np.linalg.norm(unit, axis=1) <= 1]
            points = (mimic.centres_mm[:, None] + unit * mimic.radii_mm[:, None, None]).reshape(-1, 3)
        index = np.rint(grid.to_voxel(points)).astype(int)
        index = index[np.all((index >= 0) & (index < grid.shape), axis=1)]
        marks[tuple(index.T)] = min(number, np.iinfo(np.int16).max)
    return Volume(marks, grid.affine)


def place_name(regions: NDArray[np.uint8], grid: Grid, point_mm: NDArray[np.floating]) -> tuple[str, str]:
    """Region and side at a world point, by a map of coarse regions; unknown outside of it."""
    index = np.clip(np.rint(grid.to_voxel(point_mm)).astype(int), 0, np.array(grid.shape) - 1)
    return REGION_NAMES.get(int(regions[tuple(index)]), ("unknown", "midline"))
