"""The head trainer's panel: cases and labels in, a real worker trains, figures, plots and a new task come out."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from BrainIACBridge.cases import Cases
from BrainIACBridge.trainer_parameters import USUAL_CODES
from BrainIACBridge.training_plots import TrainingPlots
from BrainIACBridge.training_report import TrainingReport
from person import button, click, wait

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.embeddings.files import read_table, write_table
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.figures_in_words import risk_calibration, risk_groups
from BrainIACLib.head_training.report import Answered, EmbeddingMap, report_to_json
from BrainIACLib.head_training.training import train_head

PATIENTS = 24


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The user's model folder."""
    monkeypatch.setenv("BRAINIAC_MODELS", str(tmp_path / "Models"))
    return tmp_path / "Models"


@pytest.fixture
def cohort(tmp_path, oblique):
    """A manifest of 24 patients of two grades; the scans are copies of one small file."""
    path = tmp_path / "cohort" / "cases.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "patient", "sequence", "grade", "volume_ml"])
        for number in range(PATIENTS):
            shutil.copy(oblique, path.parent / f"s{number:02}.nii.gz")
            grade = "high" if number % 2 else "low"
            writer.writerow([f"s{number:02}.nii.gz", f"p{number:02}", "T1", grade, 10 + number])
    return path


@pytest.fixture
def table(tmp_path):
    """Embeddings of that cohort, as Embed would have written them: the grade shows in them, with noise."""
    contract = find_encoder().contract
    rng = np.random.default_rng(0)
    rows, vectors = [], []
    for number in range(PATIENTS):
        facts = {"sha256": f"{number:064d}", "encoder_sha256": contract.encoder.sha256, "model": contract.id}
        rows.append({"scan": f"s{number:02}.nii.gz", "preset": "standard", "preprocessing_sha256": "0" * 64, **facts})
        vectors.append(rng.standard_normal(contract.encoder.embedding_size) + 1.5 * (number % 2))
    path = tmp_path / "embeddings.npz"
    write_table(table_of(rows, vectors), path)
    return path


@pytest.fixture
def filled(trainer, store, cohort, table, scene):
    """The panel with the cohort and its embeddings."""
    scene.dialogs.path = str(cohort)
    click(trainer, "addCsvButton")
    trainer.ui.tableFile.setCurrentPath(str(table))
    trainer.updatePanel()
    return trainer


# Cases


def test_volumes_of_the_scene_are_cases_once_and_leave_with_their_nodes(scene, oblique):
    cases, nodes = Cases(), [scene.load(oblique, "a"), scene.load(oblique, "b")]
    nodes[1].SetName("a")
    assert cases.addVolumes(nodes, lambda node: "T1") == 2
    assert cases.addVolumes(nodes, lambda node: "T1") == 0
    assert [case.facts["scan"] for case in cases.all] == ["a", "a (2)"]
    scene.mrml.RemoveNode(nodes[0])
    cases.nodesGone()
    assert [case.facts["scan"] for case in cases.all] == ["a (2)"]


def test_a_folder_gives_its_scan_files_and_its_dicom_folders(tmp_path, oblique):
    (tmp_path / "a.nii.gz").write_bytes(oblique.read_bytes())
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "visit").mkdir()
    (tmp_path / "visit" / "1").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "empty").mkdir()
    cases = Cases()
    assert cases.addFolder(tmp_path) == 3  # with oblique.nii.gz itself
    assert [case.facts["patient"] for case in cases.all] == ["a", "oblique", "visit"]
    with pytest.raises(BrainIACError, match="no folders of DICOM"):
        cases.addFolder(tmp_path / "empty")


def test_a_wrong_table_adds_nothing_and_says_which_line(trainer, scene, cohort):
    cohort.write_text(cohort.read_text().replace("s05.nii.gz", "s04.nii.gz"))
    scene.dialogs.path = str(cohort)
    click(trainer, "addCsvButton")
    (sentence,) = scene.dialogs.shown
    assert "line 7" in sentence.lower()
    assert "s04.nii.gz" in sentence
    assert trainer.logic.cases.all == []


# The panel


def test_buttons_say_what_is_missing(trainer, store):
    for name, missing in (
        ("embedButton", "Add scans"),
        ("trainButton", "Embed first"),
        ("installButton", "Train first"),
    ):
        assert not button(trainer, name).isEnabled()
        assert missing in button(trainer, name).toolTip()
    assert not trainer.ui.mapButton.isEnabled()


def test_a_table_brings_its_label_columns_and_labels_can_be_typed(filled):
    assert "24 scans of 24 people; 24 with a label, 2 different" in filled.ui.casesHintLabel.text()
    assert filled.ui.labelColumn.currentText() == "grade"
    table = filled.ui.caseTable
    assert (table.item(1, 0).text(), table.item(1, 2).text()) == ("s01.nii.gz", "high")
    table.item(1, 2).setText(" low ")
    assert filled.logic.cases.all[1].facts["grade"] == "low"
    filled.ui.labelColumn.setCurrentText("volume_ml")
    filled.ui.labelColumn.activated.emit(filled.ui.labelColumn.currentIndex())
    assert table.item(1, 2).text() == "11"
    table.selectRow(0)
    click(filled, "removeCasesButton")
    assert len(filled.logic.cases.all) == PATIENTS - 1


