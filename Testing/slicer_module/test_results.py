"""Predictions in the scene: replaced and not piled up, saved with the scene, exported completely."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import csv
import io
import json

import slicer
from BrainIACBridge.in_words import answerInWords
from BrainIACBridge.results import Results, findResult, markResult, resultNode
from BrainIACBridge.study import Study

from BrainIACLib.predictions import Prediction


def prediction(label="T1", confidence=0.9, trust=None, **changes) -> dict:
    """As the worker sends it; every field comes from the library's own class."""
    provenance = {
        "model": {"id": "m", "version": "1", "licence": "Apache-2.0", "head_sha256": "h", "encoder_sha256": "e"},
        "device": "cpu",
        "versions": {"torch": "2.6"},
        "preprocessing": [{"name": "bias field", "scan": "a"}, {"name": "registration", "scan": "a"}],
    }
    fields = {
        "task": "sequence",
        "scans": {"any": "name"},
        "label": label,
        "confidence": confidence,
        "probabilities": {"T1": 0.9, "T2": 0.1},
        "warnings": ('Says "careful"; really, twice\nover.',),
        "valid_range": "adults",
        "provenance": provenance,
    } | changes
    return {**Prediction(**fields).to_json(), "trust": trust or {}, "note": "", "time": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def scan(scene, oblique):
    return scene.load(oblique)


@pytest.fixture
def results(scene):
    return Results(scene.mrml.AddNewNodeByClass("vtkMRMLTableNode", "BrainIAC results"))


def test_a_repeated_answer_replaces_the_first_and_another_scan_adds_a_row(scene, results, scan, oblique):
    other = scene.load(oblique, "other")
    results.add(prediction("T1"), {"any": scan}, {})
    results.add(prediction("T2"), {"any": other}, {})
    results.add(prediction("FLAIR"), {"any": scan}, {})
    assert [record["label"] for record in results.records()] == ["T2", "FLAIR"]
    assert results.node.GetNumberOfRows() == 2
    assert results.node.GetCellText(1, 2) == "FLAIR"


def test_cells_cannot_be_typed_over(results, scan):
    """What is exported is the stored answer: a cell that shows something else would be a lie."""
    results.add(prediction(), {"any": scan}, {})
    assert results.node.GetLocked()


def test_a_probability_in_the_table_is_never_rounded_up(results, scan):
    results.add(prediction(confidence=0.89999), {"any": scan}, {})
    header, rows = results.rows()
    assert dict(zip(header, rows[0], strict=True))["Probability"] == "0.8999"


def test_measurements_have_a_unit_and_no_probability(results, scan):
    age = prediction("41.2 years", None, task="age", value=41.23, unit="years", probabilities={})
    results.add(age, {"any": scan}, {})
    header, rows = results.rows()
    row = dict(zip(header, rows[0], strict=True))
    assert (row["Value"], row["Unit"], row["Probability"]) == ("41.23", "years", "")
    assert "41.2 years" in answerInWords(age)


def test_words_hold_answer_validity_and_warnings():
    text = answerInWords(prediction())
    for part in ("T1, probability 0.90", "Valid for: adults", 'Says "careful"', "cpu"):
        assert part in text
    assert 'Says "careful"' in text.splitlines()[1]  # where a long answer is scrolled away last


def test_uncertainty_is_said_with_the_answer_and_fills_its_column(results, scan):
    """The fields are those that BrainIACLib.trust writes; a scene of an earlier version has none of them."""
    interval = {"coverage": 0.9, "low": 35.25, "high": 47.0, "unit": "years", "meaning": "holds nine of ten"}
    novelty = {"score": 1.25, "warn_above": 2.0, "meaning": "distance"}
    trust = {"prediction_interval": interval, "novelty": novelty}
    age = prediction("41.2 years", None, task="age", value=41.23, unit="years", probabilities={}, trust=trust)
    results.add(age, {"any": scan}, {})
    for part in (
        "Prediction interval: 35.2 to 47.0 years; it holds nine of ten",
        "1.25; 95% of them lie below 1, and above 2.00 a warning",
    ):
        assert part in answerInWords(age)
    header, (row,) = results.rows()
    assert dict(zip(header, row, strict=True))["Uncertainty"] == "35.2 to 47.0 years (90%)"
    results.extend(results.records()[0], "trust", {"spread": {"meaning": "Flips change nothing."}})
    (record,) = results.records()
    assert record["trust"]["novelty"] == novelty
    assert "Flips change nothing." in answerInWords(record)
    classes = {"coverage": 0.9, "classes": ["T1", "T1CE"], "meaning": "holds the truth"}
    assert "Prediction set: T1, T1CE; it holds the truth" in answerInWords(
        prediction(trust={"prediction_set": classes})
    )
    assert "Probabilities: T1 0.90, T2 0.10" in answerInWords({**prediction(), "trust": {}})


def test_exports_hold_everything(results, scan, tmp_path):
    results.add(prediction(), {"any": scan}, {})
    table = list(csv.reader(io.StringIO(results.toCsv())))
    assert len(table) == 2
    assert dict(zip(*table, strict=True))["Warnings"] == 'Says "careful"; really, twice\nover.'
    results.save(tmp_path / "answers.json")
    (record,) = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert record == {**json.loads(json.dumps(prediction())), "scans": {"any": scan.GetName()}, "not_current": ""}
    results.save(tmp_path / "answers.csv")
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8") == results.toCsv()
    results.copyToClipboard()
    import qt

    assert list(csv.reader(io.StringIO(qt.QApplication.clipboard().text()), delimiter="\t")) == table


def test_the_plot_uses_its_nodes_again(scene, results):
    chart = results.showPlot(prediction())
    assert results.showPlot(prediction("T2")) is chart
    (series,) = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    table = series.GetTableNode()
    assert [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())] == ["T1", "T2"]


