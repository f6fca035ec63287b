"""What commands show while they work: steps on a terminal, notes always, results as text or JSON."""

import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shiva_cmb.errors import ShivaCmbError


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


@contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Keep what C++ libraries print on standard error off the screen; Python's own messages still appear.

    TensorFlow prints some twenty lines about the processor that no setting of its own turns off. If the block
    ends with an unexpected error they are shown after all, since they may hold its cause.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, io.UnsupportedOperation):  # no real file behind it, as in tests
        yield
        return
    python_stderr = sys.stderr
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as hidden, os.fdopen(kept, "w", buffering=1, closefd=False) as screen:
        os.dup2(hidden.fileno(), descriptor)
        sys.stderr = screen
        try:
            yield
        except ShivaCmbError:
            raise
        except Exception:
            hidden.seek(0)
            screen.write(hidden.read().decode(errors="replace"))
            raise
        finally:
            python_stderr.flush()
            os.dup2(kept, descriptor)
            os.close(kept)
            sys.stderr = python_stderr
