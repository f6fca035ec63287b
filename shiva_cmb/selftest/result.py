"""What a self-test gives: each implanted bleed, the sensitivity by size and region, files, a summary."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from shiva_cmb.errors import NOT_CLINICAL, UsageError
from shiva_cmb.files import replacing, require_not_inputs, write_json
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.prediction.result import make_folder
from shiva_cmb.synthesis.bleeds.draw import MOST_BLEEDS
from shiva_cmb.synthesis.bleeds.implant import Implanted, ScannerSettings
from shiva_cmb.synthesis.scan import TrueBleed
from shiva_cmb.tables import write_tsv

SIZE_CUTS_MM = (2.0, 3.0, 5.0)
SIZE_NAMES = ("<2 mm", "2-3 mm", "3-5 mm", ">=5 mm")
"""Bleeds by the diameter of what can be seen of them; a diameter at a cut belongs above it."""
CAVEAT = (
    "The implanted bleeds are simulated: round or lumpy cores of iron, with the blooming that physics says."
    " Real bleeds and their surroundings vary more, so take the sensitivity as an upper bound."
)


@dataclass(frozen=True)
class SelfTestSettings:
    """How a self-test is done."""

    bleeds: int = 15
    """Implanted at a time; more crowd the scan."""
    repeats: int = 4
    """How often, each time at other places."""
    diameter_mm: tuple[float, float] = (1.3, 7.0)
    """Smallest and largest visible diameter at 3 T and 20 ms, evenly on a log scale: every size is tried."""
    seed: int = 0
    """Of places and sizes."""
    volume_index: int | None = None
    """Which volume of a file that holds several, from 0."""
    keep_images: bool = False
    """Keep the copies in the result, to be looked at."""

    def __post_init__(self) -> None:
        if not 1 <= self.bleeds <= MOST_BLEEDS:
            raise UsageError(f"bleeds: expected 1 to {MOST_BLEEDS}, got {self.bleeds}")
        if self.repeats < 1:
            raise UsageError(f"repeats: expected 1 or more, got {self.repeats}")
        if self.seed < 0:
            raise UsageError(f"seed: expected 0 or more, got {self.seed}")
        if not 0.5 <= self.diameter_mm[0] <= self.diameter_mm[1] <= 20:
            raise UsageError(f"expected diameters from 0.5 to 20 mm, smallest first, got {self.diameter_mm}")


@dataclass(frozen=True)
class ImplantedBleed:
    """One bleed that was put into the scan."""

    repeat: int
    """In which copy of the scan, from 1."""
    truth: TrueBleed
    """What it is and how it looks."""
    found: bool
    """Whether a lesion overlaps it, one for each at most."""

    @property
    def size(self) -> str:
        """Its class, out of `SIZE_NAMES`."""
        return SIZE_NAMES[bisect_right(SIZE_CUTS_MM, self.truth.diameter_mm)]


@dataclass(frozen=True)
class Sensitivity:
    """Found out of those that can be seen."""

    found: int
    """Bleeds that were found."""
    visible: int
    """Bleeds that could be."""

    @property
    def share(self) -> float:
        """Found out of visible; NaN if there are none."""
        return self.found / self.visible if self.visible else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of a share of few (Wilson 1927); (0, 1) if there are none."""
        if not self.visible:
            return 0.0, 1.0
        z, n = NormalDist().inv_cdf(0.975), self.visible
        middle = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(self.share * (1 - self.share) / n + z * z / (4 * n * n))
        return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.interval
        return {**asdict(self), "sensitivity": self.share, "interval_95": [low, high]}


