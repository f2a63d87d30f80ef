"""The table of cases in the panel of the head trainer."""

from __future__ import annotations

import qt

SCAN, PATIENT, LABEL = range(3)


class CaseTable:
    """Keeps a QTableWidget and ``Cases`` in step.

    Parameters
    ----------
    onChanged : called after the person typed something.
    onOpened : called with a case that was double-clicked.
    """

    def __init__(self, widget, cases, onChanged, onOpened):
        self._widget, self._cases, self._onChanged, self._onOpened = widget, cases, onChanged, onOpened
        self._column = None
        header = widget.horizontalHeader()
        header.setSectionResizeMode(SCAN, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(PATIENT, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(LABEL, qt.QHeaderView.ResizeToContents)
        widget.itemChanged.connect(self._onItemChanged)
        widget.cellDoubleClicked.connect(self._onDoubleClicked)

    def update(self, column):
        """Show the cases with the labels of one column."""
        self._column = column
        wasBlocked = self._widget.blockSignals(True)
        self._widget.setRowCount(len(self._cases.all))
        for row, case in enumerate(self._cases.all):
            scan = qt.QTableWidgetItem(case.facts["scan"].replace("\\", "/").rsplit("/", 1)[-1])
            scan.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            scan.setToolTip(case.facts["scan"])
            self._widget.setItem(row, SCAN, scan)
            self._widget.setItem(row, PATIENT, qt.QTableWidgetItem(case.facts.get("patient", "")))
            self._widget.setItem(row, LABEL, qt.QTableWidgetItem(case.facts.get(column, "")))
        self._widget.blockSignals(wasBlocked)

    def selectedRows(self):
        """The rows that the person selected."""
        return sorted({index.row() for index in self._widget.selectionModel().selectedRows()})

    def _onItemChanged(self, item):
        facts = self._cases.all[item.row()].facts
        if item.column() == PATIENT:
            facts["patient"] = str(item.data(qt.Qt.DisplayRole)).strip()
        elif item.column() == LABEL:
            facts[self._column] = str(item.data(qt.Qt.DisplayRole)).strip()
        self._onChanged()

    def _onDoubleClicked(self, row, column):
        if column == SCAN:
            self._onOpened(self._cases.all[row])
