"""The table of scans in the panel: which are analyzed, and what each of them is."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.study import SEQUENCES

NAME, SEQUENCE, PROBABILITY = range(3)
ROW_HEIGHT = 32  # pixels, about; from two to six scans are seen without scrolling


class StudyTable:
    """Keeps a QTableWidget and a ``Study`` in step.

    Parameters
    ----------
    widget : the QTableWidget of the panel.
    study : the scans of the scene.
    wheelGuard : a ``WheelGuard`` for the choices in the rows.
    onChanged : called after the person changed something.
    """

    def __init__(self, widget, study, wheelGuard, onChanged):
        self._widget, self._study, self._wheelGuard, self._onChanged = widget, study, wheelGuard, onChanged
        self._nodes = []
        header = widget.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(SEQUENCE, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(PROBABILITY, qt.QHeaderView.ResizeToContents)
        widget.itemChanged.connect(self._onItemChanged)

    def update(self):
        """Show the scans of the scene as they are now."""
        nodes = self._study.volumes()
        if nodes != self._nodes:
            self._nodes = nodes
            self._widget.setRowCount(len(nodes))
            for row in range(len(nodes)):
                self._widget.setCellWidget(row, SEQUENCE, self._sequenceChoice(row))
            self._widget.setMaximumHeight(ROW_HEIGHT * (1 + max(2, min(6, len(nodes)))))
        wasBlocked = self._widget.blockSignals(True)
        for row, node in enumerate(nodes):
            sequence, confidence = self._study.sequence(node)
            name = qt.QTableWidgetItem(node.GetName())
            name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            name.setCheckState(qt.Qt.Checked if self._study.isIncluded(node) else qt.Qt.Unchecked)
            name.setToolTip(node.GetName())
            self._widget.setItem(row, NAME, name)
            choice = self._widget.cellWidget(row, SEQUENCE)
            choiceWasBlocked = choice.blockSignals(True)
            choice.setCurrentIndex(choice.findText(sequence) if sequence in SEQUENCES else 0)
            choice.blockSignals(choiceWasBlocked)
            shown = "" if not sequence else _("set by you") if confidence is None else f"{confidence:.2f}"
            probability = qt.QTableWidgetItem(shown)
            probability.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            if warnings := self._study.sequenceWarnings(node):
                probability.setIcon(self._widget.style().standardIcon(qt.QStyle.SP_MessageBoxWarning))
                probability.setToolTip(warnings)
            self._widget.setItem(row, PROBABILITY, probability)
        self._widget.blockSignals(wasBlocked)

    def _sequenceChoice(self, row):
        choice = qt.QComboBox()
        choice.addItem(_("unknown"))
        for sequence in SEQUENCES:
            choice.addItem(sequence)
        choice.setToolTip(_("Detected by Classify sequence. Choose another one to correct it."))
        choice.activated.connect(lambda *unused: self._onSequenceChosen(row))
        self._wheelGuard.watch(choice)
        return choice

    def _onSequenceChosen(self, row):
        index = self._widget.cellWidget(row, SEQUENCE).property("currentIndex")
        self._study.setSequence(self._nodes[row], SEQUENCES[index - 1] if index > 0 else "")
        self._onChanged()

    def _onItemChanged(self, item):
        if item.column() == NAME:
            self._study.include(self._nodes[item.row()], item.checkState() == qt.Qt.Checked)
            self._onChanged()
