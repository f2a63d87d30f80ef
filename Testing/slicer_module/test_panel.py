"""The panel itself, in real Qt, over a real scene, with a real worker process."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from BrainIACBridge.in_words import stepsInWords
from BrainIACBridge.installation import Installation
from BrainIACBridge.preprocessing_options import BrainExtraction
from BrainIACBridge.results import findResult
from BrainIACBridge.worker_process import WorkerProcess
from person import button, click, wait
from PySide6 import QtCore, QtWidgets
from test_results import prediction

from BrainIACLib.errors import Cancelled
from BrainIACLib.preprocessing.brain_extraction import AUTO, BACKENDS
from BrainIACLib.worker.conversation import WorkerError
from BrainIACLib.worker.requests import Examine, Forget, PrepareStudy, Status

REPOSITORY = Path(__file__).resolve().parents[2]
SEQUENCE_MODEL = REPOSITORY / "Resources" / "Models" / "sequence-starter" / "contract.json"


# What is shown


def test_steps_are_told_in_plain_numbers():
    quality = {"volume_ml": 1312.4, "overlap": 0.94211}
    step = {"name": "brain", "seconds": 2.04, "quality": quality, "warnings": ("Look.",)}
    assert stepsInWords([step]) == "brain: 2.0 s, volume ml 1312, overlap 0.942\nWarning: Look."


def test_the_panel_offers_those_ways_to_find_the_brain_that_are_there():
    assert {way.value for way in BrainExtraction} == {
        AUTO, *(name for name, backend in BACKENDS.items() if backend.in_panel and backend.is_installed())
    }  # fmt: skip
    assert not {"mask", "deepbet"} & {way.value for way in BrainExtraction}


def test_a_scene_that_names_a_way_that_is_not_here_opens_with_the_automatic_one(panel):
    panel._parameterNode.node.SetParameter("brainExtraction", "elsewhere")
    panel.exit()
    panel.enter()
    assert panel.logic.getParameterNode().brainExtraction is BrainExtraction.auto


def test_an_empty_scene_says_what_to_do(panel):
    assert not panel.ui.studyHintLabel.isHidden()
    assert "Load a scan first" in button(panel, "sequenceButton").toolTip() or not SEQUENCE_MODEL.is_file()
    assert not panel.ui.cancelButton.isEnabled()
    assert panel.ui.showSaliency.isHidden()


def test_the_primary_button_says_what_is_missing_and_what_it_will_do(panel, scene, oblique):
    assert not button(panel, "analyzeButton").isEnabled()
    assert "Load a scan first" in button(panel, "analyzeButton").toolTip()
    assert not button(panel, "sampleButton").isHidden()
    scene.load(oblique)
    panel.updatePanel()
    assert button(panel, "analyzeButton").isEnabled()
    assert "Classify sequence" in button(panel, "analyzeButton").toolTip()
    assert button(panel, "sampleButton").isHidden()


def test_buttons_without_a_model_name_the_file_that_is_missing(panel):
    assert "Load a scan first" in button(panel, "ageButton").toolTip()  # its model is bundled
    for task, file in (("idh", "idh"), ("survival", "os")):
        assert not button(panel, f"{task}Button").isEnabled()
        assert file in button(panel, f"{task}Button").toolTip()
        assert "non-commercial" in button(panel, f"{task}Button").toolTip()


def test_every_input_has_a_tooltip_and_every_label_ends_with_a_colon(panel):
    for name, widget in vars(panel.ui).items():
        if widget.property("SlicerParameterName") or isinstance(widget, QtWidgets.QPushButton):
            assert widget.toolTip(), name
        if isinstance(widget, QtWidgets.QLabel) and widget.buddy() is not None:
            assert widget.text().endswith(":"), name


def test_the_study_table_shows_and_takes_sequences(panel, scene, oblique):
    scan = scene.load(oblique)
    panel.updatePanel()
    table = panel.ui.studyTable
    assert table.item(0, 0).text() == scan.GetName()
    panel.logic.study.setSequence(scan, "FLAIR", 0.75)
    panel.updatePanel()
    choice = table.cellWidget(0, 1)
    assert (choice.currentText(), table.item(0, 2).text()) == ("FLAIR", "0.75")
    assert table.item(0, 2).icon().isNull()
    panel.logic.study.setSequence(scan, "FLAIR", 0.75, ["Uncertain.", "Look at the mask."])
    panel.updatePanel()
    assert not table.item(0, 2).icon().isNull()
    assert table.item(0, 2).toolTip() == "Uncertain.\nLook at the mask."
    choice.setCurrentText("T2")
    choice.activated.emit(choice.currentIndex())
    assert table.item(0, 2).icon().isNull()  # the person knows better
    assert panel.logic.study.sequence(scan) == ("T2", None)
    assert table.item(0, 2).text() == "set by you"
    table.item(0, 0).setCheckState(QtCore.Qt.CheckState.Unchecked)
    assert panel.logic.study.included() == []


def test_parameters_and_widgets_follow_each_other_and_the_scene_remembers(panel, scene):
    panel.ui.opacity.setValue(0.25)
    panel.ui.brainExtraction.setCurrentIndex(1)
    parameters = panel.logic.getParameterNode()
    assert (parameters.opacity, parameters.brainExtraction) == (0.25, BrainExtraction.stripped)
    panel.logic.getParameterNode().threshold = 0.75
    assert panel.ui.threshold.value == 0.75
    panel.exit()
    panel.enter()
    assert panel.ui.brainExtraction.currentIndex() == 1


def test_closing_the_scene_leaves_a_working_panel(panel, scene, oblique):
    scene.load(oblique)
    panel.updatePanel()
    scene.mrml.Clear(0)
    panel.updatePanel()
    assert panel.ui.studyTable.rowCount() == 0
    scene.load(oblique)
    panel.updatePanel()
    assert panel.ui.studyTable.rowCount() == 1


def test_setup_states_what_from_where_how_large_and_asks(panel, scene, monkeypatch):
    monkeypatch.setattr(Installation, "torchState", lambda self: "missing")
    monkeypatch.setattr(Installation, "missingPackages", lambda self: ["safetensors>=0.5"])
    installed = []
    monkeypatch.setattr(Installation, "install", lambda self, wheels: installed.append(wheels) or "done")
    scene.dialogs.confirm = False
    panel.onSetup()
    (question,) = scene.dialogs.shown
    for fact in ("GB", "pypi.org", "download.pytorch.org", "BSD", "safetensors"):
        assert fact in question
    assert installed == []
    scene.dialogs.confirm = True
    panel.ui.wheelsFolder.setText("wheels")
    panel.onSetup()
    assert installed == ["wheels"]


# The worker process under Qt


@pytest.fixture
def worker(scene):
    worker = WorkerProcess(python=sys.executable, grace=500)
    yield worker
    worker.stop()


def ask(worker, request):
    outcome = []
    worker.request(request, outcome.append, outcome.append, lambda step, fraction: None)
    return outcome


def test_a_request_is_answered_while_the_window_lives(worker):
    outcome, ticks = ask(worker, Status("cpu")), []
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(20)
    wait(lambda: outcome)
    assert outcome[0]["device"] == "cpu"
    assert len(ticks) > 3
    assert max(np.diff(ticks)) < (ticks[-1] - ticks[0]) / 2  # a window that waits has one gap


def test_a_killed_worker_is_reported_and_replaced(worker):
    first = ask(worker, Forget())
    wait(lambda: first)
    folder, pid = worker.folder, worker._conversation.pid
    outcome = ask(worker, Status("cpu"))
    os.kill(pid, signal.SIGKILL)
    wait(lambda: outcome)
    assert isinstance(outcome[0], WorkerError)
    assert not folder.exists()
    again = ask(worker, Forget())
    wait(lambda: again)
    assert again == [{}]


def test_a_worker_that_does_not_obey_a_cancel_is_ended(worker):
    first = ask(worker, Forget())
    wait(lambda: first)
    pid = worker._conversation.pid
    os.kill(pid, signal.SIGSTOP)
    outcome = ask(worker, Status("cpu"))
    worker.cancel()
    wait(lambda: outcome)
    assert isinstance(outcome[0], Cancelled)
    assert not worker.running


def test_a_hung_worker_is_noticed(scene):
    worker = WorkerProcess(python=sys.executable, silenceLimit=30_000)
    first = ask(worker, Forget())
    wait(lambda: first)
    worker._silenceTimer.setInterval(500)
    os.kill(worker._conversation.pid, signal.SIGSTOP)
    outcome = ask(worker, Status("cpu"))
    wait(lambda: outcome)
    assert "no sign of life" in str(outcome[0])
    worker.stop()


def test_a_python_that_does_not_exist_is_reported(scene, tmp_path):
    worker = WorkerProcess(python=str(tmp_path / "no-python"))
    outcome = ask(worker, Status())
    wait(lambda: outcome)
    assert "no-python" in str(outcome[0])
    worker.stop()


def test_stopping_ends_requests_process_and_folder(worker):
    outcome = ask(worker, Status("cpu"))
    folder = worker.folder
    worker.stop()
    assert isinstance(outcome[0], Cancelled)
    assert not folder.exists()


def test_the_findings_of_an_examination_become_part_of_the_answer(panel, scene, oblique, monkeypatch):
    """Examining takes half a minute of computing; a stand-in for the worker notes what it is asked."""
    scan = scene.load(oblique)
    panel._parameterNode.saliencyScan = scan
    content = panel.logic.contents.of(scan)
    panel.logic.answers.results().add(prediction(), {"any": scan}, {"any": content})
    panel.updatePanel()
    asked = []

    def request(request, done, failed, progress):
        asked.append(request)
        found = {"trust": {"spread": {"meaning": "Shifts change nothing."}}}
        done(found if isinstance(request, Examine) else {"scans": {}})

    monkeypatch.setattr(panel.logic.worker, "request", request)
    click(panel, "examineButton")
    assert [type(one) for one in asked] == [PrepareStudy, Examine]
    assert asked[1].scans == {"any": content}
    assert asked[1].label == "T1"
    assert "Shifts change nothing." in panel.cards.cards[0].details.text()


# From a click to the map


@pytest.mark.skipif(not SEQUENCE_MODEL.is_file(), reason="needs the bundled sequence model")
def test_a_real_scan_from_click_to_map_with_the_numbers_of_the_command_line(panel, scene, shared_data):
    path = shared_data / "scans" / "IXI012-HH-1211_T1w_2mm.nii.gz"
    scan = scene.load(path)
    view = scene.addSliceView("Red", "Axial")
    panel.updatePanel()
    panel.ui.biasField.setChecked(False)
    panel.ui.brainExtraction.setCurrentIndex(list(BrainExtraction).index(BrainExtraction.none))
    panel.ui.samples.setValue(1)
    panel._parameterNode.saliencyScan = scan

    click(panel, "sequenceButton")
    (record,) = panel.logic.answers.results().records()
    assert panel.logic.study.sequence(scan) == (record["label"], record["confidence"])
    assert panel.cards.cards[0].value.text() == record["label"]
    command = [sys.executable, "-m", "BrainIACLib.cli", "sequence", str(path), "--json", "--device", "cpu"]
    command += ["--no-bias-field", "--brain-extraction", "none"]
    printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert record["probabilities"] == json.loads(printed)["probabilities"]

    click(panel, "explainButton")
    saliency = panel.logic.answers.saliencyOf(scan)
    heat = slicer.util.arrayFromVolume(saliency)
    assert heat.shape == slicer.util.arrayFromVolume(scan).shape
    assert np.isfinite(heat).all()
    assert 0.3 < heat.max() <= 1.0
    assert view.GetSliceCompositeNode().GetForegroundVolumeID() == saliency.GetID()
    panel.ui.showSaliency.setChecked(False)
    panel.updatePanel()
    assert view.GetSliceCompositeNode().GetForegroundVolumeID() is None

    click(panel, "stepsButton")
    assert "registration" in panel.ui.stepsLabel.text()
    assert findResult("vtkMRMLTransformNode", scan, "transform") is not None
    assert slicer.util.arrayFromVolume(findResult("vtkMRMLLabelMapVolumeNode", scan, "native_mask")).any()
    assert slicer.util.arrayFromVolume(findResult("vtkMRMLScalarVolumeNode", scan, "image")).any()

    nodes = scene.mrml.GetNumberOfNodes()
    click(panel, "sequenceButton")
    assert panel.logic.answers.saliencyOf(scan) is saliency  # the same answer from the same prepared scan
    click(panel, "explainButton")
    click(panel, "stepsButton")
    assert scene.mrml.GetNumberOfNodes() == nodes
    assert panel.logic.answers.results().records()[0]["probabilities"] == record["probabilities"]


@pytest.mark.skipif(not SEQUENCE_MODEL.is_file(), reason="needs the bundled sequence model")
def test_cancel_in_the_middle_and_closing_the_scene_in_the_middle(panel, scene, shared_data):
    scene.load(shared_data / "scans" / "IXI012-HH-1211_T1w_2mm.nii.gz")
    panel.updatePanel()
    button(panel, "sequenceButton").click()
    wait(lambda: "bias" in panel.ui.statusLabel.text())
    assert not button(panel, "sequenceButton").isEnabled()
    panel.ui.cancelButton.click()
    wait(lambda: not panel.logic.worker.busy)
    assert button(panel, "sequenceButton").isEnabled()
    assert panel.logic.answers.results(create=False) is None
    button(panel, "sequenceButton").click()
    wait(lambda: "bias" in panel.ui.statusLabel.text())
    scene.mrml.Clear(0)
    assert panel.logic.worker.running  # with its models
    wait(lambda: not panel.logic.worker.busy)
    assert panel.logic.worker.running
    assert panel.logic.answers.results(create=False) is None
    assert scene.dialogs.shown == []


@pytest.mark.skipif(not SEQUENCE_MODEL.is_file(), reason="needs the bundled sequence model")
def test_a_volume_that_is_no_brain_is_answered_with_one_clear_sentence(panel, scene):
    node = scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "flat")
    slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(sitk.Image(20, 20, 1, sitk.sitkInt16)))
    panel.updatePanel()
    click(panel, "sequenceButton")
    (sentence,) = scene.dialogs.shown
    assert "\n" not in sentence
    assert sentence == panel.ui.statusLabel.text()