def test_results_know_their_scan_and_are_found_again(scene, scan):
    node = resultNode("vtkMRMLScalarVolumeNode", scan, "saliency", "map")
    markResult(node, scan, "saliency", {"seed": 0})
    assert resultNode("vtkMRMLScalarVolumeNode", scan, "saliency", "map") is node
    assert findResult("vtkMRMLScalarVolumeNode", scan, "mask") is None
    assert json.loads(node.GetAttribute("BrainIAC.Provenance")) == {"seed": 0}
    assert node not in Study().volumes()


def test_results_lie_beside_their_scan_in_the_data_tree(scene, scan):
    """In the folder of the input, for the table and the plot as for volumes and transforms."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.CreateItem(study, scan)
    for kind, className in (("saliency", "vtkMRMLScalarVolumeNode"), ("transform", "vtkMRMLTransformNode")):
        node = resultNode(className, scan, kind, kind)
        if not hierarchy.GetItemByDataNode(node):  # Slicer's plugins make the items; without them, as they would
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        markResult(node, scan, kind, {})
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_undo_takes_an_answer_back_and_redo_gives_it_again(scene, results, scan):
    """As Slicer's scene undo, which keeps what nodes hold at each saved state."""
    results.node.SetUndoEnabled(True)
    results.add(prediction("T1"), {"any": scan}, {})
    scene.mrml.SetUndoOn()
    scene.mrml.SaveStateForUndo()
    results.add(prediction("T2", confidence=0.8), {"any": scan}, {})
    scene.mrml.Undo()
    (table,) = [
        node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute("BrainIAC.Result")
    ]
    (record,) = Results(table).records()
    assert record["label"] == "T1"
    assert table.GetNumberOfRows() == 1
    assert table.GetCellText(0, 2) == "T1"
    scene.mrml.Redo()
    assert Results(table).records()[0]["label"] == "T2"
    assert Results(table).scansOf(Results(table).records()[0]) == {"any": scan}


def test_the_columns_survive_quotes_and_line_ends(scene, results, scan, tmp_path):
    """Slicer writes tables as delimited text, and reads them wrongly with these."""
    scan.SetName('T1 "fat\nsat"')
    results.add(prediction(), {"any": scan}, {})
    before = [results.node.GetCellText(0, column) for column in range(results.node.GetNumberOfColumns())]
    results.node.AddDefaultStorageNode()
    path = tmp_path / "scene.mrb"
    assert scene.mrml.WriteToMRB(str(path))
    scene.mrml.Clear(0)
    scene.mrml.ReadFromMRB(str(path), True)
    (table,) = [
        node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute("BrainIAC.Result")
    ]
    assert [table.GetCellText(0, column) for column in range(table.GetNumberOfColumns())] == before


def test_everything_survives_saving_and_reopening(scene, results, scan, tmp_path):
    study = Study()
    results.add(prediction(), {"any": scan}, {})
    study.setSequence(scan, "T1", 0.875)
    path, before = tmp_path / "scene.mrb", results.records()
    for node in (scan, results.node):
        node.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(path))
    scene.mrml.Clear(0)
    assert scene.mrml.ReadFromMRB(str(path), True)
    (again,) = study.volumes()
    assert study.sequence(again) == ("T1", 0.875)
    table = slicer.util.getNode("BrainIAC results")
    assert Results(table).records() == before
    assert Results(table).scansOf(before[0]) == {"any": again}


def test_slots_are_filled_by_sequence_and_only_from_what_is_left_in(scene, oblique):
    study = Study()
    flair, first, second = (scene.load(oblique, name) for name in ("flair", "first", "second"))
    study.setSequence(flair, "FLAIR", 0.9)
    study.setSequence(first, "T1CE", 0.8)
    study.setSequence(second, "T1CE")
    assert study.fillSlots(("T1CE", "FLAIR", "T2")) == ({"T1CE": first, "FLAIR": flair}, ["T2"])
    study.include(first, False)
    assert study.fillSlots(("T1CE",))[0] == {"T1CE": second}
    assert study.sequence(second) == ("T1CE", None)
