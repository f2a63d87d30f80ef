"""The part of the panel about a whole folder of scans, through the queue of the batch command."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge import settings
from BrainIACBridge.flow import Ask, Listener, follow
from BrainIACBridge.optional_packages import PYARROW
from BrainIACBridge.preprocessing_options import optionsOf
from BrainIACBridge.task_buttons import answerTitle
from BrainIACBridge.worker_process import WorkerProcess
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.errors import Cancelled
from BrainIACLib.worker.requests import RunBatch


class BatchSection:
    """Has a worker of its own, so that studies can be analyzed meanwhile; closing the scene does not stop it.

    Parameters
    ----------
    ui : the widgets of the panel.
    """

    def __init__(self, ui):
        self._ui, self.worker = ui, WorkerProcess()
        self._parameters, self._obstacle = None, ""
        self._tasks, self._models = {}, {}  # task -> its check box, and the id of its model if it is there
        self._page = ""
        ui.batchButton.clicked.connect(lambda *unused: self.run())
        ui.batchStopButton.clicked.connect(lambda *unused: self._stop())
        ui.batchPageButton.clicked.connect(lambda *unused: self._openPage())
        for path in (ui.batchSource, ui.batchOut):
            path.currentPathChanged.connect(lambda *unused: self._show())

    def update(self, parameters, contracts, obstacle):
        """Offer the tasks that take one scan.

        Parameters
        ----------
        contracts : task -> contract of the model that the batch takes, whichever is chosen for a study.
        obstacle : why nothing can run, or "".
        """
        self._parameters, self._obstacle = parameters, obstacle
        self._models = {task: one.id for task, one in contracts.items() if len(one.head.slots) == 1}
        for task in self._models:
            if task not in self._tasks:
                self._tasks[task] = self._newTask(task)
            self._tasks[task].setToolTip(_aboutModel(contracts[task]))
        for task, box in self._tasks.items():
            box.setVisible(task in self._models)
        self._show()

    def run(self):
        """Begin, or go on where an earlier run was stopped."""
        if not PYARROW.offer(_("The tables of a folder need one more package.")):
            return
        for path in (self._ui.batchSource, self._ui.batchOut):
            path.addCurrentPathToHistory()
        chosen = [task for task in self._tasks if task in self._models and self._tasks[task].property("checked")]
        request = RunBatch(
            source=Path(self._path("batchSource")),
            out=Path(self._path("batchOut")),
            tasks=tuple(chosen),
            models={task: self._models[task] for task in chosen},
            retry_failed=self._ui.batchRetry.property("checked"),
            options=optionsOf(self._parameters),
            device=settings.device(),
        )

        def flow():
            self._ended((yield Ask(request)))

        self._page = ""
        self._ui.batchLabel.setText(_("Looking for scans"))
        self._ui.batchBar.setRange(0, 0)
        follow(self.worker, flow(), Listener(self._onProgress, self._onFinished))
        self._show()

    def _ended(self, value):
        self._page = value["page"]
        said = _("{done} of {scans} scans are done.").format(done=value["done"], scans=value["scans"])
        if value["failed"]:
            reasons = "\n".join(f"{count} × {reason}" for reason, count in value["failures"])
            said += " " + _("{failed} failed:").format(failed=value["failed"]) + f"\n{reasons}"
        self._ui.batchLabel.setText(said)

    def _onProgress(self, step, fraction):
        self._ui.batchLabel.setText(step)
        self._ui.batchBar.setRange(0, 100)
        self._ui.batchBar.setValue(round(100 * fraction))

    def _onFinished(self, error):
        qt.QTimer.singleShot(0, self._end)
        if isinstance(error, Cancelled):
            self._ui.batchLabel.setText(_("Stopped. What is done is kept; Analyze folder goes on from there."))
        elif error is not None:
            self._ui.batchLabel.setText(str(error))
            slicer.util.errorDisplay(str(error), detailedText="\n".join(self.worker.log))
        self._show()

    def _end(self):
        """The process has nothing more to do; never inside its own signal."""
        if not self.worker.busy:
            self.worker.stop()

    def _stop(self):
        self._ui.batchLabel.setText(_("Stopping..."))
        self.worker.cancel()

    def _openPage(self):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._page))

    def _show(self):
        busy = self.worker.busy
        reason = self._obstacle or self._missing()
        tip = _("Analyzes every scan of the folder, also over night; started again, it goes on where it was.")
        self._ui.batchButton.setEnabled(not reason and not busy)
        self._ui.batchButton.setToolTip(reason or tip)
        for name in ("batchBar", "batchStopButton"):
            getattr(self._ui, name).setVisible(busy)
        self._ui.batchLabel.setVisible(bool(self._ui.batchLabel.property("text")))
        self._ui.batchPageButton.setVisible(bool(self._page))

    def _missing(self):
        if not self._path("batchSource"):
            return _("Choose the folder of the scans first.")
        if not self._path("batchOut"):
            return _("Choose a folder for the results first.")
        return ""

    def _path(self, name):
        return (getattr(self._ui, name).property("currentPath") or "").strip()

    def _newTask(self, task):
        box = qt.QCheckBox(answerTitle(task))
        box.setChecked(task == SEQUENCE_TASK)
        box.setObjectName(task + "BatchBox")
        self._ui.batchTasksBox.layout().addWidget(box)
        return box


def _aboutModel(contract):
    (slot,) = contract.head.slots
    tip = (
        _("For every scan.")
        if slot == "any"
        else _("Made for {slot} scans: answers about others are marked as doubtful.").format(slot=slot)
    )
    return tip + "\n" + _("Model: {title}").format(title=contract.title)
