"""What the worker found, as nodes beside the scan: a map, the steps of the preparation, brain structures."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from BrainIACBridge.results import markResult, resultNode
from BrainIACLib.errors import ScanError

STRUCTURES = "structures"
CONTENT = "BrainIAC.Content"  # attribute of a result: the hash of the scan that it was made of
COLORS = "vtkMRMLColorTableNodeFileFreeSurferLabels.txt"  # Slicer's own


class ResultNodes:
    """Fills the nodes of an earlier run anew, so that runs do not pile up. A scan that left the scene gets none.

    ``content`` is the hash of the scan that was asked about: where the scan shows something else by now, each method
    raises ScanError and stores nothing.

    Parameters
    ----------
    volumes : a ``VolumeNodes``.
    contents : the ``Contents`` of the volumes.
    """

    def __init__(self, volumes, contents):
        self._volumes, self._contents = volumes, contents

    def storeMap(self, image, scan, content, provenance):
        """The saliency map over a scan; None where the scan is gone."""
        if not self._isThere(scan, content):
            return None
        node = resultNode("vtkMRMLScalarVolumeNode", scan, "saliency", f"{scan.GetName()} saliency")
        self._volumes.showOnGridOf(image, node, scan)
        node.CreateDefaultDisplayNodes()
        node.SetAttribute(CONTENT, content)
        markResult(node, scan, "saliency", provenance)
        return node

    def storeSteps(self, images, transform, scan, content, record):
        """The brain in MNI space, both masks, and the transform."""
        if not self._isThere(scan, content):
            return
        for kind, className, title in (
            ("image", "vtkMRMLScalarVolumeNode", _("brain in MNI space")),
            ("mask", "vtkMRMLLabelMapVolumeNode", _("brain mask in MNI space")),
            ("native_mask", "vtkMRMLLabelMapVolumeNode", _("brain mask")),
        ):
            node = resultNode(className, scan, kind, f"{scan.GetName()} {title}")
            if kind == "native_mask":
                self._volumes.showOnGridOf(images[kind], node, scan)
            else:
                self._volumes.showImage(images[kind], node)
            node.CreateDefaultDisplayNodes()
            node.SetAttribute(CONTENT, content)
            markResult(node, scan, kind, {"preprocessing": record})
        node = resultNode("vtkMRMLTransformNode", scan, "transform", f"{scan.GetName()} to MNI")
        self._volumes.showTransform(transform, node)
        node.SetAttribute(CONTENT, content)
        markResult(node, scan, "transform", {"preprocessing": record})

    def storeStructures(self, labels, scan, content, found):
        """The label map of brain structures, in FreeSurfer's numbers and colors; ``found`` becomes its provenance."""
        if not self._isThere(scan, content):
            return
        node = resultNode("vtkMRMLLabelMapVolumeNode", scan, STRUCTURES, f"{scan.GetName()} {_('structures')}")
        self._volumes.showOnGridOf(labels, node, scan)
        node.CreateDefaultDisplayNodes()
        if slicer.mrmlScene.GetNodeByID(COLORS) is not None:
            node.GetDisplayNode().SetAndObserveColorNodeID(COLORS)
        node.SetAttribute(CONTENT, content)
        markResult(node, scan, STRUCTURES, found)

    def _isThere(self, scan, content):
        if scan.GetScene() is None:
            return False
        if self._contents.of(scan) != content:
            raise ScanError(_("'{name}' was changed in the meantime; run again.").format(name=scan.GetName()))
        return True
