"""Predictions in the scene: a table with one row each, a plot of the probabilities, files, and the clipboard."""

from __future__ import annotations

import csv
import functools
import io
import json
import uuid
from pathlib import Path

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from BrainIACLib.foreign_text import spreadsheet_row
from BrainIACLib.publishing import write_text
from BrainIACLib.trust.words import probability as shownProbability
from BrainIACLib.trust.words import uncertainty

RECORDS = "BrainIAC.Records"  # attribute of the table node: all predictions with their provenance, as JSON
RESULT = "BrainIAC.Result"  # marks what this module made, with its kind; never an input
PROVENANCE = "BrainIAC.Provenance"
INPUT_VOLUME = "BrainIAC.InputVolume"
ANSWER = "answer"  # in the provenance of a map: the id of the answer that it explains
INNER = ("id", "contents", "ageYears", "sequences", "studies")  # of a record: what only the scene needs


class Results:
    """The results table of one scene. The JSON in its attribute is the truth; the columns are made from it.

    Which volumes an answer is about stands in node references of the table, one a slot: IDs of nodes change when a
    scene is added to another one, and references change with them.

    Parameters
    ----------
    tableNode : the table.
    stalenessOf : why an answer is not about what the scene shows now, "" if it is; for the columns.
    """

    def __init__(self, tableNode, stalenessOf=lambda record: ""):
        self.node, self._stalenessOf = tableNode, stalenessOf
        self.node.SetAttribute(RESULT, "table")

    def records(self):
        """All predictions, oldest first."""
        return list(_parsed(self.node.GetAttribute(RECORDS) or "[]"))

    def scansOf(self, record):
        """slot -> volume node, None where the volume was deleted."""
        return {slot: self.node.GetNodeReference(_role(record, slot)) for slot in record["scans"]}

    def about(self, scan):
        """The predictions in which a scan took part."""
        return [record for record in self.records() if scan in self.scansOf(record).values()]

    def namesOf(self, record):
        """slot -> the name of the scan as it is now, as it was where the scan is gone."""
        nodes = self.scansOf(record)
        return {slot: name if nodes[slot] is None else nodes[slot].GetName() for slot, name in record["scans"].items()}

    def refresh(self):
        """Bring the columns in line with names and scans as they are now; nothing is touched if they are."""
        _header, rows = self._cells()
        table, columns = self.node, range(self.node.GetNumberOfColumns())
        shown = [[table.GetCellText(row, column) for column in columns] for row in range(table.GetNumberOfRows())]
        if rows != shown:
            self._fill()

    def add(self, record, scans, contents):
        """Add a prediction; one of the same task on the same scans is replaced.

        One that was replaced by its like, from the same prepared scans, keeps its id, and so its map.

        Parameters
        ----------
        record : the fields of ``BrainIACLib.predictor.Prediction``, with node names as ``scans``.
        scans : slot -> volume node.
        contents : slot -> hash of what the volume showed.
        """
        records = self.records()
        same = [one for one in records if one["task"] == record["task"] and self.scansOf(one) == scans]
        new = {**record, "id": _newId(), "contents": contents}
        for one in same:
            if _substance(one) == _substance(new):
                new["id"] = one["id"]
        for one in same:
            self._unlink(one)
        self._link(new, scans)
        self._write([*(one for one in records if one not in same), new])
        return new

    def extend(self, record, field, found):
        """Add to a dictionary among the fields of a prediction, which becomes the latest; one that is gone stays so."""
        records = self.records()
        for one in records:
            if one["id"] == record["id"]:
                extended = {**one, field: {**one.get(field, {}), **found}}
                self._write([*(other for other in records if other is not one), extended])

    def absorb(self, others):
        """Take the predictions of other tables, of scenes that were added to this one, and remove the tables.

        Each gets another id: that scene may be an earlier state of this one, with the same answers about its own scans.
        """
        came = []
        for other in others:
            for record in other.records():
                came.append({**record, "id": _newId()})
                scans = other.scansOf(record)
                self._link(came[-1], scans)
                _renameInMaps(record["id"], came[-1]["id"], scans.values())
            slicer.mrmlScene.RemoveNode(other.node)
        self._write([*self.records(), *came])

    def restore(self, records, scans):
        """Put predictions back that ``clear`` returned, but those that were given anew since."""
        given = [(record["task"], self.scansOf(record)) for record in self.records()]
        back = [record for record in records if (record["task"], scans[record["id"]]) not in given]
        for record in back:
            self._link(record, scans[record["id"]])
        self._write([*back, *self.records()])

    def clear(self):
        """Forget all predictions. Returns what ``restore`` takes: the predictions, and their scans by id."""
        records = self.records()
        scans = {record["id"]: self.scansOf(record) for record in records}
        for record in records:
            self._unlink(record)
        self._write([])
        return records, scans

    def rows(self):
        """(header, rows) as text, for the table, CSV and the clipboard."""
        columns = {
            _("Task"): lambda r: r["task"],
            _("Scans"): lambda r: ", ".join(self.namesOf(r).values()),
            _("Answer"): lambda r: r["label"],
            _("Not current"): self._stalenessOf,
            _("Probability"): lambda r: "" if r["confidence"] is None else shownProbability(r["confidence"], 4),
            _("Value"): lambda r: "" if r["value"] is None else f"{r['value']:.4g}",
            _("Unit"): lambda r: r["unit"] or "",
            _("Uncertainty"): lambda r: uncertainty(r.get("trust", {})),
            _("Warnings"): lambda r: " ".join(r["warnings"]),
            _("Valid for"): lambda r: r["valid_range"],
            _("Model"): lambda r: f"{r['provenance']['model']['id']} {r['provenance']['model']['version']}",
            _("License of the weights"): lambda r: r["provenance"]["model"]["licence"],
            _("Head SHA-256"): lambda r: r["provenance"]["model"]["head_sha256"],
            _("Encoder SHA-256"): lambda r: r["provenance"]["model"]["encoder_sha256"],
            _("Device"): lambda r: r["provenance"]["device"],
            _("Software"): lambda r: ", ".join(f"{k} {v}" for k, v in r["provenance"]["versions"].items()),
            _("Preprocessing"): lambda r: ", ".join(
                dict.fromkeys(step["name"] for step in r["provenance"]["preprocessing"])
            ),
            _("Time"): lambda r: r["time"],
            _("Notice"): lambda r: r["notice"],
        }
        return list(columns), [[cell(record) for cell in columns.values()] for record in self.records()]

    def _cells(self):
        """(header, rows) as Slicer's file of a table can hold them: it is read wrongly with quotes and line ends."""
        header, rows = self.rows()
        return header, [[" ".join(text.split()).replace('"', "'") for text in row] for row in rows]

    def toJson(self):
        """All predictions with all provenance."""
        return json.dumps([self._exported(record) for record in self.records()], indent=2)

    def toCsv(self):
        """The table as CSV."""
        return self._delimited(",")

    def save(self, path):
        """Write all predictions, as JSON if the name ends so, else as CSV."""
        text = self.toJson() if str(path).lower().endswith(".json") else self.toCsv()
        write_text(text, Path(path))

    def copyToClipboard(self):
        """The table, ready to be pasted into a spreadsheet."""
        qt.QApplication.clipboard().setText(self._delimited("\t"))

    def showPlot(self, record):
        """A bar for each probability of a prediction; the plot's nodes are used again the next time."""
        name = _("BrainIAC probabilities")
        table = _firstOrNew("vtkMRMLTableNode", name)
        series = _firstOrNew("vtkMRMLPlotSeriesNode", name)
        chart = _firstOrNew("vtkMRMLPlotChartNode", name)
        labels, values = vtk.vtkStringArray(), vtk.vtkFloatArray()
        labels.SetName(_("Answer"))
        values.SetName(_("Probability"))
        for label, probability in record["probabilities"].items():
            labels.InsertNextValue(label)
            values.InsertNextValue(probability)
        table.RemoveAllColumns()
        table.AddColumn(labels)
        table.AddColumn(values)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetLabelColumnName(labels.GetName())
        series.SetYColumnName(values.GetName())
        chart.RemoveAllPlotSeriesNodeIDs()
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.SetTitle("{task}: {scans}".format(task=record["task"], scans=", ".join(record["scans"].values())))
        chart.SetYAxisTitle(_("Probability"))
        chart.SetLegendVisibility(False)
        return chart

    def _exported(self, record):
        fields = {name: value for name, value in record.items() if name not in INNER}
        return {**fields, "scans": self.namesOf(record), "not_current": self._stalenessOf(record)}

    def _link(self, record, scans):
        for slot, node in scans.items():
            there = node is not None and node.GetScene() is not None  # a volume that is gone keeps its ID
            self.node.SetNodeReferenceID(_role(record, slot), node.GetID() if there else None)

    def _unlink(self, record):
        for slot in record["scans"]:
            self.node.SetNodeReferenceID(_role(record, slot), None)

    def _write(self, records):
        self.node.SetAttribute(RECORDS, json.dumps(records))
        self._fill()

    def _fill(self):
        header, rows = self._cells()
        wasModifying = self.node.StartModify()
        self.node.RemoveAllColumns()
        for index, title in enumerate(header):
            column = vtk.vtkStringArray()
            column.SetName(title)
            for row in rows:
                column.InsertNextValue(row[index])
            self.node.AddColumn(column)
        self.node.SetUseColumnTitleAsColumnHeader(True)
        self.node.SetLocked(True)  # what is typed into a cell would be shown and never exported
        self.node.EndModify(wasModifying)

    def _delimited(self, delimiter):
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        header, rows = self.rows()
        writer.writerows(map(spreadsheet_row, [header, *rows]))
        return text.getvalue()


