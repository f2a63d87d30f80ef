"""How the modules come up: the right library, the sample study, models read once."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import slicer
from BrainIACBridge import model_list, sample_data
from BrainIACBridge.model_list import ModelList
from BrainIACBridge.startup import onceStarted

from BrainIACLib.resources import resource

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("stranger", ["empty folder", "foreign package"])
def test_another_folder_named_as_the_library_does_not_take_its_place(stranger, tmp_path):
    (tmp_path / "BrainIACLib").mkdir()
    if stranger == "foreign package":
        (tmp_path / "BrainIACLib" / "__init__.py").write_text("raise ImportError('not this one')")
    program = "import BrainIACBridge, BrainIACLib.errors; print(BrainIACLib.__file__)"
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY / "BrainIAC")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == REPOSITORY / "BrainIACLib" / "__init__.py"


@pytest.fixture
def registered(monkeypatch):
    """What Sample Data was told."""
    told = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **what: told.append(what))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    return told


def test_the_sample_is_one_study_with_a_checksum_for_each_scan(scene, registered):
    sample_data.registerSampleData()
    (source,) = registered
    assert len(source["uris"]) == len(source["checksums"]) == len(source["nodeNames"]) == 4
    assert all(checksum.startswith("SHA256:") for checksum in source["checksums"])


def test_a_module_added_while_slicer_runs_offers_its_sample_at_once(scene, registered, monkeypatch):
    waiting = []
    monkeypatch.setattr(slicer.app, "connect", lambda signal, slot: waiting.append(signal))
    onceStarted(sample_data.registerSampleData)
    assert (waiting, registered) == (["startupCompleted()"], [])
    window = types.SimpleNamespace(property=lambda name: name == "visible")
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    onceStarted(sample_data.registerSampleData)
    assert len(registered) == 1


def test_contracts_are_read_again_only_after_a_change(tmp_path, monkeypatch):
    read = []
    ours = model_list.installed_models
    monkeypatch.setattr(model_list, "installed_models", lambda: read.append(1) or ours())
    monkeypatch.setenv("BRAINIAC_MODELS", str(tmp_path))
    models = ModelList()
    before = models.models()
    assert models.models() is before
    assert len(read) == 1
    shutil.copytree(resource("Models", "sequence-starter"), tmp_path / "mine")
    assert len(models.models()) == len(before) + 1
    shutil.rmtree(tmp_path / "mine")
    assert models.models() == before
    assert len(read) == 3
