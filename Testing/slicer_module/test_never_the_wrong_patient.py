"""An answer stays with the voxels and the person that it is about, on real MRML."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import gc
import json

import numpy as np
import slicer
import vtk
from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.cases import Cases
from BrainIACBridge.flow import Listener
from BrainIACBridge.patient_age import ageAt, ageInHeaders, yearsOf
from BrainIACBridge.results import Results
from BrainIACBridge.study import Study
from BrainIACBridge.study_identity import identityOf
from fake_worker import FakeWorker
from person import wait
from PySide6 import QtCore, QtTest
from test_results import prediction

from BrainIACLib.worker.requests import Explain, MeasureVolumes, Predict, PrepareStudy, Steps


@pytest.fixture
def hierarchy(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)


@pytest.fixture
def place(scene, hierarchy, oblique):
    """Loads a scan of a patient on a date, as Slicer's DICOM module leaves it in the subject hierarchy."""
    patients, studies = {}, {}

    def place(name, patient, date, birthDate="19600101"):
        node = scene.load(oblique, name)
        if patient not in patients:
            patients[patient] = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
            hierarchy.SetItemUID(patients[patient], "DICOM", f"uid of {patient}")
            hierarchy.SetItemAttribute(patients[patient], "DICOM.PatientBirthDate", birthDate)
        if (patient, date) not in studies:
            studies[patient, date] = hierarchy.CreateStudyItem(patients[patient], f"study of {date}")
            hierarchy.SetItemUID(studies[patient, date], "DICOM", f"uid of {patient} {date}")
            hierarchy.SetItemAttribute(studies[patient, date], "DICOM.StudyDate", date)
        hierarchy.CreateItem(studies[patient, date], node)
        return node

    return place


@pytest.fixture
def logic(scene, tmp_path):
    (tmp_path / "private").mkdir()
    return BrainIACLogic(FakeWorker(tmp_path / "private"))


def ask(logic, act, *arguments):
    """Call with a listener; the error it ended with."""
    ended = []
    act(*arguments, Listener(lambda step, fraction: None, ended.append))
    assert len(ended) == 1
    return ended[0]


def brighten(node):
    """Another image, as an edit or the next frame of a sequence leaves it."""
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node) + 1)


# Whose answer


def test_a_scene_added_to_another_leaves_each_answer_with_its_volume(scene, oblique, tmp_path, logic):
    """MRML gives the nodes that come in other IDs; their first volume has the ID of ours."""
    mine = scene.load(oblique, "mine")
    logic.answers.results().add(prediction("T1"), {"any": mine}, {})
    path = tmp_path / "first.mrb"
    for node in (mine, logic.answers.results().node):
        node.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(path))
    scene.mrml.Clear(0)
    other = scene.load(oblique, "other patient")
    logic.answers.results().add(prediction("T2"), {"any": other}, {})
    assert scene.mrml.ReadFromMRB(str(path), False)
    back = slicer.util.getNode("mine")
    assert back.GetID() != mine.GetID()
    results = logic.answers.results()
    found = {record["label"]: results.scansOf(record)["any"] for record in results.records()}
    assert found == {"T1": back, "T2": other}
    assert [record["label"] for record in logic.answers.about(other)] == ["T2"]
    tables = [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute("BrainIAC.Result")]
    assert tables == [results.node]


def test_a_scene_added_to_itself_leaves_each_answer_with_its_own_volume(scene, oblique, tmp_path, logic):
    """Both hold the same answers, under the same ids."""
    mine = scene.load(oblique, "mine")
    assert ask(logic, logic.predict, "sequence", None, [{"any": mine}]) is None
    for node in (mine, logic.answers.results().node):
        node.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(tmp_path / "scene.mrb"))
    for times in (1, 2):
        assert scene.mrml.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
        if times == 1:
            logic.answers.join()
            assert len(logic.answers.records()) == 2
    copies = [node for node in logic.study.volumes() if node is not mine]
    results = logic.answers.results()
    assert [results.scansOf(record)["any"] for record in results.records()] == [mine, *copies]
    assert len(results.records()) == 3


def test_a_panel_that_is_open_takes_answers_in_only_when_the_scene_was_read(panel, scene, oblique, tmp_path):
    """While it is read, the parameters change, and references lead to the volumes of the first scene still."""
    mine = scene.load(oblique, "mine")
    panel.logic.answers.results().add(prediction("T1"), {"any": mine}, {"any": panel.logic.contents.of(mine)})
    panel.onShowScan(mine)
    for node in (mine, panel.logic.answers.results().node):
        node.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(tmp_path / "scene.mrb"))
    panel._parameterNode.opacity = 0.2
    assert scene.mrml.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    wait(lambda: len(panel.logic.answers.records()) == 2, 10)
    results = panel.logic.answers.results()
    (copy,) = [node for node in panel.logic.study.volumes() if node is not mine]
    assert [results.scansOf(record)["any"] for record in results.records()] == [mine, copy]
    assert results.node.GetNumberOfRows() == 2


def test_cases_of_the_head_trainer_find_their_volumes_after_another_scene_came(scene, oblique, tmp_path):
    mine, cases, again = scene.load(oblique, "mine"), Cases(), Cases()
    cases.addVolumes([mine], lambda node: "T1")
    mine.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(tmp_path / "first.mrb"))
    scene.mrml.Clear(0)
    scene.load(oblique, "other patient")
    assert scene.mrml.ReadFromMRB(str(tmp_path / "first.mrb"), False)
    again.fromJson(cases.toJson())
    assert again.all[0].node() is slicer.util.getNode("mine")


