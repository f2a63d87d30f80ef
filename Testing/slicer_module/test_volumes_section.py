"""Volumes of brain structures: the table, the structures over the scan, and that they are about this scan as it is."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import numpy as np
import slicer
from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.flow import Listener
from BrainIACBridge.volumes_section import VolumesSection, rowsOf
from fake_worker import VOLUMES, FakeWorker
from person import button
from PySide6 import QtWidgets


@pytest.fixture
def logic(scene, tmp_path):
    (tmp_path / "private").mkdir()
    return BrainIACLogic(FakeWorker(tmp_path / "private"))


@pytest.fixture
def measured(panel, scene, oblique, logic):
    """A panel whose chosen scan was measured; (panel, scan)."""
    scan = scene.load(oblique, "scan")
    ended = []
    logic.measureVolumes(scan, Listener(lambda step, fraction: None, ended.append))
    assert ended == [None]
    panel._parameterNode.saliencyScan = scan
    panel.updatePanel()
    return panel, scan


def texts(table):
    return [
        [table.item(row, column).text() for column in range(table.columnCount())] for row in range(table.rowCount())
    ]


def test_each_structure_has_its_volume_sides_and_share_and_a_star_where_it_is_loose():
    assert rowsOf(VOLUMES) == [
        ("intracranial space", "1500", "", "", "100"),
        ("thalamus", "14.2", "7.0", "7.2", "0.9"),
        ("hippocampus *", "7.6", "3.7", "3.9", "0.5"),
        ("third ventricle", "1.0", "", "", "0.1"),
    ]


def test_the_table_is_shown_with_its_doubts_and_copied(measured):
    panel, _scan = measured
    assert texts(panel.ui.volumesTable)[1] == ["thalamus", "14.2", "7.0", "7.2", "0.9"]
    assert "looks like T2" in panel.ui.volumesLabel.text()
    button(panel, "volumesCopyButton").click()
    assert "hippocampus *\t7.6\t3.7\t3.9\t0.5\n" in QtWidgets.QApplication.clipboard().text()


def test_the_structures_lie_on_the_scan_in_numbers_of_freesurfer(measured, scene):
    panel, scan = measured
    view = scene.addSliceView("Red", "Axial").GetSliceCompositeNode()
    view.SetBackgroundVolumeID(scan.GetID())
    node, _found = panel.logic.answers.structuresOf(scan)
    assert (slicer.util.arrayFromVolume(node) == 17 * (slicer.util.arrayFromVolume(scan) > 50)).all()
    panel.ui.showStructures.setChecked(True)
    assert view.GetLabelVolumeID() == node.GetID()
    panel.ui.showStructures.setChecked(False)
    assert view.GetLabelVolumeID() is None
    view.SetLabelVolumeID(scan.GetID())  # a layer of another module
    panel.ui.showStructures.setChecked(True)
    view.SetLabelVolumeID(scan.GetID())
    panel.ui.showStructures.setChecked(False)
    assert view.GetLabelVolumeID() == scan.GetID()


def test_structures_leave_a_view_that_shows_another_scan(measured, scene, oblique):
    panel, scan = measured
    view = scene.addSliceView("Red", "Axial").GetSliceCompositeNode()
    other = scene.load(oblique, "other")
    other.SetOrigin(1, 2, 3)
    panel.onShowScan(scan)
    panel.ui.showStructures.setChecked(True)
    assert view.GetLabelVolumeID()
    view.SetBackgroundVolumeID(other.GetID())
    assert view.GetLabelVolumeID() is None
    panel.updatePanel()
    assert (view.GetLabelVolumeID(), panel._parameterNode.saliencyScan) == (None, other)
    view.SetBackgroundVolumeID(scan.GetID())
    panel.updatePanel()
    assert view.GetLabelVolumeID()


def test_an_edit_or_another_scan_takes_the_volumes_away(measured, scene, oblique):
    panel, scan = measured
    other = scene.load(oblique, "other")
    other.SetOrigin(1, 2, 3)
    panel.onShowScan(other)
    assert panel.ui.volumesTable.isHidden()
    assert "other is not measured yet" in panel.ui.volumesLabel.text()
    panel.onShowScan(scan)
    assert not panel.ui.volumesTable.isHidden()
    slicer.util.updateVolumeFromArray(scan, slicer.util.arrayFromVolume(scan) + np.int16(1))
    panel.updatePanel()
    assert panel.ui.volumesTable.isHidden()


def test_measuring_again_fills_the_same_node(measured, logic):
    panel, scan = measured
    before = slicer.mrmlScene.GetNumberOfNodes()
    logic.measureVolumes(scan, Listener(lambda step, fraction: None, lambda error: None))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert isinstance(panel.volumesSection, VolumesSection)
    assert logic.worker.kinds().count("PrepareStudy") == 1
