"""Nobody is told that this program runs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import shiva_cmb

PACKAGE = Path(shiva_cmb.__file__).parent


def test_openvino_sends_nothing_and_leaves_the_home_folder_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from shiva_cmb.ensemble.quiet_openvino import openvino; openvino.Core();"
        "print(*[name for name in sys.modules if name.startswith('openvino_telemetry')],"
        " openvino.convert_model.__name__)"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # it would be silent there in any case
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("convert_model\n", 0), done.stderr
    assert not list(tmp_path.iterdir())


def test_openvino_is_imported_in_that_one_place() -> None:
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and any(name.name.startswith("openvino") for name in node.names):
                importing.add(path.name)
    assert importing == {"quiet_openvino.py"}
