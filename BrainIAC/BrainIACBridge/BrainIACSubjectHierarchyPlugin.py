"""'Analyze with BrainIAC' in the menu of the data tree, for a volume, a study or a patient.

Slicer finds the class by the name of the file.
"""

from __future__ import annotations

import qt
import slicer
import slicer.util
import SubjectHierarchyPlugins  # noqa: F401 (makes the next import possible)
from AbstractScriptedSubjectHierarchyPlugin import AbstractScriptedSubjectHierarchyPlugin
from slicer.i18n import tr as _

from BrainIACBridge.study import Study


class BrainIACSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """One action; it owns no items."""

    filePath = __file__

    def __init__(self, scriptedPlugin):
        scriptedPlugin.name = "BrainIAC"
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self.action = qt.QAction(_("Analyze with BrainIAC"), scriptedPlugin)
        self.action.triggered.connect(lambda *unused: self.onAnalyze())

    def canAddNodeToSubjectHierarchy(self, node, parentItemID):
        """It adds none."""
        return 0.0

    def canOwnSubjectHierarchyItem(self, itemID):
        """It owns none."""
        return 0.0

    def roleForPlugin(self):
        """It has none."""
        return "N/A"

    def itemContextMenuActions(self):
        """The actions that may be shown."""
        return [self.action]

    def showContextMenuActionsForItem(self, itemID):
        """Shown where there is a scan to analyze."""
        self.action.setVisible(bool(itemID) and scanBelow(itemID) is not None)

    def onAnalyze(self):
        """Open the module with the study of the item, and analyze it."""
        scan = scanBelow(slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem())
        if scan is not None:
            slicer.util.selectModule("BrainIAC")
            slicer.modules.BrainIACWidget.analyzeStudyOf(scan)


def scanBelow(itemID):
    """The first volume of an item or below it that can be analyzed, None without one."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in Study().volumes():
        item = hierarchy.GetItemByDataNode(node)
        while item and item != itemID:
            item = hierarchy.GetItemParent(item)
        if item:
            return node
    return None
