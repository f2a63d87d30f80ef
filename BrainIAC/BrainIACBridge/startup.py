"""What is done once Slicer has started."""

from __future__ import annotations

import slicer
import slicer.util


def onceStarted(act):
    """Call ``act`` when Slicer has started; at once where it has, because the module was added at run time."""
    window = slicer.util.mainWindow()
    if window is not None and window.property("visible"):
        act()
    else:
        slicer.app.connect("startupCompleted()", act)
