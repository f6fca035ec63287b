"""Which ingredients of the generator help? `python -m recipes.ablation LABELMAPS -o OUT` leaves out one each.

A small network learns on scans without any of them what bleeds look like. From there it is trained on scans
without one ingredient, from several seeds, and judged on scans of the physical generator, on the model grid
and with what lies in fluid, which `predict` drops. OUT/ablation.md is the table. Runs that are there are
kept, so that it goes on where it was stopped, and further seeds or variants can be added.
"""

import argparse
import csv
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.commands import (
    DETECTION,
    evaluate_scans,
    run,
    say,
    shared_out,
    shiva_cmb,
    write_markdown,
)
from recipes.microbleeds import (
    COARSE,
    COARSE_PHYSICAL,
    POINT_SCANS,
    POINT_SEED,
    POINT_SETTINGS,
    SMALL,
    SMALL_NETWORK,
)
from shiva_cmb.dataset import read_cases
from shiva_cmb.dataset.cache import PrepareSettings, prepare_cases
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.ensemble import load_ensemble
from shiva_cmb.files import replacing
from shiva_cmb.imaging import Volume, write_volume
from shiva_cmb.synthesis.scan import LIST_NAME
from shiva_cmb.synthesis.visible import IGNORED
from shiva_cmb.training.fitting.state import FOLD_NAME
from shiva_cmb.training.run import Run, stored_settings

HERE = Path(__file__).parent
VEINS = ("pial", "cortical", "medullary", "deep", "infratentorial", "bridging")
VARIANTS: dict[str, tuple[str, ...]] = {
    "everything": (),
    "no veins": tuple(f"vessels.{kind}_veins=0" for kind in VEINS),
    "no calcifications": (
        *("mimics.choroid_share=0", "mimics.pineal_share=0", "mimics.pallidum_share=0"),
        *("mimics.dentate_share=0", "mimics.dural_share=0", "mimics.cortical_calcifications=0"),
    ),
    "no flow voids, no perivascular spaces": ("vessels.flow_voids=0", "vessels.perivascular_spaces=0"),
    "no thick slices, no zero filling": (
        *("protocol.swi_slice_mm=[0.8,1.2]", "protocol.t2s_slice_mm=[0.8,1.2]"),
        "protocol.zero_filled_share=0",
    ),
    "no random contrast": ("protocol.random_contrast_share=0",),
    "round single bleeds": ("bleeds.irregular_share=0", "bleeds.pair_share=0"),
}
"""What is left out, by the settings of `shiva-cmb synthesize`."""
TRIED = ("protocol.random_contrast_share=0.25",)
"""What scans.yaml does without, since this ablation hinted that it does harm: judged with the rest."""
BARE = tuple(setting for settings in VARIANTS.values() for setting in settings)
"""Without any of it: what the common start is trained on."""
SCANS, SEED = 15, 2026
JUDGED = ("--seed", POINT_SEED, *POINT_SETTINGS)
"""More bleeds than patients have, so that a few scans tell variants apart. Not the card's scans: what is
chosen by some must be judged by others."""
NETWORK = (
    *("--set", "network.filters=[16,32,64]", "--steps-per-epoch", "100"),
    *("--patch", "40,40,40", "--set", "first_patch=null", "--set", "grow_epochs=0"),
)
"""Small: differences count here, not heights."""
START, REST = ("--epochs", "15"), ("--epochs", "4", "--learning-rate", "0.001")
"""How long the common start is trained, and what follows."""
FIGURES = ("average_precision", "sensitivity_at_1_fp_per_scan", "sensitivity_at_4_fp_per_scan")
"""Of the whole curve: so short a training chooses poor operating points."""
RESULT = "figures.csv"
START_NAME = "nothing of it (the common start)"


