"""The saliency map of a scan as something to work with: shown or not, its hot spots, a segment of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.overlay import Overlay, worldPoint

MOST_SPOTS = 8
RESULT = "BrainIAC.Result"


@dataclasses.dataclass(frozen=True)
class HotSpot:
    """A connected region above the threshold: milliliters, the strongest value, and where it is (world RAS, mm)."""

    milliliters: float
    peak: float
    ras: tuple

    def inWords(self):
        """For a row of the list."""
        r, a, s = self.ras
        side = _("R {0:.0f}").format(r) if r >= 0 else _("L {0:.0f}").format(-r)
        front = _("A {0:.0f}").format(a) if a >= 0 else _("P {0:.0f}").format(-a)
        top = _("S {0:.0f}").format(s) if s >= 0 else _("I {0:.0f}").format(-s)
        return f"{side}, {front}, {top} mm"


class SaliencyMap:
    """Shows one map at a time over the scan that it explains; what is on the screen is what the panel says."""

    def __init__(self):
        self.overlay = Overlay()
        self._shown = None  # how it was last applied: nothing is done twice

    def apply(self, parameters, saliency, scan):
        """Bring the slice views in line with the parameters; without a map of the scan, none is shown."""
        if saliency is None or not parameters.showSaliency:
            self._hide(saliency)
            return
        wanted = (saliency.GetID(), saliency.GetMTime(), parameters.showLegend, parameters.opacity)
        wanted += (parameters.threshold, parameters.colorMap)
        if wanted == self._shown and self.foreground() is saliency:
            return
        self.overlay.style(saliency, parameters.colorMap, parameters.threshold)
        self.overlay.show(saliency, scan, parameters.opacity)
        self._legendOf(saliency, parameters.showLegend)
        self._shown = (saliency.GetID(), saliency.GetMTime(), *wanted[2:])

    def background(self):
        """The volume that the slice views show, or None."""
        return _layer("GetBackgroundVolumeID")

    def foreground(self):
        """The volume over it, or None."""
        return _layer("GetForegroundVolumeID")

    def showScan(self, scan):
        """A scan in the slice views, as large as they are."""
        if self.background() is not scan:
            slicer.util.setSliceViewerLayers(background=scan, fit=True)

    def goToMaximum(self, saliency):
        """All slices and the crosshair to the strongest point; where that is."""
        return self.overlay.goToMaximum(saliency)

    def hotSpots(self, saliency, threshold):
        """The regions above the threshold (0 to 1), largest first, at most ``MOST_SPOTS``."""
        array = slicer.util.arrayFromVolume(saliency)
        above = sitk.GetImageFromArray((array >= max(threshold, 1e-6)).astype(np.uint8))
        labels = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(above), sortByObjectSize=True))
        voxel = float(np.prod(saliency.GetSpacing())) / 1000
        spots = []
        for number in range(1, min(int(labels.max()), MOST_SPOTS) + 1):
            inside = labels == number
            k, j, i = np.unravel_index(int(np.where(inside, array, -1).argmax()), array.shape)
            spots.append(
                HotSpot(float(inside.sum()) * voxel, float(array[k, j, i]), tuple(worldPoint(saliency, i, j, k)))
            )
        return spots

    def makeSegment(self, saliency, scan, threshold):
        """A segmentation with one segment, the voxels above the threshold, on the grid of the scan."""
        labels = slicer.vtkMRMLLabelMapVolumeNode()
        labels.SetHideFromEditors(True)  # it is gone in a moment, and has no place in the data tree
        slicer.mrmlScene.AddNode(labels)
        labels.CopyOrientation(saliency)
        labels.SetAndObserveTransformNodeID(saliency.GetTransformNodeID())
        array = slicer.util.arrayFromVolume(saliency) >= max(threshold, 1e-6)
        slicer.util.updateVolumeFromArray(labels, array.astype(np.uint8))
        name = slicer.mrmlScene.GenerateUniqueName(f"{scan.GetName()} saliency region")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
        slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, node)
        slicer.mrmlScene.RemoveNode(labels)
        segment = node.GetSegmentation().GetNthSegment(0)
        segment.SetName(_("saliency above {threshold:.2f} of its maximum").format(threshold=threshold))
        segment.SetTag("BrainIAC.Notice", "Relative saliency, not a lesion. Research use only.")
        return node

    def fourUp(self):
        """Three slices and the 3D view, each in its usual direction."""
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
            node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}")
            if node is not None:
                node.SetOrientation(orientation)

    def _hide(self, saliency):
        shown = self.foreground()
        if shown is not None and shown.GetAttribute(RESULT) == "saliency":
            self.overlay.hide()
            self._legendOf(shown, False)
        if saliency is not None:
            self._legendOf(saliency, False)
        self._shown = None

    def _legendOf(self, saliency, visible):
        for other in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if other is not saliency and other.GetAttribute(RESULT) == "saliency":
                self.overlay.setLegend(other, False)
        self.overlay.setLegend(saliency, visible)


def _layer(getter):
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node = slicer.mrmlScene.GetNodeByID(getattr(composite, getter)() or "")
        if node is not None:
            return node
    return None
