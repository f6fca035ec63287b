"""Trains the anatomy network anew: `python -m recipes.anatomy LABELMAPS -o OUT`.

OUT/run keeps the state at every check, and a run that was stopped goes on from there. OUT/anatomy is what
belongs into `shiva_cmb/models/anatomy`.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from recipes.commands import run
from shiva_cmb.named_settings import changed, read_mapping
from shiva_cmb.synthesis.head_map import deform, read_head_maps
from shiva_cmb.training.anatomy.settings import AnatomyTrainingSettings
from shiva_cmb.training.anatomy.shape import coded

SMALL = {
    "widths": (8, 12, 16),
    "window": (64, 80, 64),
    "small_window": (64, 80, 64),
    "steps": 30,
    "warmup_steps": 5,
    "check_every": 15,
    "check_images": 2,
    "final_images": 4,
}
"""Every step of the work in a minute; the network is of no use."""


def main(arguments: list[str] | None = None) -> int:
    """Train, judge on the held-out heads, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labelmaps", type=Path, help="folder of label maps")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("anatomy.yaml"))
    parser.add_argument("--small", action="store_true", help="try all of it in a minute")
    given = parser.parse_args(arguments)

    def work() -> None:
        settings = changed(AnatomyTrainingSettings(), read_mapping(given.config))
        train(given.labelmaps, given.output, replace(settings, **SMALL) if given.small else settings)

    return run(work)


def train(labelmaps: Path, output: Path, settings: AnatomyTrainingSettings) -> None:
    """All steps; see `main`."""
    unchanged = np.random.default_rng(0)  # draws nothing: the heads keep their shape here
    heads = [coded(deform(unchanged, head, strength=0)) for head in read_head_maps(labelmaps)]

    from shiva_cmb.training.anatomy.export import export_network
    from shiva_cmb.training.anatomy.fit import check, fit, parted, trained_network

    trained, unseen = parted(heads, settings)
    state = output / "run"
    state.mkdir(parents=True, exist_ok=True)
    fit(heads, state, settings, report=lambda line: print(line, flush=True))
    network = trained_network(state, settings)
    figures = check(network, unseen, settings, settings.final_images)
    print(figures)
    export_network(network, output / "anatomy", settings, [head.name for head in trained], figures)


if __name__ == "__main__":
    sys.exit(main())
