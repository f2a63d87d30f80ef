"""Pictures of the panels for the README: ``python Testing/slicer_module/screenshots.py`` (some minutes).

The modules' own panels in real Qt: BrainIAC after a click on Classify sequence and Explain answer on the bundled
simulated study, beside slices of a real MRML scene with its color legend; the head trainer after a training on
random numbers. In a light and a dark palette. Slicer's own style and tool bars are not seen here.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import standins
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from scene import Scene, picture
from vtk.util.numpy_support import vtk_to_numpy

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 330  # pixels of one slice view
PANEL = 430
OUT = REPOSITORY / "Resources" / "Screenshots"


def main() -> None:
    """Write ``module-*.png`` and ``trainer-*.png``."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "BrainIAC")]
    standins.installModules()
    QtWidgets.QApplication.setStyle("Fusion")
    shutil.which = lambda name: sys.executable  # the worker runs in this Python
    folder = tempfile.TemporaryDirectory(prefix="screenshots-")
    os.environ["BRAINIAC_MODELS"] = str(Path(folder.name) / "Models")
    OUT.mkdir(exist_ok=True)
    scene = Scene(Path(folder.name))
    standins.useScene(scene)
    pictureModule(scene)
    pictureTrainer(Path(folder.name))


def pictureModule(scene) -> None:
    """BrainIAC, with slices; and its other sections."""
    views = [scene.addSliceView(name, name) for name in ("Axial", "Sagittal", "Coronal")]
    scans = {
        path.name.split(".")[0]: scene.load(path)
        for path in sorted((REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz"))
    }
    panel = standins.openPanel("BrainIAC")
    click(panel, "sequenceButton")
    scan = panel._parameterNode.saliencyScan = scans["simulated_FLAIR"]
    panel.updatePanel()
    click(panel, "explainButton")
    click(panel, "stepsButton")
    legend = legendPicture(scene, panel.logic.saliencyOf(scan))
    panel.logic.overlay.show(panel.logic.saliencyOf(scan), scan, 0.6)
    for name, palette in PALETTES.items():
        QtWidgets.QApplication.setPalette(palette())
        save(together(panel, views, legend), OUT / f"module-{name}.png")
    QtWidgets.QApplication.setPalette(lightPalette())
    for section in ("studySection", "tasksSection", "resultSection"):
        getattr(panel.ui, section).setProperty("collapsed", True)
    for section in ("saliencySection", "preprocessingSection", "advancedSection"):
        getattr(panel.ui, section).setProperty("collapsed", False)
    save(grab(panel.parent, PANEL, 860), OUT / "module-more.png")
    panel.cleanup()


def pictureTrainer(folder: Path) -> None:
    """The head trainer after a training; its embeddings are random numbers that differ a little between two labels."""
    from BrainIACLib.checkpoints.installed import find_encoder
    from BrainIACLib.embeddings.files import write_table
    from BrainIACLib.embeddings.table import table_of

    contract, random = find_encoder().contract, np.random.default_rng(0)
    rows, vectors = [], []
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "patient", "grade"])
        for number in range(40):
            name, grade = f"scan_{number:02}.nii.gz", "high" if number % 2 else "low"
            (folder / name).touch()
            writer.writerow([name, f"person {number:02}", grade])
            made = {"encoder_sha256": contract.encoder.sha256, "model": contract.id, "sha256": str(number)}
            rows.append({"scan": name, "preset": "standard", **made})
            vectors.append(random.standard_normal(contract.encoder.embedding_size) + 0.4 * (number % 2))
    write_table(table_of(rows, vectors), folder / "embeddings.npz")
    panel = standins.openPanel("BrainIACHeadTrainer")
    panel._add(type(panel.logic.cases).addCsv, str(folder / "cases.csv"))
    panel.ui.tableFile.setCurrentPath(str(folder / "embeddings.npz"))
    panel.ui.taskName.setText("tumor-grade")
    panel.updatePanel()
    click(panel, "trainButton", "Trained.")
    panel.ui.tableFile.setCurrentPath("embeddings.npz")  # the picture is for everybody
    for name, palette in PALETTES.items():
        QtWidgets.QApplication.setPalette(palette())
        save(grab(panel.parent, PANEL, 1240), OUT / f"trainer-{name}.png")
    panel.cleanup()


def legendPicture(scene, saliency) -> QtGui.QImage:
    """The color legend with the title and the colors of its MRML node."""
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetSize(2 * SIZE, 2 * SIZE)  # drawn larger and made smaller: its letters have a fixed size
    window.AddRenderer(renderer)
    node = scene.logics["Colors"].GetColorLegendDisplayNode(saliency)
    bar = vtk.vtkScalarBarActor()
    colors = vtk.vtkLookupTable()
    colors.DeepCopy(saliency.GetDisplayNode().GetColorNode().GetLookupTable())
    colors.SetRange(0.0, 1.0)
    bar.SetLookupTable(colors)
    bar.SetTitle(node.GetTitleText())
    bar.SetLabelFormat(node.GetLabelFormat())
    bar.SetNumberOfLabels(6)
    bar.UnconstrainedFontSizeOn()
    for size, put in ((26, bar.SetTitleTextProperty), (22, bar.SetLabelTextProperty)):
        text = vtk.vtkTextProperty()
        text.ShallowCopy(node.GetTitleTextProperty())
        text.SetFontSize(size)
        put(text)
    bar.GetPositionCoordinate().SetValue(0.25, 0.1)
    bar.SetWidth(0.25)
    bar.SetHeight(0.7)
    renderer.AddViewProp(bar)
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.Update()
    pixels = vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars()).reshape(2 * SIZE, 2 * SIZE, 3)[::-1].copy()
    image = QtGui.QImage(pixels.data, 2 * SIZE, 2 * SIZE, 6 * SIZE, QtGui.QImage.Format.Format_RGB888)
    return image.scaled(SIZE, SIZE, mode=QtCore.Qt.TransformationMode.SmoothTransformation)


def click(panel, name: str, said: str = "") -> None:
    """Click and wait until the panel is idle again, and says what it should."""
    panel.parent.findChild(QtWidgets.QPushButton, name).click()
    while panel.logic.worker.busy:
        QtCore.QCoreApplication.processEvents()
        time.sleep(0.02)
    if panel.ui.statusLabel.text() != said:
        raise SystemExit(panel.ui.statusLabel.text())


def together(panel, views, legend) -> QtGui.QImage:
    """The panel, the slices beside it, and the legend of their colors."""
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
    painter.drawImage(PANEL + 12 + SIZE, SIZE + 6, legend)
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


PALETTES = {"light": lightPalette, "dark": darkPalette}


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # taking scenes apart at the end can crash
