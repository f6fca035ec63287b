"""A generated scan and its truth, and the files they are written to: the same for both generators."""

import json
from collections.abc import Callable, Mapping, Sequence
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

    Scan number k is the same whatever the count; those that are there already are kept, so that an
    interrupted run goes on. The heads take turns.

    Args:
        make: makes one scan.
        heads: whose label maps, or other sources that `make` takes.
        folder: made if missing.
        count: how many scans.
        seed: of all of them.
        how: which generator with which settings, for the record; kept in the folder.
        processes: how many at once.
        progress: told how far it is.

    Returns:
        The list of cases.

    Raises:
        UsageError: if there is nothing to do, or the folder holds scans made in another way.
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
    jobs = [(number, f"scan_{number:04d}", heads[number % len(heads)]) for number in range(count)]
    work = partial(_one, make=make, folder=folder, seed=seed)
    outcomes = run_cases(jobs, work, processes, progress)
    entries = []
    for (_, name, _), outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, str):
            raise OutputError(f"{folder / name}: {outcome}")
        entries.append(outcome)
    content = {"channels": ["swi"], "lesion_values": [BLEED], "ignore_values": [IGNORED], "cases": entries}
    with replacing() as pending:
        write_json(content, pending.path(folder / LIST_NAME))
    return folder / LIST_NAME


def _require_same(folder: Path, how: Mapping[str, Any]) -> None:
    """Keep what the scans of a folder are made from, or refuse if those that are there differ."""
    path = folder / HOW_NAME
    wanted = json.loads(json.dumps(how))
    if not path.exists():
        with replacing() as pending:
            write_json(wanted, pending.path(path))
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    different = [key for key in {**wanted, **there} if wanted.get(key) != there.get(key)]
    if different:
        raise UsageError(
            f"{folder} holds scans that were made otherwise ({', '.join(sorted(different))} differ, see "
            f"{HOW_NAME}): name another folder"
        )


def _one(job: tuple[int, str, Source], *, make: MakeScan, folder: Path, seed: int) -> dict[str, Any] | str:
    """The entry of one scan in the list of cases; it is made unless it is there."""
    number, name, head = job
    entry = folder / f"{name}.json"
    try:
        if entry.exists():  # written last, so the other files are there too
            return dict(json.loads(entry.read_text(encoding="utf-8")))
        scan = make(np.random.default_rng([seed, number]), head)
        case = write_scan(scan, folder, name)
        with replacing() as pending:
            write_json(case, pending.path(entry))
        return case
    except (ShivaCmbError, OSError) as error:
        return str(error)


def write_scan(scan: GeneratedScan, folder: Path, name: str) -> dict[str, Any]:
    """Write one scan's files: image, label, brain mask, regions, and the tables of bleeds and mimics.

    Returns:
        Its entry in a list of cases.

    Raises:
        OutputError: if something cannot be written.
    """
    volumes = {
        "": scan.image,
        "_label": scan.label,
        "_brain": scan.brain,
        "_regions": scan.regions,
        "_mimics": mark_mimics(scan.mimics, scan.image.grid),
    }
    with replacing() as pending:
        for ending, volume in volumes.items():
            write_volume(volume, pending.path(folder / f"{name}{ending}.nii.gz"))
        bleed_rows = [asdict(b) | {"visible": "yes" if b.visible else "no"} for b in scan.bleeds]
        columns = tuple(TrueBleed.__dataclass_fields__)
        write_tsv(pending.path(folder / f"{name}_bleeds.tsv"), columns, bleed_rows)
        write_tsv(pending.path(folder / f"{name}_mimics.tsv"), MIMIC_COLUMNS, mimic_rows(scan.mimics))
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
