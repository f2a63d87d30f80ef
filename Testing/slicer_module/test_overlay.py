"""The saliency map as it is drawn over the scan: at its place, transparent below the threshold, with a legend."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import nibabel
import numpy as np
import SimpleITK as sitk
import slicer
from BrainIACBridge.overlay import Overlay
from BrainIACBridge.volume_nodes import VolumeNodes
from scene import picture, pixelOf

SIZE = 240
PEAK, WEAK = (5, 3, 8), (9, 5, 4)  # voxels (i, j, k) of the oblique scan


@pytest.fixture
def nodes(scene, oblique):
    """The scan, and a map on its grid with one voxel of 1, one of 0.2 and zeros."""
    scan = scene.load(oblique)
    saliency = scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "saliency")
    heat = np.zeros(slicer.util.arrayFromVolume(scan).shape, np.float32)
    heat[PEAK[::-1]], heat[WEAK[::-1]] = 1.0, 0.2
    VolumeNodes().showOnGridOf(sitk.GetImageFromArray(heat), saliency, scan)
    saliency.CreateDefaultDisplayNodes()
    return scan, saliency


def worldPoint(oblique, ijk):
    return (nibabel.load(oblique).affine @ (*ijk, 1))[:3]


def drawn(scene, scan, saliency, oblique, ijk, threshold=0.3, opacity=1.0):
    """Where the picture is colored (the scan is gray), and where the voxel should be."""
    overlay = Overlay()
    view = scene.addSliceView(f"View{threshold}", "Axial")
    overlay.style(saliency, "Inferno", threshold)
    slicer.util.setSliceViewerLayers(background=scan)
    overlay.lay(view.GetSliceCompositeNode(), saliency, opacity)
    view.ResizeSliceNode(SIZE, SIZE)
    view.FitSliceToBackground(SIZE, SIZE)
    ras = worldPoint(oblique, ijk)
    view.GetSliceNode().JumpSlice(*ras)
    pixels = picture(view, SIZE).astype(int)
    colored = np.argwhere(np.ptp(pixels, axis=2) > 20)
    return colored, pixelOf(view, ras, SIZE)


def test_the_peak_glows_at_its_place(scene, nodes, oblique):
    colored, expected = drawn(scene, *nodes, oblique, PEAK)
    assert len(colored)
    assert np.abs(colored.mean(axis=0) - expected).max() < 4


def test_values_below_the_threshold_are_transparent(scene, nodes, oblique):
    assert len(drawn(scene, *nodes, oblique, WEAK, threshold=0.3)[0]) == 0
    assert len(drawn(scene, *nodes, oblique, WEAK, threshold=0.1)[0]) > 0


def test_without_a_threshold_zeros_stay_transparent(scene, nodes, oblique):
    """Otherwise the darkest color would cover the whole scan."""
    colored, expected = drawn(scene, *nodes, oblique, PEAK, threshold=0.0)
    assert 0 < len(colored) < 0.05 * SIZE * SIZE
    assert np.abs(colored.mean(axis=0) - expected).max() < 10


def test_the_maximum_is_found_in_the_world_under_a_transform_too(scene, nodes, oblique):
    scan, saliency = nodes
    assert np.allclose(Overlay().maximum(saliency), worldPoint(oblique, PEAK), atol=1e-3)
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    toWorld = np.diag((-1.0, 1.0, 1.0, 1.0))
    toWorld[:3, 3] = (4, 5, 6)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(toWorld))
    for node in (scan, saliency):
        node.SetAndObserveTransformNodeID(transform.GetID())
    expected = (toWorld @ (*worldPoint(oblique, PEAK), 1))[:3]
    assert np.allclose(Overlay().maximum(saliency), expected, atol=1e-3)


def test_going_to_the_maximum_moves_every_view_there(scene, nodes, oblique):
    for orientation in ("Axial", "Sagittal", "Coronal"):
        scene.addSliceView(orientation, orientation)
    ras = Overlay().goToMaximum(nodes[1])
    for name in ("Axial", "Sagittal", "Coronal"):
        toRas = slicer.util.arrayFromVTKMatrix(slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}").GetSliceToRAS())
        assert abs(np.dot(toRas[:3, 2], np.array(ras) - toRas[:3, 3])) < 1e-3  # the point lies in the plane


def test_the_legend_says_what_the_colors_mean(scene, nodes):
    overlay = Overlay()
    overlay.setLegend(nodes[1], True)
    legend = scene.logics["Colors"].GetColorLegendDisplayNode(nodes[1])
    assert "not probability of disease" in legend.GetTitleText()
    assert legend.GetVisibility()
    overlay.setLegend(nodes[1], False)
    assert not legend.GetVisibility()
