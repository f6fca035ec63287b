"""Which ingredients of the generator help? `python -m recipes.ablation LABELMAPS -o OUT` leaves out one each.

Every variant is trained from several seeds on scans without one ingredient, by small networks, and judged on
scans of the physical generator. OUT/ablation.md is the table. Runs that are there are kept, so that it goes
on where it was stopped, and further seeds or variants can be added.
"""

import argparse
import csv
import statistics
import sys
from pathlib import Path

from recipes.commands import pooled_figures, run, shared_out, shiva_cmb, write_markdown
from recipes.microbleeds import COARSE, SMALL
from shiva_cmb.files import replacing

HERE = Path(__file__).parent
VEINS = ("pial", "cortical", "medullary", "deep", "infratentorial", "bridging")
VARIANTS: dict[str, tuple[str, ...]] = {
    "everything": (),
    "no veins": (
        *(f"vessels.{kind}_veins=0" for kind in VEINS),
        *("vessels.short_pieces=0", "vessels.varicose=0"),
    ),
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
    "no deformation": ("deformation=0",),
}
"""What is left out, by the settings of `shiva-cmb synthesize`."""
SCANS, TEST_SCANS, SEED = 24, 32, 2026
TEST_SEED = 31
"""Not the card's: what is chosen by these scans must be judged by others."""
NETWORK = (
    *("--set", "network.filters=[16,32,64]", "--folds", "2", "--epochs", "8", "--patch", "40,40,40"),
    *("--set", "grow_epochs=3"),
)
"""Small networks and a tenth of the steps: differences count here, not heights."""
FIGURES = ("average_precision", "sensitivity_at_1_fp_per_scan", "sensitivity_at_4_fp_per_scan")
"""Of the whole curve: so short a training chooses poor operating points."""


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
    test, count = given.output / "test", 2 if given.small else TEST_SCANS
    physical = ("--generator", "physical", "--heads", ",".join(judged), "--seed", TEST_SEED)
    many = ("-n", count, "--processes", given.processes)
    shiva_cmb("synthesize", given.labelmaps, "-o", test, *physical, *many)
    for seed in range(given.seeds):
        for variant in given.variants:
            one_run(given, variant, seed, heads, test)
            write_table(given.output)


def one_run(given: argparse.Namespace, variant: str, seed: int, heads: tuple[str, ...], test: Path) -> None:
    """Scans, training, prediction and figures of one variant from one seed."""
    folder = given.output / "runs" / f"{variant.replace(' ', '_').replace('*', '').replace(',', '')}-{seed}"
    result = folder / "figures.csv"
    if result.exists():
        return
    many = ("--processes", given.processes)
    scans, model, found = folder / "scans", folder / "model", folder / "found"
    left_out = [word for setting in VARIANTS[variant] for word in ("--set", setting)]
    count, coarse, small = (4, COARSE, SMALL) if given.small else (SCANS, (), NETWORK)
    source = ("synthesize", given.labelmaps, "--heads", ",".join(heads), "--config", HERE / "scans.yaml")
    shiva_cmb(*source, "-o", scans, "-n", count, "--seed", SEED + seed, *many, *coarse, *left_out)
    if not (model / "model_info.json").exists():
        started = ("--resume",) if (model / "training").exists() else ()
        how = ("--config", HERE / "microbleeds.yaml", *small, "--folds", 2, "--seed", seed, *started, *many)
        shiva_cmb("train", "--data", scans / "cases.json", "-o", model, *how)
    figures = pooled_figures(model, test, found)
    row = (variant, seed, *(figures[name].value for name in FIGURES))
    with replacing() as pending, pending.path(result).open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("variant", "seed", *FIGURES), row])


def write_table(output: Path) -> None:
    """Mean and range over the seeds of each variant, as Markdown."""
    runs: dict[str, list[dict[str, str]]] = {}
    for path in sorted((output / "runs").glob("*/figures.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            row = next(csv.DictReader(stream))
        runs.setdefault(row["variant"], []).append(row)
    lines = [
        (variant, str(len(rows)), *(_summary([float(row[name]) for row in rows]) for name in FIGURES))
        for variant in VARIANTS
        if (rows := runs.get(variant))
    ]
    write_markdown(output / "ablation.md", ("training scans with", "seeds", *FIGURES), lines)


def _summary(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
