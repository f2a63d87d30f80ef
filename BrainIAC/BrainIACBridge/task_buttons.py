"""One button for each task; a disabled one says in its tooltip what is missing."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES

USUAL_TASKS = ("sequence", "age", "idh", "survival")  # always shown, whether a model is installed or not


def taskTitle(task):
    """The verb on the button of a task."""
    titles = {
        "sequence": _("Classify sequence"),
        "age": _("Predict age"),
        "idh": _("Predict IDH"),
        "survival": _("Predict survival"),
        "mci": _("Predict cognitive impairment"),
        "stroke": _("Predict time since stroke"),
    }
    return titles.get(task) or _("Predict {task}").format(task=task)


def answerTitle(task):
    """What the answer of a task is called."""
    titles = {
        "sequence": _("Sequence"),
        "age": _("Brain age"),
        "idh": _("IDH mutation"),
        "survival": _("Survival"),
        "mci": _("Cognitive impairment"),
        "stroke": _("Time since stroke"),
    }
    return titles.get(task) or task.replace("-", " ").replace("_", " ").capitalize()


class TaskButtons:
    """Keeps the buttons in step with the installed models and the study.

    Parameters
    ----------
    layout : the box layout that takes the buttons.
    study : the scans of the scene.
    onClicked : called with the task.
    """

    def __init__(self, layout, study, onClicked):
        self._layout, self._study, self._onClicked = layout, study, onClicked
        self._buttons = {}

    def update(self, contracts, obstacle):
        """Enable what can run now.

        Parameters
        ----------
        contracts : task -> contract of the model to use.
        obstacle : why nothing can run, or "".
        """
        for task in (*USUAL_TASKS, *contracts):
            if task not in self._buttons:
                self._buttons[task] = self._newButton(task)
        for task, button in self._buttons.items():
            reason = obstacle or self._missing(task, contracts)
            button.setEnabled(not reason)
            button.setToolTip(reason or self._willUse(task, contracts[task]))

    def targets(self, contract):
        """The scans to answer for: each included one for a task that takes any scan, else the filled slots once."""
        if tuple(contract.head.slots) == ("any",):
            return [{"any": node} for node in self._study.included()]
        return [self._study.fillSlots(contract.head.slots)[0]]

    def _missing(self, task, contracts):
        if task not in contracts:
            names = ", ".join(name for file in OFFICIAL_FILES if file.task == task for name in file.names)
            return _(
                "No model for this task is installed. Get {names} from the authors of BrainIAC (non-commercial "
                "license) and choose Import weights under Models and computer."
            ).format(names=names)
        head = contracts[task].head
        filled, missing = self._study.fillSlots(head.slots)
        if not self._study.included():
            return _("Load a scan first.")
        if missing and (head.missing_policy == "refuse" or not filled):
            return _("Missing in the study: {sequences}. Load the scan, or run Classify sequence first.").format(
                sequences=", ".join(missing)
            )
        return ""

    def _willUse(self, task, contract):
        if tuple(contract.head.slots) == ("any",):
            scans = ", ".join(node.GetName() for node in self._study.included())
        else:
            filled, _missing = self._study.fillSlots(contract.head.slots)
            scans = ", ".join(f"{slot} = {node.GetName()}" for slot, node in filled.items())
        return _("For {scans}.\nModel: {title}. {validRange}").format(
            scans=scans, title=contract.title, validRange=contract.head.valid_range
        )

    def _newButton(self, task):
        button = qt.QPushButton(taskTitle(task))
        button.setObjectName(task + "Button")
        button.clicked.connect(lambda *unused: self._onClicked(task))
        self._layout.addWidget(button)
        return button
