"""Pictures of the panels for the README: ``python Testing/slicer_module/screenshots.py`` (some minutes).

The modules' own panels in real Qt: BrainIAC after a click on Analyze study on the bundled simulated study, beside
slices of a real MRML scene with its color legend; the head trainer after a training on random numbers. In a light and a
dark palette. Slicer's own style and tool bars are not seen here.

``--states FOLDER`` pictures every state of the panel of BrainIAC, with made-up answers, at several sizes.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import slicer
import slicer.util
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
    """Write ``module-*.png`` and ``trainer-*.png``; with ``--states FOLDER`` every state of the panel there instead."""
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
    if sys.argv[1:2] == ["--states"]:
        pictureStates(scene, Path(sys.argv[2]))
    else:
        pictureModule(scene)
        pictureTrainer(Path(folder.name))


def pictureModule(scene) -> None:
    """BrainIAC after one click on Analyze study, with slices; and its other sections."""
    views = [scene.addSliceView(name, name) for name in ("Axial", "Sagittal", "Coronal")]
    for path in sorted((REPOSITORY / "Resources" / "SampleData").glob("*.nii.gz")):
        scene.load(path)
    panel = standins.openPanel("BrainIAC")
    slicer.util.setSliceViewerLayers(background=slicer.util.getNode("simulated_FLAIR"))
    click(panel, "analyzeButton", "Done in")
    panel.ui.statusLabel.setText("")  # the seconds of the computer that makes pictures are nobody's
    scan = panel._parameterNode.saliencyScan
    legend = legendPicture(scene, panel.logic.answers.saliencyOf(scan))
    for name, palette in PALETTES.items():
        QtWidgets.QApplication.setPalette(palette())
        save(together(panel, views, legend), OUT / f"module-{name}.png")
    QtWidgets.QApplication.setPalette(lightPalette())
    for section in ("studySection", "answersSection"):
        getattr(panel.ui, section).setProperty("collapsed", True)
    for section in ("mapSection", "tasksSection", "advancedSection"):
        getattr(panel.ui, section).setProperty("collapsed", False)
    panel.updatePanel()
    save(grab(panel.parent, PANEL, 1000), OUT / "module-more.png")
    panel.cleanup()


def pictureStates(scene, out: Path) -> None:
    """Each state that a person meets, in both palettes, at sizes of small and large windows.

    The answers are made up: these pictures are looked at while the panel is worked on, and shown to nobody.
    """
    out.mkdir(parents=True, exist_ok=True)
    panel = standins.openPanel("BrainIAC")
    sizes = ((360, 820), (430, 820), (600, 1080))

    def picture(state: str) -> None:
        panel.updatePanel()
        for name, palette in PALETTES.items():
            QtWidgets.QApplication.setPalette(palette())
            for width, height in sizes:
                save(grab(panel.parent, width, height), out / f"{state}-{name}-{width}x{height}.png")

    picture("1-empty")
    scans = made_up_study(scene)
    panel.updatePanel()
    picture("2-loaded")
    before, after = scans["2020"], scans["2021"]
    for node, sequence, confidence in ((after[0], "T1", 0.97), (after[1], "FLAIR", 0.62)):
        warnings = (
            [] if confidence > 0.9 else ["Uncertain: the confidence 0.62 is below 0.90; the next candidate is T2."]
        )
        add(panel, "sequence", node, label=sequence, confidence=confidence, warnings=warnings)
        panel.logic.study.setSequence(node, sequence, confidence, warnings)
    panel.logic.study.setProblem(after[2], "'localizer' has 3 slices; at least 16 are needed.")
    for nodes, years in ((before, 61.0), (after, 66.5)):
        interval = {"low": years - 6, "high": years + 6, "coverage": 0.9, "unit": "years", "meaning": "holds 9 of 10"}
        add(panel, "age", nodes[0], label=f"{years:.1f} years", confidence=None, value=years, unit="years",
            probabilities={}, trust={"prediction_interval": interval}, warnings=())  # fmt: skip
    too_old = "The person is 62 years old and the model was trained on ages 18 to 50: do not rely on the answer."
    add(panel, "survival", after[0], label="0.41", confidence=0.41, warnings=[too_old], trust={"grave": [too_old]})
    panel._parameterNode.studyScan = panel._parameterNode.saliencyScan = after[0]
    panel.ui.followUpSection.setProperty("collapsed", False)
    picture("3-answered")
    panel.updatePanel()
    panel.cards.cards[0].why.click()
    panel.ui.studySection.setProperty("collapsed", True)
    picture("4-why")
    panel.ui.studySection.setProperty("collapsed", False)
    panel.cards.cards[0].why.click()
    measured(panel, after[0])
    panel._parameterNode.saliencyScan = after[0]
    panel.ui.batchSource.setCurrentPath("D:/cohort/scans")
    panel.ui.batchOut.setCurrentPath("D:/cohort/results")
    panel.batchSection.worker, idle = types.SimpleNamespace(busy=True), panel.batchSection.worker
    panel.updatePanel()
    panel.batchSection._onProgress("112 of 300 scans, 2 failed, about 96 minutes left", 0.373)
    fold(panel, "studySection", "answersSection", "followUpSection")
    for name in ("volumesSection", "batchSection"):
        getattr(panel.ui, name).setProperty("collapsed", False)
    picture("7-volumes-and-folder")
    panel.batchSection.worker = idle
    fold(panel, "volumesSection", "batchSection")
    for name in ("mapSection", "tasksSection", "advancedSection"):
        getattr(panel.ui, name).setProperty("collapsed", False)
    picture("8-other-sections")
    fold(panel, "mapSection", "tasksSection", "advancedSection")
    for name in ("studySection", "answersSection"):
        getattr(panel.ui, name).setProperty("collapsed", False)
    slicer.util.updateVolumeFromArray(after[0], slicer.util.arrayFromVolume(after[0]) + 1)
    picture("5-stale")
    panel.begin("Analyzing the study").progress("scan 2 of 4, brain extraction", 0.4)
    panel.logic.worker = types.SimpleNamespace(
        busy=True, running=True, cancels=0, stop=lambda: None, cancel=lambda byForce: None
    )
    picture("6-busy")
    panel.cleanup()


def fold(panel, *sections: str) -> None:
    """Collapse sections."""
    for name in sections:
        getattr(panel.ui, name).setProperty("collapsed", True)


def measured(panel, node) -> None:
    """Made-up volumes of a scan."""
    import SimpleITK as sitk
    from BrainIACBridge.result_nodes import ResultNodes

    from BrainIACLib.structures import LOOSE, MEASURED

    volumes = [
        {
            "structure": one.name,
            "title": one.title,
            "ml": 7.0 * number,
            "left_ml": 3.4 * number if one.left != one.right else None,
            "right_ml": 3.6 * number if one.left != one.right else None,
            "share_of_intracranial": 0.005 * number,
        }
        for number, one in enumerate(MEASURED, start=1)
    ]
    labels = sitk.Image(node.GetImageData().GetDimensions(), sitk.sitkUInt8)
    found = {"intracranial_ml": 1482.0, "volumes": volumes, "loose": list(LOOSE), "warnings": []}
    ResultNodes(panel.logic.volumes, panel.logic.contents).storeStructures(
        labels, node, panel.logic.contents.of(node), found
    )


def made_up_study(scene) -> dict:
    """Two dates of one person in the subject hierarchy: year -> volumes of noise."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Anonymous (017)")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientBirthDate", "19590301")
    random, scans = np.random.default_rng(0), {}
    for year in ("2020", "2021"):
        study = hierarchy.CreateStudyItem(patient, year)
        hierarchy.SetItemAttribute(study, "DICOM.StudyDate", f"{year}0115")
        scans[year] = []
        for name in ("3: T1 MPRAGE sagittal", "5: FLAIR axial fat-saturated", "1: localizer"):
            node = scene.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
            slicer.util.updateVolumeFromArray(node, random.integers(0, 99, (24, 24, 24)).astype(np.int16))
            hierarchy.CreateItem(study, node)
            scans[year].append(node)
    return scans


