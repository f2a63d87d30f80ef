"""How fast the panel of BrainIAC is: ``python -m Testing.benchmarks.panel`` (one to five minutes).

Over the bundled simulated study in a real MRML scene, with stand-ins for Slicer's widgets (``Testing/slicer_module``):
the first click on Analyze study, the second one, one task on the warm study, ``updatePanel`` with all answers shown,
and what a reopened scene costs until its answers are known to be current. Processor times are of this process alone.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REPEATS = 50


def main() -> None:
    """Print the figures as JSON."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(REPOSITORY / folder) for folder in (".", "BrainIAC", "Testing/slicer_module")]
    import standins

    standins.installModules()
    import slicer
    import slicer.util
    from BrainIACBridge.contents import Contents
    from PySide6 import QtCore
    from scene import Scene

    shutil.which = lambda name: sys.executable  # the worker runs in this Python
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        standins.useScene(scene)
        for path in sorted((REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz")):
            scene.load(path)
        scene.addSliceView("Red", "Axial")
        panel = standins.openPanel("BrainIAC")
        panel.updatePanel()

        def seconds(act) -> float:
            started = time.perf_counter()
            act()
            while panel.logic.worker.busy:
                QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            return round(time.perf_counter() - started, 2)

        found: dict[str, object] = {"clicks from a loaded study to answer and overlay": 1}
        found["first Analyze study, s"] = seconds(panel.ui.analyzeButton.click)
        found["the map is shown after it"] = panel.logic.map.foreground() is not None
        found["second Analyze study, s"] = seconds(panel.ui.analyzeButton.click)
        found["one task on the warm study, s"] = seconds(lambda: panel.onTask("sequence"))
        panel.updatePanel()
        found["updatePanel, ms"] = processor_milliseconds(panel.updatePanel)
        (path, expected) = (Path(folder) / "scene.mrb", len(panel.logic.answers.records()))
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            node.AddDefaultStorageNode()
        scene.mrml.WriteToMRB(str(path))
        scene.mrml.Clear(0)
        scene.mrml.ReadFromMRB(str(path), True)
        current = [record for record in panel.logic.answers.records() if not panel.logic.answers.staleness(record)]
        found["answers current in the reopened scene"] = f"{len(current)} of {expected}"
        scans = panel.logic.study.volumes()
        found["until that is known, ms"] = processor_milliseconds(lambda: [Contents().of(scan) for scan in scans], 5)
        found["Analyze study in the reopened scene, s"] = seconds(panel.ui.analyzeButton.click)
        panel.cleanup()
        print(json.dumps(found, indent=2), flush=True)
    os._exit(0)  # taking scenes apart at the end can crash


def processor_milliseconds(act, repeats: int = REPEATS) -> float:
    """Median over many calls."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        act()
        times.append(1000 * (time.process_time() - started))
    return round(statistics.median(times), 1)


if __name__ == "__main__":
    main()
