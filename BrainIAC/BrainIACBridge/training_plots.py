"""What cross-validation showed, as nodes: answers (confusion matrix or scatter) and the map of all cases.

The nodes are used again by the next training, and are saved with the scene.
"""

from __future__ import annotations

import json

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

SCANS = "BrainIAC.Scans"  # attribute of a series node: the scan behind each point, as JSON
MOST_SERIES = 10  # colors that can be told apart; measurements are cut into as many ranges
COLORS = (
    (0.12, 0.47, 0.71),
    (1.0, 0.5, 0.05),
    (0.17, 0.63, 0.17),
    (0.84, 0.15, 0.16),
    (0.58, 0.4, 0.74),
    (0.55, 0.34, 0.29),
    (0.89, 0.47, 0.76),
    (0.5, 0.5, 0.5),
    (0.74, 0.74, 0.13),
    (0.09, 0.75, 0.81),
)


class TrainingPlots:
    """Makes the nodes for a ``TrainingReport``, and finds the scan behind a point."""

    def confusionTable(self, report):
        """Rows are true classes, columns are predicted ones; counts."""
        table = _firstOrNew("vtkMRMLTableNode", _("BrainIAC confusion matrix"))
        table.RemoveAllColumns()
        table.AddColumn(_texts(_("True \\ predicted"), report.classes))
        for column, name in enumerate(report.classes):
            table.AddColumn(_texts(name, [str(row[column]) for row in report.confusion]))
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)  # counts are not to be typed over
        return table

    def answersChart(self, report):
        """True against predicted values of a measurement."""
        points = [(answer.true, answer.predicted, answer.scan) for answer in report.answers]
        chart = self._chart(_("BrainIAC answers"), {_("Cases"): points})
        chart.SetTitle(_("{target}: predicted by a head that had not seen the case").format(target=report.target))
        chart.SetXAxisTitle(_("True, {unit}").format(unit=report.unit))
        chart.SetYAxisTitle(_("Predicted, {unit}").format(unit=report.unit))
        chart.SetLegendVisibility(False)
        return chart

    def mapChart(self, report):
        """All cases as points, one series a label."""
        groups = {}
        for (x, y), group, answer in zip(report.map, report.groups(MOST_SERIES), report.answers, strict=True):
            groups.setdefault(group, []).append((x, y, answer.scan))
        chart = self._chart(_("BrainIAC embedding map"), dict(sorted(groups.items())))
        chart.SetTitle(_("Embeddings, colored by {target}; near means similar").format(target=report.target))
        chart.SetXAxisTitle("")
        chart.SetYAxisTitle("")
        chart.SetLegendVisibility(True)
        return chart

    def scanAt(self, seriesIds, selections):
        """The scan behind the last of the selected points, or None.

        Parameters
        ----------
        seriesIds, selections : what a plot view's ``dataSelected`` signal sends: IDs of series, and for each of them a
            vtkIdTypeArray of point numbers.
        """
        for index in reversed(range(seriesIds.GetNumberOfValues())):
            series = slicer.mrmlScene.GetNodeByID(seriesIds.GetValue(index))
            chosen = selections.GetItemAsObject(index)
            scans = json.loads(series.GetAttribute(SCANS) or "[]") if series is not None else []
            if chosen is not None and chosen.GetNumberOfValues() and scans:
                return scans[int(chosen.GetValue(chosen.GetNumberOfValues() - 1))]
        return None

    def _chart(self, name, groups):
        """A scatter chart with one series for each group of points (x, y, scan)."""
        chart = _firstOrNew("vtkMRMLPlotChartNode", name)
        for old in _seriesOf(chart):
            if old.GetName().removeprefix(f"{name}: ") not in groups:
                slicer.mrmlScene.RemoveNode(old.GetTableNode())
                slicer.mrmlScene.RemoveNode(old)
        chart.RemoveAllPlotSeriesNodeIDs()
        for number, (group, points) in enumerate(groups.items()):
            table = _firstOrNew("vtkMRMLTableNode", f"{name}: {group}")
            series = _firstOrNew("vtkMRMLPlotSeriesNode", f"{name}: {group}")
            table.RemoveAllColumns()
            for title, values in (("x", [x for x, _y, _scan in points]), ("y", [y for _x, y, _scan in points])):
                column = vtk.vtkFloatArray()
                column.SetName(title)
                for value in values:
                    column.InsertNextValue(value)
                table.AddColumn(column)
            table.AddColumn(_texts("scan", [scan for _x, _y, scan in points]))
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetXColumnName("x")
            series.SetYColumnName("y")
            series.SetLabelColumnName("scan")
            series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
            series.SetMarkerSize(9)
            series.SetColor(*COLORS[number % len(COLORS)])
            series.SetAttribute(SCANS, json.dumps([scan for _x, _y, scan in points]))
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        return chart


def _seriesOf(chart):
    nodes = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    return [node for node in nodes if node is not None]


def _texts(title, texts):
    column = vtk.vtkStringArray()
    column.SetName(title)
    for text in texts:
        column.InsertNextValue(text)
    return column


def _firstOrNew(className, name):
    return slicer.mrmlScene.GetFirstNode(name, className) or slicer.mrmlScene.AddNewNodeByClass(className, name)
