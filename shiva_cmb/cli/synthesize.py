"""`shiva-cmb synthesize`: scans from head label maps, with bleeds, mimics and the truth."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli import options
from shiva_cmb.cli.screen import print_json, print_note
from shiva_cmb.errors import NOT_CLINICAL, UsageError

if TYPE_CHECKING:
    from shiva_cmb.synthesis.bleeds.implant import RealScan
    from shiva_cmb.synthesis.head_map import HeadMap

GENERATORS = ("quick", "physical")
IMPLANT = "implant"
"""What the record calls scans that bleeds were implanted into."""


def synthesize(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scans; made if missing.")],
    labelmaps: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of head label maps (FreeSurfer's and SynthSeg's labels), or one of them."
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, help="How many scans; more that are there stay listed.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Of all of them: scan k is the same whatever the count.")
    ] = 0,
    generator: Annotated[
        str,
        typer.Option(help="quick: for training. physical: an independent simulation at 0.5 mm, for testing."),
    ] = "quick",
    heads: Annotated[
        str | None, typer.Option(help="Only these label maps of the folder, by name: head_01,head_02.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Implant bleeds into copies of this real scan instead of making heads."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("-b", "--mask", "--brainmask", help="With --into: its brain mask.")
    ] = None,
    volume: options.VolumeIndex = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the generator, YAML or JSON.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting: NAME=VALUE, such as bleeds.pair_share=0.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many scans at once.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make SWI and T2* scans with microbleeds, mimics and their exact truth from head label maps.

    For each scan: image, label (1 bleed, 2 too faint to count), brain mask, regions, a table of bleeds and
    one of mimics; and cases.json, the list that `train` and `evaluate` read. Without label maps one head
    that comes with the package is used. A run that was stopped goes on where it was. Not for clinical use.

    With --into, settings are `bleeds.NAME` and `scanner.te_ms`, `scanner.field_t`, `scanner.phase_mask`.
    """
    from shiva_cmb.ensemble.checksums import sha256_of
    from shiva_cmb.files import require_not_inputs
    from shiva_cmb.synthesis.scan import files_to_write, write_scans

    names = _settings(config, set_ or [])
    if into is None and (mask is not None or volume is not None):
        raise UsageError("-b and --volume are about the scan that --into names")
    if into is not None:
        _require_no_heads(labelmaps, heads, generator)
    chosen = None if heads is None else [name.strip() for name in heads.split(",")]
    inputs = _inputs(labelmaps, chosen, into, mask)
    require_not_inputs(files_to_write(output, count), [*inputs.values(), *([config] if config else [])])
    make, how = _generator(generator if into is None else IMPLANT, names)
    record = {"generator": generator if into is None else IMPLANT, "settings": how}
    if into is not None:
        record |= {"into": str(into.absolute()), "mask": mask and str(mask.absolute()), "volume": volume}
    sources = _heads(labelmaps, chosen) if into is None else (_real_scan(into, mask, volume),)
    record["checksums"] = {name: sha256_of(path) for name, path in inputs.items()}
    path = write_scans(
        make,
        sources,
        output,
        count=count,
        seed=seed,
        how=record,
        processes=processes,
        progress=_progress(json),
    )
    if json:
        print_json({"cases": str(path), "count": count, "notice": NOT_CLINICAL})
    else:
        print(f"{count} scan{'s' * (count != 1)} -> {path}")


def _require_no_heads(labelmaps: Path | None, heads: str | None, generator: str) -> None:
    if labelmaps is not None or heads is not None:
        raise UsageError("--into takes a real scan in place of label maps: leave LABELMAPS and --heads out")
    if generator != GENERATORS[0]:
        raise UsageError("--generator makes heads: leave it out with --into")


def _settings(config: Path | None, assigned: list[str]) -> dict[str, Any]:
    from shiva_cmb.named_settings import assignments, merged, read_mapping

    return merged(read_mapping(config) if config else {}, assignments(assigned))


def _generator(name: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """What makes a scan, and its settings in full, for the record."""
    from dataclasses import asdict

    from shiva_cmb.files import plain
    from shiva_cmb.named_settings import changed

    if name == "quick":
        from shiva_cmb.synthesis.quick.generate import SynthesisSettings, make_scan

        quick = changed(SynthesisSettings(), settings)
        return partial(make_scan, settings=quick), plain(asdict(quick))
    if name == "physical":
        from shiva_cmb.synthesis.physical import PhysicalSettings
        from shiva_cmb.synthesis.physical import make_scan as make_physical_scan

        physical = changed(PhysicalSettings(), settings)
        return partial(make_physical_scan, settings=physical), plain(asdict(physical))
    if name == IMPLANT:
        from shiva_cmb.synthesis.bleeds.implant import ImplantSettings, scan_with_bleeds

        implants = changed(ImplantSettings(), settings)
        return partial(scan_with_bleeds, settings=implants, note=print_note), plain(asdict(implants))
    raise UsageError(f"--generator {name}: expected one of {', '.join(GENERATORS)}")


def _inputs(
    folder: Path | None, names: Sequence[str] | None, into: Path | None, mask: Path | None
) -> dict[str, Path]:
    """The files that scans are made from, by what the record calls them."""
    from shiva_cmb.synthesis.head_map import BUNDLED, head_map_paths

    if into is not None:
        return {"into": into} if mask is None else {"into": into, "mask": mask}
    if folder is None:
        return {BUNDLED.name: BUNDLED}
    if not folder.is_dir():
        return {folder.name: folder}
    return {path.name: path for path in head_map_paths(folder, names).values()}


def _heads(folder: Path | None, names: Sequence[str] | None) -> "tuple[HeadMap, ...]":
    from shiva_cmb.synthesis.head_map import bundled_head, read_head_map, read_head_maps

    if folder is not None and not folder.exists():
        raise UsageError(f"{folder}: no such folder or file; expected label maps")
    if names is not None and (folder is None or not folder.is_dir()):
        raise UsageError("--heads chooses from a folder of label maps: name one")
    if folder is None:
        maps: tuple[HeadMap, ...] = (bundled_head(),)
    elif folder.is_dir():
        maps = read_head_maps(folder, names, note=print_note)
    else:
        maps = (read_head_map(folder, note=print_note),)
    return maps


def _real_scan(path: Path, mask: Path | None, volume: int | None) -> "RealScan":
    """A real scan with its brain and, where the anatomy network finds them, its regions."""
    from shiva_cmb.prediction import image_name
    from shiva_cmb.prediction.inputs import read_subject
    from shiva_cmb.prediction.regions import estimated_regions
    from shiva_cmb.synthesis.bleeds.implant import RealScan

    subject = read_subject(path, mask, index=volume, note=print_note)
    regions = estimated_regions(subject).volume
    return RealScan(
        image_name(path), subject.channels[0], subject.brain, None if regions is None else regions.data
    )


def _progress(quiet: bool) -> Any:
    import sys

    if quiet:
        return None
    return lambda done, count: print(f"{done} of {count} scans", file=sys.stderr, flush=True)