@functools.lru_cache(maxsize=8)
def _parsed(text):
    """The predictions in an attribute; whoever gets them changes none of them."""
    return json.loads(text)


def _newId():
    return uuid.uuid4().hex[:12]


def _substance(record):
    """What makes two answers one: all but when, how fast they were given, and what was looked into afterwards.

    The preparation is among it, with its seconds: a scan that was prepared again is another input.
    """
    provenance = {**record["provenance"], "head_seconds": None}
    kept = {name: value for name, value in record.items() if name not in ("id", "time", "trust")}
    return json.dumps({**kept, "provenance": provenance})


def _renameInMaps(old, new, scans):
    """Maps over ``scans`` follow their answer under its other id."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        facts = json.loads(node.GetAttribute(PROVENANCE) or "{}")
        if facts.get(ANSWER) == old and node.GetNodeReference(INPUT_VOLUME) in scans:
            node.SetAttribute(PROVENANCE, json.dumps({**facts, ANSWER: new}))


def _role(record, slot):
    return f"BrainIAC.Scan.{record['id']}.{slot}"


def markResult(node, scan, kind, provenance):
    """Make a node known as a result: where it comes from, how it was made, and its place beside the scan."""
    node.SetAttribute(RESULT, kind)
    node.SetAttribute(PROVENANCE, json.dumps(provenance))
    node.SetNodeReferenceID(INPUT_VOLUME, scan.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(hierarchy.GetItemByDataNode(scan)))


def findResult(className, scan, kind):
    """The result of that kind for a scan, or None."""
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(RESULT) == kind and node.GetNodeReferenceID(INPUT_VOLUME) == scan.GetID():
            return node
    return None


def resultNode(className, scan, kind, name):
    """The result of an earlier run, to be filled anew, or a new node: runs do not pile up."""
    found = findResult(className, scan, kind)
    return found or slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))


def _firstOrNew(className, name):
    return slicer.mrmlScene.GetFirstNode(name, className) or slicer.mrmlScene.AddNewNodeByClass(className, name)
