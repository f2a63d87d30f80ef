"""What the worker found, as nodes beside the scan: a map, the steps of the preparation, brain structures."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from BrainIACBridge.results import markResult, resultNode

STRUCTURES = "structures"
COLORS = "vtkMRMLColorTableNodeFileFreeSurferLabels.txt"  # Slicer's own


class ResultNodes:
    """Fills the nodes of an earlier run anew, so that runs do not pile up. A scan that left the scene gets none.

    Parameters
    ----------
    volumes : a ``VolumeNodes``.
    contents : the ``Contents`` of the volumes.
    """

    def __init__(self, volumes, contents):
        self._volumes, self._contents = volumes, contents

    def storeMap(self, image, scan, provenance):
        """The saliency map over a scan; None where the scan is gone."""
        if scan.GetScene() is None:
            return None
        node = resultNode("vtkMRMLScalarVolumeNode", scan, "saliency", f"{scan.GetName()} saliency")
        self._volumes.showOnGridOf(image, node, scan)
        node.CreateDefaultDisplayNodes()
        node.SetAttribute("BrainIAC.Content", self._contents.of(scan))
        markResult(node, scan, "saliency", provenance)
        return node

    def storeSteps(self, images, transform, scan, record):
        """The brain in MNI space, both masks, and the transform."""
        if scan.GetScene() is None:
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
            markResult(node, scan, kind, {"preprocessing": record})
        node = resultNode("vtkMRMLTransformNode", scan, "transform", f"{scan.GetName()} to MNI")
        self._volumes.showTransform(transform, node)
        markResult(node, scan, "transform", {"preprocessing": record})

    def storeStructures(self, labels, scan, found):
        """The label map of brain structures, in FreeSurfer's numbers and colors; ``found`` becomes its provenance."""
        if scan.GetScene() is None:
            return
        node = resultNode("vtkMRMLLabelMapVolumeNode", scan, STRUCTURES, f"{scan.GetName()} {_('structures')}")
        self._volumes.showOnGridOf(labels, node, scan)
        node.CreateDefaultDisplayNodes()
        if slicer.mrmlScene.GetNodeByID(COLORS) is not None:
            node.GetDisplayNode().SetAndObserveColorNodeID(COLORS)
        node.SetAttribute("BrainIAC.Content", self._contents.of(scan))
        markResult(node, scan, STRUCTURES, found)
