"""Options that `evaluate` and `compare` share: how lesions are told, matched and counted."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from shiva_cmb.cli.screen import print_note
from shiva_cmb.cli.values import changed_criteria
from shiva_cmb.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiva_cmb.evaluation import Evaluation, EvaluationSettings
    from shiva_cmb.lesions import LesionCriteria

MOST_NOTES = 12
"""So many remarks are shown; all of them are in the results."""

Truth = Annotated[
    Path,
    typer.Option(help="Folder, BIDS derivatives, one image, a list of paths (.txt) or a table (.tsv, .csv)."),
]
Match = Annotated[
    str, typer.Option(help="overlap, distance, iou, shiva, valdo (in mm) or valdo-voxels (as its code).")
]
MinOverlap = Annotated[
    int, typer.Option("--min-overlap-voxels", help="overlap: shared voxels that make a match.")
]
MinIou = Annotated[float, typer.Option("--min-iou", help="iou: intersection over union that makes a match.")]
MaxDistance = Annotated[
    float, typer.Option("--max-distance-mm", help="distance, valdo: centroids at most this far apart.")
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Of probability maps: voxels above are lesion. Default 0.5. If given, a map is judged, not the"
        " label map beside it."
    ),
]
PeakThreshold = Annotated[
    float | None,
    typer.Option(help="Of probability maps: lesions must reach more than this somewhere. Default: none."),
]
MinVolume = Annotated[
    float | None,
    typer.Option("--min-volume-mm3", help="Smaller predictions are dropped, of whatever kind. Default 0."),
]
IgnoreBelow = Annotated[
    float,
    typer.Option(
        "--ignore-below-mm3", help="Smaller truth lesions, and predictions that touch them, do not count."
    ),
]
IgnoredValues = Annotated[
    list[int] | None,
    typer.Option(
        "--ignore-value", help="Value of the truth that counts neither way, such as 2 for unsure; repeatable."
    ),
]
Connectivity = Annotated[int, typer.Option(help="6, 18 or 26: which voxels belong together.")]
TruthKind = Annotated[
    str,
    typer.Option(
        "--truth-kind",
        help="auto (each piece of each value), mask (connected voxels), labels (each value).",
    ),
]
PredictionKind = Annotated[str, typer.Option("--pred-kind", help="auto, mask, labels or probability.")]
Cases = Annotated[
    Path | None,
    typer.Option(help="Table: case, patient, paths image, mask and regions, and columns for --strata."),
]
Bootstraps = Annotated[int, typer.Option(help="Samples of patients behind every interval.")]
Level = Annotated[float, typer.Option(help="Of the intervals.")]
Seed = Annotated[int, typer.Option(help="Of the bootstrap and the permutations.")]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="Cases at once; the figures do not depend on it. Default: by processors and cases."
    ),
]

CASES_PER_PROCESS = 10
"""Starting a process takes as long as judging some cases."""


def settings_from(
    options: dict[str, Any], base: "LesionCriteria | None" = None, peaks: tuple[float, ...] = ()
) -> "EvaluationSettings":
    """Settings out of the options above, by the names the commands give their arguments.

    Args:
        options: by name.
        base: a model's criteria, where options do not say otherwise; maps are judged then, not labels.
        peaks: peak thresholds to sweep.

    Raises:
        UsageError: if a value is out of range.
    """
    from shiva_cmb.evaluation import EvaluationSettings, MatchRule
    from shiva_cmb.evaluation.settings import NOTHING_DROPPED, LabelKind
    from shiva_cmb.evaluation.settings import PredictionKind as KindOfPrediction
    from shiva_cmb.evaluation.sweep import SweepSettings

    rule = MatchRule(
        name=options["match"],
        min_overlap_voxels=options["min_overlap_voxels"],
        min_iou=options["min_iou"],
        max_distance_mm=options["max_distance_mm"],
    )
    points = {name: options[name] for name in ("threshold", "peak_threshold", "min_volume_mm3")}
    criteria = changed_criteria(base or NOTHING_DROPPED, **points, connectivity=options["connectivity"])
    given: dict[str, Any] = {}
    if peaks:
        given["sweep"] = SweepSettings(peak_thresholds=peaks)
    if options.get("at_least"):
        given["scan_thresholds"] = tuple(options["at_least"])
    return EvaluationSettings(
        rule=rule,
        criteria=criteria,
        maps_first=base is not None
        or options["threshold"] is not None
        or criteria.peak_threshold is not None,
        ignore_below_mm3=options["ignore_below_mm3"],
        ignored_values=tuple(options["ignore_value"] or ()),
        truth_kind=_one_of("--truth-kind", options["truth_kind"], get_args(LabelKind)),
        prediction_kind=_one_of("--pred-kind", options["pred_kind"], get_args(KindOfPrediction)),
        strata=tuple(options.get("strata") or ()),
        replicates=options["bootstraps"],
        level=options["level"],
        seed=options["seed"],
        **given,
    )


def processes_for(wanted: int | None, cases: int) -> int:
    """How many processes to use where none were asked for."""
    return wanted or max(1, min(os.cpu_count() or 1, cases // CASES_PER_PROCESS))


def complain_of(results: "Iterable[Evaluation]") -> None:
    """Exit code 1 where files could not be used, after everything else was judged and written.

    Raises:
        DataError: naming the first of them.
    """
    every = list(results)
    bad = [name for result in every for name in (*result.failures, *result.unread)]
    if bad:
        raise DataError(
            f"{len(bad)} of {sum(len(result.cases.cases) for result in every)} predictions or truths could"
            f" not be used (of the cases {', '.join(dict.fromkeys(bad[:5]))}); see the notes"
        )


class Remarks:
    """Shows the first remarks and counts the others, which may be one for each of thousands of cases."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, line: str) -> None:
        """Show or count one."""
        if line in self._told:
            return
        self._told.add(line)
        if len(self._told) <= MOST_NOTES:
            print_note(line)

    def finish(self, where: str) -> None:
        """Say how many were not shown, and where they are."""
        if len(self._told) > MOST_NOTES:
            print_note(f"and {len(self._told) - MOST_NOTES} more remarks: {where}")


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UsageError(f"{option} {value}: expected one of {', '.join(allowed)}")
    return value
