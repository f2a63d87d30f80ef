"""The saliency map of a scan as something to work with: shown or not, its hot spots, a segment of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge import slice_views
from BrainIACBridge.overlay import Overlay, worldPoint

MOST_SPOTS = 8
LEAST_SPOT = 0.05  # ml; a smaller one would be listed with 0.0 ml
SALIENCY = "saliency"  # the kind of result


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
    """Lays the map of each scan over it, in each slice view over the scan that it shows; what is on the screen is what
    the panel says.

    Parameters
    ----------
    mapOf : gives the saliency volume of a scan as it is now, or None.
    """

    def __init__(self, mapOf):
        self.overlay = Overlay()
        self.isLaying = False  # what changes in the views now is done by this object
        self._mapOf = mapOf
        self._wanted = True  # as the parameters last said
        self._laid = []  # (view, scan, map), as they were left
        self._styles = {}  # map -> how it was last drawn: nothing is done twice

    def apply(self, parameters, force=False):
        """Bring the slice views in line with the parameters; over a scan without a map, none is shown.

        Parameters
        ----------
        force : also where a person has put another volume over the scan.
        """
        force = force or (parameters.showSaliency and not self._wanted)
        self._wanted, self.isLaying = parameters.showSaliency, True
        try:
            self._lay(parameters, force)
        finally:
            self.isLaying = False

    def takeOffOthers(self):
        """No map over a scan that it is not of, because another one came into the views."""
        slice_views.takeOff(SALIENCY, slice_views.isOf)
        self._laid = [one for one in self._laid if slice_views.background(one[0]) is one[1]]

    def forget(self):
        """The scene is closed: hold none of its nodes."""
        self._laid, self._styles = [], {}

    def isTakenOff(self):
        """Whether a person took the map off by the controls of the views, so that none of them shows it any more."""
        seen = slice_views.views()
        laid = [(view, scan, saliency) for view, scan, saliency in self._laid if view in seen and saliency.GetScene()]
        here = [(view, saliency) for view, scan, saliency in laid if slice_views.background(view) is scan]
        return bool(here) and not any(slice_views.foreground(view) is saliency for view, saliency in here)

    def background(self):
        """The volume that the slice views show, or None."""
        return next(iter(slice_views.backgrounds()), None)

    def foreground(self):
        """The volume over it, or None."""
        return next((node for node in map(slice_views.foreground, slice_views.views()) if node is not None), None)

    def showScan(self, scan):
        """A scan in the slice views, as large as they are."""
        if any(slice_views.background(view) is not scan for view in slice_views.views()):
            slicer.util.setSliceViewerLayers(background=scan, fit=True)

    def goToMaximum(self, saliency):
        """All slices and the crosshair to the strongest point; where that is."""
        return self.overlay.goToMaximum(saliency)

    def hotSpots(self, saliency, threshold):
        """The regions above the threshold (0 to 1), largest first, at most ``MOST_SPOTS`` of ``LEAST_SPOT`` or more."""
        array = slicer.util.arrayFromVolume(saliency)
        above = sitk.GetImageFromArray((array >= max(threshold, 1e-6)).astype(np.uint8))
        labels = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(above), sortByObjectSize=True))
        voxel = float(np.prod(saliency.GetSpacing())) / 1000
        spots = []
        for number in range(1, min(int(labels.max()), MOST_SPOTS) + 1):
            inside = labels == number
            if inside.sum() * voxel < LEAST_SPOT:
                break
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

    def _lay(self, parameters, force):
        scans = set(map(slice_views.background, slice_views.allViews())) - {None} if parameters.showSaliency else ()
        maps = {scan: saliency for scan in scans if (saliency := self._mapOf(scan)) is not None}
        slice_views.takeOff(SALIENCY, lambda scan, shown: maps.get(scan) is shown)
        self._laid = []
        for view in slice_views.allViews():
            scan = slice_views.background(view)
            saliency, shown = maps.get(scan), slice_views.foreground(view)
            if saliency is not None and (shown in (None, saliency) or force):
                self.overlay.lay(view, saliency, parameters.opacity)
                self._laid.append((view, scan, saliency))
        laid = {saliency for _view, _scan, saliency in self._laid}
        style, drawn = (parameters.colorMap, parameters.threshold), {}
        for saliency in laid:
            if self._styles.get(saliency) != (*style, saliency.GetDisplayNode().GetMTime()):
                self.overlay.style(saliency, *style)
            drawn[saliency] = (*style, saliency.GetDisplayNode().GetMTime())
        self._styles = drawn
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if slice_views.isResult(node, SALIENCY):
                self.overlay.setLegend(node, node in laid and parameters.showLegend)
