"""Does fine-tuning on a dozen scans of one's own site help? `python -m recipes.site LABELMAPS -o OUT`.

The site has one kind of scanner (T2* at 1.5 T, noisy) and patients with several bleeds, played by the
physical generator. The bundled model as it is, a model trained from nothing on 12 of its scans, and the
bundled model fine-tuned on them are judged on its scans of other heads. OUT/site.md is the table.
"""

import argparse
import sys
from pathlib import Path

from recipes.commands import pooled_figures, run, say, shared_out, shiva_cmb, trained, write_markdown
from recipes.microbleeds import COARSE_PHYSICAL, SMALL
from shiva_cmb.ensemble import bundled, find_model
from shiva_cmb.synthesis.scan import LIST_NAME

HERE = Path(__file__).parent
SITE = (
    *("--set", "swi_share=0", "--set", "three_tesla_share=0", "--set", "lesion_free_share=0.25"),
    *("--set", "lowest_snr=12", "--set", "highest_snr=16", "--set", "fewest_bleeds=4"),
)
TRAINING_SCANS, TEST_SCANS, SEED = 12, 20, 77
FIGURES = ("sensitivity", "precision", "f1", "fp_per_scan", "average_precision")


def main(arguments: list[str] | None = None) -> int:
    """Make the site's scans, train twice, judge three models, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labelmaps", type=Path, help="folder of label maps")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-m", "--model", default=bundled.DEFAULT_NAME, help="what is fine-tuned")
    parser.add_argument("--small", action="store_true", help="try all of it in minutes")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.small:
        given.output /= "small"  # its figures are not to be mixed with the others
    return run(lambda: compare(given))


def compare(given: argparse.Namespace) -> None:
    """The site's scans, two trainings, three models, the table."""
    heads, judged = shared_out(given.labelmaps)
    training, test, coarse = (3, 2, COARSE_PHYSICAL) if given.small else (TRAINING_SCANS, TEST_SCANS, ())
    for name, some, count, seed in (
        ("training", heads, training, SEED),
        ("test", judged, test, SEED + 1),
    ):
        which = ("--generator", "physical", "--heads", ",".join(some), "--seed", seed, *SITE, *coarse)
        many = ("-n", count, "--processes", given.processes)
        shiva_cmb("synthesize", given.labelmaps, "-o", given.output / name, *which, *many)
    start = find_model(given.model, note=say)
    tuned = f"tuned-{start.folds[0].sha256[:8]}"  # another model's is another one
    models = {
        "as it comes": given.model,
        f"trained on {training} scans of the site": _model(given, "scratch.yaml", "scratch"),
        "as it comes, then fine-tuned on them": _model(given, "finetune.yaml", tuned, "--init", given.model),
    }
    rows = []
    for name, model in models.items():
        figures = pooled_figures(model, given.output / "test", given.output / "found" / Path(model).name)
        cells = (figures[figure] for figure in FIGURES)
        rows.append((name, *(f"{c.value:.2f} ({c.low:.2f}-{c.high:.2f})" for c in cells)))
    write_markdown(given.output / "site.md", ("model", *FIGURES), rows)


def _model(given: argparse.Namespace, config: str, name: str, *options: object) -> Path:
    """A bundle trained on the site's scans; it is kept."""
    small = SMALL if given.small else ()
    how = ("--config", HERE / config, "--processes", given.processes, *options, *small)
    trained(given.output / "training" / LIST_NAME, given.output / name, *how)
    return given.output / name


if __name__ == "__main__":
    sys.exit(main())
