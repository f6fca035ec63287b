"""`shiva-cmb compare`: which of several methods is better on the same cases."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiva_cmb.cli import judging, options
from shiva_cmb.cli.screen import print_json, showing_steps
from shiva_cmb.errors import Note, UsageError
from shiva_cmb.files import require_can_hold_results, require_new

if TYPE_CHECKING:
    from shiva_cmb.evaluation import Evaluation


def compare(
    methods: Annotated[
        list[str],
        typer.Argument(
            help="Each method's predictions, as --truth, or NAME=PATH; the same NAME again is another run."
        ),
    ],
    truth: judging.Truth,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="New folder for the comparison's files.")
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Test only these, such as detection.micro.f1; fewer tests are stronger ones."),
    ] = None,
    match: judging.Match = "overlap",
    min_overlap_voxels: judging.MinOverlap = 1,
    min_iou: judging.MinIou = 0.1,
    max_distance_mm: judging.MaxDistance = 5.0,
    threshold: judging.Threshold = None,
    peak_threshold: judging.PeakThreshold = None,
    min_volume_mm3: judging.MinVolume = None,
    ignore_below_mm3: judging.IgnoreBelow = 0.0,
    ignore_value: judging.IgnoredValues = None,
    connectivity: judging.Connectivity = 26,
    truth_kind: judging.TruthKind = "auto",
    pred_kind: judging.PredictionKind = "auto",
    cases: judging.Cases = None,
    bootstraps: judging.Bootstraps = 1000,
    permutations: Annotated[int, typer.Option(min=1, help="Of the test.")] = 5000,
    level: judging.Level = 0.95,
    seed: judging.Seed = 0,
    processes: judging.Processes = None,
    json: options.Json = False,
) -> None:
    """Compare methods on the same cases: paired bootstrap, permutation test, Holm correction.

    Example: shiva-cmb compare unet=run1/ unet=run2/ resunet=run3/ resunet=run4/ --truth labels/

    Not for clinical use.
    """
    sources = _sources(methods)
    if output is not None:
        require_new(output)
        require_can_hold_results(output.absolute().parent)
    settings = judging.settings_from(locals())
    if figure:
        from shiva_cmb.evaluation.comparison import require_figures

        require_figures(figure)

    from shiva_cmb.evaluation import compare as run
    from shiva_cmb.evaluation import evaluate, pair_cases
    from shiva_cmb.reporting.comparison_report import comparison_json, comparison_text, save_comparison

    remarks = judging.Remarks()
    runs: dict[str, list[Evaluation]] = {name: [] for name in sources}
    with showing_steps("comparing", json) as on_step:
        for name, paths in sources.items():
            for number, path in enumerate(paths, start=1):
                step = f"{name}, run {number} of {len(paths)}"
                found = pair_cases(truth, path, table=cases, note=remarks)
                runs[name].append(
                    evaluate(
                        found,
                        settings,
                        processes=judging.processes_for(processes, len(found.cases)),
                        progress=_telling(step, on_step),
                        note=_naming(name if len(paths) == 1 else f"{name}, run {number}", remarks),
                    )
                )
        on_step("testing")
        result = run(
            runs, figures=figure, replicates=bootstraps, permutations=permutations, level=level, seed=seed
        )
        if output is not None:
            save_comparison(result, runs, output, note=remarks)
    remarks.finish("see comparison.json" if output is not None else "-o or --json show all")
    if json:
        print_json(comparison_json(result, settings, runs))
    else:
        print(comparison_text(result, runs))
        if output is not None:
            print(f"-> {output}")
    judging.complain_of(evaluation for evaluations in runs.values() for evaluation in evaluations)


def _telling(step: str, on_step: Callable[[str], None]) -> Callable[[int, int], None]:
    return lambda done, of: on_step(f"{step}: case {done} of {of}")


def _naming(method: str, note: Note) -> Note:
    return lambda line: note(f"{method}: {line}")


def _sources(methods: list[str]) -> dict[str, list[Path]]:
    """Paths by method; one without a name is called by its folder, and parents where it takes them."""
    named: dict[str, list[Path]] = {}
    bare: list[Path] = []
    for text in methods:
        name, equals, source = text.partition("=")
        if equals and name and not Path(text).exists():
            named.setdefault(name, []).append(Path(source))
        else:
            bare.append(Path(text).absolute())
    for number, path in enumerate(bare):
        others = bare[:number] + bare[number + 1 :]
        depths = range(1, len(path.parts))
        depth = next((d for d in depths if all(a.parts[-d:] != path.parts[-d:] for a in others)), None)
        if depth is None:
            raise UsageError(f"{path} is given twice: name runs of one method NAME=PATH")
        named.setdefault("/".join(path.parts[-depth:]), []).append(path)
    counts = {len(paths) for paths in named.values()}
    if len(methods) < 2 or len(counts) > 1:
        told = ", ".join(f"{name}: {len(paths)}" for name, paths in named.items())
        raise UsageError(
            f"expected two or more methods with as many runs each, or several runs of one, got {told}"
        )
    return named
