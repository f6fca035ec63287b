"""What a check of a dataset found: as text, as JSON and as tables."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.files import new_directory
from shiva_cmb.tables import write_tsv

Severity = Literal["error", "warning", "info"]
"""Training cannot go on or would be wrong; should be looked at; good to know."""

CASE_COLUMNS = (
    *("case", "patient", "training_only", "channels", "shape", "spacing_mm", "orientation", "lesions"),
    *("lesion_volume_mm3", "smallest_mm3", "largest_mm3", "problems"),
)
NAMES_SHOWN = 3
"""Of cases with the same remark."""
LESION_COLUMNS = ("case", "lesion", "voxels", "volume_mm3", "x_mm", "y_mm", "z_mm", "in_mask")


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    kind: str
    """What it is about: `missing file`, `grid`, `label values`, `duplicate` and so on."""
    case: str
    """Its name; empty if it is about the whole dataset."""
    message: str
    """One line."""

    def __str__(self) -> str:
        return f"{self.severity:<8} {self.case + ': ' if self.case else ''}{self.message}"


@dataclass(frozen=True)
class LesionFacts:
    """One lesion of a label, in native space."""

    voxels: int
    volume_mm3: float
    centre_mm: tuple[float, float, float]
    """World millimetres (RAS)."""
    in_mask: bool | None
    """Whether any of it lies in the brain mask; None without one."""


@dataclass(frozen=True)
class CaseFacts:
    """What was read of one case; None for what could not be."""

    case: Case
    shape: tuple[int, int, int] | None = None
    """Of the first channel."""
    spacing_mm: tuple[float, float, float] | None = None
    """Of the first channel."""
    orientation: str | None = None
    """Of the first channel, for example `LPS`."""
    lesions: tuple[LesionFacts, ...] | None = None
    """26-connected components of the label."""


@dataclass(frozen=True)
class DatasetReport:
    """The outcome of `check_dataset`."""

    dataset: Dataset
    facts: tuple[CaseFacts, ...]
    """In the order of the cases."""
    findings: tuple[Finding, ...]
    """Errors first, otherwise in the order of the cases."""

    def count(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "dataset": self.dataset.path,
            "channels": self.dataset.channels,
            "patients": len({case.patient for case in self.dataset.cases}),
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "findings": [asdict(finding) for finding in self.findings],
            "cases": [
                {
                    "case": facts.case.name,
                    "patient": facts.case.patient,
                    "training_only": facts.case.training_only,
                    "columns": facts.case.columns,
                    "shape": facts.shape,
                    "spacing_mm": facts.spacing_mm,
                    "orientation": facts.orientation,
                    "lesions": None if facts.lesions is None else [asdict(one) for one in facts.lesions],
                }
                for facts in self.facts
            ],
        }

    def summary(self) -> str:
        """A few lines on the dataset, what was found, and how many errors and warnings there are."""
        cases = self.dataset.cases
        patients = len({case.patient for case in cases})
        extra = sum(case.training_only for case in cases)
        counts = [len(facts.lesions) for facts in self.facts if facts.lesions is not None]
        volumes = [one.volume_mm3 for facts in self.facts for one in facts.lesions or ()]
        lines = [
            f"cases       {len(cases)} of {patients} patients"
            + (f", {extra} for training only" if extra else ""),
            f"channels    {', '.join(self.dataset.channels)}",
            f"voxels      {_most_common([facts.spacing_mm for facts in self.facts], ' mm')}",
            f"orientation {_most_common([facts.orientation for facts in self.facts])}",
            f"lesions     {sum(counts)} in {np.count_nonzero(counts)} cases"
            + (f", {min(counts)} to {max(counts)} each" if counts else ""),
        ]
        if volumes:
            lines.append(
                f"volumes     {min(volumes):.3g} to {max(volumes):.3g} mm3, median {np.median(volumes):.3g}"
            )
        lines += _lines(self.findings)
        lines.append(
            f"{_counted(self.count('error'), 'error')}, {_counted(self.count('warning'), 'warning')}"
        )
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write `cases.tsv` and `lesions.tsv`.

        Args:
            folder: made new.

        Raises:
            OutputError: if it exists and is not empty, or cannot be written.
        """
        with new_directory(folder) as work:
            write_tsv(work / "cases.tsv", CASE_COLUMNS, self._case_rows())
            write_tsv(work / "lesions.tsv", LESION_COLUMNS, self._lesion_rows())

    def _case_rows(self) -> Iterator[dict[str, Any]]:
        for facts in self.facts:
            volumes = None if facts.lesions is None else [one.volume_mm3 for one in facts.lesions]
            problems = [
                finding.message
                for finding in self.findings
                if finding.case == facts.case.name and finding.severity != "info"
            ]
            yield {
                "case": facts.case.name,
                "patient": facts.case.patient,
                "training_only": facts.case.training_only,
                "channels": len(facts.case.images),
                "shape": _times(facts.shape),
                "spacing_mm": _times(facts.spacing_mm),
                "orientation": facts.orientation,
                "lesions": None if volumes is None else len(volumes),
                "lesion_volume_mm3": None if volumes is None else float(sum(volumes)),
                "smallest_mm3": min(volumes) if volumes else None,
                "largest_mm3": max(volumes) if volumes else None,
                "problems": "; ".join(problems) or None,
            }

    def _lesion_rows(self) -> Iterator[dict[str, Any]]:
        for facts in self.facts:
            for number, one in enumerate(facts.lesions or (), start=1):
                place = dict(zip(("x_mm", "y_mm", "z_mm"), one.centre_mm, strict=True))
                values = {"voxels": one.voxels, "volume_mm3": one.volume_mm3, "in_mask": one.in_mask}
                yield {"case": facts.case.name, "lesion": number, **values, **place}


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line per finding, but one for all cases with the same kind of remark."""
    remarks: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "info" and finding.case:
            remarks.setdefault(finding.kind, []).append(finding)
        else:
            yield str(finding)
    for same in remarks.values():
        if len(same) == 1:
            yield str(same[0])
            continue
        names = ", ".join(finding.case for finding in same[:NAMES_SHOWN])
        names += ", ..." if len(same) > NAMES_SHOWN else ""
        alike = len({finding.message for finding in same}) == 1
        told = same[0].message if alike else f"for example {same[0].message}"
        yield str(Finding("info", same[0].kind, f"{len(same)} cases ({names})", told))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _times(numbers: tuple[float, ...] | None) -> str | None:
    return None if numbers is None else "x".join(f"{number:.3g}" for number in numbers)


def _most_common(values: list[Any], unit: str = "") -> str:
    """The most frequent values and how often each comes."""
    texts = [value if isinstance(value, str) else _times(value) for value in values if value is not None]
    counts = Counter(texts).most_common()
    shown = ", ".join(f"{text}{unit} ({number})" for text, number in counts[:4]) or "none"
    return f"{shown} and {len(counts) - 4} others" if len(counts) > 4 else shown
