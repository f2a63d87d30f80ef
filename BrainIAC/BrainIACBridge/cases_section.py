"""The part of the head trainer's panel about its scans: the list, what is typed into it, the column to learn."""

from __future__ import annotations

import qt
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.case_table import CaseTable
from BrainIACBridge.cases import Cases
from BrainIACLib.errors import BrainIACError


class CasesSection:
    """Keeps the list in step with the cases, and the scene with what is typed.

    Parameters
    ----------
    ui : the widgets of the panel.
    logic : a ``BrainIACHeadTrainerLogic``.
    onChanged : called after the list or a choice changed.
    """

    def __init__(self, ui, logic, onChanged):
        self._ui, self._logic, self._onChanged, self._parameters = ui, logic, onChanged, None
        self.table = CaseTable(ui.caseTable, logic.cases, self._keep, self.show)
        for name, act in (
            ("addVolumesButton", self.addVolumes),
            ("addCsvButton", self.addCsv),
            ("addFolderButton", self.addFolder),
            ("removeCasesButton", self.remove),
        ):
            getattr(ui, name).clicked.connect(lambda *unused, act=act: act())
        ui.labelColumn.activated.connect(lambda *unused: self._onColumn("labelColumn"))
        ui.siteColumn.activated.connect(lambda *unused: self._onColumn("siteColumn"))
        ui.caseTable.itemSelectionChanged.connect(onChanged)

    def update(self, parameters):
        """Show the cases with the labels of the chosen column."""
        self._parameters = parameters
        columns = self._logic.cases.labelColumns()
        _fill(self._ui.labelColumn, columns, parameters.labelColumn)
        _fill(self._ui.siteColumn, ["", *columns[1:]], parameters.siteColumn)
        self.table.update(parameters.labelColumn)
        self._ui.casesHintLabel.setText(self._inWords())
        self._ui.removeCasesButton.setEnabled(bool(self.table.selectedRows()))

    def addVolumes(self):
        """The volumes of the scene into the list."""
        self._logic.addVolumes()
        self._keep()

    def addCsv(self):
        """A manifest into the list."""
        self.add(Cases.addCsv, qt.QFileDialog.getOpenFileName(None, _("Add scans of a table"), "", "CSV (*.csv)"))

    def addFolder(self):
        """The scans of a folder into the list."""
        self.add(Cases.addFolder, qt.QFileDialog.getExistingDirectory(None, _("Add the scans of a folder")))

    def add(self, add, path):
        """``Cases.addCsv`` or ``Cases.addFolder`` with a path, "" for none; the columns that came are chosen."""
        if not path:
            return
        try:
            add(self._logic.cases, path)
        except BrainIACError as error:
            slicer.util.errorDisplay(str(error))
            return
        columns = self._logic.cases.labelColumns()
        if self._parameters.labelColumn == columns[0] and len(columns) > 1:
            self._parameters.labelColumn = columns[1]  # what the table brought
        self._keep()

    def remove(self):
        """The selected rows out of the list."""
        self._logic.cases.remove(self.table.selectedRows())
        self._keep()

    def show(self, case):
        """The scan of a case in the slice views."""
        try:
            self._logic.show(case.facts["scan"])
        except (BrainIACError, RuntimeError) as error:
            slicer.util.errorDisplay(str(error))

    def showNamed(self, scan):
        """The scan of that name, if it is still in the list."""
        case = self._logic.cases.named(scan)
        if case is not None:
            self.show(case)

    def _keep(self):
        self._parameters.cases = self._logic.cases.toJson()
        self._onChanged()

    def _onColumn(self, name):
        setattr(self._parameters, name, getattr(self._ui, name).property("currentText"))
        self._onChanged()

    def _inWords(self):
        cases, column = self._logic.cases.all, self._parameters.labelColumn
        if not cases:
            return _("Add scans of at least 10 people, and give each a label; more are better.")
        labels = [case.facts.get(column, "") for case in cases]
        people = {case.facts.get("patient") or case.facts["scan"] for case in cases}
        return _("{scans} scans of {people} people; {labels} with a label, {different} different ones.").format(
            scans=len(cases),
            people=len(people),
            labels=sum(map(bool, labels)),
            different=len({label for label in labels if label}),
        )


def _fill(combo, columns, chosen):
    """Columns to choose from; the chosen one stays, also where the scans lack it."""
    columns = columns if chosen in columns else [*columns, chosen]
    if columns != [combo.itemText(index) for index in range(combo.property("count"))]:
        combo.clear()
        combo.addItems(columns)
    combo.setCurrentIndex(columns.index(chosen))
