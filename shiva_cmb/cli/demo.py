"""`shiva-cmb demo`: the bundled model on two generated scans."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli import options
from shiva_cmb.cli.screen import native_messages_hidden, print_json, print_note
from shiva_cmb.errors import NOT_CLINICAL

if TYPE_CHECKING:
    from shiva_cmb.demo import DemoScan

CAVEAT = "Generated images say nothing about accuracy on patients."


def demo(
    model: options.Model = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to make. Default: a temporary one, kept.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the generated scans.")] = 0,
    json: options.Json = False,
) -> None:
    """Make a SWI and a thick-slice T2* image, find the microbleeds in them, and compare with the truth.

    Both show a head that no bundled model was trained on, with veins and other mimics, and are given to the
    model without a brain mask. Generated images say nothing about accuracy on patients. Not for clinical use.
    """
    from shiva_cmb.demo import run_demo
    from shiva_cmb.ensemble import load_ensemble
    from shiva_cmb.files import new_directory, require_can_hold_results, require_new

    if output is not None:  # before the model is loaded
        require_new(output)
        require_can_hold_results(output)
    with native_messages_hidden():
        ensemble = load_ensemble(model, note=print_note)
    if output is None:
        folder = Path(tempfile.mkdtemp(prefix="shiva_cmb-demo-"))
    else:
        with new_directory(output):
            folder = output
    scans = []
    with native_messages_hidden():
        for scan in run_demo(ensemble, folder, seed=seed, on_step=_say, note=print_note):
            scans.append(scan)
            if not json:
                _print_table(scan)
    if json:
        record = {"scans": [_as_record(scan) for scan in scans], "caveat": CAVEAT, "notice": NOT_CLINICAL}
        print_json(record)
    else:
        print(f"results: {folder}\n{CAVEAT} {NOT_CLINICAL}")


def _say(line: str) -> None:
    print(f"{line} ...", file=sys.stderr, flush=True)


def _print_table(scan: "DemoScan") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"True bleeds of the generated {scan.name} image, and the lesion that found each")
    for name in ("x mm", "y mm", "z mm", "diameter mm", "lesion", "off by mm", "probability"):
        table.add_column(name, justify="right")
    table.add_column("region")
    lesions = list(scan.prediction.lesions)
    for number, bleed in enumerate(scan.truth):
        row = [f"{value:.1f}" for value in (bleed.x_mm, bleed.y_mm, bleed.z_mm, bleed.diameter_mm)]
        partner = scan.partners.get(number)
        if partner is None:
            row += ["missed", "", "", ""]
        else:
            lesion = lesions[partner]
            off = (lesion.x_mm - bleed.x_mm, lesion.y_mm - bleed.y_mm, lesion.z_mm - bleed.z_mm)
            row += [str(lesion.lesion), f"{sum(d * d for d in off) ** 0.5:.1f}"]
            row += [f"{lesion.max_probability:.2f}", " ".join(filter(None, (lesion.region, lesion.side)))]
        table.add_row(*row)
    Console().print(table)
    print(f"found {len(scan.partners)} of {len(scan.truth)} bleeds, {scan.false_alarms} false alarm(s)")
    print(f"picture: {scan.picture}")


def _as_record(scan: "DemoScan") -> dict[str, Any]:
    return {
        "name": scan.name,
        "image": str(scan.image),
        "bleeds": len(scan.truth),
        "found": len(scan.partners),
        "false_alarms": scan.false_alarms,
        "picture": str(scan.picture),
        "files": {kind: str(path) for kind, path in scan.files.items()},
    }
