"""The map as an object: never over another scan, its hot spots, a segment of them."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import nibabel
import numpy as np
import SimpleITK as sitk
import slicer
from BrainIACBridge.results import markResult
from BrainIACBridge.saliency_map import HotSpot, SaliencyMap
from BrainIACBridge.volume_nodes import VolumeNodes
from person import button
from scipy import ndimage
from test_results import prediction

PEAK, WEAK = (5, 3, 8), (9, 5, 4)  # voxels (i, j, k) of the oblique scan


@pytest.fixture
def withMap(panel, scene, oblique):
    """A panel over two scans, the first with a map of two spots; (panel, first, second, map, a slice view)."""
    view = scene.addSliceView("Red", "Axial")
    first, second = scene.load(oblique, "first"), scene.load(oblique, "second")
    saliency = scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "map")
    heat = np.zeros(slicer.util.arrayFromVolume(first).shape, np.float32)
    for (i, j, k), length, value in ((PEAK, 3, 1.0), (WEAK, 2, 0.4)):
        heat[k - 2 : k + length, j - 1 : j + 2, i - 1 : i + 2] = 0.9 * value
        heat[k, j, i] = value
    VolumeNodes().showOnGridOf(sitk.GetImageFromArray(heat), saliency, first)
    saliency.CreateDefaultDisplayNodes()
    saliency.SetAttribute("BrainIAC.Content", panel.logic.contents.of(first))
    answer = prediction()
    record = panel.logic.answers.results().add(answer, {"any": first}, {"any": panel.logic.contents.of(first)})
    facts = {"answer": record["id"], "task": "sequence", "label": "T1", "model": answer["provenance"]["model"]}
    markResult(saliency, first, "saliency", facts)
    panel.onShowScan(first)
    return panel, first, second, saliency, view


def foreground(view):
    return view.GetSliceCompositeNode().GetForegroundVolumeID()


def test_choosing_another_scan_takes_the_map_of_the_first_away(withMap):
    panel, first, second, saliency, view = withMap
    assert foreground(view) == saliency.GetID()
    panel.onShowScan(second)
    assert foreground(view) is None
    assert panel.ui.showSaliency.isHidden()  # a box claims no map that is not there
    assert "no map" in panel.ui.mapLabel.text()
    panel.onShowScan(first)
    assert foreground(view) == saliency.GetID()
    assert "'T1'" in panel.ui.mapLabel.text()


def test_a_map_lies_over_its_own_scan_alone_in_whichever_view(withMap, scene):
    """The data tree, the DICOM browser and the views' own controls change the views past this module."""
    panel, first, second, saliency, view = withMap
    other = scene.addSliceView("Yellow", "Sagittal")
    panel.onShowScan(first)
    assert (foreground(view), foreground(other)) == (saliency.GetID(), saliency.GetID())
    other.GetSliceCompositeNode().SetBackgroundVolumeID(second.GetID())
    assert (foreground(view), foreground(other)) == (saliency.GetID(), None)  # at once
    panel.exit()  # another module is open
    view.GetSliceCompositeNode().SetBackgroundVolumeID(second.GetID())
    assert foreground(view) is None
    panel.enter()
    assert panel._parameterNode.saliencyScan is second
    for one in (view, other):
        one.GetSliceCompositeNode().SetBackgroundVolumeID(first.GetID())
    panel.updatePanel()
    assert panel._parameterNode.saliencyScan is first
    assert (foreground(view), foreground(other)) == (saliency.GetID(), saliency.GetID())


def test_a_map_is_taken_off_other_scans_that_came_in_a_batch_of_changes(withMap, scene):
    panel, _first, second, saliency, view = withMap
    panel.exit()  # whichever module is open
    scene.mrml.StartState(slicer.vtkMRMLScene.BatchProcessState)
    view.GetSliceCompositeNode().SetBackgroundVolumeID(second.GetID())
    assert foreground(view) == saliency.GetID()
    scene.mrml.EndState(slicer.vtkMRMLScene.BatchProcessState)
    assert foreground(view) is None
    panel.enter()
    assert panel._parameterNode.saliencyScan is second