def add(panel, task: str, node, **fields) -> None:
    """A made-up answer."""
    from test_results import prediction

    scans = {"any": node}
    record = prediction(task=task, scans={"any": node.GetName()}, **fields)
    asked, _typed = panel.logic.study.ageAt([node])
    panel.logic.answers.results().add({**record, "ageYears": asked}, scans, {"any": panel.logic.contents.of(node)})


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
    panel.casesSection.add(type(panel.logic.cases).addCsv, str(folder / "cases.csv"))
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
    if not panel.ui.statusLabel.text().startswith(said):
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
    scan = panel._parameterNode.saliencyScan
    panel.logic.map.goToMaximum(panel.logic.answers.saliencyOf(scan))
    for index, view in enumerate(views):
        pixels = picture(view, SIZE).copy()
        slice_ = QtGui.QImage(pixels.data, SIZE, SIZE, 3 * SIZE, QtGui.QImage.Format.Format_RGB888)
        painter.drawImage(PANEL + 6 + (index % 2) * (SIZE + 6), (index // 2) * (SIZE + 6), slice_)
    painter.drawImage(PANEL + 12 + SIZE, SIZE + 6, legend)
    painter.end()
    return image


def grab(widget, width: int, height: int) -> QtGui.QImage:
    """The widget at a size of its own, upper part."""
    for _ in range(6):  # rows grow when the width is known, and the panel with them
        needed = widget.layout().totalHeightForWidth(width)  # as a scroll area gives it
        widget.resize(width, max(height, needed, widget.sizeHint().height()))
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