def test_no_node_id_is_kept_as_text(scene, oblique, logic):
    """Neither in attributes nor in parameters of any node: references alone follow a renaming."""
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    for node in slicer.util.getNodesByClass("vtkMRMLNode"):
        if node.IsA("vtkMRMLTableNode") or node.IsA("vtkMRMLScriptedModuleNode"):
            for name in node.GetAttributeNames():
                assert scan.GetID() not in node.GetAttribute(name), name
        if node.IsA("vtkMRMLScriptedModuleNode"):
            assert all(scan.GetID() not in node.GetParameter(name) for name in node.GetParameterNames())


# Whose scans


def test_a_study_is_one_patient_and_one_date(place):
    (
        place("a1", "A", "20200101"),
        place("a2", "A", "20200101"),
        place("a3", "A", "20210101"),
        place("b", "B", "20200101"),
    )
    groups = {identity.title: [node.GetName() for node in nodes] for identity, nodes in Study().studies().items()}
    assert groups == {"A, 2020-01-01": ["a1", "a2"], "A, 2021-01-01": ["a3"], "B, 2020-01-01": ["b"]}


def test_two_people_of_one_name_and_date_are_told_apart(panel, place, hierarchy):
    for patient in ("A", "B"):
        hierarchy.SetItemName(
            hierarchy.GetItemParent(
                hierarchy.GetItemParent(hierarchy.GetItemByDataNode(place(f"of {patient}", patient, "20200101")))
            ),
            "ANONYMOUS",
        )
    panel.updatePanel()
    combo = panel.ui.studyChoice
    assert [combo.itemText(index) for index in range(combo.count())] == [
        "ANONYMOUS, 2020-01-01 (1)",
        "ANONYMOUS, 2020-01-01 (2)",
    ]


def test_slots_are_never_filled_from_two_people_unless_a_person_asks_for_it(place, logic):
    flair, t1 = place("flair", "A", "20200101"), place("t1", "B", "20200101")
    study = logic.study
    study.setSequence(flair, "FLAIR")
    study.setSequence(t1, "T1")
    assert study.fillSlots(("FLAIR", "T1")) == ({"FLAIR": flair}, ["T1"])
    study.scan = t1
    assert study.fillSlots(("FLAIR", "T1")) == ({"T1": t1}, ["FLAIR"])
    study.combined = True
    assert study.fillSlots(("FLAIR", "T1"))[0] == {"FLAIR": flair, "T1": t1}
    assert ask(logic, logic.predict, "survival", None, [{"FLAIR": flair, "T1": t1}]) is None
    (record,) = logic.answers.records()
    assert "different patients" in record["warnings"][0]


def test_two_volumes_of_one_name_are_told_apart(scene, oblique):
    first, second = scene.load(oblique, "t1"), scene.load(oblique, "t1")
    second.SetName("t1")
    assert [Study().titleOf(node) for node in (first, second)] == ["t1 (1)", "t1 (2)"]


def test_two_scans_of_one_sequence_are_asked_about_until_one_is_preferred(scene, oblique):
    study = Study()
    first, second = scene.load(oblique, "first"), scene.load(oblique, "second")
    for node in (first, second):
        study.setSequence(node, "T1", 0.9)
    assert study.choices(("T1", "any")) == {"T1": [first, second]}
    study.prefer(second)
    assert study.choices(("T1",)) == {}
    assert study.fillSlots(("T1",))[0] == {"T1": second}


def test_the_panel_asks_which_of_two_t1_a_model_shall_take(panel, scene, oblique, monkeypatch):
    from person import button, openDialog
    from PySide6 import QtWidgets

    study = panel.logic.study
    nodes = [scene.load(oblique, name) for name in ("coarse", "fine")]
    nodes[0].SetSpacing(3, 3, 3)
    for node in nodes:
        study.setSequence(node, "T1")
    head = type("Head", (), {"slots": ("T1", "T2"), "missing_policy": "refuse", "valid_range": ""})
    contract = type("Contract", (), {"head": head, "id": "two", "title": "two slots"})
    monkeypatch.setattr(panel.modelSection, "contracts", lambda: {"two": contract})
    asked = []
    monkeypatch.setattr(panel.logic, "analyze", lambda contracts, told, listener: asked.append(contracts))
    panel.updatePanel()
    button(panel, "analyzeButton").click()
    openDialog()
    panel._initializeParameterNode()  # as after another scene came
    button(panel, "analyzeButton").click()
    assert asked == []
    dialog = openDialog()  # one: the earlier question is over
    box = dialog.findChild(QtWidgets.QComboBox, "T1")
    assert "fine" in box.itemText(0)  # the finest first
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    other = scene.load(oblique, "of another person")
    hierarchy.CreateItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "B"), other)
    panel._parameterNode.studyScan = other
    panel.updatePanel()
    assert not dialog.isVisible()  # a question about one is no question about the other
    panel._parameterNode.studyScan = nodes[0]
    panel.updatePanel()
    button(panel, "analyzeButton").click()
    dialog = openDialog()
    dialog.accept()
    assert len(asked) == 1
    assert study.fillSlots(("T1",))[0] == {"T1": nodes[1]}


