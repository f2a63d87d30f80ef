"""Models in the panel: what is said before an import, a download or a deletion; nothing happens without a yes."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import dataclasses
import shutil
import sys
import types

from person import button, click, openDialog, wait
from PySide6 import QtWidgets

from BrainIACLib.contracts import contract_to_json, read_contract
from BrainIACLib.resources import resource
from BrainIACLib.worker.requests import DownloadModel

STARTER = resource("Models", "sequence-starter")


def texts(dialog) -> str:
    return "\n".join(label.text() for label in dialog.findChildren(QtWidgets.QLabel))


def accept(dialog):
    dialog.findChild(QtWidgets.QDialogButtonBox).button(QtWidgets.QDialogButtonBox.StandardButton.Ok).click()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The user's model folder."""
    monkeypatch.setenv("BRAINIAC_MODELS", str(tmp_path / "Models"))
    return tmp_path / "Models"


@pytest.fixture
def imported(store):
    """A copy of the bundled model under another id, as if a person had imported it."""
    folder = store / "my-model"
    shutil.copytree(STARTER, folder)
    contract = dataclasses.replace(read_contract(STARTER), id="my-model", title="My model")
    (folder / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    return folder


def choose(panel, title):
    selector = panel.ui.modelSelector
    (index,) = [index for index in range(selector.count()) if title in selector.itemText(index)]
    selector.setCurrentIndex(index)
    selector.activated.emit(index)


def test_an_imported_model_is_deleted_after_a_question_that_says_how_large(imported, panel, scene):
    panel.updatePanel()
    assert not button(panel, "deleteButton").isEnabled()
    assert "came with BrainIAC" in button(panel, "deleteButton").toolTip()
    choose(panel, "My model")
    scene.dialogs.confirm = False
    click(panel, "deleteButton")
    assert imported.is_dir()
    (question,) = scene.dialogs.shown
    megabytes = sum(path.stat().st_size for path in imported.iterdir()) / 1e6
    assert f"{megabytes:.0f} MB" in question
    assert str(imported) in question
    scene.dialogs.confirm = True
    click(panel, "deleteButton")
    assert not imported.exists()
    assert not button(panel, "deleteButton").isEnabled()


def test_the_chosen_model_answers_its_task(imported, panel):
    panel.updatePanel()
    assert panel.modelSection.contracts()["sequence"].id == "sequence-starter"
    choose(panel, "My model")
    assert panel.modelSection.contracts()["sequence"].id == "my-model"


def test_a_download_states_size_host_folder_and_license_and_contacts_nobody_before_a_yes(store, panel, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.ModuleType("huggingface_hub"))
    sys.modules["huggingface_hub"].__spec__ = object()
    asked = []
    monkeypatch.setattr(panel.logic.worker, "request", lambda request, *unused: asked.append(request))
    button(panel, "downloadButton").click()
    dialog = openDialog()
    choice = dialog.findChild(QtWidgets.QComboBox, "downloadChoice")
    choice.setCurrentIndex(choice.findData("medicalnet-resnet50"))
    for fact in ("185 MB", "huggingface.co/TencentMedicalNet", str(store), "GB free", "License: MIT", "Research use"):
        assert fact in texts(dialog)
    dialog.reject()
    assert asked == []
    button(panel, "downloadButton").click()
    accept(openDialog())
    assert asked == [DownloadModel("brainiac-v1-hugging-face")]


def test_the_download_package_is_installed_only_after_a_yes(store, panel, scene, monkeypatch):
    installed = []
    monkeypatch.setattr("slicer.util.pip_install", installed.append, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: installed or None)
    scene.dialogs.confirm = False
    panel.modelSection.download()
    assert installed == []
    assert "pypi.org" in scene.dialogs.shown[0]
    scene.dialogs.confirm = True
    panel.modelSection.download()
    assert installed == [["huggingface-hub>=1.0"]]
    openDialog().reject()


def test_a_weight_file_is_recognized_its_license_shown_and_installed_after_a_yes(store, panel, scene, tmp_path):
    """With a real worker; the file is a small sequence model in the layout of BrainIAC v1."""
    torch = pytest.importorskip("torch")
    from checkpoint_files import v1_task

    torch.save(v1_task(4).content, tmp_path / "sequenceclassification_model.pt")
    scene.dialogs.path = str(tmp_path / "sequenceclassification_model.pt")
    click(panel, "importButton")
    dialog = openDialog()
    task = dialog.findChild(QtWidgets.QComboBox)
    assert task.currentData() == "sequence"
    assert "v1 ResNet50" in texts(dialog)
    assert "non-commercial" in texts(dialog)
    dialog.reject()
    assert not store.exists()
    click(panel, "importButton")
    accept(openDialog())
    wait(lambda: not panel.logic.worker.busy)
    (folder,) = store.iterdir()
    assert read_contract(folder).head.task == "sequence"
    titles = [panel.ui.modelSelector.itemText(index) for index in range(panel.ui.modelSelector.count())]
    assert any("BrainIAC v1" in title for title in titles)
    assert panel.ui.statusLabel.text().startswith("Installed:")  # success is said
    assert scene.dialogs.shown == []


def test_a_file_that_is_no_model_is_answered_with_a_sentence(store, panel, scene, tmp_path):
    scene.dialogs.path = str(tmp_path / "letter.pt")
    (tmp_path / "letter.pt").write_text("Dear colleague,")
    click(panel, "importButton")
    (sentence,) = scene.dialogs.shown
    assert "letter.pt" in sentence
    assert not store.exists()
