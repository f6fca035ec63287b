"""`shiva-cmb synthesize`: scans from head label maps, with bleeds, mimics and the truth."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli.screen import print_json, print_note
from shiva_cmb.errors import NOT_CLINICAL, UsageError

if TYPE_CHECKING:
    from shiva_cmb.synthesis.head_map import HeadMap

GENERATORS = ("quick", "physical")


def synthesize(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scans; made if missing.")],
    labelmaps: Annotated[
        Path | None,
        typer.Argument(help="Folder of head label maps (FreeSurfer's and SynthSeg's labels), or one of them."),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="How many scans.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all of them: scan k is the same whatever the count.")] = 0,
    generator: Annotated[
        str,
        typer.Option(help="quick: for training. physical: an independent simulation at 0.5 mm, for testing."),
    ] = "quick",
    heads: Annotated[
        str | None, typer.Option(help="Only these label maps of the folder, by name: head_01,head_02.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the generator, YAML or JSON.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting: NAME=VALUE, such as bleeds.pair_share=0.")
    ] = None,
    processes: Annotated[int, typer.Option(help="How many scans at once.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make SWI and T2* scans with microbleeds, mimics and their exact truth from head label maps.

    For each scan: image, label (1 bleed, 2 too faint to count), brain mask, regions, a table of bleeds and one
    of mimics; and cases.json, the list that `train` and `evaluate` read. Without label maps one head that
    comes with the package is used. A run that was stopped goes on where it was. Not for clinical use.
    """
    from shiva_cmb.synthesis.scan import write_scans

    names = _settings(config, set_ or [])
    make, how = _generator(generator, names)
    path = write_scans(
        make,
        _heads(labelmaps, heads),
        output,
        count=count,
        seed=seed,
        how={"generator": generator, "settings": how},
        processes=processes,
        progress=_progress(json),
    )
    if json:
        print_json({"cases": str(path), "count": count, "notice": NOT_CLINICAL})
    else:
        print(f"{count} scan{'s' * (count != 1)} -> {path}")


def _settings(config: Path | None, assigned: list[str]) -> dict[str, Any]:
    from shiva_cmb.named_settings import assignments, merged, read_mapping

    return merged(read_mapping(config) if config else {}, assignments(assigned))


def _generator(name: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """What makes a scan, and its settings in full, for the record."""
    from dataclasses import asdict

    from shiva_cmb.files import plain
    from shiva_cmb.named_settings import changed

    if name == "quick":
        from shiva_cmb.synthesis.generate import SynthesisSettings, make_scan

        quick = changed(SynthesisSettings(), settings)
        return partial(make_scan, settings=quick), plain(asdict(quick))
    if name == "physical":
        from shiva_cmb.synthesis.physical import PhysicalSettings
        from shiva_cmb.synthesis.physical import make_scan as make_physical_scan

        physical = changed(PhysicalSettings(), settings)
        return partial(make_physical_scan, settings=physical), plain(asdict(physical))
    raise UsageError(f"--generator {name}: expected one of {', '.join(GENERATORS)}")


def _heads(folder: Path | None, names: str | None) -> "tuple[HeadMap, ...]":
    from shiva_cmb.synthesis.head_map import bundled_head, read_head_map, read_head_maps

    if folder is None:
        maps: tuple[HeadMap, ...] = (bundled_head(),)
    elif folder.is_dir():
        maps = read_head_maps(folder, names.split(",") if names else None, note=print_note)
    else:
        maps = (read_head_map(folder, note=print_note),)
    return maps


def _progress(quiet: bool) -> Any:
    import sys

    if quiet:
        return None
    return lambda done, count: print(f"{done} of {count} scans", file=sys.stderr, flush=True)
