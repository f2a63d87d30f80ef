"""A real MRML scene without the Slicer application (wheel slicer-core), and pictures of its slices without OpenGL."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
}


class Scene:
    """One scene with the logics that nodes need; ``slicer.mrmlScene`` is this scene while it lives."""

    def __init__(self, home):
        self.mrml = slicer.mrmlScene = slicer.vtkMRMLScene()
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetHomeDirectory(str(home))
        self.application.SetShareDirectory("share")
        (home / "share" / "ColorFiles").mkdir(parents=True, exist_ok=True)  # Slicer's color files are not in the wheel
        self.application.SetTemporaryPath(str(home))
        cache, files = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(str(home))
        cache.SetMRMLScene(self.mrml)
        files.SetCacheManager(cache)
        self.mrml.SetCacheManager(cache)
        self.mrml.SetDataIOManager(files)
        self.application.SetMRMLScene(self.mrml)
        self.application.GetColorLogic().SetMRMLScene(self.mrml)
        self.application.SetSliceLogics(vtk.vtkCollection())
        self.logics = {}
        for name, className in LOGICS.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLApplicationLogic(self.application)
            self.application.SetModuleLogic(name, logic)
            logic.SetMRMLScene(self.mrml)
            self.logics[name] = logic
        self.application.GetColorLogic().AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.mrml, True)
        self._kept = (cache, files)

    def load(self, path, name=None):
        """A volume node read from a file by Slicer's own reader."""
        return self.logics["Volumes"].AddArchetypeVolume(str(path), name or path.name.split(".")[0])

    def addSliceView(self, name, orientation):
        """A slice view without a window; its logic."""
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.mrml)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        self.application.GetSliceLogics().AddItem(logic)
        return logic


def picture(logic, size):
    """The pixels (size, size, 3), uint8, first row at the top, of a slice view as it is set."""
    logic.ResizeSliceNode(size, size)
    logic.UpdatePipeline()
    rgb = vtk.vtkImageExtractComponents()
    rgb.SetComponents(0, 1, 2)
    rgb.SetInputConnection(logic.GetImageDataConnection())
    rgb.Update()
    return np.array(vtk_to_numpy(rgb.GetOutput().GetPointData().GetScalars()).reshape(size, size, 3)[::-1])


def pixelOf(logic, ras, size):
    """(row, column) of a world point in ``picture``."""
    toPixel = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(logic.GetSliceNode().GetXYToRAS(), toPixel)
    x, y = toPixel.MultiplyPoint((*ras, 1.0))[:2]
    return size - 1 - y, x