def test_the_box_follows_a_person_who_takes_the_map_off_by_the_controls_of_the_views(withMap):
    panel, _first, second, saliency, view = withMap
    view.GetSliceCompositeNode().SetForegroundVolumeID(None)
    panel.updatePanel()
    assert foreground(view) is None
    assert not panel.ui.showSaliency.isChecked()
    panel.ui.showSaliency.setChecked(True)
    assert foreground(view) == saliency.GetID()
    view.GetSliceCompositeNode().SetForegroundVolumeID(second.GetID())  # a layer of theirs
    panel.updatePanel()
    assert foreground(view) == second.GetID()
    assert not panel.ui.showSaliency.isChecked()
    panel.ui.showSaliency.setChecked(True)
    assert foreground(view) == saliency.GetID()


def test_a_map_that_is_taken_off_one_of_several_views_comes_back(withMap, scene):
    panel, first, _second, saliency, view = withMap
    scene.addSliceView("Yellow", "Sagittal")
    panel.onShowScan(first)
    view.GetSliceCompositeNode().SetForegroundVolumeID(None)
    panel.updatePanel()
    assert panel.ui.showSaliency.isChecked()
    assert foreground(view) == saliency.GetID()


def test_the_map_follows_a_slider_while_it_moves(withMap):
    """The panel as a whole is updated later; the slice views are not."""
    panel, _first, _second, saliency, _view = withMap
    for threshold in (0.5, 0.6, 0.7):
        panel.ui.threshold.setValue(threshold)
        assert saliency.GetDisplayNode().GetLowerThreshold() == pytest.approx(threshold)


def test_hot_spots_are_the_connected_regions_above_the_threshold(withMap, oblique):
    _panel, first, _second, saliency, _view = withMap
    spots = SaliencyMap(None).hotSpots(saliency, 0.3)
    array = slicer.util.arrayFromVolume(saliency)
    labels, count = ndimage.label(array >= 0.3)  # another implementation
    assert len(spots) == count == 2
    voxel = np.prod(first.GetSpacing()) / 1000
    assert [spot.milliliters for spot in spots] == pytest.approx(
        sorted((voxel * (labels == number).sum() for number in (1, 2)), reverse=True)
    )
    assert (spots[1].peak, spots[1].ras) == (
        pytest.approx(0.4), pytest.approx((nibabel.load(oblique).affine @ (*WEAK, 1))[:3], abs=1e-3)
    )  # fmt: skip
    assert len(SaliencyMap(None).hotSpots(saliency, 0.5)) == 1


def test_a_spot_too_small_for_the_figures_of_the_list_is_left_out(withMap):
    panel, _first, _second, saliency, _view = withMap
    slicer.util.arrayFromVolume(saliency)[0, 0, 0] = 0.95
    slicer.util.arrayFromVolumeModified(saliency)
    panel.updatePanel()
    table = panel.ui.hotSpotTable
    assert [table.item(row, 1).text() for row in range(table.rowCount())] == ["0.1", "0.1"]


def test_a_click_on_a_hot_spot_goes_there(withMap):
    panel, _first, _second, _saliency, view = withMap
    assert panel.ui.hotSpotTable.rowCount() == 2
    panel.ui.hotSpotTable.cellClicked.emit(1, 0)
    ras = panel.mapSection._spots[1].ras
    toRas = slicer.util.arrayFromVTKMatrix(view.GetSliceNode().GetSliceToRAS())
    assert abs(np.dot(toRas[:3, 2], np.array(ras) - toRas[:3, 3])) < 1e-3


def test_a_place_is_named_by_its_sides():
    assert HotSpot(1.0, 1.0, (32.4, -10.0, 5.0)).inWords() == "R 32, P 10, S 5 mm"
    assert HotSpot(1.0, 1.0, (-3.0, 4.0, -5.0)).inWords() == "L 3, A 4, I 5 mm"


def test_a_segment_holds_what_lies_above_the_threshold(withMap):
    panel, first, _second, saliency, _view = withMap
    panel.ui.threshold.setValue(0.5)
    button(panel, "segmentButton").click()
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    mask = VolumeNodes().mask(node)
    grid = VolumeNodes().image(first)
    resampled = sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    expected = slicer.util.arrayFromVolume(saliency) >= 0.5
    assert ((sitk.GetArrayViewFromImage(resampled) > 0) == expected).all()
    assert "0.50" in node.GetSegmentation().GetNthSegment(0).GetName()


def test_four_views_look_in_their_usual_directions(withMap, scene):
    panel, *_ = withMap
    views = {name: scene.addSliceView(name, "Axial") for name in ("Yellow", "Green")}
    button(panel, "fourUpButton").click()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert views["Yellow"].GetSliceNode().GetOrientation() == "Sagittal"
    assert views["Green"].GetSliceNode().GetOrientation() == "Coronal"
