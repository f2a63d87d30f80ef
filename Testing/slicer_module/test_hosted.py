"""The scripts that run released Slicer on a hosted computer, as far as they can be tried without one."""

from __future__ import annotations

import importlib.util
import re
import sys
import tarfile
import types
from pathlib import Path

import pytest

HOSTED = Path(__file__).resolve().parent / "hosted"
WORKFLOW = Path(__file__).resolve().parents[2] / ".github" / "workflows" / "slicer.yml"


def script(name):
    specification = importlib.util.spec_from_file_location(name, HOSTED / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_package_is_the_one_that_the_server_names():
    answer = '{"version": "5.12.3", "download_url": "/bitstream/abc"}'
    assert script("install_slicer").package_address(answer) == "https://download.slicer.org/bitstream/abc"
    with pytest.raises(ValueError, match="names no package"):
        script("install_slicer").package_address('{"error": "none"}')


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="this Python unpacks archives without a filter")
def test_a_linux_package_is_unpacked_and_its_program_found(tmp_path):
    program = tmp_path / "Slicer-5.12.3-linux-amd64" / "Slicer"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    with tarfile.open(tmp_path / "slicer.tar.gz", "w:gz") as archive:
        archive.add(program.parent, program.parent.name)
    found = script("install_slicer").unpack(tmp_path / "slicer.tar.gz", "linux", tmp_path / "out")
    assert found == tmp_path / "out" / program.parent.name / "Slicer"


@pytest.fixture
def application(monkeypatch):
    """A Slicer that only remembers; the second module fails its test."""
    events = []

    class Picture:
        def save(self, path):
            events.append(Path(path).name)

    class Passes:
        def runTest(self):
            events.append("tested")

    class Fails:
        def runTest(self):
            raise AssertionError("no panel")

    monkeypatch.setitem(sys.modules, "BrainIAC", types.SimpleNamespace(BrainIACTest=Passes))
    monkeypatch.setitem(sys.modules, "BrainIACHeadTrainer", types.SimpleNamespace(BrainIACHeadTrainerTest=Fails))
    window = types.SimpleNamespace(grab=Picture)
    util = types.SimpleNamespace(selectModule=events.append, mainWindow=lambda: window)
    app = types.SimpleNamespace(processEvents=lambda: None)
    return types.SimpleNamespace(util=util, app=app, events=events)


def test_each_module_is_opened_pictured_and_tested_and_a_failure_named(application, tmp_path):
    failures = script("in_slicer").run(application, tmp_path / "pictures")
    assert application.events == [
        "BrainIAC", "BrainIAC.png", "tested", "BrainIACHeadTrainer", "BrainIACHeadTrainer.png"
    ]  # fmt: skip
    (failure,) = failures
    assert failure.startswith("BrainIACHeadTrainer")
    assert "no panel" in failure


def test_the_workflow_calls_files_that_exist_and_says_that_it_has_not_run():
    text = WORKFLOW.read_text(encoding="utf-8")
    named = re.findall(r"(?:Testing|BrainIAC)/[\w/.-]+\.(?:py|txt)", text)
    assert len(set(named)) >= 3
    for name in named:
        assert (WORKFLOW.parents[2] / name).is_file(), name
    assert "NOT RUN YET" in text
    for matter in ("release, nightly", "ubuntu-latest", "macos-latest", "windows-latest", "upload-artifact"):
        assert matter in text
