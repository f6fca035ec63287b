"""`shiva-cmb demo`: the whole way on generated heads."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli.screen import native_messages_hidden, print_json, print_note

if TYPE_CHECKING:
    from shiva_cmb.demo import DemoResult


def demo(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to make. Default: a temporary one, kept.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the heads and the training.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a few heads, train two folds for a minute, predict an unseen head and compare with the truth."""
    from shiva_cmb.demo import run_demo
    from shiva_cmb.files import new_directory
    from shiva_cmb.training import Progress

    if output is None:
        folder = Path(tempfile.mkdtemp(prefix="shiva_cmb-demo-"))
    else:
        with new_directory(output):
            folder = output

    def say(line: str) -> None:
        print(f"{line} ...", file=sys.stderr, flush=True)

    def on_epoch(report: Any) -> None:
        print(
            f"  fold {report.fold} epoch {report.epoch}: loss {report.figures['loss']:.3f}, "
            f"validation {report.figures['val_data_loss']:.3f}",
            file=sys.stderr,
            flush=True,
        )

    progress = Progress(on_epoch=on_epoch)
    with native_messages_hidden():
        result = run_demo(folder, seed=seed, progress=progress, on_step=say, note=print_note)
    if json:
        print_json(_as_record(result))
    else:
        _print_table(result)


def _print_table(result: "DemoResult") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="True bleeds of the unseen head, and the lesion that found each")
    for name in ("x mm", "y mm", "z mm", "diameter mm", "lesion", "off by mm", "volume mm3", "probability"):
        table.add_column(name, justify="right")
    lesions = list(result.prediction.lesions)
    for number, bleed in enumerate(result.truth):
        place = [f"{value:.1f}" for value in (*bleed.centre_mm, bleed.diameter_mm)]
        partner = result.partners.get(number)
        if partner is None:
            table.add_row(*place, "missed", "", "", "")
            continue
        lesion = lesions[partner]
        off_mm = sum(
            (a - b) ** 2
            for a, b in zip((lesion.x_mm, lesion.y_mm, lesion.z_mm), bleed.centre_mm, strict=True)
        )
        table.add_row(
            *place,
            str(lesion.lesion),
            f"{off_mm**0.5:.1f}",
            f"{lesion.volume_mm3:.0f}",
            f"{lesion.max_probability:.2f}",
        )
    Console().print(table)
    false_alarms = len(lesions) - len(result.partners)
    print(f"found {len(result.partners)} of {len(result.truth)} bleeds, {false_alarms} false alarm(s)")
    print(f"picture: {result.picture}")
    print(f"results: {result.files['lesions'].parent}")
    print("Generated images say nothing about accuracy on patients. Not for clinical use.")


def _as_record(result: "DemoResult") -> dict[str, Any]:
    return {
        "bleeds": len(result.truth),
        "found": len(result.partners),
        "false_alarms": len(result.prediction.lesions) - len(result.partners),
        "picture": str(result.picture),
        "model": str(result.model),
        "files": {kind: str(path) for kind, path in result.files.items()},
    }
