"""Groups of lesions and cases."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.evaluation.facts import LesionFacts
from shiva_cmb.evaluation.strata import (
    MAX_LEVELS,
    Stratum,
    case_levels,
    lesion_levels,
    parse_stratum,
    require_strata,
    stratum_counts,
)


def fact(case: str, kind: str, status: str, diameter: float = 3.0, **more: object) -> LesionFacts:
    return LesionFacts(case, kind, status, 1, None, 0, 0, 0, diameter**3 * np.pi / 6, diameter, **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("site", Stratum("site")),
        ("thickness_mm:3", Stratum("thickness_mm", (3.0,))),
        (" te : 20, 10 ", Stratum("te", (10.0, 20.0))),
        ("size:5", Stratum("size", (5.0,))),
    ],
)
def test_strata_are_read(text: str, expected: Stratum) -> None:
    assert parse_stratum(text) == expected


@pytest.mark.parametrize("text", ["", ":3", "te:", "te:x", "te:1,,2", "te:1,1", "te:nan", "te:inf", "side:3"])
def test_what_is_no_stratum_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="strat"):
        parse_stratum(text)


def test_sizes_at_the_borders_of_their_classes() -> None:
    facts = [fact("a", "truth", "TP", d) for d in (1.99, 2.0, 4.99, 5.0, 10.0, 10.01)]
    levels = lesion_levels(Stratum("size"), facts)
    assert levels.of == ("<2 mm", "2-5 mm", "2-5 mm", "5-10 mm", "5-10 mm", ">10 mm")
    assert levels.names == ("<2 mm", "2-5 mm", "5-10 mm", ">10 mm")
    assert lesion_levels(Stratum("size", (5.0,)), facts).of == ("<5 mm",) * 3 + (">=5 mm",) * 3
    assert lesion_levels(Stratum("volume_mm3"), facts[:1]).of == ("<10 mm3",)


def test_shape_and_place_with_unknown_ones_last() -> None:
    facts = [
        fact("a", "truth", "TP", elongation=0.6, sphericity=None, region="lobar"),
        fact("a", "truth", "TP", elongation=0.61, sphericity=0.9, region=None),
        fact("a", "truth", "TP", elongation=np.nan, sphericity=0.8, region="deep"),
    ]
    assert lesion_levels(Stratum("elongation"), facts).of == ("<=0.6", ">0.6", "unknown")
    assert lesion_levels(Stratum("sphericity"), facts).of == ("unknown", ">0.8", "<=0.8")
    assert lesion_levels(Stratum("region"), facts).names == ("deep", "lobar", "unknown")


def test_a_matched_pair_across_a_border_counts_in_the_stratum_of_its_true_lesion() -> None:
    facts = [
        fact("a", "truth", "TP", 4.0),
        fact("a", "prediction", "TP", 6.0),  # its partner, one size class up
        fact("a", "truth", "FN", 6.0),
        fact("a", "prediction", "FP", 1.0),
        fact("b", "truth", "ignored", 1.0),
        fact("b", "prediction", "ignored", 1.0),
    ]
    counts = stratum_counts(facts, ["b", "a"], lesion_levels(Stratum("size"), facts))
    assert {level: rows.tolist() for level, rows in counts.items()} == {
        "<2 mm": [[0, 0, 0], [0, 1, 0]],
        "2-5 mm": [[0, 0, 0], [1, 0, 0]],
        "5-10 mm": [[0, 0, 0], [0, 0, 1]],
    }
    assert sum(counts.values()).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_cases_by_value_with_missing_ones_unknown(no_note: Callable[[str], None]) -> None:
    columns = [{"site": "B"}, {"site": "A"}, {}, {"site": "n/a"}]
    levels = case_levels(Stratum("Site"), columns, [0, 0, 0, 0], no_note)
    assert levels.names == ("A", "B", "unknown")
    assert levels.of == ("B", "A", "unknown", "unknown")
    assert levels.members("unknown").tolist() == [False, False, True, True]
    facts = [fact("w", "truth", "TP"), fact("y", "prediction", "FP")]
    counts = stratum_counts(facts, list("wxyz"), levels)
    assert counts["B"].tolist() == [[1, 0, 0], *[[0, 0, 0]] * 3]
    assert counts["unknown"].sum(axis=0).tolist() == [0, 1, 0]


def test_cases_by_their_number_of_lesions(no_note: Callable[[str], None]) -> None:
    counts = [0, 1, 2, 3, 4, 5, 10, 11, 80]
    levels = case_levels(Stratum("n_lesions"), [{}] * 9, counts, no_note)
    assert levels.of == ("0", "1-2", "1-2", "3-4", "3-4", "5-10", "5-10", ">=11", ">=11")
    assert case_levels(Stratum("n_lesions", (5,)), [{}] * 9, counts, no_note).names == ("<5", ">=5")


def test_numbers_few_by_value_many_in_thirds_or_at_cuts(no_note: Callable[[str], None]) -> None:
    few = [{"te": str(value)} for value in (20, 5, 10, 20)]
    assert case_levels(Stratum("te"), few, [0] * 4, no_note).names == ("5", "10", "20")
    many = [{"te": str(value)} for value in range(9)]
    notes: list[str] = []
    thirds = case_levels(Stratum("te"), many, [0] * 9, notes.append)
    # Quantiles of 0..8 at 1/3 and 2/3 are 2.67 and 5.33; the next higher values that occur are 3 and 6.
    assert thirds.names == ("<3", "3-<6", ">=6")
    assert [thirds.members(name).sum() for name in thirds.names] == [3, 3, 3]
    assert "cut at 3, 6" in notes[0]
    cut = case_levels(Stratum("te", (3, 7.5)), [*many, {}], [0] * 10, no_note)
    assert cut.names == ("<3", "3-<7.5", ">=7.5", "unknown")
    assert cut.of[3] == "3-<7.5"


def test_thirds_of_a_lopsided_column_keep_every_case() -> None:
    columns = [{"te": "1"}] * 20 + [{"te": str(v)} for v in range(2, 9)]
    levels = case_levels(Stratum("te"), columns, [0] * 27, [].append)
    assert sum(levels.members(name).sum() for name in levels.names) == 27


def test_many_cases_with_the_smallest_value_leave_cuts_all_the_same() -> None:
    columns = [{"te": "0"}] * 80 + [{"te": str(v)} for v in range(1, 8)]
    notes: list[str] = []
    levels = case_levels(Stratum("te"), columns, [0] * 87, notes.append)
    # Quantiles of 0..7 at 1/3 and 2/3 are 2.33 and 4.67; the next higher values are 3 and 5.
    assert levels.names == ("<3", "3-<5", ">=5")
    assert [levels.members(name).sum() for name in levels.names] == [82, 2, 3]
    assert "was cut at 3, 5, into about equal parts of the different values" in notes[0]


def test_a_column_may_be_cut_in_several_ways() -> None:
    assert [parse_stratum(text).name for text in ("te:15", "te: 5", "te:20,10.5", " te ")] == [
        "te:15", "te:5", "te:10.5,20", "te"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["size", "region", "side", "volume_mm3", "elongation", "sphericity", "n_lesions"]
)
def test_a_column_with_the_name_of_a_property_must_be_renamed(name: str) -> None:
    stratum = Stratum(name)
    require_strata([stratum], [{"site": "A"}, {}])
    for column in (name, name.capitalize()):
        with pytest.raises(UsageError, match=rf"'{name}' means .* a column '{column}' too: rename"):
            require_strata([stratum], [{}, {column: "1", "site": "A"}])
    require_strata([Stratum("site")], [{name: "1", "site": "A"}])  # not asked for: no clash


def test_what_cannot_be_grouped_by_is_refused_beforehand() -> None:
    columns = [{"site": "A", "te": "long", "n": str(k)} for k in range(9)]
    require_strata([Stratum("site"), Stratum("te"), Stratum("n"), Stratum("n", (3.0,))], columns)
    with pytest.raises(UsageError, match="no stratum 'scanner'"):
        require_strata([Stratum("site"), Stratum("scanner")], columns)
    with pytest.raises(DataError, match="'te' of the case table holds 'long'"):
        require_strata([Stratum("te", (3.0,))], columns)


def test_more_names_than_anyone_can_read() -> None:
    columns = [{"date": f"day-{k}"} for k in range(MAX_LEVELS)]
    assert len(case_levels(Stratum("date"), columns, [0] * 50, [].append).names) == 50
    with pytest.raises(
        UsageError, match=r"column 'date' of the case table has 51 different values.*at most 50"
    ):
        case_levels(Stratum("date"), [*columns, {}], [0] * 51, [].append)


def test_levels_of_many_cases_take_no_time() -> None:
    columns = [{"te": f"{k % 7919}", "site": f"s{k % 40}"} for k in range(40_000)]
    start = time.perf_counter()
    thirds = case_levels(Stratum("te"), columns, [], [].append)
    sites = case_levels(Stratum("site"), columns, [], [].append)
    assert (len(thirds.names), len(sites.names)) == (3, 40)
    assert time.perf_counter() - start < 2


def test_mistakes_are_named(no_note: Callable[[str], None]) -> None:
    with pytest.raises(UsageError, match=r"no stratum 'sitte'.*known: size, .*n_lesions, site"):
        case_levels(Stratum("sitte"), [{"site": "A"}], [0], no_note)
    with pytest.raises(DataError, match=r"'te' of the case table holds 'long'.*cut at 3"):
        case_levels(Stratum("te", (3.0,)), [{"te": "long"}], [0], no_note)
    with pytest.raises(UsageError, match="property of lesions, not of cases"):
        case_levels(Stratum("size"), [{}], [0], no_note)
    with pytest.raises(UsageError, match="not a property of lesions"):
        lesion_levels(Stratum("site"), [])
    facts = [fact("a", "truth", "TP")]
    with pytest.raises(UsageError, match="'a', which is not among the cases"):
        stratum_counts(facts, ["b"], lesion_levels(Stratum("size"), facts))
    with pytest.raises(UsageError, match="levels of 1 lesions, got 0"):
        stratum_counts(facts, ["a"], lesion_levels(Stratum("size"), []))


@pytest.fixture
def no_note() -> Callable[[str], None]:
    return pytest.fail
