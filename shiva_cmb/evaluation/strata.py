"""Which lesions and cases belong together when figures are given by size, place, shape, scanner and so on."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import DataError, Note, UsageError, warn_user
from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.tables import as_number, is_missing

Unit = Literal["lesion", "case"]

UNKNOWN = "unknown"
"""The level of what has no value; kept, so that the levels add up to the whole."""

COUNT_CLASSES = ("0", "1-2", "3-4", "5-10", ">=11")
"""Scans by their number of true lesions."""
SIZE_CLASSES = ("<2 mm", "2-5 mm", "5-10 mm", ">10 mm")
"""Lesions by equivalent diameter; 5 belongs to the third class and 10 too, as a microbleed has 2 to 10 mm."""
ELONGATION_CUT, SPHERICITY_CUT = 0.6, 0.8
"""Above these a lesion is called round; the cuts that earlier work on microbleeds reports by."""

MAX_VALUES = 6
"""A numeric column with more different values is split into thirds."""

LESION_STRATA: Mapping[str, str] = {
    "size": "equivalent_diameter_mm",
    "equivalent_diameter_mm": "equivalent_diameter_mm",
    "volume_mm3": "volume_mm3",
    "region": "region",
    "side": "side",
    "elongation": "elongation",
    "sphericity": "sphericity",
}
"""Strata that are properties of a lesion, and where they stand in `LesionFacts`."""
MAX_LEVELS = 50
"""A column of the case table with more different values is none to group by: names, dates, numbers."""
N_LESIONS = "n_lesions"
"""The stratum of scans by their number of true lesions."""


@dataclass(frozen=True)
class Stratum:
    """What to group by, as asked for with `NAME` or `NAME:CUT,CUT`."""

    column: str
    """A key of `LESION_STRATA`, `n_lesions`, or a column of the case table."""
    cuts: tuple[float, ...] = ()
    """Where numbers are cut, ascending; a value at a cut belongs above it. If empty, see `case_levels`."""

    @property
    def name(self) -> str:
        """As it is asked for, so that one column may be cut in several ways."""
        return f"{self.column}:{','.join(f'{cut:.10g}' for cut in self.cuts)}" if self.cuts else self.column

    @property
    def unit(self) -> Unit:
        """Whether single lesions or whole cases are grouped."""
        return "lesion" if self.column in LESION_STRATA else "case"


@dataclass(frozen=True)
class Levels:
    """The level of each lesion or each case."""

    unit: Unit
    """What `of` counts: lesions or cases."""
    names: tuple[str, ...]
    """Levels that occur, in the order they are shown."""
    of: tuple[str, ...]
    """The level of each lesion (in the order of the facts) or of each case."""

    def members(self, level: str) -> NDArray[np.bool_]:
        """Which of the lesions or cases are in a level, shape (n,)."""
        return np.array([one == level for one in self.of], dtype=bool)


def parse_stratum(text: str) -> Stratum:
    """Read `site`, `n_lesions`, `thickness_mm:3` or `te_ms:10,20`.

    Raises:
        UsageError: if there is no name, or a cut is not a finite number or comes twice, or `region` or `side`
            has cuts.
    """
    column, colon, rest = text.rpartition(":") if ":" in text else (text, "", "")
    column = column.strip()
    pieces = rest.split(",") if colon else []
    cuts = [as_number(piece) for piece in pieces]
    finite = [cut for cut in cuts if cut is not None and math.isfinite(cut)]
    if not column or len(finite) < len(pieces) or len(set(finite)) < len(finite):
        raise UsageError(
            f"cannot read the stratum {text!r}: expected a column, or a column and different numbers to cut"
            " it at, for example site or thickness_mm:3 or te_ms:10,20"
        )
    if column in ("region", "side") and finite:
        raise UsageError(f"the stratum {column!r} has names, not numbers: leave out the cuts {rest!r}")
    return Stratum(column, tuple(sorted(finite)))


def require_strata(strata: Sequence[Stratum], columns: Sequence[Mapping[str, str]]) -> None:
    """Refuse what cannot be grouped by, before any case is judged.

    Args:
        strata: what is asked for.
        columns: the columns of each case's row in the case table, one mapping per case.

    Raises:
        UsageError: if no case has a column, it has more than `MAX_LEVELS` levels, or the name means a
            property of lesions or scans and a column too.
        DataError: if there are cuts and a value is not a number.
    """
    names = sorted({name for row in columns for name in row})
    for stratum in strata:
        if stratum.unit == "case" and stratum.column != N_LESIONS:
            case_levels(stratum, columns, (), note=lambda _: None)
        elif clashing := [name for name in names if name.lower() == stratum.column]:
            meaning = "lesions" if stratum.unit == "lesion" else "scans"
            raise UsageError(
                f"the stratum {stratum.column!r} means a property of {meaning}, but the case table has a"
                f" column {clashing[0]!r} too: rename the column"
            )


def lesion_levels(stratum: Stratum, facts: Sequence[LesionFacts]) -> Levels:
    """The level of each lesion.

    Without cuts, sizes go by `SIZE_CLASSES`, elongation and sphericity by one cut each, volumes are cut at
    10 mm3; region and side go by name.

    Raises:
        UsageError: if the stratum is not one of lesions.
    """
    if stratum.unit != "lesion":
        raise UsageError(
            f"{stratum.column!r} is not a property of lesions; those are {_listed(LESION_STRATA)}"
        )
    attribute = LESION_STRATA[stratum.column]
    values = [getattr(fact, attribute) for fact in facts]
    if attribute in ("region", "side"):
        return _by_name("lesion", [str(value) if value else UNKNOWN for value in values])
    if stratum.cuts:
        return _by_cuts("lesion", values, stratum.cuts, unit_name=_unit_name(attribute))
    if attribute == "equivalent_diameter_mm":
        return _in_order("lesion", [_size_class(value) for value in values], SIZE_CLASSES)
    if attribute == "volume_mm3":
        return _by_cuts("lesion", values, (10.0,), unit_name=" mm3")
    cut = ELONGATION_CUT if attribute == "elongation" else SPHERICITY_CUT
    low, high = f"<={cut:g}", f">{cut:g}"
    of = [UNKNOWN if _unknown(value) else high if value > cut else low for value in values]
    return _in_order("lesion", of, (low, high))


def case_levels(
    stratum: Stratum,
    columns: Sequence[Mapping[str, str]],
    truth_counts: ArrayLike,
    note: Note = warn_user,
) -> Levels:
    """The level of each case.

    A column of the case table goes by value; a numeric one with more than `MAX_VALUES` different values is
    split into thirds of the cases (of its values, where too many cases have the smallest one), which is said.
    `n_lesions` goes by `COUNT_CLASSES`.

    Args:
        stratum: what to group by.
        columns: the columns of each case's row in the case table, one mapping per case.
        truth_counts: number of true lesions per case, shape (cases,).
        note: is told where a column was cut.

    Raises:
        UsageError: if no case has the column, it has more than `MAX_LEVELS` levels, or the stratum is one of
            lesions.
        DataError: if there are cuts and a value is not a number.
    """
    if stratum.unit != "case":
        raise UsageError(f"{stratum.column!r} is a property of lesions, not of cases")
    if stratum.column == N_LESIONS:
        counts = [int(count) for count in np.asarray(truth_counts)]
        if stratum.cuts:
            return _by_cuts("case", counts, stratum.cuts)
        return _in_order("case", [_count_class(count) for count in counts], COUNT_CLASSES)
    cells = _cells(stratum.column, columns)
    numbers = [None if is_missing(cell) else as_number(cell) for cell in cells]
    known = [number for number in numbers if number is not None]
    strange = [c for c, n in zip(cells, numbers, strict=True) if n is None and not is_missing(c)]
    if stratum.cuts:
        if strange:
            raise DataError(
                f"the column {stratum.column!r} of the case table holds {strange[0]!r}, expected numbers to"
                f" cut at {_listed(f'{cut:g}' for cut in stratum.cuts)}: mend the cell or leave out the cuts"
            )
        return _by_cuts("case", numbers, stratum.cuts)
    if strange or len(set(known)) <= MAX_VALUES:
        levels = _by_name("case", [UNKNOWN if is_missing(cell) else cell for cell in cells])
        if len(levels.names) > MAX_LEVELS:
            raise UsageError(
                f"the column {stratum.column!r} of the case table has {len(levels.names)} different values,"
                f" expected at most {MAX_LEVELS} to group by: choose another column or merge values"
            )
        return levels
    cuts, parts = _thirds(known), "cases"
    if not cuts:
        cuts, parts = _thirds(sorted(set(known))), "different values, as many cases have the smallest one"
    note(
        f"the column {stratum.column!r} has {len(set(known))} different numbers and was cut at"
        f" {_listed(f'{cut:g}' for cut in cuts)}, into about equal parts of the {parts}; name your own cuts"
        f" with {stratum.column}:NUMBER,NUMBER"
    )
    return _by_cuts("case", numbers, cuts)


def _thirds(numbers: Sequence[float]) -> tuple[float, ...]:
    """Where to cut numbers into thirds: at values that occur, so that the names of the levels are exact."""
    thirds = np.unique(np.quantile(numbers, (1 / 3, 2 / 3), method="higher"))
    return tuple(float(cut) for cut in thirds if cut > min(numbers))


def stratum_counts(
    facts: Sequence[LesionFacts], cases: Sequence[str], levels: Levels
) -> dict[str, NDArray[np.int64]]:
    """Count outcomes per level and case.

    A matched pair counts once, in the level of its true lesion; a false positive counts in its own. So the
    levels add up to the whole whatever the matched prediction looks like. (Exception: where the "valdo" rule
    has several predictions tied for one lesion, it counts each of them, and this counts the lesion once.)

    Args:
        facts: all lesions of all cases.
        cases: names of the cases, in the order of the result.
        levels: of the lesions (same order as `facts`) or of the cases (same order as `cases`).

    Returns:
        For each level true positives, false positives and false negatives, shape (cases, 3). Cases outside a
        level of cases have zeros: leave them out with `levels.members` where scans are counted.

    Raises:
        UsageError: if the lengths do not agree or a lesion belongs to no case.
    """
    expected = len(facts) if levels.unit == "lesion" else len(cases)
    if len(levels.of) != expected:
        raise UsageError(f"expected the levels of {expected} {levels.unit}s, got {len(levels.of)}")
    place = {case: row for row, case in enumerate(cases)}
    counts = {level: np.zeros((len(cases), 3), np.int64) for level in levels.names}
    for number, fact in enumerate(facts):
        if fact.case not in place:
            raise UsageError(f"a lesion belongs to the case {fact.case!r}, which is not among the cases")
        column = _COLUMN.get((fact.kind, fact.status))
        if column is not None:
            row = place[fact.case]
            counts[levels.of[number if levels.unit == "lesion" else row]][row, column] += 1
    return counts


_COLUMN = {("truth", "TP"): 0, ("prediction", "FP"): 1, ("truth", "FN"): 2}
"""Which count an outcome goes to. A matched prediction is counted by its true lesion."""


def _size_class(diameter_mm: float) -> str:
    if _unknown(diameter_mm):
        return UNKNOWN
    return SIZE_CLASSES[sum((diameter_mm >= 2.0, diameter_mm >= 5.0, diameter_mm > 10.0))]


def _count_class(count: int) -> str:
    return COUNT_CLASSES[sum(count >= least for least in (1, 3, 5, 11))]


def _cells(column: str, columns: Sequence[Mapping[str, str]]) -> list[str]:
    """One column of the case table, empty where a case has none; upper and lower case are alike."""
    names = {name for row in columns for name in row}
    matching = [column] if column in names else sorted(n for n in names if n.lower() == column.lower())
    if not matching:
        known = dict.fromkeys([*LESION_STRATA, N_LESIONS, *sorted(names)])
        raise UsageError(
            f"there is no stratum {column!r}: the case table has no such column; known: {_listed(known)}"
        )
    return [row.get(matching[0], "") for row in columns]


def _by_cuts(unit: Unit, values: Sequence[Any], cuts: Sequence[float], unit_name: str = "") -> Levels:
    """Levels between cuts; a value at a cut belongs above it."""
    texts = [f"{cut:.10g}" for cut in cuts]
    inner = [f"{a}-<{b}" for a, b in pairwise(texts)]
    names = [f"{name}{unit_name}" for name in (f"<{texts[0]}", *inner, f">={texts[-1]}")]
    of = [UNKNOWN if _unknown(v) else names[bisect_right(cuts, v)] for v in values]
    return _in_order(unit, of, names)


def _by_name(unit: Unit, of: Sequence[str]) -> Levels:
    """Levels in the order of numbers, then of the alphabet."""
    numbers = {level: as_number(level) for level in of}
    words = sorted(level for level, number in numbers.items() if number is None)
    ordered = sorted((number, level) for level, number in numbers.items() if number is not None)
    return _in_order(unit, of, [*(level for _, level in ordered), *words])


def _in_order(unit: Unit, of: Sequence[str], order: Sequence[str]) -> Levels:
    occurring = set(of)
    names = [name for name in order if name in occurring and name != UNKNOWN]
    return Levels(unit, (*names, UNKNOWN) if UNKNOWN in occurring else tuple(names), tuple(of))


def _unknown(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _unit_name(attribute: str) -> str:
    return " mm" if attribute.endswith("_mm") else " mm3" if attribute.endswith("_mm3") else ""


def _listed(names: Any) -> str:
    return ", ".join(names)
