"""Methods on the same cases: differences, their intervals, and tests neither too easy nor too hard."""

import inspect
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.comparison import COMPARED, Comparison, Difference, compare
from shiva_cmb.evaluation.figures import CaseArrays
from shiva_cmb.evaluation.matching import MatchRule
from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase
from shiva_cmb.evaluation.pipeline import Evaluation, evaluate
from shiva_cmb.evaluation.settings import EvaluationSettings
from shiva_cmb.lesions.criteria import LesionCriteria
from tests.evaluation.boxes import Box, bar, dot
from tests.evaluation.cases import chances, labels, make_case, settings, write

TRUE: list[Box] = [bar(2, 3), bar(2, 3, 10), bar(8, 9), bar(8, 9, 10)]
FALSE: list[Box] = [dot(16), dot(16, 10), dot(20)]


def scans(
    folder: Path,
    found: Sequence[Sequence[bool]],
    alarms: Sequence[int],
    patients: Sequence[str] | None = None,
    alarm_chance: float = 0.6,
) -> list[EvaluationCase]:
    """One scan per row: which of its (up to four) lesions are found, and how many false alarms there are."""
    return [
        make_case(
            folder,
            f"c{n}",
            labels(*TRUE[: len(row)]),
            chances(*[(box, 0.9) for box, hit in zip(TRUE, row, strict=False) if hit],
                    *[(box, alarm_chance) for box in FALSE[:alarm]]),
            patient=patients[n] if patients else f"p{n}",
        )
        for n, (row, alarm) in enumerate(zip(found, alarms, strict=True))
    ]  # fmt: skip


def run(cases: Sequence[EvaluationCase], how: EvaluationSettings | None = None) -> Evaluation:
    return evaluate(CaseList(tuple(cases)), how or settings(), processes=1, note=lambda _: None)


def random_scans(
    folder: Path, seed: int, n: int = 12, chance: float = 0.6, patients: Sequence[str] | None = None
) -> list[EvaluationCase]:
    """Scans with 1 to 4 lesions, the same for all seeds; each is found with a chance."""
    rng = np.random.default_rng(seed)
    found = [[bool(rng.random() < chance) for _ in range(1 + k % 4)] for k in range(n)]
    return scans(folder, found, rng.integers(0, 3, n).tolist(), patients)


def one(comparison: Comparison, name: str) -> Difference:
    (found,) = [d for d in comparison.differences if d.name == name]
    return found


def same(a: float, b: float) -> bool:
    return a == pytest.approx(b, abs=1e-12, nan_ok=True)


def test_identical_methods_do_not_differ(tmp_path: Path) -> None:
    found = run(random_scans(tmp_path, 1))
    comparison = compare({"A": [found], "B": [found]}, replicates=200, permutations=200)
    assert [d.name for d in comparison.differences] == list(COMPARED)
    for difference in comparison.differences:
        if np.isnan(difference.difference.value):  # no lesion-free scans, none without a bleed
            assert difference.name in (
                "detection.micro.fp_per_lesion_free_scan",
                "scan_classification.1.auc",
            )
            assert np.isnan(difference.p)
        else:
            assert difference.difference.value == 0
            assert (difference.difference.low, difference.difference.high) == (0, 0)
            assert (difference.p, difference.p_holm) == (1, 1)


def test_differences_by_hand(tmp_path: Path) -> None:
    # two scans of two lesions: A finds 1 and 1 with 1 and 0 false alarms, B finds 2 and 2 with 0 and 1
    a = run(scans(tmp_path / "a", [[True, False], [False, True]], [1, 0]))
    b = run(scans(tmp_path / "b", [[True, True], [True, True]], [0, 1]))
    comparison = compare({"A": [a], "B": [b]}, replicates=100, permutations=99)
    assert comparison.cases == ("c0", "c1")
    assert one(comparison, "detection.micro.sensitivity").difference.value == pytest.approx(1 - 1 / 2)
    assert one(comparison, "detection.micro.precision").difference.value == pytest.approx(4 / 5 - 2 / 3)
    assert one(comparison, "detection.micro.fp_per_scan").difference.value == 0
    assert comparison.methods["A"]["detection.micro.sensitivity"].figure.value == 1 / 2
    assert comparison.methods["A"]["detection.micro.sensitivity"].runs == (0.5,)
    assert np.isnan(comparison.methods["A"]["detection.micro.sensitivity"].runs_sd)
    # with two patients, both or none exchanged give the largest difference: about half of all permutations
    assert one(comparison, "detection.micro.sensitivity").p == pytest.approx(0.5, abs=0.2)


