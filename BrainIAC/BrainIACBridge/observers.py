"""Observers of nodes that keep no node alive.

``VTKObservationMixin`` holds what it observes: volumes of a closed scene would stay in memory, and so would its subject
hierarchy, whose items then pass for those of new nodes.
"""

from __future__ import annotations

import slicer


class Observers:
    """Each node calls the same ``act`` once for an event, however often it is asked to.

    Parameters
    ----------
    act : called without arguments.
    """

    def __init__(self, act):
        self._act, self._tags = act, {}  # (node ID, event) -> tag

    def watch(self, nodes, *events):
        """Observe nodes of the scene."""
        for node in nodes:
            for event in events:
                if (node.GetID(), event) not in self._tags:
                    self._tags[node.GetID(), event] = node.AddObserver(event, self._onEvent)

    def forgetGone(self):
        """Nodes that left the scene; their IDs may come again."""
        self._tags = {key: tag for key, tag in self._tags.items() if slicer.mrmlScene.GetNodeByID(key[0]) is not None}

    def stop(self):
        """Observe nothing any more."""
        for (nodeId, _event), tag in self._tags.items():
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            if node is not None:
                node.RemoveObserver(tag)
        self._tags = {}

    def _onEvent(self, caller=None, event=None):
        self._act()
