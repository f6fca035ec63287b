import subprocess
import sys

import pytest

QUIET = """
import os, sys
from shiva_cmb.cli.screen import native_messages_hidden
with native_messages_hidden():
    os.write(2, b"chatter of a library\\n")
    print("a note of ours", file=sys.stderr)
print("after", file=sys.stderr)
"""
FAILING = """
import os
from shiva_cmb.cli.screen import native_messages_hidden
with native_messages_hidden():
    os.write(2, b"the cause\\n")
    raise ValueError("unexpected")
"""


def _stderr(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def test_a_librarys_chatter_is_hidden_and_our_notes_are_not() -> None:
    shown = _stderr(QUIET)
    assert "chatter" not in shown
    assert "a note of ours" in shown
    assert "after" in shown


def test_the_chatter_is_shown_when_something_unexpected_happens() -> None:
    assert "the cause" in _stderr(FAILING)


def test_steps_are_not_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from shiva_cmb.cli.screen import showing_steps

    with showing_steps("image") as on_step:
        on_step("running")
    assert capsys.readouterr() == ("", "")
