"""Which cases each network learns from and is checked on: by patient, evenly, written down, and checked."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiva_cmb.dataset.cases import Case
from shiva_cmb.errors import DataError, Note, UsageError, warn_user
from shiva_cmb.files import replacing, write_json
from shiva_cmb.tables import MISSING, is_missing

if TYPE_CHECKING:
    from shiva_cmb.dataset.folds_json import FoldJson

COUNT_BINS = (1, 3, 11)
"""Patients with 0, 1-2, 3-10 and more lesions are shared out evenly."""


@dataclass(frozen=True)
class Fold:
    """Which cases one network learns from and which it is checked on, as indices into the cases."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def split_folds(
    cases: Sequence[Case],
    folds: int,
    seed: int,
    *,
    lesion_counts: Sequence[int] | None = None,
    stratify: Sequence[str] = (),
    note: Note = warn_user,
) -> tuple[Fold, ...]:
    """Share out the patients so that each case is in the validation of exactly one fold.

    Patients of one kind (the values of the columns and the number of lesions together) are spread evenly
    first, then each column by itself and the number of scans. They are dealt one by one, the rarest kinds
    first, so a kind with fewer patients than folds is no obstacle and no fold is empty. scikit-learn's
    StratifiedGroupKFold knows only one kind of classes, and can leave a fold empty where they are rare.

    Training-only cases are learnt from in every fold but those that validate on their patient.

    Args:
        cases: any order; the result is the same for each.
        folds: at least 2.
        seed: of the shuffling.
        lesion_counts: for each case; if given, folds get similar shares of patients with few and many.
        stratify: free columns to share out evenly; a patient counts by the value most of its cases have.
        note: told where training-only cases are left out.

    Raises:
        UsageError: if fewer than 2 folds are asked for, or no case has a column.
        DataError: if there are fewer patients than folds.
    """
    if folds < 2:
        raise UsageError(f"expected at least 2 folds, got {folds}: each fold validates on the others' cases")
    for column in stratify:
        if all(is_missing(case.columns.get(column)) for case in cases):
            known = ", ".join(sorted({name for case in cases for name in case.columns})) or "none"
            raise UsageError(f"no case has a value in the column {column!r}; the free columns are: {known}")
    scans = Counter(case.patient for case in cases if not case.training_only)
    if len(scans) < folds:
        raise DataError(f"{folds} folds need at least {folds} patients, the list has {len(scans)}")
    traits = {patient: _traits(patient, cases, lesion_counts, stratify) for patient in scans}
    home = _deal(scans, traits, folds, seed)
    result = []
    for number in range(folds):
        own = {patient for patient, fold in home.items() if fold == number}
        result.append(_fold(cases, own))
        left_out = [case for case in cases if case.training_only and case.patient in own]
        if left_out:
            note(
                f"fold {number}: {len(left_out)} training-only cases are left out, since it validates on"
                f" their patients, for example {left_out[0].name!r}"
            )
    return tuple(result)


def _traits(
    patient: str, cases: Sequence[Case], lesion_counts: Sequence[int] | None, stratify: Sequence[str]
) -> tuple[str, ...]:
    """What a patient is shared out by: a value for each column and for the number of lesions."""
    own = [k for k, case in enumerate(cases) if case.patient == patient and not case.training_only]
    values = []
    for column in stratify:
        counts = Counter(cases[k].columns.get(column) or MISSING for k in own)
        values.append(min(counts, key=lambda value: (-counts[value], value)))
    if lesion_counts is not None:
        values.append(str(np.searchsorted(COUNT_BINS, sum(lesion_counts[k] for k in own), side="right")))
    return tuple(values)


def _deal(
    scans: Mapping[str, int], traits: Mapping[str, tuple[str, ...]], folds: int, seed: int
) -> dict[str, int]:
    """The fold that validates on each patient."""
    rng = np.random.default_rng(seed)
    order = [sorted(scans)[k] for k in rng.permutation(len(scans))]
    kinds = Counter(traits.values())
    order.sort(key=lambda patient: (kinds[traits[patient]], traits[patient], -scans[patient]))
    fold_order = rng.permutation(folds).tolist()
    of_kind: Counter[tuple[int, tuple[str, ...]]] = Counter()
    of_trait: Counter[tuple[int, int, str]] = Counter()
    in_fold: Counter[int] = Counter()
    totals: Counter[tuple[int, str]] = Counter()
    for patient in order:
        totals.update(dict.fromkeys(enumerate(traits[patient]), scans[patient]))

    home: dict[str, int] = {}
    for patient in order:
        kind, size = traits[patient], scans[patient]
        loads = []
        for fold in fold_order:
            shares = [of_trait[fold, *pair] / totals[pair] for pair in enumerate(kind)]
            even = round(sum(shares) + in_fold[fold] / sum(scans.values()), 9)
            loads.append((of_kind[fold, kind], even, in_fold[fold], fold_order.index(fold)))
        fold = fold_order[min(loads)[-1]]  # an empty one has no load at all, so none stays empty
        home[patient] = fold
        in_fold[fold] += size
        of_kind[fold, kind] += size
        of_trait.update({(fold, *pair): size for pair in enumerate(kind)})
    return home


def _fold(cases: Sequence[Case], patients: set[str]) -> Fold:
    """The fold that validates on some patients."""
    validation = [k for k, case in enumerate(cases) if case.patient in patients and not case.training_only]
    train = [k for k, case in enumerate(cases) if case.patient not in patients]
    return Fold(tuple(train), tuple(validation))