def test_an_answer_of_a_deleted_scan_has_a_card_in_its_own_study_alone(panel, place, tmp_path, scene):
    (tmp_path / "private").mkdir()
    panel.logic.flows._analysis._worker = worker = FakeWorker(tmp_path / "private")
    panel.logic.worker, real = worker, panel.logic.worker
    gone, left, other = place("gone", "A", "20200101"), place("left", "A", "20200101"), place("other", "B", "20200101")
    assert ask(panel.logic, panel.logic.predict, "age", None, [{"any": gone}]) is None
    scene.mrml.RemoveNode(gone)
    for scan, cards in ((left, 1), (other, 0)):
        panel._parameterNode.studyScan = scan
        panel.updatePanel()
        assert len(panel.cards.records) == cards
    assert len(panel.logic.answers.records()) == 1  # the table of all answers has it
    panel.logic.worker = real


@pytest.mark.parametrize("byHand", [True, False])
def test_an_answer_of_a_deleted_scan_of_nobody_known_has_no_card_beside_another_persons_scan(
    byHand, panel, scene, oblique, hierarchy, tmp_path
):
    (tmp_path / "private").mkdir()
    panel.logic.flows._analysis._worker = worker = FakeWorker(tmp_path / "private")
    panel.logic.worker, real = worker, panel.logic.worker
    gone = scene.load(oblique, "of one person")
    folder = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient") if byHand else 0
    if byHand:
        hierarchy.CreateItem(folder, gone)
    assert ask(panel.logic, panel.logic.predict, "age", None, [{"any": gone}]) is None
    panel.onShowScan(gone)
    assert len(panel.cards.records) == 1
    scene.mrml.RemoveNode(gone)
    other = scene.load(oblique, "of another")
    if byHand:
        hierarchy.CreateItem(folder, other)
    panel.onShowScan(other)
    assert panel.cards.records == []
    assert len(panel.logic.answers.records()) == 1  # the table of all answers has it
    panel.logic.worker = real


@pytest.mark.parametrize("way", ["deleted", "closed"])
def test_a_panel_keeps_no_volume_alive(way, panel, scene, oblique):
    """What is held stays in memory, a hierarchy too, whose items pass for those of new nodes at the same place."""
    scene.addSliceView("Red", "Axial")
    scan, ends = scene.load(oblique, "scan"), []
    panel.onShowScan(scan)
    scan.AddObserver(vtk.vtkCommand.DeleteEvent, lambda caller, event: ends.append(event))
    if way == "deleted":
        scene.mrml.RemoveNode(scan)
    else:
        scene.mrml.Clear(0)
    del scan
    panel.updatePanel()
    gc.collect()
    assert "DeleteEvent" in ends


# Which voxels