@dataclass(frozen=True, eq=False)
class SelfTest:
    """What came out. Not for clinical use."""

    bleeds: tuple[ImplantedBleed, ...]
    """All that were implanted."""
    untouched_lesions: int
    """Lesions on the scan as it is; they count neither way."""
    false_alarms: int
    """Lesions of all copies that are at no bleed and not there on the untouched scan."""
    copies: tuple[Implanted, ...]
    """The scans with the bleeds, if they were to be kept."""
    settings: SelfTestSettings
    """How it was done."""
    scanner: ScannerSettings
    """What was assumed of the scan."""
    source: str
    """The scan."""
    notes: tuple[str, ...]
    """Everything that was repaired, guessed or left out."""

    @property
    def overall(self) -> Sensitivity:
        """Of all sizes."""
        return _sensitivity(self.bleeds)

    @property
    def by_size(self) -> dict[str, Sensitivity]:
        """For each of `SIZE_NAMES`."""
        return {name: _sensitivity(b for b in self.bleeds if b.size == name) for name in SIZE_NAMES}

    @property
    def by_region(self) -> dict[str, Sensitivity]:
        """For each region that occurs; empty where none is known."""
        names = sorted({bleed.truth.region for bleed in self.bleeds} - {"unknown"})
        return {name: _sensitivity(b for b in self.bleeds if b.truth.region == name) for name in names}

    def as_record(self) -> dict[str, Any]:
        """Everything but the images, for JSON."""
        return {
            "notice": NOT_CLINICAL,
            "caveat": CAVEAT,
            "scan": self.source,
            "settings": asdict(self.settings),
            "scanner": asdict(self.scanner),
            "implanted": len(self.bleeds),
            "too_faint_to_see": sum(not bleed.truth.visible for bleed in self.bleeds),
            "overall": self.overall.as_record(),
            "by_size": {name: one.as_record() for name, one in self.by_size.items()},
            "by_region": {name: one.as_record() for name, one in self.by_region.items()},
            "lesions_on_the_untouched_scan": self.untouched_lesions,
            "new_false_alarms": self.false_alarms,
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The result in lines of text."""
        faint = sum(not bleed.truth.visible for bleed in self.bleeds)
        scanner = self.scanner
        kind = "SWI" if scanner.phase_mask else "magnitude"
        lines = [
            f"Self-test of {self.source}",
            f"{len(self.bleeds)} simulated bleeds in {self.settings.repeats} copies of the scan,"
            f" as a {kind} of {scanner.field_t:g} T and TE {scanner.te_ms:g} ms would show them",
            *(_line(name, one) for name, one in self.by_size.items()),
            *(_line(name, one) for name, one in self.by_region.items()),
            _line("all", self.overall),
            f"{faint} more were too faint for anybody to see and do not count.",
            f"{self.untouched_lesions} lesions on the untouched scan, which do not count either;"
            f" {self.false_alarms} new false alarms in {self.settings.repeats} copies.",
            CAVEAT,
            NOT_CLINICAL,
        ]
        return "\n".join(lines)

    def save(self, folder: str | Path, name: str, *, images: bool = False) -> dict[str, Path]:
        """Write `NAME_selftest.tsv` (one row per bleed), `.json` and `.txt`.

        Args:
            folder: made if it is missing.
            name: what the file names start with.
            images: also write the copies of the scan and their labels (1 visible, 2 too faint).

        Returns:
            What was written, by kind.

        Raises:
            OutputError: if something cannot be written; then nothing is.
            UsageError: if the scan would be overwritten.
        """
        folder = make_folder(folder)
        written = {kind: folder / f"{name}_selftest.{kind}" for kind in ("tsv", "json", "txt")}
        volumes: dict[str, Volume] = {}
        for number, copy in enumerate(self.copies if images else (), start=1):
            volumes |= {f"{number}": copy.image, f"{number}_label": copy.image.with_data(copy.label)}
        written |= {kind: folder / f"{name}_selftest_{kind}.nii.gz" for kind in volumes}
        require_not_inputs(written.values(), [self.source])
        columns = ("repeat", *(field.name for field in fields(TrueBleed)), "found")
        rows = [
            {
                "repeat": bleed.repeat,
                **asdict(bleed.truth),
                "visible": "yes" if bleed.truth.visible else "no",
                "found": "yes" if bleed.found else "no",
            }
            for bleed in self.bleeds
        ]
        with replacing() as pending:
            write_tsv(pending.path(written["tsv"]), columns, rows)
            write_json(self.as_record(), pending.path(written["json"]))
            pending.path(written["txt"]).write_text(self.summary() + "\n", encoding="utf-8")
            for kind, volume in volumes.items():
                write_volume(volume, pending.path(written[kind]))
        return written


def _sensitivity(bleeds: Iterable[ImplantedBleed]) -> Sensitivity:
    visible = [bleed for bleed in bleeds if bleed.truth.visible]
    return Sensitivity(sum(bleed.found for bleed in visible), len(visible))


def _line(name: str, one: Sensitivity) -> str:
    if not one.visible:
        return f"  {name:<15} none tried"
    low, high = one.interval
    counts = f"{one.found:>3} of {one.visible:>3} found"
    return f"  {name:<15} {counts}: {one.share:.0%} (95 %: {low:.0%} to {high:.0%})"