def write_folds(
    path: str | Path, folds: Sequence[Fold], cases: Sequence[Case], *, seed: int, stratify: Sequence[str] = ()
) -> None:
    """Write folds as JSON, by the names of the cases.

    Args:
        path: replaced if it is there.
        folds: of these cases.
        cases: those that were split.
        seed: that they were split with, for the record.
        stratify: columns they were split by, for the record.

    Raises:
        OutputError: if it cannot be written.
    """
    content = {
        "seed": seed,
        "stratify": list(stratify),
        "folds": [
            {side: [cases[k].name for k in getattr(fold, side)] for side in ("validation", "train")}
            for fold in folds
        ],
    }
    with replacing() as pending:
        write_json(content, pending.path(path))


def read_folds(path: str | Path, cases: Sequence[Case], *, note: Note = warn_user) -> tuple[Fold, ...]:
    """Read folds by the names of the cases.

    Args:
        path: what `write_folds` wrote, or by hand `{"folds": [{"validation": [names]}, ...]}`; where `train`
            is left out it is everything else. nnU-Net's `splits_final.json` is taken too.
        cases: those that are to be trained on. The folds may be of another list with the same cases to check
            on: names to learn from that are not in this list are left out, and training-only cases that the
            file does not name are learnt from in every fold but those that validate on their patient.
        note: told of names that are left out.

    Returns:
        The folds. They may leak: see `check_leakage`.

    Raises:
        DataError: if it is no such file, checks on a case that is not in the list, or leaves one out.
    """
    from shiva_cmb.dataset.folds_json import read_folds_json

    path = Path(path)
    numbers = {case.name: k for k, case in enumerate(cases)}
    named = read_folds_json(path)
    known = {name for fold in named for name in (*fold.validation, *(fold.train or ()))}
    added = {k for k, case in enumerate(cases) if case.training_only and case.name not in known}
    folds = []
    for number, fold in enumerate(named):
        strange = [name for name in fold.validation if name not in numbers]
        if strange:
            raise DataError(
                f"{path}, fold {number}: {len(strange)} names are not in the list of cases, for example"
                f" {strange[0]!r}"
            )
        folds.append(_with_numbers(f"{path}, fold {number}", fold, cases, numbers, added))
    never = {k for k, case in enumerate(cases) if not case.training_only}
    never -= {k for fold in folds for k in fold.validation}
    if never:
        raise DataError(
            f"{path}: {len(never)} cases are in no fold's validation, for example {cases[min(never)].name!r}:"
            " add them, or mark them as training_only in the list of cases"
        )
    left_out = sorted(known - set(numbers))
    if left_out:
        note(
            f"{path}: {len(left_out)} names to learn from are not in the list of cases and are left out, for"
            f" example {left_out[0]!r}"
        )
    return tuple(folds)


def _with_numbers(
    where: str, fold: "FoldJson", cases: Sequence[Case], numbers: Mapping[str, int], added: set[int]
) -> Fold:
    """A fold by numbers; training-only cases that no fold names are added."""
    if not fold.validation:
        raise DataError(f"{where}: there is no case in the validation")
    validation = sorted({numbers[name] for name in fold.validation})
    patients = {cases[k].patient for k in validation}
    everything_else = [
        k
        for k, case in enumerate(cases)
        if k not in validation and not (case.training_only and case.patient in patients)
    ]
    if fold.train is None:
        return Fold(tuple(everything_else), tuple(validation))
    train = {numbers[name] for name in fold.train if name in numbers} | (added & set(everything_else))
    missing = sorted(set(everything_else) - train)
    if missing:
        raise DataError(
            f"{where}: {len(missing)} cases are neither in train nor in validation, for example"
            f" {cases[missing[0]].name!r}: add them, or take them off the list of cases"
        )
    return Fold(tuple(sorted(train)), tuple(validation))


def check_leakage(folds: Sequence[Fold], cases: Sequence[Case], fingerprints: Mapping[str, str]) -> None:
    """Refuse folds in which a network would be checked on what it has learnt from.

    Args:
        folds: of these cases.
        cases: all of them.
        fingerprints: of the content of a case's images by its name, with spaces between; each is compared
            with each. Cases without are not compared.

    Raises:
        DataError: if a case is in two validations, a training-only case is in one, or a case, a patient or
            the same image is on both sides of a fold.
    """
    found = list(leaks(folds, cases, fingerprints))
    if found:
        raise DataError(found[0] + (f" (and {len(found) - 1} more problems like it)" if found[1:] else ""))


def leaks(folds: Sequence[Fold], cases: Sequence[Case], fingerprints: Mapping[str, str]) -> Iterator[str]:
    """Every reason for `check_leakage` to refuse folds, one line each."""
    seen: dict[int, int] = {}
    for number, fold in enumerate(folds):
        trained = set(fold.train)
        patients = {cases[k].patient: cases[k].name for k in fold.train}
        images = {mark: k for k in fold.train for mark in fingerprints.get(cases[k].name, "").split()}
        for k in fold.validation:
            case = cases[k]
            shared = [images[mark] for mark in fingerprints.get(case.name, "").split() if mark in images]
            if case.training_only:
                yield f"fold {number}: the case {case.name!r} is training-only but in validation"
            if seen.setdefault(k, number) != number:
                yield f"the case {case.name!r} is in the validation of two folds, {seen[k]} and {number}"
            if k in trained:
                yield f"fold {number}: the case {case.name!r} is in both train and validation"
            elif case.patient in patients:
                yield (
                    f"fold {number}: the patient {case.patient!r} is in both train ({patients[case.patient]})"
                    f" and validation ({case.name}): keep the scans of one patient together"
                )
            elif shared:
                yield (
                    f"fold {number}: the cases {case.name!r} in validation and {cases[shared[0]].name!r}"
                    " in train have the same image: remove one, or give both one patient"
                )
