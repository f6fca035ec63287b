"""Which prediction belongs to which truth: cases out of folders, lists and tables."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shiva_cmb.errors import DataError, Note, warn_user
from shiva_cmb.evaluation.pairing.case_table import RowFacts, facts_of_cases
from shiva_cmb.evaluation.pairing.naming import AmbiguousError, Item, Kind, pair_items
from shiva_cmb.evaluation.pairing.sources import Source, read_source, without_folder

TRUTH_COLUMNS = ("truth", "reference", "label", "labels", "path", "file")
PREDICTION_COLUMNS = ("prediction", "predicted", "pred", "labels", "label", "path", "file")
"""Columns of a table that hold the images of a side, the best first."""

_KINDS: dict[str, tuple[Kind, ...]] = {
    "truth": ("label", "mask", "plain", "regions", "other", "probability", "image", "brain", "searched"),
    "image": ("image", "plain", "other"),
    "mask": ("searched", "brain", "mask", "plain", "label"),
    "regions": ("regions", "plain", "label", "other", "mask"),
}
"""Kinds of files that will do, the best first."""
_SURE: dict[str, tuple[Kind, ...]] = {
    "image": ("image",),
    "mask": ("searched", "brain"),
    "regions": ("regions",),
}
"""Kinds of files that are nothing else, for what only adds to a case."""


@dataclass(frozen=True)
class EvaluationCase:
    """One scan to judge."""

    name: str
    """Unique among the cases; may hold `/` where folders tell cases apart."""
    truth: Path
    """The reference: mask, label map."""
    prediction: Path | None
    """What is judged: mask, label map or probability map; None if it is missing, which counts as empty."""
    probability: Path | None = None
    """Probability map for the curves, if its name or a table says it is one; may be `prediction` itself."""
    image: Path | None = None
    """For pictures."""
    mask: Path | None = None
    """Brain mask: where voxels are judged."""
    regions: Path | None = None
    """Label map of an atlas."""
    patient: str = ""
    """Scans of one patient are drawn together. From a table, else the BIDS subject, else the case itself."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The other columns of the case table; empty if the case has no row."""


@dataclass(frozen=True)
class CaseList:
    """All scans to judge."""

    cases: tuple[EvaluationCase, ...]
    """By name, numbers in names by value."""
    missing: tuple[str, ...] = ()
    """Cases without a prediction."""
    extra: tuple[str, ...] = ()
    """Predictions without a truth, by the name of their case; not judged."""
    notes: tuple[str, ...] = ()
    """What was said while they were found: files left out, cases without a row or an image, and so on."""


@dataclass(frozen=True)
class _Predicted:
    """What was chosen of the files of one prediction."""

    prediction: Path
    probability: Path | None


def pair_cases(
    truth: str | Path,
    prediction: str | Path,
    *,
    table: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    regions: str | Path | None = None,
    note: Note = warn_user,
) -> CaseList:
    """Find the cases.

    Args:
        truth: see `read_source`; a table has a column out of `TRUTH_COLUMNS`, and its further columns count
            as those of a case table.
        prediction: the same with `PREDICTION_COLUMNS`; a table may have `probability` too. A folder may be
            what `predict` wrote: label maps are judged and probability maps give the curves.
        table: the case table: `case` or `participant_id` (with `session_id`), `patient`, paths `image`,
            `mask` and `regions`, and any columns to group by.
        images: like `truth`, with a column `image` in a table; the same for `masks` and `regions`. Where both
            these and the case table name a file, these count.
        note: is told what was left out and what is missing; `CaseList.notes` holds it too.

    Raises:
        DataError: if something does not exist, nothing pairs, or a case has several files.
    """
    notes: list[str] = []

    def remark(line: str) -> None:
        notes.append(line)
        note(line)

    ours = read_source(truth, "truth", TRUTH_COLUMNS)
    theirs = read_source(prediction, "prediction", PREDICTION_COLUMNS, probability="probability")
    ours, theirs = without_folder(ours, theirs), without_folder(theirs, ours)
    if ours.without_file:
        raise DataError(
            f"{ours.path}: the case {ours.without_file[0]!r} has no truth; a scan without bleeds needs an"
            " all-zero image"
        )
    references, predictions = _pair(ours, theirs, remark)
    names = sorted(references, key=_natural)
    rows = facts_of_cases(names, references, table, remark)
    cases = [_case(name, references[name], predictions.get(name), rows[name]) for name in names]
    for role, source in (("image", images), ("mask", masks), ("regions", regions)):
        if source is not None:
            files = read_source(source, role, (role, "path", "file"))
            cases = _with_role(cases, references, role, files, remark)
    _tell_same_files(cases, remark)
    missing = tuple(case.name for case in cases if case.prediction is None)
    extra = tuple(sorted(predictions.keys() - references.keys(), key=_natural))
    return CaseList(tuple(cases), missing, extra, tuple(notes))


def _case(name: str, reference: Item, found: _Predicted | None, row: RowFacts) -> EvaluationCase:
    return EvaluationCase(
        name=name,
        truth=reference.path,
        prediction=found.prediction if found else None,
        probability=found.probability if found else None,
        image=row.paths.get("image"),
        mask=row.paths.get("mask"),
        regions=row.paths.get("regions"),
        patient=row.patient,
        columns=row.columns,
    )


