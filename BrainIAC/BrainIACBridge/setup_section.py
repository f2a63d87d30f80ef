"""The part of the panel about what has to be installed; hidden once everything is there."""

from __future__ import annotations

import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.installation import Installation


class SetupSection:
    """Says what is missing, or that this computer cannot run BrainIAC, and installs after asking.

    Parameters
    ----------
    ui : the widgets of the panel.
    onChanged : called after something was installed.
    """

    def __init__(self, ui, onChanged):
        self._ui, self._onChanged = ui, onChanged
        self.installation = Installation()
        ui.setupButton.clicked.connect(lambda *unused: self.setUp())

    def update(self, busy):
        """Show what is missing; whether an analysis can start."""
        complete = self.installation.isComplete()
        self._ui.setupSection.setVisible(not complete)
        if not complete:
            self._ui.setupStatusLabel.setText(self.installation.inWords())
            self._ui.setupButton.setEnabled(not busy and not self.installation.unsupported())
            self._ui.setupButton.setToolTip(self.installation.plan() + "\n" + _("Asks before it begins."))
        return complete

    def setUp(self, agreed=False):
        """Say what will be installed, ask unless the person ``agreed`` before a restart, install."""
        with slicer.util.tryWithErrorDisplay(_("The installation failed."), waitCursor=True):
            question = _("BrainIAC needs the following in Slicer's Python. Install it now?")
            question = f"{question}\n\n{self.installation.plan()}"
            if agreed or slicer.util.confirmOkCancelDisplay(question, _("Set up BrainIAC")):
                said = self.installation.install(self._ui.wheelsFolder.property("currentPath"))
                self._ui.statusLabel.setText(said)
        self._onChanged()
