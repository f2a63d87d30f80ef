"""The saliency map over the scan: color, threshold, opacity, legend, and where its maximum is."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

COLOR_MAPS = {  # choice -> file color table of Slicer
    "Inferno": "vtkMRMLColorTableNodeFileInferno.txt",
    "Viridis": "vtkMRMLColorTableNodeFileViridis.txt",
    "Iron": "vtkMRMLColorTableNodeIron",
    "Rainbow": "vtkMRMLColorTableNodeRainbow",
}


class Overlay:
    """Shows a saliency volume in slice views, over the scan that it explains."""

    def lay(self, view, saliency, opacity):
        """The map above what a slice view shows."""
        wasModifying = view.StartModify()
        view.SetForegroundVolumeID(saliency.GetID())
        view.SetForegroundOpacity(opacity)
        view.EndModify(wasModifying)

    def style(self, saliency, colorMap, threshold):
        """Values below ``threshold`` (0 to 1, of the maximum) are transparent; the color scale always spans 0 to 1."""
        display = saliency.GetDisplayNode()
        colors = slicer.mrmlScene.GetNodeByID(COLOR_MAPS[colorMap])
        display.SetAndObserveColorNodeID(colors.GetID() if colors else "vtkMRMLColorTableNodeIron")
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.SetThreshold(max(threshold, 1e-6), 1.0)  # exact zeros, outside the brain, are never painted
        display.ApplyThresholdOn()

    def setLegend(self, saliency, visible):
        """A color legend which says what the colors mean."""
        logic = slicer.modules.colors.logic()
        legend = logic.GetColorLegendDisplayNode(saliency)
        if legend is None and visible:
            legend = logic.AddDefaultColorLegendDisplayNode(saliency)
            legend.SetTitleText(_("Relative saliency\n(not probability of disease)"))
            legend.SetLabelFormat("%.1f")
        if legend is not None:
            legend.SetVisibility(visible)

    def maximum(self, saliency):
        """World RAS coordinates, in mm, of the voxel with the largest value."""
        array = slicer.util.arrayFromVolume(saliency)
        k, j, i = np.unravel_index(int(array.argmax()), array.shape)
        return worldPoint(saliency, i, j, k)

    def goToMaximum(self, saliency):
        """Move all slice views and the crosshair there."""
        ras = self.maximum(saliency)
        self.goTo(ras)
        return ras

    def goTo(self, ras):
        """Move all slice views and the crosshair to a world point."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.JumpSliceByOffsetting(*ras)
        for crosshair in slicer.util.getNodesByClass("vtkMRMLCrosshairNode"):
            crosshair.SetCrosshairRAS(ras)


def worldPoint(volume, i, j, k):
    """World RAS coordinates, in mm, of a voxel."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ras = list(matrix.MultiplyPoint((float(i), float(j), float(k), 1.0))[:3])
    if volume.GetParentTransformNode() is not None:
        toWorld = vtk.vtkGeneralTransform()
        volume.GetParentTransformNode().GetTransformToWorld(toWorld)
        ras = list(toWorld.TransformPoint(ras))
    return ras
