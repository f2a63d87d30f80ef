"""The versions of ``constraints.txt``: each fits the Python that its line promises, and no requirement is left out."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OLDEST = "3.10.99"
LINES = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]
PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, LINES)}
INSTALLED = {canonicalize_name(found.metadata["Name"]): found for found in importlib.metadata.distributions()}


def test_a_line_without_a_marker_fits_the_oldest_python():
    too_new = [
        name
        for name, pin in PINS.items()
        if pin.marker is None
        and name in INSTALLED
        and pin.specifier.contains(INSTALLED[name].version.partition("+")[0])
        and not SpecifierSet(INSTALLED[name].metadata["Requires-Python"] or "").contains(OLDEST)
    ]
    assert too_new == []


def extra(project: dict, name: str) -> list[Requirement]:
    """The requirements of one extra, and of the extras that it names."""
    found = []
    for requirement in map(Requirement, project["optional-dependencies"][name]):
        if requirement.name == project["name"]:
            found += [one for further in requirement.extras for one in extra(project, further)]
        else:
            found.append(requirement)
    return found


def test_everything_that_base_and_test_extra_install_has_its_version():
    """Of what is installed here, requirements of requirements too."""
    tomllib = pytest.importorskip("tomllib", reason="lines with a marker leave Python 3.10 to the resolver")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [(one, "") for one in [*map(Requirement, project["dependencies"]), *extra(project, "test")]]
    seen, left_out = set(), set()
    while waiting:
        requirement, asked = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": asked}):
            continue
        if name not in INSTALLED or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        if name not in PINS:
            left_out.add(name)
        further = map(Requirement, INSTALLED[name].requires or [])
        waiting += [(one, which) for one in further for which in ("", *requirement.extras)]
    assert len(seen) > 50
    assert left_out == set()
