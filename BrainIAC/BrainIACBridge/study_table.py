"""The table of scans in the panel: which are analyzed, and what each of them is."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.study import SEQUENCES
from BrainIACBridge.table_fit import fit, keepFitted
from BrainIACLib.trust.words import probability as shownProbability

NAME, SEQUENCE, PROBABILITY = range(3)
MOST_SEEN = 6  # scans that are seen without scrolling


class StudyTable:
    """Keeps a QTableWidget and a ``Study`` in step.

    Parameters
    ----------
    widget : the QTableWidget of the panel.
    study : the scans of the scene.
    wheelGuard : a ``WheelGuard`` for the choices in the rows.
    undo : takes a choice back.
    onChanged : called after the person changed something.
    onShown : called with a scan that was clicked.
    """

    def __init__(self, widget, study, wheelGuard, undo, onChanged, onShown):
        self._widget, self._study, self._wheelGuard, self._onChanged = widget, study, wheelGuard, onChanged
        self._undo = undo
        self._nodes, self._inViews = [], None
        header = widget.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(SEQUENCE, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(PROBABILITY, qt.QHeaderView.ResizeToContents)
        keepFitted(widget, MOST_SEEN)
        widget.itemChanged.connect(self._onItemChanged)
        widget.cellClicked.connect(lambda row, column: onShown(self._nodes[row]))

    def update(self, inViews):
        """Show the scans of the study as they are now; the row of the scan in the views becomes current."""
        nodes = self._study.scans()
        if nodes != self._nodes:
            self._nodes = nodes
            self._widget.setRowCount(len(nodes))
            for row in range(len(nodes)):
                if self._widget.cellWidget(row, SEQUENCE) is None:
                    self._widget.setCellWidget(row, SEQUENCE, self._sequenceChoice(row))
        self._widget.setVisible(bool(nodes))
        wasBlocked = self._widget.blockSignals(True)
        for row, node in enumerate(nodes):
            sequence, confidence = self._study.sequence(node)
            problem = self._study.problem(node)
            name = qt.QTableWidgetItem(self._study.titleOf(node))
            name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            name.setCheckState(qt.Qt.Checked if self._study.isIncluded(node) else qt.Qt.Unchecked)
            name.setToolTip(_aboutScan(node))
            self._widget.setItem(row, NAME, name)
            choice = self._widget.cellWidget(row, SEQUENCE)
            choiceWasBlocked = choice.blockSignals(True)
            choice.setCurrentIndex(choice.findText(sequence) if sequence in SEQUENCES else 0)
            choice.blockSignals(choiceWasBlocked)
            shown = "" if not sequence else _("set by you") if confidence is None else shownProbability(confidence)
            probability = qt.QTableWidgetItem(_("not analyzed") if problem else shown)
            probability.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            if warnings := problem or self._study.sequenceWarnings(node):
                probability.setIcon(self._widget.style().standardIcon(qt.QStyle.SP_MessageBoxWarning))
                probability.setToolTip(warnings)
            self._widget.setItem(row, PROBABILITY, probability)
        if inViews is not self._inViews and inViews in nodes:
            self._widget.setCurrentCell(nodes.index(inViews), NAME)
        self._inViews = inViews
        fit(self._widget, MOST_SEEN)
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
        node = self._nodes[row]
        before = (*self._study.sequence(node), self._study.sequenceWarnings(node).splitlines())
        self._study.setSequence(node, SEQUENCES[index - 1] if index > 0 else "")
        what = _("the sequence of {name}").format(name=node.GetName())
        self._undo.did(what, lambda: self._study.setSequence(node, *before))
        self._onChanged()

    def _onItemChanged(self, item):
        if item.column() == NAME:
            self._study.include(self._nodes[item.row()], item.checkState() == qt.Qt.Checked)
            self._onChanged()


def _aboutScan(node):
    """What tells scans of one name apart."""
    size = " × ".join(str(number) for number in node.GetImageData().GetDimensions())
    spacing = " × ".join(f"{number:.2g}" for number in node.GetSpacing())
    return _("{name}\n{size} voxels of {spacing} mm\nA click shows the scan.").format(
        name=node.GetName(), size=size, spacing=spacing
    )
