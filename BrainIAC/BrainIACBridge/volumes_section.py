"""The part of the panel about volumes of brain structures: a table, and the structures over the scan."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge import slice_views
from BrainIACBridge.result_nodes import STRUCTURES
from BrainIACBridge.table_fit import fit, keepFitted

MOST_SEEN = 16  # structures that are seen without scrolling
OPACITY = 0.4  # of the structures over the scan


class VolumesSection:
    """Keeps the table in step with the chosen scan.

    Parameters
    ----------
    ui : the widgets of the panel.
    answers : the ``SceneAnswers``.
    measure : called with a scan.
    """

    def __init__(self, ui, answers, measure):
        self._ui, self._answers = ui, answers
        self._scan, self._labels, self._rows = None, None, []
        ui.volumesButton.clicked.connect(lambda *unused: measure(self._scan))
        ui.volumesCopyButton.clicked.connect(lambda *unused: self._copy())
        ui.showStructures.toggled.connect(lambda *unused: self._showStructures(force=True))
        ui.volumesTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        keepFitted(ui.volumesTable, MOST_SEEN)

    def update(self, parameters, obstacle):
        """Show the volumes of the chosen scan as it is now."""
        self._scan = parameters.saliencyScan
        node, found = self._answers.structuresOf(self._scan) if self._scan is not None else (None, None)
        reason = obstacle or (_("Load a scan first.") if self._scan is None else "")
        tip = _("Measures the brain structures of {name}.").format(name=self._scan.GetName() if self._scan else "")
        self._ui.volumesButton.setEnabled(not reason)
        self._ui.volumesButton.setToolTip(reason or tip)
        for name in ("volumesTable", "showStructures", "volumesCopyButton"):
            getattr(self._ui, name).setVisible(found is not None)
        self._ui.volumesLabel.setText(_inWords(self._scan, found))
        self._labels = node
        self._showStructures()
        rows = rowsOf(found) if found is not None else []
        if rows != self._rows:
            self._rows = rows
            self._fill(rows)

    def _fill(self, rows):
        table = self._ui.volumesTable
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                item.setFlags(qt.Qt.ItemIsEnabled)
                item.setToolTip(text)
                if column:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(number, column, item)
        table.resizeColumnsToContents()
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        fit(table, MOST_SEEN)

    def _showStructures(self, force=False):
        """Over the scan that was measured, in the views that show it; a layer of others stays where none is wanted."""
        labels = self._labels if self._ui.showStructures.property("checked") else None
        slice_views.takeOff(STRUCTURES, lambda scan, shown: shown is labels and slice_views.isOf(scan, shown))
        for view in slice_views.allViews() if labels is not None else ():
            isFree = force or not view.GetLabelVolumeID()
            if isFree and slice_views.isOf(slice_views.background(view), labels):
                view.SetLabelVolumeID(labels.GetID())
                view.SetLabelOpacity(OPACITY)

    def _copy(self):
        header = (_("Structure"), "ml", _("Left"), _("Right"), _("% ICV"))
        qt.QApplication.clipboard().setText("\n".join("\t".join(row) for row in [header, *self._rows]) + "\n")


def rowsOf(found):
    """(structure, ml, left, right, percent) as texts; a star where the volume is not to be relied on."""
    rows = [(_("intracranial space"), f"{found['intracranial_ml']:.0f}", "", "", "100")]
    for volume in found["volumes"]:
        sides = ["" if volume[side] is None else f"{volume[side]:.1f}" for side in ("left_ml", "right_ml")]
        star = " *" if volume["structure"] in found["loose"] else ""
        share = f"{100 * volume['share_of_intracranial']:.1f}"
        rows.append((volume["title"] + star, f"{volume['ml']:.1f}", *sides, share))
    return rows


def _inWords(scan, found):
    if scan is None:
        return _("No scan is chosen.")
    if found is None:
        return _("{name} is not measured yet.").format(name=scan.GetName())
    lines = [scan.GetName(), _("* measured only roughly: do not rely on it")]
    return "\n".join([*lines, *(_("Warning: {text}").format(text=warning) for warning in found["warnings"])])
