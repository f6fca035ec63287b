"""Whether a dataset can be learnt from: every case is read, and nothing that is wrong hides the rest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.fingerprint import image_fingerprint
from shiva_cmb.dataset.folds import leaks, read_folds
from shiva_cmb.dataset.labels import LabelValues, named_values, require_label
from shiva_cmb.dataset.report import CaseFacts, DatasetReport, Finding, LesionFacts, Severity
from shiva_cmb.errors import DataError, ShivaCmbError
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels, lesions_of_mask
from shiva_cmb.imaging import Grid, Volume, align_mask, check_image, read_volume
from shiva_cmb.imaging.alignment import MASK_THRESHOLD
from shiva_cmb.lesions.neighbours import neighbours
from shiva_cmb.parallel import Progress, run_cases

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
_CASE_PROBLEMS = (ShivaCmbError, OSError, MemoryError)


@dataclass
class _Examined:
    """What one case gave."""

    facts: CaseFacts
    findings: list[Finding] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    """By channel."""

    def add(self, severity: Severity, kind: str, message: str) -> None:
        self.findings.append(Finding(severity, kind, self.facts.case.name, message))


def check_dataset(
    dataset: Dataset,
    *,
    folds: str | Path | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> DatasetReport:
    """Read every file of a dataset and say what is wrong.

    Found are: missing and unreadable files, images without content, channels, labels and masks that lie on
    other grids or elsewhere, labels with NaN or with values nobody explained, empty labels, lesions outside
    the brain mask, the same image under two names, missing patients, and folds that leak.

    Args:
        dataset: see `read_dataset`; read it with `require_files=False` to have missing files found here.
        folds: a file of folds to check too.
        processes: cases at once.
        progress: told how many cases are done.
    """
    work = partial(_examine, channels=dataset.channels, values=dataset.values)
    outcomes = run_cases(dataset.cases, work, processes, progress)
    examined = []
    for case, outcome in zip(dataset.cases, outcomes, strict=True):
        if isinstance(outcome, str):  # its process died
            lost = _Examined(CaseFacts(case))
            lost.add("error", "unreadable file", outcome)
            outcome = lost
        examined.append(outcome)
    findings = [finding for one in examined for finding in one.findings]
    findings += _duplicates(dataset, examined)
    findings += _on_the_whole(dataset, examined)
    if folds is not None:
        first = {one.facts.case.name: " ".join(one.fingerprints.values()) for one in examined}
        findings += _on_folds(folds, dataset, {name: mark for name, mark in first.items() if mark})
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return DatasetReport(dataset, tuple(one.facts for one in examined), tuple(findings))


def _examine(case: Case, channels: Sequence[str], values: LabelValues) -> _Examined:
    result = _Examined(CaseFacts(case))
    grid = None
    for channel, path in zip(channels, case.images, strict=True):
        image = _read(path, "image" if len(channels) == 1 else f"{channel} image", result)
        if image is None:
            continue
        result.fingerprints[channel] = image_fingerprint(image)
        try:
            check_image(image, str(path), lambda line: result.add("warning", "image values", line))
        except _CASE_PROBLEMS as error:
            result.add("error", "image values", _said(error))
        if grid is None:
            grid = image.grid
            result.facts = replace(
                result.facts, shape=grid.shape, spacing_mm=grid.spacing_mm, orientation=grid.orientation
            )
        else:
            _compare_grids(image.grid, grid, f"{channel} image", result)
    label = _read(case.label, "label", result)
    mask = None if case.mask is None else _read(case.mask, "mask", result)
    if grid is not None:
        for what, volume in (("label", label), ("mask", mask)):
            if volume is not None:
                _compare_grids(volume.grid, grid, what, result)
    if label is not None:
        brain = _brain_on(label.grid, mask, str(case.mask), result)
        if np.isfinite(label.data).all():
            _check_values(label, values, case.label.name, result)
            lesions = lesions_of_mask(values.lesions_in(label.data), label.grid)
            result.facts = replace(result.facts, lesions=_facts_of(lesions, brain, result))
        else:
            result.add(
                "error", "label values", "the label holds NaN or infinite values: write 0 for no bleed"
            )
    return result


def _read(path: Path, what: str, result: _Examined) -> Volume | None:
    if not path.is_file():
        result.add("error", "missing file", f"the {what} {path} does not exist")
        return None
    try:
        return read_volume(path, note=lambda line: result.add("warning", "header", line))
    except _CASE_PROBLEMS as error:
        result.add("error", "unreadable file", _said(error))
        return None


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _compare_grids(grid: Grid, image: Grid, what: str, result: _Examined) -> None:
    if grid.matches(image):
        return
    if grid.shape == image.shape:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
        apart = np.linalg.norm(grid.to_world(corners) - image.to_world(corners), axis=1).max()
        how = f"lies elsewhere than the first image: corners up to {apart:.3g} mm apart"
    else:
        how = f"has the shape {_times(grid.shape)}, the first image {_times(image.shape)}"
    if _overlap(grid, image):
        result.add("warning", "grid", f"the {what} {how}; it is placed by world coordinates")
    else:
        result.add("error", "grid", f"the {what} {how}, and they do not overlap: is it of this scan?")


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether a coarse net of points in one field of view meets the other's, either way round."""
    for inner, outer in ((one, other), (other, one)):
        steps = [np.linspace(0, n - 1, min(n, 16)) for n in inner.shape]
        points = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
        there = outer.to_voxel(inner.to_world(points))
        if np.all((there >= -0.5) & (there <= np.array(outer.shape) - 0.5), axis=1).any():
            return True
    return False