def test_a_clearly_better_method_has_a_small_p(tmp_path: Path) -> None:
    worse = run(random_scans(tmp_path / "a", 1, 16, 0.2))
    better = run(random_scans(tmp_path / "b", 2, 16, 0.95))
    comparison = compare({"worse": [worse], "better": [better]}, replicates=200, permutations=400)
    difference = one(comparison, "detection.micro.sensitivity")
    assert (difference.first, difference.second) == ("worse", "better")
    assert 0 < difference.difference.low <= difference.difference.value <= difference.difference.high
    assert difference.p == pytest.approx(1 / 401)  # no permutation comes near
    assert difference.p < difference.p_holm < 0.05


def test_p_values_are_corrected_for_all_figures_and_pairs(tmp_path: Path) -> None:
    runs = {
        name: [run(random_scans(tmp_path / name, seed, 12, chance))]
        for name, seed, chance in (("A", 1, 0.2), ("B", 2, 0.9), ("C", 3, 0.9))
    }
    comparison = compare(runs, replicates=100, permutations=200)
    assert [(d.first, d.second) for d in comparison.differences[:: len(comparison.differences) // 3]] == [
        ("A", "B"),
        ("A", "C"),
        ("B", "C"),
    ]
    tested = sorted(
        ((d.p, d.p_holm) for d in comparison.differences if not np.isnan(d.p)), key=lambda pair: pair[0]
    )
    assert len(tested) > 30
    # by hand: the k-th smallest of m times m - k, at most 1, never below the one before
    highest = 0.0
    for k, (p, corrected) in enumerate(tested):
        highest = min(1.0, max(highest, p * (len(tested) - k)))
        assert corrected == pytest.approx(highest)


@pytest.mark.parametrize("several_scans", [False, True])
def test_the_order_of_the_cases_changes_nothing(tmp_path: Path, several_scans: bool) -> None:
    patients = [f"p{k // 3 if several_scans else k}" for k in range(12)]
    a = random_scans(tmp_path / "a", 1, patients=patients)
    b = random_scans(tmp_path / "b", 2, chance=0.8, patients=patients)
    mixed = [a[k] for k in np.random.default_rng(5).permutation(12)]
    as_they_are = compare({"A": [run(a)], "B": [run(b)]}, replicates=60, permutations=60)
    in_disorder = compare({"A": [run(mixed)], "B": [run(b[::-1])]}, replicates=60, permutations=60)
    assert set(in_disorder.cases) == set(as_they_are.cases)
    for left, right in zip(as_they_are.differences, in_disorder.differences, strict=True):
        assert left.name == right.name
        for end in ("value", "low", "high", "n"):
            assert same(getattr(left.difference, end), getattr(right.difference, end)), (left.name, end)
        assert same(left.p, right.p), left.name


def test_exchanging_the_methods_changes_the_sign_only(tmp_path: Path) -> None:
    a, b = run(random_scans(tmp_path / "a", 1)), run(random_scans(tmp_path / "b", 2, chance=0.8))
    there = compare({"A": [a], "B": [b]}, replicates=60, permutations=60)
    back = compare({"B": [b], "A": [a]}, replicates=60, permutations=60)
    for left, right in zip(there.differences, back.differences, strict=True):
        assert same(left.difference.value, -right.difference.value)
        assert same(left.difference.low, -right.difference.high)
        assert same(left.p, right.p)


def test_several_runs_have_a_mean_and_a_spread(tmp_path: Path) -> None:
    # four lesions in two scans; the runs of A find 1, 2 and 3 of them, those of B 4 each
    runs = {
        "A": [
            run(scans(tmp_path / f"a{k}", found, [0, 0]))
            for k, found in enumerate(
                (
                    [[True, False], [False, False]],
                    [[True, False], [True, False]],
                    [[True, True], [True, False]],
                )
            )
        ],
        "B": [run(scans(tmp_path / f"b{k}", [[True, True]] * 2, [0, 0])) for k in range(3)],
    }
    comparison = compare(runs, replicates=100, permutations=100)
    figure = comparison.methods["A"]["detection.micro.sensitivity"]
    assert figure.runs == (0.25, 0.5, 0.75)
    assert figure.figure.value == pytest.approx(0.5)
    assert figure.runs_sd == pytest.approx(0.25)  # sqrt((0.25 ** 2 + 0 + 0.25 ** 2) / 2)
    assert comparison.methods["B"]["detection.micro.sensitivity"].runs_sd == 0
    assert one(comparison, "detection.micro.sensitivity").difference.value == pytest.approx(0.5)


def test_scans_of_a_patient_stay_together(tmp_path: Path) -> None:
    # B finds everything in the scans of patient p and nothing in those of q, A the other way round. Patients
    # as a whole: each bootstrap sample has p twice, both or q twice, so differences are 1, 0 or -1 only.
    patients = ["p", "p", "p", "q", "q", "q"]
    hits = [[True]] * 3 + [[False]] * 3
    a = run(scans(tmp_path / "a", hits[::-1], [0] * 6, patients))
    b = run(scans(tmp_path / "b", hits, [0] * 6, patients))
    together = one(
        compare({"A": [a], "B": [b]}, replicates=400, permutations=400), "detection.micro.sensitivity"
    )
    assert (together.difference.low, together.difference.value, together.difference.high) == (-1, 0, 1)
    apart_a, apart_b = (
        replace(e, arrays=replace(e.arrays, patients=tuple(f"p{k}" for k in range(6)))) for e in (a, b)
    )
    alone = one(
        compare({"A": [apart_a], "B": [apart_b]}, replicates=400, permutations=400),
        "detection.micro.sensitivity",
    )
    assert -1 < alone.difference.low < alone.difference.high < 1
    # exchanged together: all lesions of three scans, so the null is 1 or -1 (one patient exchanged) or 0
    better = run(scans(tmp_path / "c", [[True]] * 6, [0] * 6, patients))
    worse = run(scans(tmp_path / "d", [[False]] * 6, [0] * 6, patients))
    p = one(
        compare({"w": [worse], "b": [better]}, replicates=100, permutations=400),
        "detection.micro.sensitivity",
    ).p
    assert p == pytest.approx(0.5, abs=0.1)  # two patients: half of all permutations; six scans would be 1/32


def test_only_cases_that_all_were_judged_on_count(tmp_path: Path) -> None:
    a, b = random_scans(tmp_path / "a", 1), random_scans(tmp_path / "b", 2)
    b[3].truth.unlink()
    comparison = compare({"A": [run(a[:-1])], "B": [run(b)]}, replicates=100, permutations=100)
    assert comparison.left_out == ("c11", "c3")
    assert comparison.cases == tuple(f"c{k}" for k in range(11) if k != 3)
    with pytest.raises(UsageError, match="no case in common"):
        compare({"A": [run(a[:2])], "B": [run(b[4:6])]})


def test_methods_may_have_operating_points_of_their_own(tmp_path: Path) -> None:
    # at 0.65 the false alarms of 0.6 are gone, at 0.5 they are there
    cases = random_scans(tmp_path, 1)
    strict = settings(criteria=LesionCriteria(threshold=0.65, min_volume_mm3=0))
    large = settings(criteria=LesionCriteria(min_volume_mm3=2.5))
    usual = run(cases)
    higher = compare({"A": [usual], "B": [run(cases, strict)]}, replicates=100, permutations=100)
    assert one(higher, "detection.micro.fp_per_scan").difference.value < 0
    # the same maps: the thresholds that both were swept at give the same curve
    assert one(higher, "detection.curves.average_precision").difference.value == 0

    # lesions of two voxels have 2.59 mm3; false alarms of one, more probable than the lesions, go at 2.5 mm3
    sure = scans(tmp_path / "sure", [[True, True], [True]], [1, 1], alarm_chance=0.99)
    larger = compare({"A": [run(sure)], "B": [run(sure, large)]}, replicates=100, permutations=100)
    name = "detection.curves.average_precision"
    # A: above all thresholds 3 hits and 2 false alarms; B: 3 hits
    assert larger.methods["A"][name].figure.value == pytest.approx(3 / 5)
    assert larger.methods["B"][name].figure.value == 1


def test_masks_against_maps_have_no_curves(tmp_path: Path) -> None:
    maps = random_scans(tmp_path, 1)
    masks = [replace(c, prediction=write(tmp_path / "m" / f"{c.name}.nii", labels(*TRUE[:1]))) for c in maps]
    comparison = compare({"A": [run(maps)], "B": [run(masks)]}, replicates=100, permutations=100)
    assert not any("curves" in d.name for d in comparison.differences)
    assert "detection.micro.f1" in comparison.methods["B"]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    cases = random_scans(tmp_path / "a", 1, 3)
    found = run(cases)
    with pytest.raises(UsageError, match="two or more methods"):
        compare({"A": [found]})
    with pytest.raises(UsageError, match="A: 1, B: 2"):
        compare({"A": [found], "B": [found, found]})
    with pytest.raises(UsageError, match="got none"):
        compare({})
    with pytest.raises(UsageError, match="judged differently: rule"):
        compare({"A": [found], "B": [run(cases, settings(rule=MatchRule("shiva")))]})
    other = run(scans(tmp_path / "b", [[True], [True, True], [True]], [0, 0, 0]))
    with pytest.raises(UsageError, match="case 'c2' has 3 and 1 lesions"):
        compare({"A": [found], "B": [other]})


def test_a_single_patient_has_no_intervals(tmp_path: Path) -> None:
    a, b = (run(random_scans(tmp_path / n, k, 4, patients=["p"] * 4)) for k, n in enumerate("ab"))
    comparison = compare({"A": [a], "B": [b]}, replicates=100, permutations=100)
    figures = [f.figure for named in comparison.methods.values() for f in named.values()]
    for figure in (*figures, *(d.difference for d in comparison.differences)):
        assert np.isnan([figure.low, figure.high]).all()
    assert not np.isnan(one(comparison, "detection.micro.f1").difference.value)
    assert one(comparison, "detection.micro.f1").p == 1  # nothing can be exchanged but everything


def test_only_what_is_wanted_is_measured_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[compare.__module__]
    measure, asked = module.measure_all, []

    def spy(arrays: CaseArrays, *args: object) -> object:
        found = measure(arrays, *args)
        asked.append((set(found), set(arrays.voxels)))
        return found

    monkeypatch.setattr(module, "measure_all", spy)
    a, b = run(random_scans(tmp_path / "a", 1)), run(random_scans(tmp_path / "b", 2))
    wanted = ["detection.curves.sensitivity_at_0.5_fp_per_scan", "segmentation.dice_median"]
    comparison = compare({"A": [a], "B": [b]}, figures=wanted, replicates=50, permutations=50)
    assert [d.name for d in comparison.differences] == wanted
    assert len(asked) == 1 + 2 + 2 + 2  # what there is; values, samples and exchanges of two methods
    assert all(of_call == ({"detection.curves", "segmentation"}, {"dice"}) for of_call in asked[1:])


def test_many_cases_and_few_permutations(tmp_path: Path) -> None:
    def many(evaluation: Evaluation) -> Evaluation:
        arrays = evaluation.arrays.take(np.arange(24_000) % 12)
        names = tuple(f"c{k}" for k in range(24_000))
        return replace(evaluation, arrays=replace(arrays, names=names, patients=names))

    a, b = (many(run(random_scans(tmp_path / name, k))) for k, name in enumerate("ab"))
    start = time.perf_counter()
    comparison = compare({"A": [a], "B": [b]}, figures=["detection.micro.f1"], replicates=100, permutations=3)
    assert time.perf_counter() - start < 5
    assert len(comparison.cases) == 24_000
    assert one(comparison, "detection.micro.f1").p == 1 / 4


def test_the_library_and_the_command_make_as_many_permutations() -> None:
    from shiva_cmb.cli.compare import compare as command

    defaults = {inspect.signature(f).parameters["permutations"].default for f in (compare, command)}
    assert defaults == {5000}
