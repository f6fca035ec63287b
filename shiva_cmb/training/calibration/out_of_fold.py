"""Out-of-fold probability maps: every case as the one network sees it that was not trained on it."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.labels import IGNORED, LabelValues
from shiva_cmb.ensemble.conversion import FoldSource, fold_sources
from shiva_cmb.ensemble.descriptor import ShivaCmbPart
from shiva_cmb.ensemble.loading import EngineOptions, Ensemble, ModelSource
from shiva_cmb.errors import Note, warn_user
from shiva_cmb.files import replacing, write_json
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.prediction import predict
from shiva_cmb.prediction.inputs import read_subject
from shiva_cmb.tables import write_tsv

OnCase = Callable[[int, int], None]
"""Takes the number of finished cases of the fold and that of all."""

COLUMNS = ("case", "patient", "fold", "truth", "probability", "mask", "image")
"""Of the table of cases, before the free columns."""

_TAKEN = frozenset(
    {*COLUMNS, "participant_id", "session_id", "regions", "reference", "prediction", "predicted", "pred"}
    | {"label", "labels", "path", "file"}
)
"""Names that mean something to `evaluate`: free columns of these names are renamed."""


@dataclass(frozen=True)
class MapSettings:
    """What the maps of all folds have in common."""

    part: ShivaCmbPart
    """What the networks expect, as the bundle will say it."""
    folder: Path
    """Where the maps go; made if it is missing."""
    values: LabelValues = field(default_factory=LabelValues)
    """What the values in the labels mean."""
    options: EngineOptions = field(default_factory=lambda: EngineOptions(precision="f32"))
    """How the networks are run; f32 gives the same maps on every processor."""


@dataclass(frozen=True)
class OutOfFoldCase:
    """A case and its map."""

    name: str
    patient: str
    fold: int
    """Of the network that made the map, from 0."""
    truth: Path
    """The case's own label; where its values have meanings, one derived from it: 1 in lesions, 2 ignored."""
    probability: Path
    """In native space, as `predict` gives it."""
    mask: Path
    """Where lesions may lie: the case's brain mask, or the estimate that `predict` would use."""
    image: Path
    """The first channel, for pictures."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The free columns."""


def out_of_fold_maps(
    fold: int,
    fold_path: Path,
    cases: Sequence[Case],
    how: MapSettings,
    *,
    on_case: OnCase = lambda done, total: None,
    note: Note = warn_user,
) -> tuple[OutOfFoldCase, ...]:
    """Write the probability map of every validation case of a fold.

    A map that was made before by the same weights of the same files is kept, so that this can be repeated
    after an interruption. Nothing is left half-written.

    Args:
        fold: its number, from 0.
        fold_path: the trained network, a whole Keras model (`.h5`).
        cases: the fold's validation cases.
        how: see `MapSettings`.
        on_case: told how far it is.
        note: told what was assumed of the engine; remarks on images were made when they were prepared.

    Returns:
        One entry per case, in their order.

    Raises:
        ModelError: if the network cannot be used.
        ImageError: if an image cannot be used.
        OutputError: if a map cannot be written.
    """
    how.folder.mkdir(parents=True, exist_ok=True)
    (source,) = fold_sources([fold_path])
    ensemble: Ensemble | None = None
    found = []
    for number, case in enumerate(cases, start=1):
        made_from = _made_from(source, case, how)
        entry = _entry(fold, case, how)
        if not _is_there(entry, made_from):
            ensemble = ensemble or _one_fold(source, how, note)
            _write(entry, case, ensemble, how, made_from)
        found.append(entry)
        on_case(number, len(cases))
    return tuple(found)


def write_case_table(path: Path, cases: Iterable[OutOfFoldCase]) -> Path:
    """Write the table that `shiva-cmb evaluate` takes for `--truth` and for `--pred`.

    Maps are named relative to the table's folder, the data by their full paths.

    Raises:
        OutputError: if it cannot be written.
    """
    cases = tuple(cases)
    free = list(dict.fromkeys(name for case in cases for name in case.columns))
    columns = {name: f"table_{name}" if name.lower() in _TAKEN else name for name in free}
    home = path.absolute().parent

    def cell(file: Path) -> str:
        file = file.absolute()
        return str(file.relative_to(home)) if file.is_relative_to(home) else str(file)

    rows = [
        {"case": case.name, "patient": case.patient, "fold": case.fold}
        | {name: cell(getattr(case, name)) for name in ("truth", "probability", "mask", "image")}
        | {written: case.columns.get(name) for name, written in columns.items()}
        for case in cases
    ]
    with replacing() as pending:
        write_tsv(pending.path(path), (*COLUMNS, *columns.values()), rows)
    return path


def safe_name(name: str) -> str:
    """A file name for a case: its own, or where that has other characters, one that no other case gets."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".")
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _entry(fold: int, case: Case, how: MapSettings) -> OutOfFoldCase:
    start = how.folder / safe_name(case.name)

    def file(kind: str) -> Path:
        return start.with_name(f"{start.name}_{kind}.nii.gz")

    return OutOfFoldCase(
        name=case.name,
        patient=case.patient,
        fold=fold,
        truth=file("truth") if how.values.lesion or how.values.ignore else case.label,
        probability=file("prob"),
        mask=file("brain") if case.mask is None else case.mask,
        image=case.images[0],
        columns=case.columns,
    )


def _record(entry: OutOfFoldCase) -> Path:
    """What a map was made from, beside it."""
    return entry.probability.with_name(entry.probability.name.removesuffix(".nii.gz") + ".json")


def _made_from(source: FoldSource, case: Case, how: MapSettings) -> dict[str, Any]:
    """Everything that changes a map, as plain data."""
    expected = {"input", "channels", "preprocessing", "scaling", "averaging"}
    files = [*case.images, case.label] + ([] if case.mask is None else [case.mask])
    return {
        "fold_sha256": source.sha256,
        "model": how.part.model_dump(mode="json", include=expected),
        "precision": how.options.precision,
        "lesion_values": list(how.values.lesion),
        "ignore_values": list(how.values.ignore),
        "files": [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
    }


def _is_there(entry: OutOfFoldCase, made_from: dict[str, Any]) -> bool:
    try:
        recorded = json.loads(_record(entry).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return recorded == made_from and all(
        file.is_file() for file in (entry.probability, entry.truth, entry.mask)
    )


def _one_fold(source: FoldSource, how: MapSettings, note: Note) -> Ensemble:
    only = ModelSource((source,), how.part, described=True, from_bundle=True)
    return Ensemble(only, how.options, note)


def _write(
    entry: OutOfFoldCase, case: Case, ensemble: Ensemble, how: MapSettings, made_from: dict[str, Any]
) -> None:
    """Make the map, and the mask and the label where the case has none that `evaluate` could take."""
    images = [*case.images]
    made = {entry.probability: predict(images, model=ensemble, mask=case.mask, note=_silent).probability}
    if entry.mask != case.mask:
        subject = read_subject(images, None, note=_silent)
        made[entry.mask] = Volume(subject.lesion_region(), subject.grid.affine)
    if entry.truth != case.label:
        label = read_volume(case.label, note=_silent)
        values = np.where(how.values.ignored_in(label.data), IGNORED, how.values.lesions_in(label.data))
        made[entry.truth] = label.with_data(values.astype(np.uint8))
    with replacing() as pending:
        for path, volume in made.items():
            write_volume(volume, pending.path(path))
        write_json(made_from, pending.path(_record(entry)))  # gets its name last: it vouches for the others


def _silent(_: str) -> None:
    """Remarks on these files were made when they were prepared for training."""
