"""The two container recipes say the same: one is built where an image registry can be reached, the other follows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = ("arguments", "files", "post", "environment", "runscript", "test")  # of Apptainer's format that are used


@pytest.fixture(scope="module")
def containerfile() -> list[tuple[str, str]]:
    """(instruction, rest), with continued lines joined."""
    text = (ROOT / "Resources/Containers/Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def definition() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Header and sections of the Apptainer definition."""
    head, sections, lines = {}, {}, None
    for line in (ROOT / "Resources/Containers/brainiac.def").read_text(encoding="utf-8").splitlines():
        if line.startswith("%"):
            assert line[1:] in SECTIONS, line
            assert line[1:] not in sections
            lines = sections.setdefault(line[1:], [])
        elif line.strip() and not line.startswith("#"):
            if lines is None:
                key, value = line.split(": ", 1)
                head[key] = value
            else:
                assert line.startswith("    "), line
                lines.append(line.strip())
    return head, sections


def of(containerfile, instruction: str) -> list[str]:
    return [rest for name, rest in containerfile if name == instruction]


def test_both_begin_with_one_image_and_one_index(containerfile, definition):
    head, sections = definition
    arguments = dict(rest.split("=", 1) for rest in of(containerfile, "ARG") if "=" in rest)
    assert head == {"Bootstrap": "docker", "From": arguments["BASE"].removeprefix("docker.io/library/")}
    assert sections["arguments"] == [f"TORCH_INDEX={arguments['TORCH_INDEX']}"]


def test_both_copy_the_same_files_and_all_are_there(containerfile, definition):
    copied = set()
    for rest in of(containerfile, "COPY"):
        if not rest.startswith("--from="):
            *sources, _ = rest.split()
            copied.update(sources)
    pairs = [line.split() for line in definition[1]["files"]]
    assert all(target == f"/source/{source}" for source, target in pairs)
    assert {source for source, _ in pairs} == copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_both_install_by_the_same_commands(containerfile, definition):
    post = [line.replace("{{ TORCH_INDEX }}", "${TORCH_INDEX}") for line in definition[1]["post"]]
    assert of(containerfile, "WORKDIR") == ["/source"]
    assert [line for line in post if line not in ("cd /source", "rm -rf /source")] == of(containerfile, "RUN")


def test_the_extras_and_the_app_are_those_of_the_project(containerfile):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.search(r'"\.\[(.*)\]"', " ".join(of(containerfile, "RUN")))[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])
    [entry] = of(containerfile, "ENTRYPOINT")
    assert entry.strip('[]"') in project["scripts"]


def test_both_set_the_same_environment_and_start_the_same_app(containerfile, definition):
    _, sections = definition
    of_image = dict(part.split("=", 1) for rest in of(containerfile, "ENV") for part in rest.split())
    of_definition = dict(line.removeprefix("export ").split("=", 1) for line in sections["environment"])
    given = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in of_definition.items()}
    assert given == of_image
    [entry] = of(containerfile, "ENTRYPOINT")
    app = entry.strip('[]"')
    assert sections["runscript"] == [f'exec {app} "$@"']
    assert sections["test"] == [f"{app} --version"]
    assert of(containerfile, "USER") == ["1000:1000"]  # of Apptainer the user is the one who calls
