"""The scan that views, table, map, volumes and cards are about: what a person sees is what the panel speaks of."""

from __future__ import annotations

import slicer
import slicer.util
import vtk

from BrainIACBridge import slice_views
from BrainIACBridge.observers import Observers
from BrainIACBridge.result_nodes import STRUCTURES


class ChosenScan:
    """Follows the slice views, and brings a choice in the panel into them.

    Parameters
    ----------
    study : the ``Study``.
    map : the ``SaliencyMap``.
    onChanged : called after scans or views changed; ``update`` is to come a moment later.
    """

    def __init__(self, study, map, onChanged):
        self._study, self._map, self._onChanged = study, map, onChanged
        self._seen = None  # what the views showed
        self._toFollow = True  # the views were changed, and not by this panel
        self._views = Observers(self._onViewsChanged)
        self._hierarchy = Observers(self._onHierarchyChanged)
        self._scans = Observers(onChanged)

    def follow(self):
        """Another module was open, or another scene came: the next ``update`` takes over what the views show."""
        self._toFollow = True

    def batchEnded(self):
        """Look at the views for all that happened to them meanwhile."""
        self._onViewsChanged()

    def stop(self):
        """Observe nothing any more, until the next ``update``: the scene is closed."""
        for observers in (self._views, self._hierarchy, self._scans):
            observers.stop()

    def takeOver(self, parameters):
        """Choose what the views show now, if they were changed elsewhere; another study, if they show that alone."""
        self._watch()
        if not self._toFollow:
            return
        self._toFollow = False
        self._study.scan, self._study.combined = parameters.studyScan, parameters.combineStudies
        seen, scans = self._inViews(), self._study.scans()
        if seen and not any(scan in scans for scan in seen):
            self._study.scan = parameters.studyScan = seen[0]
            scans = self._study.scans()
        here = [scan for scan in seen if scan in scans]
        if here and parameters.saliencyScan not in here:
            parameters.saliencyScan = here[0]

    def keepToStudy(self, parameters):
        """Never views, map and volumes of another study under this one's name, whichever way it was chosen."""
        scans = self._study.scans()
        if parameters.saliencyScan not in scans:
            parameters.saliencyScan = scans[0] if scans else None
        seen = self._inViews()
        if scans and seen and not any(scan in scans for scan in seen):
            self._map.showScan(parameters.saliencyScan)

    def _inViews(self):
        volumes = self._study.volumes()
        return [node for node in slice_views.backgrounds() if node in volumes]

    def _watch(self):
        for observers in (self._views, self._hierarchy, self._scans):
            observers.forgetGone()
        self._views.watch(slice_views.allViews(), vtk.vtkCommand.ModifiedEvent)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode
        self._hierarchy.watch(
            [hierarchy.GetSubjectHierarchyNode(slicer.mrmlScene)],
            hierarchy.SubjectHierarchyItemReparentedEvent,
            hierarchy.SubjectHierarchyItemModifiedEvent,
        )
        self._scans.watch(
            self._study.volumes(),
            slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        )

    def _onHierarchyChanged(self):
        """A scan was moved to another person or date."""
        self._toFollow = True
        self._onChanged()

    def _onViewsChanged(self):
        """At once, whichever module is open: no map and no structures over another scan."""
        shown = slice_views.shown()
        if self._map.isLaying or shown == self._seen or slicer.mrmlScene.IsBatchProcessing():
            return
        self._seen = shown
        self._map.takeOffOthers()
        slice_views.takeOff(STRUCTURES, slice_views.isOf)
        self._toFollow = True
        self._onChanged()
