"""What commands show while they work: steps on a terminal, notes always, results as text or JSON."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def print_note(line: str) -> None:
    """A remark, on standard error."""
    print(f"note: {line}", file=sys.stderr)


def print_json(content: Any) -> None:
    """A machine's answer, on standard output."""
    print(json.dumps(content, indent=2, default=str))


@contextmanager
def showing_steps(subject: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A spinner with the name of the present step; nothing where standard error is no terminal.

    Args:
        subject: what is worked on.
        quiet: show nothing on a terminal either.

    Yields:
        Takes the name of each step.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console

    with Console(stderr=True).status(subject) as status:
        yield lambda name: status.update(f"{subject}: {name}")


def be_verbose() -> None:
    """Show what the library logs."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