@pytest.mark.parametrize("change", ["edited", "moved", "flipped", "cropped", "retyped"])
def test_an_answer_about_other_voxels_is_said_to_be_and_renewed_by_one_click(change, scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    (record,) = logic.answers.records()
    assert logic.answers.staleness(record) == ""
    scan.SetName("renamed")
    assert logic.answers.staleness(record) == ""
    array = slicer.util.arrayFromVolume(scan)
    if change == "edited":
        brighten(scan)
    elif change == "moved":
        scan.SetOrigin(1, 2, 3)
    elif change == "flipped":
        slicer.util.updateVolumeFromArray(scan, array[::-1].copy())
    elif change == "cropped":
        slicer.util.updateVolumeFromArray(scan, array[:-2].copy())
    else:
        slicer.util.updateVolumeFromArray(scan, array.astype(np.float32))
    assert "renamed" in logic.answers.staleness(record)
    assert logic.answers.main(logic.study.included()) is None
    assert ask(logic, logic.renew, record) is None
    (renewed,) = logic.answers.records()
    assert logic.answers.staleness(renewed) == ""
    assert renewed["scans"] == {"any": "renamed"}


def test_an_answer_for_a_slot_ends_when_its_scan_is_named_otherwise(scene, oblique, logic):
    scans = [scene.load(oblique, name) for name in ("t1", "other")]
    scans[1].SetOrigin(1, 0, 0)
    logic.study.setSequence(scans[0], "T1", 0.9)
    logic.study.setSequence(scans[1], "FLAIR")
    target = {"T1": scans[0], "FLAIR": scans[1]}
    assert ask(logic, logic.predict, "survival", None, [target]) is None
    (record,) = logic.answers.records()
    assert logic.answers.staleness(record) == ""
    logic.study.setSequence(scans[0], "T1")  # the person says the same
    assert logic.answers.staleness(record) == ""
    logic.study.setSequence(scans[0], "T2")
    assert logic.answers.staleness(record) == "'t1' is no longer taken for T1."
    logic.study.setSequence(scans[0], "")
    assert logic.answers.staleness(record)
    logic.study.setSequence(scans[0], "T1", 0.9)  # taken back
    assert logic.answers.staleness(record) == ""


def test_an_answer_about_a_scan_that_nobody_named_is_current_until_it_is_named_otherwise(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    assert ask(logic, logic.predict, "age", None, [{"T1": scan}]) is None
    (record,) = logic.answers.records()
    logic.study.setSequence(scan, "T1", 0.9)
    assert logic.answers.staleness(record) == ""
    logic.study.setSequence(scan, "T2", 0.9)
    assert logic.answers.staleness(record)


def test_the_map_of_an_answer_ends_with_it_also_where_another_of_its_scans_was_changed(scene, oblique, logic):
    scans = [scene.load(oblique, name) for name in ("t1", "flair")]
    scans[1].SetOrigin(1, 0, 0)
    assert ask(logic, logic.predict, "survival", None, [{"T1": scans[0], "FLAIR": scans[1]}]) is None
    (record,) = logic.answers.records()
    assert ask(logic, logic.explain, record, scans[0]) is None
    assert logic.answers.saliencyOf(scans[0]) is not None
    brighten(scans[1])
    assert logic.answers.saliencyOf(scans[0]) is None
    assert ask(logic, logic.renew, record) is None
    assert logic.answers.saliencyOf(scans[0]) is None  # that map is of the answer before
    assert ask(logic, logic.explain, logic.answers.records()[0], scans[0]) is None
    assert logic.answers.explained(scans[0]) == ("survival", "T1")


@pytest.fixture
def explained(scene, oblique, logic):
    """A scan with an answer of age and its map; (scan, the answer)."""
    scan = scene.load(oblique, "scan")
    assert ask(logic, logic.predict, "age", None, [{"any": scan}]) is None
    (record,) = logic.answers.records()
    assert ask(logic, logic.explain, record, scan) is None
    assert logic.answers.saliencyOf(scan) is not None
    return scan, record


@pytest.mark.parametrize("change", ["options", "label", "clear"])
def test_a_map_is_never_taken_for_that_of_another_answer_about_the_same_voxels(change, explained, logic):
    scan, _record = explained
    if change == "clear":
        records, scans = logic.answers.results().clear()
        assert logic.answers.saliencyOf(scan) is None
        logic.answers.results().restore(records, scans)
        assert logic.answers.saliencyOf(scan) is not None  # taken back
        return
    if change == "options":
        parameters = logic.getParameterNode()
        parameters.biasField = not parameters.biasField
    else:
        logic.worker.answers["age"] = {"label": "T2"}
    assert ask(logic, logic.predict, "age", None, [{"any": scan}]) is None
    assert logic.answers.saliencyOf(scan) is None


def test_an_answer_that_is_given_again_as_it_was_keeps_its_map(explained, logic):
    scan, _record = explained
    assert ask(logic, logic.predict, "age", None, [{"any": scan}]) is None
    assert logic.answers.isExplained(logic.answers.records()[0], scan)


def test_a_map_of_an_earlier_version_needs_a_current_answer_that_it_could_be_of(explained, logic):
    scan, _record = explained
    node = logic.answers.saliencyOf(scan)
    facts = json.loads(node.GetAttribute("BrainIAC.Provenance"))
    del facts["answer"]
    node.SetAttribute("BrainIAC.Provenance", json.dumps(facts))
    assert logic.answers.saliencyOf(scan) is node
    logic.answers.results().clear()
    assert logic.answers.saliencyOf(scan) is None


def test_a_map_of_a_scene_that_is_added_stays_with_its_answer(explained, scene, logic, tmp_path):
    """Both scenes hold that answer; the one that comes gets another id."""
    scan, _record = explained
    nodes = slicer.util.getNodesByClass("vtkMRMLStorableNode")
    for node in nodes:
        if node.IsA("vtkMRMLVolumeNode") or node is logic.answers.results().node:
            node.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(tmp_path / "scene.mrb"))
    assert scene.mrml.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    logic.answers.join()
    (copy,) = [node for node in logic.study.volumes() if node is not scan]
    maps = [logic.answers.saliencyOf(one) for one in (scan, copy)]
    assert None not in maps
    assert maps[0] is not maps[1]
    own = {record["id"] for record in logic.answers.about(copy)}
    assert json.loads(maps[1].GetAttribute("BrainIAC.Provenance"))["answer"] in own


def test_the_table_and_what_is_saved_say_which_answers_are_not_current(panel, scene, oblique, tmp_path):
    scan = scene.load(oblique, "scan")
    results = panel.logic.answers.results()
    results.add(prediction("T1"), {"any": scan}, {"any": panel.logic.contents.of(scan)})
    panel.updatePanel()
    column = [results.node.GetColumnName(index) for index in range(results.node.GetNumberOfColumns())]
    scans, state = column.index("Scans"), column.index("Not current")
    assert (results.node.GetCellText(0, scans), results.node.GetCellText(0, state)) == ("scan", "")
    scan.SetName("renamed")
    brighten(scan)
    panel.updatePanel()
    said = "'renamed' was changed since."
    assert (results.node.GetCellText(0, scans), results.node.GetCellText(0, state)) == ("renamed", said)
    before = results.node.GetMTime()
    panel.updatePanel()
    assert results.node.GetMTime() == before  # nothing is touched where nothing changed
    results = panel.logic.answers.results()
    assert said in results.toCsv()
    (saved,) = json.loads(results.toJson())
    assert (saved["scans"], saved["not_current"]) == ({"any": "renamed"}, said)
    assert not {"id", "contents", "studies", "sequences"} & set(saved)


def test_a_change_taken_back_makes_the_answer_current_again(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    before = slicer.util.arrayFromVolume(scan).copy()
    brighten(scan)
    assert logic.answers.staleness(logic.answers.records()[0])
    slicer.util.updateVolumeFromArray(scan, before)
    assert logic.answers.staleness(logic.answers.records()[0]) == ""


def test_a_deleted_scan_is_named_and_its_answer_not_taken_for_another(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    scene.mrml.RemoveNode(scan)
    other = scene.load(oblique, "other")
    (record,) = logic.answers.records()
    assert "no longer" in logic.answers.staleness(record)
    assert logic.answers.about(other) == []
    assert "no longer" in str(ask(logic, logic.renew, record))


def test_an_old_map_is_never_shown_over_changed_voxels(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    assert ask(logic, logic.explain, logic.answers.records()[0], scan) is None
    assert logic.answers.saliencyOf(scan) is not None
    brighten(scan)
    assert logic.answers.saliencyOf(scan) is None


def test_a_reopened_scene_has_its_answers_without_preparing(scene, oblique, logic, tmp_path):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    for node in (scan, logic.answers.results().node):
        node.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.mrml.Clear(0)
    assert scene.mrml.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    asked = len(logic.worker.asked)
    (record,) = logic.answers.records()
    assert logic.answers.staleness(record) == ""
    assert len(logic.worker.asked) == asked
    (again,) = logic.study.volumes()
    logic.answers.results().clear()
    head = type("Head", (), {"slots": ("T1",), "missing_policy": "refuse"})
    contracts = {"sequence": logic.contracts()["sequence"], "age": type("Contract", (), {"id": "m", "head": head})}
    told = []
    assert ask(logic, logic.analyze, contracts, lambda *what: told.append(what)) is None
    assert told[0][1:] == ([], {})
    assert {record["task"] for record in logic.answers.about(again)} == {"sequence", "age"}
    prepared = [request for request in logic.worker.asked if isinstance(request, PrepareStudy)]
    assert len(prepared) == 1  # it is the same scan to the worker


def test_a_warm_click_asks_for_nothing_but_the_answer(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    for _ in range(2):
        ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    assert logic.worker.kinds() == ["PrepareStudy", "Predict", "Predict"]


def during(logic, kind, act):
    """Let ``act`` happen once, while a request of that kind is under way."""
    answer, waiting = logic.worker.answer, [act]

    def answered(request):
        value = answer(request)
        if isinstance(request, kind) and waiting:
            waiting.pop()()
        return value

    logic.worker.answer = answered


@pytest.mark.parametrize("kind", [MeasureVolumes, Explain, Steps])
def test_what_was_found_in_the_voxels_before_an_edit_is_never_shown_as_of_the_scan(kind, scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    during(logic, kind, lambda: brighten(scan))
    if kind is MeasureVolumes:
        error = ask(logic, logic.measureVolumes, scan)
    elif kind is Explain:
        error = ask(logic, logic.explain, logic.answers.records()[0], scan)
    else:
        error = ask(logic, logic.loadSteps, scan)
    assert "'scan' was changed in the meantime" in str(error)
    assert logic.answers.structuresOf(scan) == (None, None)
    assert logic.answers.saliencyOf(scan) is None
    assert logic.answers.stepsOf(scan) == []
    assert [node for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if node is not scan] == []


def test_steps_of_an_earlier_state_are_not_listed(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    assert ask(logic, logic.loadSteps, scan) is None
    assert [step["name"] for step in logic.answers.stepsOf(scan)] == ["registration"]
    brighten(scan)
    assert logic.answers.stepsOf(scan) == []


@pytest.mark.parametrize("act", ["predict", "analyze", "explain", "measure"])
def test_a_scan_edited_while_it_is_prepared_is_said_to_be_and_the_next_click_prepares_it_again(
    act, scene, oblique, logic
):
    """The worker knows the voxels that it was handed; a name that it lacks would break it, and again at each click."""
    scan = scene.load(oblique, "scan")
    if act == "explain":
        ask(logic, logic.predict, "sequence", None, [{"any": scan}])
        logic.worker.folder.joinpath("again").mkdir()
        logic.worker.folder = logic.worker.folder / "again"  # another worker: nothing is prepared
    during(logic, PrepareStudy, lambda: brighten(scan))
    known = set()
    answer = logic.worker.answer

    def strict(request):
        if isinstance(request, PrepareStudy):
            known.clear()
            known.update(request.scans)
        else:
            assert {*getattr(request, "scans", {}).values(), getattr(request, "scan", None)} <= {*known, None}
        return answer(request)

    logic.worker.answer = strict

    def click():
        if act == "predict":
            return ask(logic, logic.predict, "sequence", None, [{"any": scan}])
        if act == "explain":
            return ask(logic, logic.explain, logic.answers.records()[0], scan)
        if act == "measure":
            return ask(logic, logic.measureVolumes, scan)
        return ask(logic, logic.analyze, {"sequence": logic.contracts()["sequence"]}, lambda *what: None)

    assert "'scan' was changed in the meantime" in str(click())
    assert logic.study.problem(scan) == ""
    if act == "explain":
        assert "was changed since" in str(click())  # that answer is about other voxels
    else:
        assert click() is None


def test_a_sequence_that_the_person_corrects_meanwhile_stays_corrected(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    logic.study.setSequence(scan, "T2", 0.5)
    during(logic, Predict, lambda: logic.study.setSequence(scan, "FLAIR"))
    assert ask(logic, logic.predict, "sequence", None, [{"any": scan}]) is None
    assert logic.study.sequence(scan) == ("FLAIR", None)


def test_an_answer_for_a_slot_is_over_where_its_scan_was_named_otherwise_meanwhile(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    logic.study.setSequence(scan, "T1", 0.9)
    during(logic, Predict, lambda: logic.study.setSequence(scan, "FLAIR"))
    assert ask(logic, logic.predict, "age", None, [{"T1": scan}]) is None
    (record,) = logic.answers.records()
    assert record["sequences"] == {"T1": "T1"}
    assert "no longer taken for T1" in logic.answers.staleness(record)


def test_an_answer_is_kept_with_the_person_that_it_was_asked_about(place, logic, hierarchy):
    scan, other = place("scan", "A", "20200101"), place("other", "B", "20200101")
    mark, target = identityOf(scan).mark, hierarchy.GetItemParent(hierarchy.GetItemByDataNode(other))
    during(logic, Predict, lambda: hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scan), target))
    assert ask(logic, logic.predict, "age", None, [{"any": scan}]) is None
    assert [record["studies"] for record in logic.answers.records()] == [[mark]]


@pytest.mark.parametrize("kind", [PrepareStudy, Predict])
def test_one_of_two_scans_edited_meanwhile_is_named_beside_the_answers_of_the_other(kind, scene, oblique, logic):
    scans = [scene.load(oblique, name) for name in ("still", "edited")]
    scans[1].SetOrigin(1, 0, 0)
    edits = [lambda: brighten(scans[1])] if kind is Predict else [lambda: brighten(scans[1]), lambda: None]
    answer, told = logic.worker.answer, []

    def answered(request):
        value = answer(request)
        if isinstance(request, kind) and edits:
            edits.pop()()
        return value

    logic.worker.answer = answered
    contracts = {"sequence": logic.contracts()["sequence"]}
    assert ask(logic, logic.analyze, contracts, lambda *what: told.append(what)) is None
    assert told[0][1] == ["'edited' was changed in the meantime; run again."]
    assert (len(logic.answers.about(scans[0])), logic.answers.about(scans[1])) == (1, [])


# Whose age


def test_the_age_comes_from_the_headers_unless_it_is_typed_and_reaches_the_model(place, logic):
    scan = place("scan", "A", "20200101", "19600101")
    assert logic.study.age() == (60.0, False)
    ask(logic, logic.predict, "age", None, [{"any": scan}])
    logic.study.setAge(45.5)
    assert logic.study.age() == (45.5, True)
    ask(logic, logic.predict, "age", None, [{"any": scan}])
    asked = [request.age_years for request in logic.worker.asked if isinstance(request, Predict)]
    assert asked == [60.0, 45.5]
    (record,) = logic.answers.records()
    assert logic.answers.staleness(record) == ""
    logic.study.setAge(None)
    assert logic.study.age() == (60.0, False)
    assert "age" in logic.answers.staleness(record)  # the model compared another one with its training


def test_ages_of_dicom_are_read_as_the_standard_writes_them(scene, oblique, monkeypatch):
    assert [yearsOf(text) for text in ("034Y", "018M", "026W", "010D", "34", "", None)] == [
        34.0, 1.5, 0.5, 0.0, None, None, None
    ]  # fmt: skip
    assert ageAt("19600701", "20200101") == 59.5
    assert ageAt("", "20200101") is None
    node = scene.load(oblique)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    database = type("Database", (), {"isOpen": True, "instanceValue": lambda self, uid, tag: "071Y" * (uid == "1.2.3")})
    monkeypatch.setattr(slicer, "dicomDatabase", database(), raising=False)
    assert ageInHeaders(node) == 71.0


def test_loose_volumes_make_up_one_study(scene, oblique):
    nodes = [scene.load(oblique, name) for name in ("a", "b")]
    assert identityOf(nodes[0]) == identityOf(nodes[1])
    assert Study().scans() == nodes


def test_another_study_chosen_during_an_analysis_changes_nothing_of_it(place, logic):
    """The click was about the study that was shown; the tasks after the sequences are asked of it."""
    scans = [place(f"of {name}", name, "20200101") for name in ("A", "B")]
    scans[1].SetOrigin(1, 0, 0)
    head = type("Head", (), {"slots": ("any",), "missing_policy": "refuse"})
    contracts = {"sequence": logic.contracts()["sequence"], "age": type("Contract", (), {"id": "m", "head": head})}
    logic.study.scan, answer = scans[0], logic.worker.answer

    def andChooseTheOther(request):
        logic.study.scan = scans[1]
        return answer(request)

    logic.worker.answer = andChooseTheOther
    shown = logic.getParameterNode().saliencyScan
    ask(logic, logic.analyze, contracts, lambda *what: None)
    assert {record["task"] for record in logic.answers.about(scans[0])} == {"sequence", "age"}
    assert logic.answers.about(scans[1]) == []
    assert logic.answers.saliencyOf(scans[0]) is not None
    assert logic.getParameterNode().saliencyScan is shown  # and not the scan of the one before the cards of the other
    assert logic.map.foreground() is None


def test_a_study_that_is_chosen_is_the_one_in_views_map_and_volumes(panel, place, scene):
    view = scene.addSliceView("Red", "Axial").GetSliceCompositeNode()
    mine, other, second = (
        place("mine", "A", "20200101"),
        place("other", "B", "20200101"),
        place("second", "B", "20200101"),
    )
    for scan in (other, second):
        panel.logic.answers.results().add(prediction(), {"any": scan}, {"any": panel.logic.contents.of(scan)})
    panel.updatePanel()
    panel.onShowScan(mine)
    choice = panel.ui.studyChoice
    choice.setCurrentIndex(1)
    choice.activated.emit(1)
    assert panel._parameterNode.saliencyScan is other
    assert view.GetBackgroundVolumeID() == other.GetID()
    assert "other" in panel.ui.volumesLabel.text()
    assert [panel.logic.answers.results().scansOf(record)["any"] for record in panel.cards.records] == [other]
    panel._parameterNode.studyScan = mine  # by whatever way
    panel.updatePanel()
    assert panel._parameterNode.saliencyScan is mine
    panel._parameterNode.combineStudies = True
    panel.updatePanel()
    panel.onShowScan(second)
    panel._parameterNode.combineStudies = False
    panel.updatePanel()
    assert panel._parameterNode.saliencyScan is mine


def test_the_study_that_came_into_the_views_last_is_the_one_that_a_click_analyzes(panel, place, scene):
    """A second patient is loaded: the views show that one, and so does the panel."""
    views = [scene.addSliceView(name, "Axial").GetSliceCompositeNode() for name in ("Red", "Yellow")]
    mine, other = place("mine", "A", "20200101"), place("other", "B", "20200101")
    panel.onShowScan(mine)
    assert panel.ui.studyChoice.currentText() == "A, 2020-01-01"
    views[0].SetBackgroundVolumeID(other.GetID())  # one view alone changes nothing: both are seen
    panel.updatePanel()
    assert panel.ui.studyChoice.currentText() == "A, 2020-01-01"
    views[1].SetBackgroundVolumeID(other.GetID())
    panel.updatePanel()
    assert panel.ui.studyChoice.currentText() == "B, 2020-01-01"
    assert panel._parameterNode.saliencyScan is other
    panel.exit()  # the DICOM module loads, and shows what it loaded
    for view in views:
        view.SetBackgroundVolumeID(mine.GetID())
    panel.enter()
    assert panel.logic.study.included() == [mine]


def test_a_scan_that_is_moved_to_another_person_takes_the_panel_with_it(panel, place, scene, hierarchy):
    view = scene.addSliceView("Red", "Axial").GetSliceCompositeNode()
    mine, other = place("mine", "A", "20200101"), place("other", "B", "20200101")
    panel.onShowScan(mine)
    hierarchy.SetItemParent(
        hierarchy.GetItemByDataNode(mine), hierarchy.GetItemParent(hierarchy.GetItemByDataNode(other))
    )
    wait(lambda: panel.ui.studyChoice.isHidden(), 10)  # one study is left
    assert panel.logic.study.current().title == "B, 2020-01-01"
    assert (view.GetBackgroundVolumeID(), panel._parameterNode.saliencyScan) == (mine.GetID(), mine)


def test_a_typed_age_is_that_of_one_person(panel, place):
    mine, other = place("mine", "A", "20200101", "19600101"), place("other", "B", "20200101", "19500101")
    panel._parameterNode.combineStudies = True
    panel.updatePanel()
    assert panel.logic.study.age() == (None, False)  # 60 and 70
    assert not panel.ui.age.isEnabled()
    panel.logic.study.setAge(33.0)
    panel._parameterNode.combineStudies = False
    panel._parameterNode.studyScan = other
    panel.updatePanel()
    panel.ui.age.setValue(71.0)
    assert panel.logic.study.ageAt([other]) == (71.0, True)
    assert panel.logic.study.ageAt([mine]) == (60.0, False)
    assert panel.logic.study.ageAt([mine, other]) == (None, False)


def test_a_typed_age_does_not_follow_a_scan_to_another_person(panel, place, hierarchy):
    mine, other = place("mine", "A", "20200101"), place("other", "B", "20200101", "19500101")
    panel._parameterNode.studyScan = mine
    panel.updatePanel()
    panel.ui.age.setValue(33.0)
    hierarchy.SetItemParent(
        hierarchy.GetItemByDataNode(mine), hierarchy.GetItemParent(hierarchy.GetItemByDataNode(other))
    )
    panel.updatePanel()
    assert [panel.logic.study.ageAt(scans) for scans in ([mine], [other], [mine, other])] == [(70.0, False)] * 3


def test_a_scan_that_is_loaded_later_has_the_typed_age_of_its_study(panel, place):
    first = place("first", "A", "20200101")
    panel._parameterNode.studyScan = first
    panel.updatePanel()
    panel.ui.age.setValue(33.0)
    later = place("later", "A", "20200101")
    panel.updatePanel()
    assert panel.ui.age.value() == 33.0
    assert panel.logic.study.ageAt([later]) == (33.0, True)  # what an answer about it gets
    panel.logic.study.setAge(None)
    assert panel.logic.study.ageAt([first, later]) == (60.0, False)


@pytest.mark.parametrize("identified", [True, False])
def test_a_typed_age_is_kept_with_the_scene(identified, place, scene, hierarchy, oblique, tmp_path):
    if identified:
        scan = place("scan", "A", "20200101")
    else:
        scan = scene.load(oblique, "scan")
        hierarchy.CreateItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "made by hand"), scan)
    Study().setAge(33.0)
    scan.AddDefaultStorageNode()
    assert scene.mrml.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.mrml.Clear(0)
    assert scene.mrml.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    assert Study().age() == (33.0, True)


def test_the_age_of_scans_without_a_patient_is_that_of_the_scan_in_the_views(panel, scene, oblique):
    first = scene.load(oblique, "of one")
    panel.onShowScan(first)
    panel.ui.age.setValue(33.0)
    second, third = scene.load(oblique, "of another"), scene.load(oblique, "of the same other")
    panel.onShowScan(second)
    assert panel.ui.age.text() == "unknown"
    panel.ui.age.setValue(50.0)
    ages = [panel.logic.study.ageAt([node])[0] for node in (first, second, third)]
    assert ages == [33.0, 50.0, 50.0]
    assert panel.logic.study.ageAt([first, second]) == (None, False)
    panel.onShowScan(first)
    assert panel.ui.age.value() == 33.0


@pytest.fixture
def ageBox(panel, scene, oblique):
    """The box of the age with the keyboard in it, age unknown; (panel, scan, box)."""
    scan = scene.load(oblique, "scan")
    panel.onShowScan(scan)
    panel.parent.show()
    box = panel.ui.age
    box.activateWindow()
    box.setFocus()
    wait(box.hasFocus, 10)
    box.selectAll()
    return panel, scan, box


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_age_with_decimals_can_be_typed(confirmed, ageBox):
    panel, scan, box = ageBox
    QtTest.QTest.keyClicks(box, "45.")
    panel.updatePanel()  # something else happens meanwhile
    QtTest.QTest.keyClicks(box, "5")
    assert panel.logic.study.ageAt([scan]) == (None, False)
    if confirmed:
        QtTest.QTest.keyClick(box, QtCore.Qt.Key.Key_Return)
    else:  # by a shortcut, or a button that takes no focus
        panel.begin("asking")
    assert panel.logic.study.ageAt([scan]) == (45.5, True)
    assert box.text() == "45.5"


def test_what_is_being_typed_is_dropped_when_another_person_comes_into_the_panel(ageBox, scene, oblique):
    panel, first, box = ageBox
    other = scene.load(oblique, "other")
    QtTest.QTest.keyClicks(box, "45")
    panel.onShowScan(other)
    panel.begin("asking")
    assert panel.logic.study.ageAt([first]) == panel.logic.study.ageAt([other]) == (None, False)


def test_a_step_from_unknown_makes_no_newborn(ageBox):
    panel, scan, box = ageBox
    QtTest.QTest.keyClick(box, QtCore.Qt.Key.Key_Up)
    assert panel.logic.study.ageAt([scan]) == (None, False)
    QtTest.QTest.keyClicks(box, "0")
    QtTest.QTest.keyClick(box, QtCore.Qt.Key.Key_Return)
    assert panel.logic.study.ageAt([scan]) == (0.0, True)
    QtTest.QTest.keyClick(box, QtCore.Qt.Key.Key_Up)
    assert panel.logic.study.ageAt([scan]) == (1.0, True)


def test_the_study_that_is_chosen_in_the_data_tree_is_the_one_that_is_analyzed_whatever_the_views_showed(
    panel, place, scene, monkeypatch
):
    view = scene.addSliceView("Red", "Axial").GetSliceCompositeNode()
    shown, chosen = place("shown", "A", "20200101"), place("chosen", "B", "20200101")
    panel.onShowScan(shown)
    asked = []
    monkeypatch.setattr(panel.logic, "analyze", lambda *unused: asked.extend(panel.logic.study.included()))
    panel.scan.follow()  # as when the module was just opened
    panel.analyzeStudyOf(chosen)
    assert asked == [chosen]
    assert view.GetBackgroundVolumeID() == chosen.GetID()


def test_what_comes_in_a_batch_of_changes_is_seen_when_it_is_over(panel, scene, oblique):
    scene.mrml.StartState(slicer.vtkMRMLScene.BatchProcessState)
    scene.load(oblique, "scan")
    wait(lambda: not panel._updateTimer.isActive(), 10)
    assert panel.ui.studyTable.rowCount() == 0
    scene.mrml.EndState(slicer.vtkMRMLScene.BatchProcessState)
    wait(lambda: panel.ui.studyTable.rowCount() == 1, 10)


def test_after_an_analysis_nothing_is_asked_about_another_study_that_was_chosen_meanwhile(panel, place, monkeypatch):
    nodes = [place(name, patient, "20200101") for patient in "AB" for name in (f"{patient} 1", f"{patient} 2")]
    head = type("Head", (), {"slots": ("T1",), "missing_policy": "refuse", "valid_range": ""})
    contract = type("Contract", (), {"head": head, "id": "m", "title": ""})
    monkeypatch.setattr(panel.modelSection, "contracts", lambda: {"age": contract})
    panel._parameterNode.studyScan = nodes[0]
    panel.updatePanel()
    meanwhile, opened = [nodes[2], nodes[0]], []

    def analyze(contracts, told, listener):
        panel._parameterNode.studyScan = meanwhile.pop(0)
        panel.updatePanel()
        for node in nodes:
            panel.logic.study.setSequence(node, "T1", 0.9)
        told(1.0, [], {})
        listener.finished(None)

    monkeypatch.setattr(panel.logic, "analyze", analyze)
    window = type("Window", (), {"reject": lambda self: None})()
    dialog = type("Dialog", (), {"open": lambda self: None, "dialog": window})
    monkeypatch.setattr(
        "BrainIACBridge.study_analysis.ChoiceDialog",
        lambda window, choices, study, chosen: opened.append(choices) or dialog(),
    )
    panel.analysis.start()
    assert opened == []
    for node in nodes:
        panel.logic.study.setSequence(node, "")
    panel._parameterNode.studyScan = nodes[0]
    panel.updatePanel()
    panel.analysis.start()
    assert opened == [{"T1": nodes[:2]}]


def test_clearing_is_undone_with_the_volumes(scene, oblique, logic):
    scan = scene.load(oblique, "scan")
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    results = Results(logic.answers.results().node)
    records, scans = results.clear()
    assert results.records() == []
    results.restore(records, scans)
    assert logic.answers.about(scan) == records


def test_what_was_answered_again_after_a_clear_is_not_brought_back_beside_it(scene, oblique, logic):
    scan, gone = scene.load(oblique, "scan"), scene.load(oblique, "gone")
    gone.SetOrigin(1, 0, 0)
    ask(logic, logic.predict, "sequence", None, [{"any": scan}, {"any": gone}])
    results = logic.answers.results()
    records, scans = results.clear()
    ask(logic, logic.predict, "sequence", None, [{"any": scan}])
    scene.mrml.RemoveNode(gone)
    scene.load(oblique, "came later")
    results.restore(records, scans)
    assert [results.scansOf(record)["any"] for record in results.records()] == [None, scan]
