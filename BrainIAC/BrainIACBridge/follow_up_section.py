"""The part of the panel about two dates of one person; hidden while there is only one."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.follow_up import FollowUp
from BrainIACBridge.table_fit import fit, keepFitted

DIFFERENCE = 3  # the column
MOST_SEEN = 8  # tasks that are seen without scrolling


class FollowUpSection:
    """Keeps the table of changes in step with the answers.

    Parameters
    ----------
    ui : the widgets of the panel.
    logic : a ``BrainIACLogic``.
    """

    def __init__(self, ui, logic):
        self._ui, self.followUp = ui, FollowUp(logic)
        ui.followUpButton.clicked.connect(lambda *unused: self.followUp.showSideBySide())
        header = ui.followUpTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(DIFFERENCE, qt.QHeaderView.Stretch)
        keepFitted(ui.followUpTable, MOST_SEEN)

    def update(self):
        """Show both answers of each task and their difference."""
        pair = self.followUp.pair()
        self._ui.followUpSection.setVisible(pair is not None)
        if pair is None:
            return
        changes = self.followUp.changes()
        self._ui.followUpLabel.setText(
            _("{patient}: {before} and {after}").format(patient=pair[1].patient, before=pair[0].day, after=pair[1].day)
            + ("" if changes else ". " + _("Analyze both studies to compare their answers."))
        )
        table = self._ui.followUpTable
        table.setVisible(bool(changes))
        table.setRowCount(len(changes))
        for row, change in enumerate(changes):
            for column, text in enumerate((change.task, change.before, change.after, change.difference)):
                item = qt.QTableWidgetItem(text)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                item.setToolTip(text)
                table.setItem(row, column, item)
        fit(table, MOST_SEEN)