def _pair(ours: Source, theirs: Source, note: Note) -> tuple[dict[str, Item], dict[str, _Predicted]]:
    """The truth and the prediction of every case."""
    references, predictions = pair_items(
        ours.items, theirs.items, _chooser("truth", ours.items), _prediction_chooser(theirs.items)
    )
    if ours.is_one_file and theirs.is_one_file:
        return references, dict(zip(references, predictions.values(), strict=True))  # whatever their names
    empty = set(theirs.without_file)
    if not references.keys() & (predictions.keys() | empty):
        raise DataError(
            f"no prediction belongs to a truth: the truth has {_examples(references)}, the prediction has"
            f" {_examples(predictions)}; give tables with a column 'case' that say which belong together"
        )
    used = {id(item) for item in references.values()}
    left_out = [item.path for item in ours.items if id(item) not in used]
    if left_out:
        note(f"left out by name beside the truth: {len(left_out)} images, for example {left_out[0]}")
    return references, predictions


def _chooser(role: str, items: Sequence[Item]) -> Callable[[str, list[Item]], Item | None]:
    """Takes the best kind of file of a case."""
    telling = role == "truth" and any(item.kind in ("label", "mask") for item in items)

    def choose(name: str, group: list[Item]) -> Item | None:
        if telling and _only_scans(group):  # a scan whose truth is missing
            return None
        for kind in _KINDS[role]:
            best = [item for item in group if item.kind == kind]
            if best:
                # beside what only adds to a case there may be other kinds, such as derivatives of its runs
                return _only(role, name, best, group if role == "truth" else best)
        return None

    return choose


def _prediction_chooser(items: Sequence[Item]) -> Callable[[str, list[Item]], _Predicted | None]:
    """Takes label map and probability map of a case."""
    telling = any(item.kind in ("label", "mask", "probability") for item in items)

    def choose(name: str, group: list[Item]) -> _Predicted | None:
        group = [item for item in group if not item.in_model_space] or group
        if telling and _only_scans(group):
            return None
        by_kind = {kind: [item for item in group if item.kind == kind] for kind in ("label", "mask", "plain")}
        maps = [item for item in group if item.kind == "probability"]
        probability = _only("prediction", name, maps, group).path if maps else None
        masks = by_kind["label"] or by_kind["mask"]
        if not masks and probability is not None:
            return _Predicted(probability, probability)
        chosen = _only("prediction", name, masks or by_kind["plain"] or group, group)
        return _Predicted(chosen.path, chosen.probability or probability)

    return choose


def _only_scans(group: Sequence[Item]) -> bool:
    """Whether these are images and brain masks by their names, and no table says otherwise."""
    return all(item.kind in ("image", "brain", "searched") and item.table is None for item in group)


def _only(role: str, name: str, best: Sequence[Item], group: Sequence[Item]) -> Item:
    """The one file that is best.

    Raises:
        AmbiguousError: if there are several, or others lie in other folders: they may be other scans.
    """
    chosen = best[0]
    elsewhere = [
        item
        for item in group
        if item.path.parent != chosen.path.parent and not (item.entities and item.entities == chosen.entities)
    ]
    rivals = [*best[1:], *elsewhere]
    if rivals:
        raise AmbiguousError(
            f"two {role} files for the case {name!r}: {chosen.path} and {rivals[0].path}; leave one out,"
            " or give a table with a column 'case'"
        )
    return chosen


def _with_role(
    cases: list[EvaluationCase], references: Mapping[str, Item], role: str, source: Source, note: Note
) -> list[EvaluationCase]:
    """Add images, masks or atlas maps to the cases."""
    items = [references[case.name] for case in cases]
    place = {id(item): row for row, item in enumerate(items)}
    if source.is_one_file and len(cases) == 1:
        found = {0: source.items[0].path}
    else:
        # where names say which files are meant, entities of the others must not split the cases further
        named = [item for item in source.items if item.kind in _SURE[role] or item.table is not None]
        files = named or source.items
        ours, theirs = pair_items(
            items,
            files,
            lambda name, group: _only("truth", name, group, group),
            _chooser(role, files),
        )
        found = {place[id(item)]: theirs[name].path for name, item in ours.items() if name in theirs}
        if not found:
            raise DataError(
                f"no {role} in {source.path} belongs to a case: the cases are {_examples(ours)}, the files"
                f" {_examples(theirs)}; give a table with the columns 'case' and {role!r}"
            )
    without = [
        case.name for row, case in enumerate(cases) if row not in found and getattr(case, role) is None
    ]
    if without:
        note(f"{len(without)} of {len(cases)} cases have no {role}: {_examples(without)}")
    return [
        replace(
            case,
            image=found.get(row, case.image) if role == "image" else case.image,
            mask=found.get(row, case.mask) if role == "mask" else case.mask,
            regions=found.get(row, case.regions) if role == "regions" else case.regions,
        )
        for row, case in enumerate(cases)
    ]


def _tell_same_files(cases: Sequence[EvaluationCase], note: Note) -> None:
    # a link without its file has a real path too
    same = [
        case.name
        for case in cases
        if case.prediction is not None and os.path.realpath(case.prediction) == os.path.realpath(case.truth)
    ]
    if same:
        note(f"truth and prediction are the same file in {len(same)} cases: {_examples(same)}")


def _examples(names: Mapping[str, object] | Sequence[str]) -> str:
    listed = sorted(names, key=_natural)
    return (
        " and ".join(repr(name) for name in listed[:2]) + (" and more" if len(listed) > 2 else "") or "none"
    )


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts `sub-2` before `sub-10`."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
