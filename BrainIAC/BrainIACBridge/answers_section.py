"""The part of the panel about all answers: a table, a plot, files; forget them."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _


class AnswersSection:
    """Keeps the table in step with the results.

    Parameters
    ----------
    ui : the widgets of the panel.
    answers : the ``SceneAnswers``.
    cards : the ``CardsSection``, whose order the plot takes.
    undo : takes *Clear* back.
    onChanged : called after the answers were forgotten.
    """

    def __init__(self, ui, answers, cards, undo, onChanged):
        self._ui, self._answers, self._cards, self._undo, self._onChanged = ui, answers, cards, undo, onChanged
        self._shown = None  # the table as it was last shown
        for name, act in (
            ("plotButton", self.plot),
            ("copyButton", self.copy),
            ("exportButton", self.export),
            ("clearButton", self.clear),
        ):
            getattr(ui, name).clicked.connect(lambda *unused, act=act: act())

    def update(self, hasScans):
        """Show the answers as they are now; the cards are up to date. Without scans there is nothing to be said."""
        results = self._answers.results(create=False)
        records = results.records() if results else []
        shown = self._state(results, records)
        if shown != self._shown:
            if results:
                results.refresh()
            self._shown = self._state(results, records)
            self._ui.resultTableView.setMRMLTableNode(shown[0])
        self._ui.answersHintLabel.setVisible(not self._cards.records)
        self._ui.answersSection.setVisible(bool(self._cards.records) or hasScans)
        self._ui.tableSection.setVisible(bool(records))
        self._ui.plotButton.setEnabled(any(record["probabilities"] for record in records))
        for button in (self._ui.copyButton, self._ui.exportButton, self._ui.clearButton):
            button.setEnabled(bool(records))

    def _state(self, results, records):
        """What the table shows: the node, and what of it may change without it."""
        if not results:
            return None, 0, []
        changing = [(self._answers.staleness(record), *results.namesOf(record).values()) for record in records]
        return results.node, results.node.GetMTime(), changing

    def plot(self):
        """Show the probabilities of the first answer that has some."""
        results = self._answers.results()
        records = [record for record in [*self._cards.records, *results.records()] if record["probabilities"]]
        slicer.modules.plots.logic().ShowChartInLayout(results.showPlot(records[0]))

    def copy(self):
        """Copy the table."""
        self._answers.results().copyToClipboard()
        self._ui.statusLabel.setText(_("Copied."))

    def export(self):
        """Save the table as CSV, or everything as JSON."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save answers"), "BrainIAC.csv", "CSV (*.csv);;JSON (*.json)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The answers could not be saved.")):
                self._answers.results().save(path)
                self._ui.statusLabel.setText(_("Saved {name}.").format(name=Path(path).name))

    def clear(self):
        """Forget all answers of this scene."""
        records, scans = self._answers.results().clear()
        self._undo.did(_("clear"), lambda: self._answers.results().restore(records, scans))
        self._onChanged()