def test_the_scene_remembers_cases_and_results(filled, scene):
    filled.exit()
    filled.logic.cases.all = []
    filled.enter()
    assert len(filled.logic.cases.all) == PATIENTS
    scene.mrml.Clear(0)
    assert filled.logic.cases.all == []


def test_from_labels_to_a_task_of_brainiac(filled, store, scene, openModule):
    """A real worker trains; the plots, the hardest cases and a clicked point lead to scans; the task appears."""
    filled.ui.taskName.setText("grade")
    click(filled, "trainButton")
    assert scene.dialogs.shown == []
    words = filled.ui.performanceLabel.text()
    for part in (
        "24 cases of 24 patients",
        "AUC",
        "95% interval",
        "shuffled labels",
        "ore cases",
        "coverage",
        "by case",
    ):
        assert part in words, words
    report = TrainingReport.fromText(filled.logic.getParameterNode().report)
    assert filled.ui.hardestTable.rowCount() == len(report.hardest) > 0
    joined = json.loads(filled.logic.getParameterNode().report)
    joined["out_of_fold"][0]["scans"].append("flair.nii.gz")
    assert TrainingReport.fromText(json.dumps(joined)).answers[0].name == "s00.nii.gz + flair.nii.gz"

    click(filled, "answersButton")
    confusion = slicer.util.getNode("BrainIAC confusion matrix")
    counts = [[int(confusion.GetCellText(row, 1 + column)) for column in range(2)] for row in range(2)]
    assert counts == report.confusion
    assert sum(map(sum, counts)) == PATIENTS
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView

    click(filled, "mapButton")
    click(filled, "mapButton")
    series = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    assert sorted(node.GetName() for node in series) == [
        f"BrainIAC embedding map: {grade}" for grade in ("high", "low")
    ]
    assert sum(node.GetTableNode().GetNumberOfRows() for node in series) == PATIENTS
    names, chosen, points = vtk.vtkStringArray(), vtk.vtkCollection(), vtk.vtkIdTypeArray()
    names.InsertNextValue(series[0].GetID())
    points.InsertNextValue(3)
    chosen.AddItem(points)
    view = scene.addSliceView("Red", "Axial")
    filled.performance.onPointsSelected(names, chosen)
    shown = scene.mrml.GetNodeByID(view.GetSliceCompositeNode().GetBackgroundVolumeID())
    scan = series[0].GetTableNode().GetCellText(3, 2)
    assert shown.GetName() == scan.split(".")[0]
    volumes = scene.mrml.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    filled.performance.onPointsSelected(names, chosen)
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == volumes  # not loaded twice

    click(filled, "installButton")
    assert "Installed" in filled.ui.statusLabel.text()
    assert len(list(store.glob("*/contract.json"))) == 1
    panel = openModule("BrainIAC")
    panel.updatePanel()
    assert button(panel, "gradeButton").text() == "Predict grade"
    assert "Missing in the study: T1" in button(panel, "gradeButton").toolTip()
    panel.logic.study.setSequence(shown, "T1")
    panel.updatePanel()
    assert button(panel, "gradeButton").isEnabled()

    scene.dialogs.confirm = False
    click(filled, "installButton")
    assert "Replace it?" in scene.dialogs.shown[-1]
    scene.dialogs.confirm = True
    click(filled, "installButton")
    assert len(list(store.glob("*/contract.json"))) == 1


def test_the_words_say_what_a_survival_head_is_worth(table):
    """Its risk groups, its probability against Kaplan-Meier, and that it has no prediction set."""
    rows = read_table(table)
    rng = np.random.default_rng(1)
    times = np.array([f"{months:.1f}" for months in 1 + rng.exponential(12, len(rows))])
    events = np.array(["1" if number % 4 else "0" for number in range(len(rows))])
    columns = {**rows.columns, "os_months": times, "event": events}
    report = train_head(type(rows)(columns, rows.embeddings), "os_months", "os", "survival").report
    words = TrainingReport.fromText(json.dumps(report_to_json(report))).inWords()
    for said in (risk_groups(report.median_split), risk_calibration(report.risk_calibration, "12 months")):
        assert said in words
    assert "prediction set: none for survival" in words
    assert TrainingReport.fromText('{"task": "of an earlier version"}') is None