def main(arguments: list[str] | None = None) -> int:
    """Train and judge every variant, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labelmaps", type=Path, help="folder of label maps")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="of each variant")
    parser.add_argument(
        "--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME"
    )
    parser.add_argument("--small", action="store_true", help="try all of it in minutes")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.small:
        given.output /= "small"  # its figures are not to be mixed with the others
    return run(lambda: compare(given))


def compare(given: argparse.Namespace) -> None:
    """Scans to judge by, then every variant from every seed."""
    heads, judged = shared_out(given.labelmaps)
    test, count = given.output / "test", 2 if given.small else POINT_SCANS
    which = ("--heads", ",".join(judged), "-n", count, *(COARSE_PHYSICAL if given.small else ()))
    shiva_cmb("synthesize", given.labelmaps, "-o", test, *JUDGED, *which, "--processes", given.processes)
    start = learned(given, "start", SEED - 1, BARE, heads, START)
    write_result(given, start, (START_NAME, 0), test)
    for seed in range(given.seeds):
        for variant in given.variants:
            name = f"{variant.replace(' ', '_').replace('*', '').replace(',', '')}-{seed}"
            how = (*REST, "--init", start.fold(0) / FOLD_NAME)
            rest = learned(given, name, SEED + seed, VARIANTS[variant], heads, how)
            write_result(given, rest, (variant, seed), test)
            write_table(given.output)


def learned(
    given: argparse.Namespace,
    name: str,
    seed: int,
    left_out: Sequence[str],
    heads: Sequence[str],
    how: Sequence[object],
) -> Run:
    """One network on scans of a seed without some settings' worth; kept if it is there."""
    folder = given.output / "runs" / name
    run = Run(folder / "model")
    if run.result(0) is None:
        scans, count, coarse, network = folder / "scans", SCANS, (), NETWORK
        if given.small:
            count, coarse, network = 4, COARSE, (*SMALL, *SMALL_NETWORK)
        many = ("--processes", given.processes)
        without = [word for setting in (*TRIED, *left_out) for word in ("--set", setting)]
        source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--config", HERE / "scans.yaml")
        shiva_cmb(*source, "-o", scans, "-n", count, "--seed", seed, *many, *coarse, *without)
        from_seed = ("--config", HERE / "microbleeds.yaml", "--fold", 0, "--seed", seed, *how, *network)
        shiva_cmb("train", "--data", scans / LIST_NAME, "-o", run.output, *from_seed, *many)
    for done_with in (folder / "scans", run.cache):  # made again from their seed, if they are wanted
        shutil.rmtree(done_with, ignore_errors=True)
    return run


def write_result(given: argparse.Namespace, run: Run, row: tuple[str, int], test: Path) -> None:
    """Figures of one network, if they are not there."""
    result = run.output.parent / RESULT
    if result.exists():
        return
    found = predict_on_grid(run, test, given.output / "test_on_grid", given.processes)
    figures = evaluate_scans(test, found, DETECTION, processes=given.processes).groups["detection.curves"]
    with replacing() as pending, pending.path(result).open("w", encoding="utf-8", newline="") as stream:
        lines = [("variant", "seed", *FIGURES), (*row, *(figures[name].value for name in FIGURES))]
        csv.writer(stream).writerows(lines)
    shutil.rmtree(found)


def predict_on_grid(run: Run, scans: Path, cache: Path, processes: int) -> Path:
    """Maps of the first fold on the model grid, which take a fifth of the time of those in native space."""
    settings, found = stored_settings(run), run.output / "found"
    how = PrepareSettings(settings.preprocessing, values=LabelValues(ignore=(IGNORED,)))
    cases = prepare_cases(read_cases(scans / LIST_NAME), how, cache, processes=processes, note=say)
    ensemble = load_ensemble([run.fold(0) / FOLD_NAME], shape=settings.grid)
    found.mkdir(exist_ok=True)
    for case in cases:
        maps = ensemble.predict(case.image[...])
        write_volume(Volume(maps.mean, case.lesions.grid.affine), found / f"{case.name}_prob.nii.gz")
    return found


def write_table(output: Path) -> None:
    """Mean and range over the seeds of each variant, as Markdown."""
    runs: dict[str, list[dict[str, str]]] = {}
    for path in sorted((output / "runs").glob(f"*/{RESULT}")):
        with path.open(encoding="utf-8", newline="") as stream:
            row = next(csv.DictReader(stream))
        runs.setdefault(row["variant"], []).append(row)
    lines = [
        (variant, str(len(rows)), *(_summary([float(row[name]) for row in rows]) for name in FIGURES))
        for variant in (START_NAME, *VARIANTS)
        if (rows := runs.get(variant))
    ]
    write_markdown(output / "ablation.md", ("training scans with", "seeds", *FIGURES), lines)


def _summary(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
