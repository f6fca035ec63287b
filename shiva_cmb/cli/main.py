"""The `shiva-cmb` command: one file per subcommand, put together here."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from shiva_cmb.cli import (
    compare,
    dataset,
    demo,
    evaluate,
    model,
    models,
    predict,
    relabel,
    selftest,
    synthesize,
    train,
)
from shiva_cmb.cli.failing import run_command

app = typer.Typer(
    help="Find cerebral microbleeds in SWI and T2*-GRE. Not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("predict")(predict.predict)
app.command("relabel")(relabel.relabel)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("synthesize")(synthesize.synthesize)
app.command("selftest")(selftest.selftest)
app.command("demo")(demo.demo)
app.command("models")(models.models)
app.add_typer(model.app, name="model")
app.add_typer(dataset.app, name="dataset")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("shiva-cmb"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every subcommand."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        0, or 1 for a problem with the data, 2 for wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given  # wherever it stands: people add it at the end
    given = [argument for argument in given if argument != "--debug"]
    return run_command(lambda: app(given, prog_name="shiva-cmb", standalone_mode=True), debug)
