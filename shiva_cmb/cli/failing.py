"""Turns errors into one line and an exit code."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from shiva_cmb.errors import ShivaCmbError


def run_command(command: Callable[[], Any], debug: bool) -> int:
    """Run a command.

    Args:
        command: what to do; may end by `SystemExit`, as argument parsers do.
        debug: whether to show the traceback of an error.

    Returns:
        The exit code: 0, 1 for a problem with the data, 2 for wrong usage, 130 when interrupted.
    """
    _end_cleanly_when_told_to()
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return _say("interrupted", 130, debug)
    except ShivaCmbError as error:
        return _say(str(error), error.exit_code, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", 1, debug)
    except MemoryError:
        return _say("out of memory: close other programs, or use a machine with more", 1, debug)
    except Exception as error:
        # a defect of ours: still one line, with the way to the rest
        reason = " ".join(str(error).split()) or "no message"
        return _say(f"unexpected {type(error).__name__}: {reason} (--debug shows where)", 1, debug)
    return 0


def _end_cleanly_when_told_to() -> None:
    """Let a terminating batch system (SIGTERM) unwind the program, so that temporary files are removed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _say(line: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {line}", file=sys.stderr)
    return code
