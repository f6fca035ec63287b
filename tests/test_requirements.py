"""The tested versions in requirements.txt are versions that pyproject.toml allows, one for each need."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def test_requirements_fit_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    tested = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert {canonicalize_name(r.name) for r in tested} == set(allowed)
    for requirement in tested:
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        assert allowed[canonicalize_name(requirement.name)].specifier.contains(pin.version), requirement