def _brain_on(grid: Grid, mask: Volume | None, name: str, result: _Examined) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    try:
        return np.asarray(align_mask(mask, grid, name, note=lambda line: None) > MASK_THRESHOLD)
    except _CASE_PROBLEMS as error:
        result.add("error", "mask", _said(error))
        return None


def _check_values(label: Volume, values: LabelValues, name: str, result: _Examined) -> None:
    try:
        require_label(label.data, values, name)  # what training would refuse
    except DataError as error:
        result.add("error", "label values", str(error))
        return
    found, named = np.unique(label.data), named_values(label.data)
    known = values.lesions_in(found) | values.ignored_in(found) | (found == 0)
    if not values.lesion and (found != np.rint(found)).any():
        message = f"the label is a soft mask, it holds {named}: it is cut above one half"
        result.add("warning", "label values", message)
    elif not values.lesion:
        lesion = found[values.lesions_in(found)]
        if len(lesion) > 1 or not known.all():
            if _is_numbered(label, values):
                joined = len(lesion) - len(lesions_of_mask(values.lesions_in(label.data), label.grid))
                message = f"the label numbers its lesions ({named}): all of them count"
                message += f", {joined} less because some touch and count as one" if joined else ""
                result.add("warning" if joined else "info", "label values", message)
                return
            message = f"the label is not binary, it holds {named}: name its lesion values, such as 1,2"
            result.add("error", "label values", message)
    elif not known.all():
        message = f"the label holds {named}; those that are neither lesion nor ignored are background"
        result.add("warning", "label values", message)


def _is_numbered(label: Volume, values: LabelValues) -> bool:
    """Whether every value is a whole number and one connected piece, as where each lesion has its own."""
    lesion = values.lesions_in(label.data)
    if (label.data != np.rint(label.data)).any() or ((label.data < 0) & ~values.ignored_in(label.data)).any():
        return False
    numbered = lesions_of_labels(np.where(lesion, label.data, 0), label.grid)
    return all(scipy.ndimage.label(numbered.cut_out(k), neighbours(26))[1] == 1 for k in range(len(numbered)))


def _facts_of(
    lesions: LesionSet, brain: NDArray[np.bool_] | None, result: _Examined
) -> tuple[LesionFacts, ...]:
    inside: list[bool | None] = [None] * len(lesions)
    if brain is not None:
        inside = [bool(brain[tuple(lesions.indices(k).T)].any()) for k in range(len(lesions))]
        outside = inside.count(False)
        if outside:
            message = f"{outside} of {len(lesions)} lesions lie outside the brain mask"
            result.add("warning", "lesions outside the brain", message)
    if not len(lesions):
        result.add("info", "empty label", "the label is empty: a scan without lesions")
    return tuple(
        LesionFacts(int(voxels), float(volume), (float(x), float(y), float(z)), within)
        for voxels, volume, (x, y, z), within in zip(
            lesions.sizes, lesions.volumes_mm3, lesions.centroids_mm, inside, strict=True
        )
    )


def _duplicates(dataset: Dataset, examined: Sequence[_Examined]) -> Iterator[Finding]:
    first: dict[str, tuple[Case, Path]] = {}
    for one in examined:
        case = one.facts.case
        for channel, mark in one.fingerprints.items():
            path = case.images[dataset.channels.index(channel)]
            if mark not in first:
                first[mark] = (case, path)
                continue
            other, same = first[mark]
            where = f" of the case {other.name!r}" if other is not case else ""
            patients = f" and of another patient, {other.patient!r}" if other.patient != case.patient else ""
            message = f"{path} is the same image as {same}{where}{patients}"
            yield Finding("error", "duplicate", case.name, message)


def _on_the_whole(dataset: Dataset, examined: Sequence[_Examined]) -> Iterator[Finding]:
    if not dataset.patients_listed and len(dataset.cases) > 1:
        message = (
            "no patients are listed: every case counts as a patient of its own, so two scans of one may be on"
            " both sides of a fold; add the column 'patient'"
        )
        yield Finding("warning", "patients", "", message)
    if dataset.patients_listed:
        alike: dict[str, set[str]] = {}
        for case in dataset.cases:
            alike.setdefault("".join(case.patient.split()).casefold(), set()).add(case.patient)
        for names in alike.values():
            if len(names) > 1:
                told = ", ".join(map(repr, sorted(names)))
                message = f"the patients {told} differ in case or spaces only: if they are one, name it alike"
                yield Finding("warning", "patients", "", message)
    without = sum(case.mask is None for case in dataset.cases)
    if without:
        message = f"{without} of {len(dataset.cases)} cases have no brain mask: it will be estimated"
        yield Finding("info", "mask", "", message)
    read = [one.facts.lesions for one in examined if one.facts.lesions is not None]
    if read and not any(read):
        yield Finding("warning", "empty label", "", "no case has a lesion: networks would learn to find none")


def _on_folds(path: str | Path, dataset: Dataset, fingerprints: Mapping[str, str]) -> Iterator[Finding]:
    notes: list[str] = []
    try:
        folds = read_folds(path, dataset.cases, note=notes.append)
    except ShivaCmbError as error:
        yield Finding("error", "folds", "", str(error))
        return
    for line in notes:
        yield Finding("info", "folds", "", line)
    for line in leaks(folds, dataset.cases, fingerprints):
        yield Finding("error", "folds", "", f"{path}: {line}")
