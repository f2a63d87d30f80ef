"""What the slice views show: which scan below, and which result of this module over it.

A person changes the views by many ways that this module does not see: the data tree, the DICOM browser, the views' own
controls. So a result is laid over its own scan view by view, and taken off where another volume came below it.
"""

from __future__ import annotations

import slicer
import slicer.util

from BrainIACBridge.results import INPUT_VOLUME, RESULT


def allViews():
    """The nodes that say what a slice view shows, also of views that the layout hides."""
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def views():
    """Those of the layout, or all where no layout tells."""
    laidOut = {
        view.GetLayoutName() for view in slicer.util.getNodesByClass("vtkMRMLSliceNode") if view.IsMappedInLayout()
    }
    return [node for node in allViews() if node.GetLayoutName() in laidOut] or allViews()


def background(view):
    """The volume below, or None."""
    return _node(view.GetBackgroundVolumeID())


def foreground(view):
    """The volume over it, or None."""
    return _node(view.GetForegroundVolumeID())


def backgrounds():
    """The volumes below in the views that are seen, each once."""
    return list(dict.fromkeys(node for node in map(background, views()) if node is not None))


def shown():
    """What every view shows, to be compared with what it showed before."""
    return [
        (view.GetID(), view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetLabelVolumeID())
        for view in allViews()
    ]


def isResult(node, kind):
    """Whether a node is a result of that kind."""
    return node is not None and node.GetAttribute(RESULT) == kind


def takeOff(kind, keep):
    """Take the results of a kind off each view, hidden ones too, where ``keep(scan below, result)`` is not so."""
    for view in allViews():
        scan, above, label = background(view), foreground(view), _node(view.GetLabelVolumeID())
        if isResult(above, kind) and not keep(scan, above):
            view.SetForegroundVolumeID(None)
        if isResult(label, kind) and not keep(scan, label):
            view.SetLabelVolumeID(None)


def isOf(scan, result):
    """Whether a result was made of a scan."""
    return scan is not None and result.GetNodeReference(INPUT_VOLUME) is scan


def _node(nodeId):
    return slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None
