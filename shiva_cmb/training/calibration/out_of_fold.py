"""Out-of-fold probability maps: every case as the one network sees it that was not trained on it."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shiva_cmb.anatomy.head_network import bundled_network
from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.labels import IGNORED, LabelValues
from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.ensemble.conversion import FoldSource, fold_sources
from shiva_cmb.ensemble.descriptor import ShivaCmbPart
from shiva_cmb.ensemble.loading import EngineOptions, Ensemble, ModelSource
from shiva_cmb.errors import Note, warn_user
from shiva_cmb.files import replacing, write_json
from shiva_cmb.imaging import Volume, read_volume, write_volume
from shiva_cmb.prediction import PredictionSettings, predict
from shiva_cmb.prediction.inputs import read_subject
from shiva_cmb.prediction.regions import RegionMap
from shiva_cmb.prediction.searched import where_to_search
from shiva_cmb.tables import write_tsv

OnCase = Callable[[int, int], None]
"""Takes the number of finished cases of the fold and that of all."""

COLUMNS = ("case", "patient", "fold", "truth", "probability", "mask", "image")
"""Of the table of cases, before the free columns."""

_TAKEN = frozenset(
    {*COLUMNS, "participant_id", "session_id", "regions", "reference", "prediction", "predicted", "pred"}
    | {"label", "labels", "path", "file"}
)
"""Names that mean something to `evaluate` or to the table: free columns of these names are renamed."""


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
    """Derived from the case's label, on its grid, as training understands it: 1 in lesions, 2 ignored."""
    probability: Path
    """In native space, as `predict` gives it."""
    mask: Path
    """Where lesions may lie: the case's brain mask, or what `predict` would search without one, large
    findings aside. With a mask, `predict` drops what it finds in the midst of fluid besides: not so here."""
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
    columns = _column_names(free)
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


def ignored_truth(values: LabelValues | None) -> tuple[int, ...]:
    """The value that marks what counts neither way in the truth beside the maps; none if labels have none."""
    return (IGNORED,) if values is not None and values.ignore else ()


def safe_name(name: str) -> str:
    """A file name for a case: its own, or where that has other characters, one that no other case gets."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".")
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _column_names(free: Iterable[str]) -> dict[str, str]:
    """What free columns are called in the table: their names, or others that are taken by nothing else."""
    taken, names = set(_TAKEN), {}
    for name in free:
        written = re.sub(r"[\s,;]+", " ", name).strip()  # these could end a header's cell, or the header
        while written.lower() in taken:
            written = f"table_{written}"
        taken.add(written.lower())
        names[name] = written
    return names


def _entry(fold: int, case: Case, how: MapSettings) -> OutOfFoldCase:
    start = how.folder / safe_name(case.name)

    def file(kind: str) -> Path:
        return start.with_name(f"{start.name}_{kind}.nii.gz")

    return OutOfFoldCase(
        name=case.name,
        patient=case.patient,
        fold=fold,
        truth=file("truth"),
        probability=file("prob"),
        mask=file("searched") if case.mask is None else case.mask,
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
        "searched_by": bundled_network().sha256 if case.mask is None else None,
        "lesion_values": list(how.values.lesion),
        "ignore_values": list(how.values.ignore),
        "files": [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
    }


def _is_there(entry: OutOfFoldCase, made_from: dict[str, Any]) -> bool:
    """Whether the files of a case were made from the same, and are whole."""
    home = entry.probability.parent
    ours = [path for path in (entry.probability, entry.truth, entry.mask) if path.parent == home]
    try:
        recorded = json.loads(_record(entry).read_text(encoding="utf-8"))
        made = {path.name: _mark(path) for path in ours}
    except (OSError, ValueError):
        return False
    return bool(recorded == made_from | {"made": made})


def _mark(path: Path) -> list[Any]:
    """By what a damaged file is told: its size in bytes and its SHA-256."""
    return [path.stat().st_size, sha256_of(path)]


def _one_fold(source: FoldSource, how: MapSettings, note: Note) -> Ensemble:
    only = ModelSource((source,), how.part, described=True, from_bundle=True)
    return Ensemble(only, how.options, note)


def _write(
    entry: OutOfFoldCase, case: Case, ensemble: Ensemble, how: MapSettings, made_from: dict[str, Any]
) -> None:
    """Make the map and the truth, and the mask where the case has none."""
    images = [*case.images]
    made = {entry.probability: _map(images, ensemble, case.mask)}
    if entry.mask != case.mask:
        subject = read_subject(images, None, note=_silent)
        made[entry.mask] = Volume(where_to_search(subject, RegionMap()).mask, subject.grid.affine)
    label = read_volume(case.label, note=_silent)
    made[entry.truth] = label.with_data(how.values.truth_in(label.data))
    with replacing() as pending:
        marks = {}
        for path, volume in made.items():
            temporary = pending.path(path)
            write_volume(volume, temporary)
            marks[path.name] = _mark(temporary)
        record = made_from | {"made": marks}
        write_json(record, pending.path(_record(entry)))  # gets its name last: it vouches for the others


def _map(images: list[Path], ensemble: Ensemble, mask: Path | None) -> Volume:
    """The probability map alone."""
    settings = PredictionSettings(places=False)
    return predict(images, model=ensemble, mask=mask, settings=settings, note=_silent).probability


def _silent(_: str) -> None:
    """Remarks on these files were made when they were prepared for training."""
