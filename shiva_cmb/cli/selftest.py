"""`shiva-cmb selftest`: which bleeds a model finds on this scanner's scans, by size."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiva_cmb.cli import options
from shiva_cmb.cli.screen import print_json, print_note, showing_steps
from shiva_cmb.errors import NOT_CLINICAL, UsageError
from shiva_cmb.files import require_can_hold_results

if TYPE_CHECKING:
    from shiva_cmb.selftest import SelfTest


def selftest(
    scan: Annotated[Path, typer.Argument(help="A SWI or T2* of the scanner in question, as NIfTI.")],
    model: options.Model = None,
    mask: Annotated[
        Path | None,
        typer.Option("-b", "--mask", "--brainmask", help="Brain mask. Default: found on the scan."),
    ] = None,
    volume: options.VolumeIndex = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for table and report; made if missing.")
    ] = None,
    bleeds: Annotated[int, typer.Option(help="Bleeds implanted at a time.")] = 15,
    repeats: Annotated[int, typer.Option(help="How often, each time at other places.")] = 4,
    diameter_mm: Annotated[
        tuple[float, float], typer.Option(help="Smallest and largest visible diameter.")
    ] = (1.3, 7.0),
    te_ms: Annotated[float, typer.Option(help="Echo time of the scan.")] = 20.0,
    field_t: Annotated[float, typer.Option(help="Field strength of the scanner.")] = 3.0,
    phase_mask: Annotated[
        bool, typer.Option("--swi/--magnitude", help="Whether the scan is a SWI or a plain T2* magnitude.")
    ] = True,
    images: Annotated[
        bool, typer.Option("--images", help="Also write the scans with the bleeds, and their labels.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of places and sizes.")] = 0,
    model_dir: options.ModelDir = None,
    trust_model_code: options.TrustModelCode = False,
    json: options.Json = False,
) -> None:
    """Implant simulated bleeds into copies of a scan and count which of them a model finds, by size.

    What the model finds on the untouched scan counts neither way. The bleeds are simulated: the result is
    optimistic, an upper bound of what is found in patients. Not for clinical use.
    """
    from shiva_cmb.ensemble import EngineOptions, load_ensemble
    from shiva_cmb.prediction import image_name
    from shiva_cmb.selftest import SelfTestSettings, run_selftest
    from shiva_cmb.synthesis.bleeds.implant import ScannerSettings

    settings = SelfTestSettings(bleeds, repeats, diameter_mm, seed, volume, images)
    scanner = ScannerSettings(te_ms, field_t, phase_mask)
    if images and output is None:
        raise UsageError("--images: say with -o where to write them")
    if output is not None:
        require_can_hold_results(output)
    with showing_steps(scan.name, json) as on_step:
        ensemble = load_ensemble(
            model,
            model_dir=model_dir,
            options=EngineOptions(trust_model_code=trust_model_code),
            note=print_note,
        )
        result = run_selftest(
            scan,
            model=ensemble,
            mask=mask,
            settings=settings,
            scanner=scanner,
            on_step=on_step,
            note=print_note,
        )
    written = {} if output is None else result.save(output, image_name(scan), images=images)
    if json:
        print_json(result.as_record() | {"files": {kind: str(path) for kind, path in written.items()}})
        return
    _print_table(result)
    if output is not None:
        print(f"table, report and JSON -> {output}")


def _print_table(result: "SelfTest") -> None:
    from rich.console import Console
    from rich.table import Table

    from shiva_cmb.selftest.result import CAVEAT

    table = Table(title="Implanted bleeds that were found")
    for name in ("", "found", "visible", "sensitivity", "95 % interval"):
        table.add_column(name, justify="left" if not name else "right")
    for name, one in (*result.by_size.items(), *result.by_region.items(), ("all", result.overall)):
        low, high = one.interval
        share = (f"{one.share:.0%}", f"{low:.0%} - {high:.0%}") if one.visible else ("", "")
        table.add_row(name, str(one.found), str(one.visible), *share)
    Console().print(table)
    faint = sum(not bleed.truth.visible for bleed in result.bleeds)
    print(f"too faint for anybody to see, not counted: {faint}")
    print(f"lesions on the untouched scan, not counted: {result.untouched_lesions}")
    print(f"new false alarms in {result.settings.repeats} copies: {result.false_alarms}")
    print(CAVEAT)
    print(NOT_CLINICAL)
