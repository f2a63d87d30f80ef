"""The part of the panel about the saliency map: which answer it explains, how it is shown, its hot spots."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from BrainIACBridge.saliency_map import MOST_SPOTS
from BrainIACBridge.table_fit import fit, keepFitted
from BrainIACBridge.task_buttons import answerTitle

SHOWN_WITH_A_MAP = (
    "showSaliency",
    "showLegend",
    "opacityLabel",
    "opacity",
    "thresholdLabel",
    "threshold",
    "colorMapLabel",
    "colorMap",
    "maximumButton",
    "segmentButton",
)


class MapSection:
    """Keeps the widgets in step with the map of the chosen scan.

    Parameters
    ----------
    ui : the widgets of the panel.
    logic : a ``BrainIACLogic``.
    explain, examine : called with an answer and a scan.
    say : called with a text for the status line.
    """

    def __init__(self, ui, logic, explain, examine, say):
        self._ui, self._logic, self._say = ui, logic, say
        self._spots, self._listed = [], ()  # () is like no list
        self._parameters = None
        ui.explainButton.clicked.connect(lambda *unused: explain(self._record(), self._parameters.saliencyScan))
        ui.examineButton.clicked.connect(lambda *unused: examine(self._record(), self._parameters.saliencyScan))
        ui.maximumButton.clicked.connect(lambda *unused: self._goToMaximum())
        ui.fourUpButton.clicked.connect(lambda *unused: logic.map.fourUp())
        ui.segmentButton.clicked.connect(lambda *unused: self._makeSegment())
        ui.hotSpotTable.cellClicked.connect(lambda row, column: self._goTo(self._spots[row].ras))
        ui.hotSpotTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        keepFitted(ui.hotSpotTable, MOST_SPOTS)

    def update(self, parameters, obstacle):
        """Show the state of things; the slice views follow."""
        self._parameters = parameters
        scan = parameters.saliencyScan
        answers = [
            one for one in (self._logic.answers.about(scan) if scan else []) if not self._logic.answers.staleness(one)
        ]
        self._showAnswers(answers, self._logic.answers.explained(scan) if scan is not None else None)
        reason = obstacle or ("" if answers else _("There is no answer about this scan yet."))
        for name, tip in (
            ("explainButton", _("Marks the voxels that the answer depends on most.")),
            ("examineButton", _("Flips, shifts and disturbs the scan slightly and sees if the answer holds.")),
        ):
            getattr(self._ui, name).setEnabled(not reason)
            getattr(self._ui, name).setToolTip(reason or tip)
        if parameters.showSaliency and self._logic.map.isTakenOff():
            parameters.showSaliency = False  # the box claims no map that is not there
        self._logic.map.apply(parameters)
        saliency = self._logic.answers.saliencyOf(scan) if scan is not None else None
        for name in SHOWN_WITH_A_MAP:
            getattr(self._ui, name).setVisible(saliency is not None)
        self._ui.mapLabel.setText(self._inWords(scan, saliency))
        self._showSpots(saliency, parameters.threshold)

    def _inWords(self, scan, saliency):
        if saliency is None:
            return _("There is no map of this scan.")
        task, label = self._logic.answers.explained(scan)
        text = _("Map of the answer '{label}' ({task}) over {scan}: relative saliency, not probability of disease.")
        return text.format(task=answerTitle(task), label=label, scan=self._logic.study.titleOf(scan))

    def _showAnswers(self, answers, explained):
        combo, ids = self._ui.explainTask, [answer["id"] for answer in answers]
        if ids != [combo.itemData(index) for index in range(combo.property("count"))]:
            combo.clear()
            for answer in answers:
                combo.addItem(f"{answerTitle(answer['task'])}: {answer['label']}", answer["id"])
            shown = [index for index, one in enumerate(answers) if (one["task"], one["label"]) == explained]
            combo.setCurrentIndex(shown[0] if shown else 0)

    def _record(self):
        chosen = self._ui.explainTask.property("currentData")
        return next(record for record in self._logic.answers.records() if record["id"] == chosen)

    def _showSpots(self, saliency, threshold):
        listed = (saliency.GetID(), saliency.GetImageData().GetMTime(), threshold) if saliency is not None else None
        if listed == self._listed:
            return
        self._listed = listed
        self._spots = self._logic.map.hotSpots(saliency, threshold) if saliency is not None else []
        table = self._ui.hotSpotTable
        table.setRowCount(len(self._spots))
        table.setVisible(bool(self._spots))
        for row, spot in enumerate(self._spots):
            for column, text in enumerate((spot.inWords(), f"{spot.milliliters:.1f}", f"{spot.peak:.2f}")):
                item = qt.QTableWidgetItem(text)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                table.setItem(row, column, item)
        fit(table, MOST_SPOTS)

    def _goToMaximum(self):
        self._logic.map.goToMaximum(self._logic.answers.saliencyOf(self._parameters.saliencyScan))

    def _goTo(self, ras):
        self._logic.map.overlay.goTo(ras)

    def _makeSegment(self):
        scan = self._parameters.saliencyScan
        node = self._logic.map.makeSegment(self._logic.answers.saliencyOf(scan), scan, self._parameters.threshold)
        self._say(_("Made the segmentation '{name}'.").format(name=node.GetName()))
        slicer.util.setSliceViewerLayers(background=scan)
