"""Pictures of the panel for the README: ``python Testing/slicer_module/screenshots.py`` (some minutes).

The module's own panel in real Qt, after a click on Classify sequence and Explain answer on the bundled simulated study,
beside slices of a real MRML scene; in a light and a dark palette. Slicer's own style, tool bars and color legend are
not seen here.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import standins
from PySide6 import QtCore, QtGui, QtWidgets
from scene import Scene, picture

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 330  # pixels of one slice view
PANEL = 430
OUT = REPOSITORY / "Resources" / "Screenshots"


def main() -> None:
    """Write ``module-light.png``, ``module-dark.png`` and ``module-more.png``."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "BrainIAC")]
    standins.installModules()
    QtWidgets.QApplication.setStyle("Fusion")
    shutil.which = lambda name: sys.executable  # the worker runs in this Python
    folder = tempfile.TemporaryDirectory(prefix="screenshots-")
    scene = Scene(Path(folder.name))
    standins.useScene(scene)
    views = [scene.addSliceView(name, name) for name in ("Axial", "Sagittal", "Coronal")]
    scans = {
        path.name.split(".")[0]: scene.load(path)
        for path in sorted((REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz"))
    }
    panel = standins.openPanel()
    click(panel, "sequenceButton")
    panel._parameterNode.saliencyScan = scans["simulated_FLAIR"]
    panel.updatePanel()
    click(panel, "explainButton")
    panel.onMaximum()
    OUT.mkdir(exist_ok=True)
    for name, palette in (("light", lightPalette()), ("dark", darkPalette())):
        QtWidgets.QApplication.setPalette(palette)
        save(together(panel, views), OUT / f"module-{name}.png")
    QtWidgets.QApplication.setPalette(lightPalette())
    for section in ("studySection", "tasksSection", "resultSection"):
        getattr(panel.ui, section).setProperty("collapsed", True)
    for section in ("saliencySection", "preprocessingSection", "advancedSection"):
        getattr(panel.ui, section).setProperty("collapsed", False)
    save(grab(panel.parent, PANEL, 760), OUT / "module-more.png")
    panel.cleanup()


def click(panel, name: str) -> None:
    """Click and wait until the panel is idle again."""
    panel.parent.findChild(QtWidgets.QPushButton, name).click()
    while panel.logic.worker.busy:
        QtCore.QCoreApplication.processEvents()
        time.sleep(0.02)
    if panel.ui.statusLabel.text():
        raise SystemExit(panel.ui.statusLabel.text())


def together(panel, views) -> QtGui.QImage:
    """The panel, and the slices beside it."""
    height = 2 * SIZE + 6
    image = QtGui.QImage(PANEL + 2 * SIZE + 12, height, QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor(32, 32, 40))
    painter = QtGui.QPainter(image)
    painter.drawImage(0, 0, grab(panel.parent, PANEL, height))
    for view in views:
        view.ResizeSliceNode(SIZE, SIZE)
        view.FitSliceToBackground(SIZE, SIZE)
    panel.onMaximum()
    for index, view in enumerate(views):
        pixels = picture(view, SIZE).copy()
        slice_ = QtGui.QImage(pixels.data, SIZE, SIZE, 3 * SIZE, QtGui.QImage.Format.Format_RGB888)
        painter.drawImage(PANEL + 6 + (index % 2) * (SIZE + 6), (index // 2) * (SIZE + 6), slice_)
    painter.end()
    return image


def grab(widget, width: int, height: int) -> QtGui.QImage:
    """The widget at a size of its own, upper part."""
    widget.resize(width, max(height, widget.sizeHint().height()))
    widget.show()
    QtCore.QCoreApplication.processEvents()
    return widget.grab(QtCore.QRect(0, 0, width, height)).toImage()


def save(image: QtGui.QImage, path: Path) -> None:
    """Write a PNG."""
    if not image.save(str(path)):
        raise SystemExit(f"cannot write {path}")
    print(path)


def lightPalette() -> QtGui.QPalette:
    """Fusion's own."""
    return QtWidgets.QApplication.style().standardPalette()


def darkPalette() -> QtGui.QPalette:
    """Like Slicer's dark style."""
    palette = QtGui.QPalette(QtGui.QColor(50, 50, 50), QtGui.QColor(50, 50, 50))
    role = QtGui.QPalette.ColorRole
    for name, color in {
        role.Base: (35, 35, 35),
        role.Button: (65, 65, 65),
        role.ToolTipBase: (65, 65, 65),
        role.Highlight: (90, 125, 170),
    }.items():
        palette.setColor(name, QtGui.QColor(*color))
    for name in (role.WindowText, role.Text, role.ButtonText, role.ToolTipText, role.HighlightedText):
        palette.setColor(name, QtGui.QColor(225, 225, 225))
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, name, QtGui.QColor(130, 130, 130))
    return palette


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # taking scenes apart at the end can crash
