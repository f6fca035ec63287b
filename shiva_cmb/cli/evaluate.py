"""`shiva-cmb evaluate`: how good predictions are."""

from pathlib import Path
from typing import Annotated

import typer

from shiva_cmb.cli import judging, options
from shiva_cmb.cli.screen import print_json, showing_steps
from shiva_cmb.errors import UsageError
from shiva_cmb.files import require_can_hold_results, require_new


def evaluate(
    truth: judging.Truth,
    pred: Annotated[Path, typer.Option(help="As --truth: masks, label maps or probability maps.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for the results.")],
    match: judging.Match = "overlap",
    min_overlap_voxels: judging.MinOverlap = 1,
    min_iou: judging.MinIou = 0.1,
    max_distance_mm: judging.MaxDistance = 5.0,
    threshold: judging.Threshold = None,
    peak_threshold: judging.PeakThreshold = None,
    min_volume_mm3: judging.MinVolume = None,
    operating_point: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Take both thresholds and the minimum volume from this bundle."),
    ] = None,
    ignore_below_mm3: judging.IgnoreBelow = 0.0,
    ignore_value: judging.IgnoredValues = None,
    connectivity: judging.Connectivity = 26,
    truth_kind: judging.TruthKind = "auto",
    pred_kind: judging.PredictionKind = "auto",
    cases: judging.Cases = None,
    strata: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN...", help="Columns to report by, with cuts if wanted: thickness_mm:3."),
    ] = None,
    more_strata: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="")] = None,
    images: Annotated[Path | None, typer.Option(help="Scans, for the gallery; as --truth.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Brain masks: where voxels are judged.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Parcellations (FreeSurfer or SynthSeg labels), for region and side.")
    ] = None,
    region_names: options.RegionNames = None,
    at_least: Annotated[
        list[int] | None, typer.Option(help="A scan is positive from so many lesions on. Default 1 3 5 11.")
    ] = None,
    bootstraps: judging.Bootstraps = 1000,
    level: judging.Level = 0.95,
    seed: judging.Seed = 0,
    processes: judging.Processes = None,
    features: Annotated[
        bool, typer.Option("--features", help="Also write shape and intensity of every lesion.")
    ] = False,
    gallery: Annotated[bool, typer.Option(help="Draw the misses and false alarms.")] = True,
    pick: Annotated[
        str | None,
        typer.Option(
            help="Choose threshold, peak threshold and minimum volume: f1, or fp:0.5 (FP per scan)."
        ),
    ] = None,
    peaks: Annotated[
        str | None,
        typer.Option(help="Peak thresholds that --pick tries: 0.5,0.7,0.9. Default 0.2 to 0.9; 0: none."),
    ] = None,
    update_model: Annotated[
        Path | None, typer.Option(help="Write the chosen point into this bundle. Default of --pick: f1.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Compare predictions with a reference: detection, segmentation, counts, curves, strata, intervals.

    Cases are paired by BIDS entities or file names, or by tables with a column `case`. Missing predictions
    count as empty; a case that cannot be read does not stop the others. Not for clinical use.
    """
    if more_strata and not strata:
        raise UsageError(f"unexpected argument {more_strata[0]!r}: name columns behind --strata")
    require_new(output)
    require_can_hold_results(output.absolute().parent)
    given = locals() | {"strata": [*(strata or ()), *(more_strata or ())]}

    from shiva_cmb.anatomy.regions import read_region_names
    from shiva_cmb.ensemble import open_bundle
    from shiva_cmb.evaluation import choose_operating_point, pair_cases, store_operating_point
    from shiva_cmb.evaluation import evaluate as run
    from shiva_cmb.evaluation.operating_point import require_choice, require_storable
    from shiva_cmb.reporting.evaluation_report import evaluation_json, save_evaluation, summary_text

    base = None
    if operating_point is not None:
        base = open_bundle(operating_point, note=lambda _: None).part.lesion_criteria()
    tried = _peaks_to_try(peaks) if peaks or pick or update_model else ()
    settings = judging.settings_from(given, base, tried)
    if pick:
        require_choice(pick)
    remarks = judging.Remarks()
    bundle = None
    if update_model is not None:
        require_storable(settings)
        bundle = open_bundle(update_model, note=lambda _: None)
    names = None if region_names is None else read_region_names(region_names)
    with showing_steps("evaluating", json) as on_step:
        on_step("finding cases")
        found = pair_cases(
            truth, pred, table=cases, images=images, masks=masks, regions=regions, note=remarks
        )
        result = run(
            found,
            settings,
            region_names=names,
            features=features,
            processes=judging.processes_for(processes, len(found.cases)),
            progress=lambda done, of: on_step(f"case {done} of {of}"),
            note=remarks,
        )
        chosen, problem = None, None
        if pick or bundle:
            try:
                chosen = choose_operating_point(result, pick or "f1")
            except UsageError as error:  # what was measured is not lost for it
                problem = error
        save_evaluation(result, output, chosen=chosen, gallery=gallery, on_step=on_step, note=remarks)
    remarks.finish(f"see notes in {output / 'metrics.json'}")
    if json:
        print_json(evaluation_json(result, chosen))
    else:
        print(summary_text(result, chosen))
        print(f"-> {output}")
    if problem is not None:
        raise problem
    judging.complain_of([result])  # before the model is changed: it was chosen on files that are broken
    if chosen is not None and bundle is not None:
        store_operating_point(chosen, bundle, result)
        if not json:
            print(f"operating point written to {bundle.descriptor_path}")


def _peaks_to_try(text: str | None) -> tuple[float, ...]:
    """Peak thresholds out of `0.5,0.7`; the usual ones if nothing was given.

    Raises:
        UsageError: if it is something else.
    """
    from shiva_cmb.evaluation.sweep import PEAKS_TO_TRY

    if text is None:
        return PEAKS_TO_TRY
    try:
        return tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise UsageError(f"--peaks {text}: expected numbers, such as 0.5,0.7,0.9") from error
