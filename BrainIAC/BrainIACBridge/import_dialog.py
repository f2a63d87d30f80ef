"""What a weight file was recognized as, what it is for, and the license that the person accepts or not."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.question import Question
from BrainIACBridge.task_buttons import taskTitle


class ImportDialog(Question):
    """Asks without blocking; ``onAccepted(task)`` is called if the person agrees.

    Parameters
    ----------
    found : the value of the worker's "inspect" action.
    """

    def __init__(self, parent, found, onAccepted):
        super().__init__(parent, _("Import weights"))
        self._licenses = found["licences"]
        layout = qt.QFormLayout(self.dialog)
        layout.addRow(_("Recognized as:"), qt.QLabel(found["title"]))
        self._task = qt.QComboBox()
        for task in self._licenses:
            self._task.addItem(taskTitle(task), task)
        if found["suggestion"]:
            self._task.setCurrentIndex(self._task.findData(found["suggestion"]))
        self._task.setToolTip(_("The content of a file cannot always tell what it was trained for; its name may."))
        layout.addRow(_("Used for:"), self._task)
        self._license = qt.QLabel()
        self._license.setWordWrap(True)
        layout.addRow(_("License:"), self._license)
        notice = qt.QLabel(_("Research use only; not for diagnosis or treatment decisions."))
        layout.addRow(notice)
        accepted = _("Accept license and import")
        layout.addRow(self.buttons(accepted, lambda: onAccepted(self._task.property("currentData"))))
        self._task.currentIndexChanged.connect(self._showLicense)
        self._showLicense()

    def _showLicense(self, *unused):
        self._license.setText(self._licenses[self._task.property("currentData")])
