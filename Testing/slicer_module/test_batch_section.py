"""A folder of scans from the panel: what is asked of the queue, what is said, and that it disturbs nothing."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from BrainIACBridge.optional_packages import OptionalPackage
from fake_worker import FakeWorker
from person import button, wait
from PySide6 import QtCore, QtWidgets

from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.worker.requests import RunBatch


@pytest.fixture
def batch(panel, tmp_path, monkeypatch):
    """The panel with two folders chosen and a worker that answers at once."""
    (tmp_path / "private").mkdir()
    worker = panel.batchSection.worker = FakeWorker(tmp_path / "private")
    failures, page = [["the file has 3 slices.", 2]], str(tmp_path / "p.html")
    worker.answer = lambda request: {"scans": 5, "done": 3, "failed": 2, "failures": failures, "page": page}
    monkeypatch.setattr(OptionalPackage, "isInstalled", lambda self: True)
    panel.updatePanel()
    panel.ui.batchSource.setCurrentPath(str(tmp_path / "scans"))
    panel.ui.batchOut.setCurrentPath(str(tmp_path / "results"))
    yield panel
    worker.running = False


def test_two_folders_have_to_be_chosen_first(panel):
    panel.updatePanel()
    assert not button(panel, "batchButton").isEnabled()
    assert "scans" in button(panel, "batchButton").toolTip()
    panel.ui.batchSource.setCurrentPath("scans")
    assert "results" in button(panel, "batchButton").toolTip()
    panel.ui.batchOut.setCurrentPath("results")
    assert button(panel, "batchButton").isEnabled()


def test_the_queue_is_asked_as_the_person_chose_and_the_end_is_said(batch, tmp_path, monkeypatch):
    batch.ui.biasField.setChecked(False)
    box = batch.parent.findChild(QtWidgets.QCheckBox, "sequenceBatchBox")
    assert box.isChecked()
    batch.ui.batchRetry.setChecked(True)
    opened = []
    from PySide6 import QtGui

    monkeypatch.setattr(QtGui.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    button(batch, "batchButton").click()
    (request,) = batch.batchSection.worker.asked
    assert isinstance(request, RunBatch)
    assert (request.source, request.out) == (tmp_path / "scans", tmp_path / "results")
    assert request.tasks == ("sequence",)
    assert request.models == {"sequence": batch.logic.contracts()["sequence"].id}  # what the tooltip names
    assert request.retry_failed
    assert not request.options.bias_field
    assert "3 of 5 scans are done. 2 failed:\n2 × the file has 3 slices." in batch.ui.batchLabel.text()
    wait(lambda: batch.batchSection.worker.stops, 5)  # its memory is free again
    button(batch, "batchPageButton").click()
    assert opened == [str(tmp_path / "p.html")]


def test_a_task_that_takes_several_scans_is_not_offered(batch):
    slots = type("Head", (), {"slots": ("T1", "T2")})
    batch.batchSection.update(batch._parameterNode, {"idh": type("Contract", (), {"head": slots})}, "")
    assert batch.parent.findChild(QtWidgets.QCheckBox, "idhBatchBox") is None


def test_what_was_stopped_is_kept_and_that_is_said(batch, scene):
    def stopped(request):
        raise Cancelled("Stopped.")

    batch.batchSection.worker.answer = stopped
    button(batch, "batchButton").click()
    assert "goes on from there" in batch.ui.batchLabel.text()
    assert scene.dialogs.shown == []
    assert button(batch, "batchButton").isEnabled()


def test_a_folder_without_scans_is_said(batch, scene):
    def empty(request):
        raise BrainIACError("'scans' holds no scan.")

    batch.batchSection.worker.answer = empty
    button(batch, "batchButton").click()
    assert scene.dialogs.shown == ["'scans' holds no scan."]
    assert batch.ui.batchLabel.text() == "'scans' holds no scan."


def test_a_package_that_is_declined_starts_nothing(batch, scene, monkeypatch):
    monkeypatch.setattr(OptionalPackage, "isInstalled", lambda self: False)
    scene.dialogs.confirm = False
    button(batch, "batchButton").click()
    assert batch.batchSection.worker.asked == []
    (question,) = scene.dialogs.shown
    for fact in ("pyarrow", "Apache-2.0", "pypi.org", "MB"):
        assert fact in question


def test_closing_the_scene_and_analyzing_a_study_leave_it_running(batch, scene, oblique):
    worker = batch.batchSection.worker
    worker.busy = True
    worker.request = lambda *unused: None  # it never ends
    button(batch, "batchButton").click()
    assert not batch.ui.batchStopButton.isHidden()
    scene.mrml.Clear(0)
    assert worker.cancels == 0
    scene.load(oblique)
    batch.updatePanel()
    QtCore.QCoreApplication.processEvents()
    assert button(batch, "analyzeButton").isEnabled()
    batch.ui.batchStopButton.click()
    assert worker.cancels == 1
