"""The part of the head trainer's panel about how well the head does: sentences, plots, the hardest cases."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from BrainIACBridge.training_plots import TrainingPlots
from BrainIACBridge.training_report import TrainingReport


class PerformanceSection:
    """Keeps figures and tables in step with the last training of the scene.

    Parameters
    ----------
    ui : the widgets of the panel.
    onShow : called with the name of a scan that was clicked.
    """

    def __init__(self, ui, onShow):
        self._ui, self._onShow, self._report = ui, onShow, None
        self._plotView = None  # the one whose clicks are listened to
        self.plots = TrainingPlots()
        ui.answersButton.clicked.connect(lambda *unused: self.showAnswers())
        ui.mapButton.clicked.connect(lambda *unused: self._showChart(self.plots.mapChart(self._report)))
        ui.hardestTable.cellDoubleClicked.connect(lambda row, column: onShow(self._report.hardest[row].scan))
        ui.hardestTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)

    @property
    def report(self):
        """The ``TrainingReport`` that is shown, or None."""
        return self._report

    def update(self, parameters):
        """Show the report of the scene."""
        self._report = TrainingReport.fromText(parameters.report)
        text = self._report.inWords() if self._report else _("Nothing was trained yet.")
        self._ui.performanceLabel.setText(text)
        hardest = self._report.hardest if self._report else []
        self._ui.hardestTable.setRowCount(len(hardest))
        for row, answer in enumerate(hardest):
            for column, shown in enumerate((answer.name, answer.trueText, answer.predictedText)):
                self._ui.hardestTable.setItem(row, column, qt.QTableWidgetItem(shown))
        for name in ("answersButton", "mapButton"):
            getattr(self._ui, name).setEnabled(self._report is not None)

    def showAnswers(self):
        """Confusion matrix or scatter plot."""
        if not self._report.confusion:
            self._showChart(self.plots.answersChart(self._report))
            return
        table = self.plots.confusionTable(self._report)
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()

    def onPointsSelected(self, seriesIds, selections):
        """Show the scan of the point that was clicked in a plot."""
        scan = self.plots.scanAt(seriesIds, selections)
        if scan is not None:
            self._onShow(scan)

    def _showChart(self, chart):
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        manager = slicer.app.layoutManager()
        view = manager.plotWidget(0).plotView() if manager.plotViewCount else None
        if view is not None and view is not self._plotView:
            view.connect("dataSelected(vtkStringArray*, vtkCollection*)", self.onPointsSelected)
            self._plotView = view