def test_measurements_are_drawn_as_a_scatter_and_colored_by_range(filled):
    filled.ui.labelColumn.setCurrentText("volume_ml")
    filled.ui.labelColumn.activated.emit(filled.ui.labelColumn.currentIndex())
    click(filled, "trainButton")
    assert "MAE" in filled.ui.performanceLabel.text()
    click(filled, "answersButton")
    (series,) = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    table = series.GetTableNode()
    truth = sorted(float(table.GetCellText(row, 0)) for row in range(table.GetNumberOfRows()))
    assert truth == [10 + number for number in range(PATIENTS)]
    groups = TrainingReport.fromText(filled.logic.getParameterNode().report).groups(10)
    assert len(set(groups)) == 4
    assert max(groups.count(group) for group in groups) == PATIENTS // 4


def test_labels_that_cannot_be_learned_are_answered_with_a_sentence(filled, scene):
    for case in filled.logic.cases.all[8:]:
        case.facts["grade"] = ""
    filled.updatePanel()
    click(filled, "trainButton")
    (sentence,) = scene.dialogs.shown
    assert "at least 10" in sentence
    assert not filled.ui.installButton.isEnabled()


def test_a_plot_of_fewer_groups_takes_the_others_away(scene):
    def report(groups):
        answers = [Answered(f"s{index}", (f"s{index}",), 0, group, group) for index, group in enumerate(groups)]
        places = EmbeddingMap("t-SNE", ((0.0, 0.0),) * len(groups))
        rest = {"task": "t", "target": "grade", "kind": "classification", "unit": None, "classes": sorted(set(groups))}
        return TrainingReport(SimpleNamespace(**rest, map=places, out_of_fold=answers, hardest=(), confusion=()))

    plots = TrainingPlots()
    chart = plots.mapChart(report(["a", "b", "c"]))
    nodes = scene.mrml.GetNumberOfNodes()
    assert plots.mapChart(report(["a", "b", "b"])) is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    assert scene.mrml.GetNumberOfNodes() == nodes - 2


def test_scans_are_embedded_once_and_cancel_keeps_what_is_done(trainer, store, scene, tmp_path):
    """With a real worker, on two small heads without preprocessing."""
    k, j, i = np.mgrid[-1:1:40j, -1:1:48j, -1:1:44j]
    for name, core in (("a", 0.4), ("b", 0.6)):
        radius = np.sqrt((i / 0.75) ** 2 + (j / 0.9) ** 2 + (k / 0.8) ** 2)
        image = sitk.GetImageFromArray(np.where(radius < 1, 100 + 80 * (radius < core) + 20 * j, 0).astype(np.float32))
        image.SetSpacing((4.0, 4.0, 4.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
        scene.load(tmp_path / f"{name}.nii.gz")
    click(trainer, "addVolumesButton")
    parameters = trainer.logic.getParameterNode()
    parameters.biasField = False
    parameters.brainExtraction = type(parameters.brainExtraction).none
    out = tmp_path / "new folder" / "table.npz"
    trainer.ui.tableFile.setCurrentPath(str(out))
    button(trainer, "embedButton").click()
    wait(lambda: "scan 1 of 2" in trainer.ui.statusLabel.text())
    assert not button(trainer, "embedButton").isEnabled()
    trainer.ui.cancelButton.click()
    wait(lambda: not trainer.logic.worker.busy)
    assert not out.exists()
    click(trainer, "embedButton")
    assert "2 scans embedded" in trainer.ui.statusLabel.text()
    assert read_table(out).columns["scan"].tolist() == ["a", "b"]
    click(trainer, "embedButton")
    assert "(2 of them earlier)" in trainer.ui.statusLabel.text()


def test_codes_of_missing_labels_covariates_and_sites_reach_the_training(filled, monkeypatch):
    asked = []
    monkeypatch.setattr(filled.logic.worker, "request", lambda request, *unused: asked.append(request))
    assert filled.ui.trainMoreBox.isHidden()
    filled.ui.trainMoreButton.click()
    assert not filled.ui.trainMoreBox.isHidden()
    filled.ui.missingCodes.setText("-999, unknown,")
    filled.ui.covariates.setText("volume_ml, aeg")
    filled.updatePanel()
    assert "no column 'aeg'" in button(filled, "trainButton").toolTip()
    filled.ui.covariates.setText("volume_ml")
    filled.ui.siteColumn.setCurrentText("grade")
    filled.ui.siteColumn.activated.emit(0)
    click(filled, "trainButton")
    (request,) = asked
    assert (request.missing, request.covariates, request.site) == (("-999", "unknown"), ("volume_ml",), "grade")
    filled.ui.missingCodes.setText("")  # a real -999 is kept
    click(filled, "trainButton")
    filled.ui.missingCodes.setText(USUAL_CODES)  # the library asks about -999
    click(filled, "trainButton")
    assert [request.missing for request in asked[1:]] == [(), None]
    filled.ui.missingCodes.setText("-999")
    filled.exit()
    filled.ui.trainMoreBox.hide()
    filled.enter()
    assert not filled.ui.trainMoreBox.isHidden()  # what a scene holds is seen
