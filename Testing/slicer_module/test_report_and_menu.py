"""Save report, and the entry in the menu of the data tree."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import sys
import types

import SimpleITK as sitk
import slicer
from BrainIACBridge import dicom_database
from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.flow import Listener
from BrainIACBridge.optional_packages import OptionalPackage
from fake_worker import FakeWorker
from person import button, wait
from PySide6 import QtGui

from BrainIACLib.studies.opening import open_study
from BrainIACLib.worker.requests import AnalyzeStudy


@pytest.fixture
def logic(scene, tmp_path):
    (tmp_path / "private").mkdir()
    worker = FakeWorker(tmp_path / "private")
    answer = worker.answer
    done = {"report": str(tmp_path / "out" / "report.html"), "objects": [], "document": {}}
    worker.answer = lambda request: done if isinstance(request, AnalyzeStudy) else answer(request)
    return BrainIACLogic(worker)


def save(logic, folder):
    saved, ended = [], []
    logic.saveReport(folder, lambda *what: saved.append(what), Listener(lambda step, fraction: None, ended.append))
    assert ended == [None]
    return saved[0], logic.worker.asked[-1]


def test_the_report_takes_the_scans_of_the_study_as_they_are_with_their_sequences_and_the_age(
    scene, oblique, logic, tmp_path
):
    first, second, out = scene.load(oblique, "Doe"), scene.load(oblique, "left out"), scene.load(oblique, "second")
    logic.study.include(second, False)
    logic.study.setSequence(first, "T2")
    logic.study.setSequence(out, "FLAIR", 0.9)
    logic.study.setAge(61.0)
    _saved, request = save(logic, tmp_path / "out")
    assert not any("Doe" in str(path) for path in request.paths)  # a name that may be a person's
    with open_study(request.paths) as study:
        files = {one.key: one.file for one in study.series}
    assert [files[request.use[slot]] for slot in ("T2", "FLAIR")] == list(request.paths)  # as the library counts them
    assert (request.age_years, request.dicom, request.identity) == (61.0, False, False)
    image = sitk.ReadImage(str(request.paths[0]))
    assert image.GetOrigin() == pytest.approx(logic.volumes.image(first).GetOrigin())


def test_a_report_states_the_age_of_its_own_scans_where_they_have_one(scene, oblique, logic, tmp_path):
    first, out = scene.load(oblique, "first"), scene.load(oblique, "left out")
    logic.study.setAge(61.0, first)
    second = scene.load(oblique, "of another")
    logic.study.setAge(50.0, second)
    logic.study.include(second, False)
    logic.study.include(out, False)
    assert save(logic, tmp_path / "out")[1].age_years == 61.0
    logic.study.include(second, True)
    assert save(logic, tmp_path / "out")[1].age_years is None


def test_scans_of_the_dicom_database_go_as_their_files_and_come_back_as_dicom_objects(
    scene, oblique, logic, tmp_path, monkeypatch
):
    node = scene.load(oblique)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.1 1.2.2")
    for uid in ("1.2.1", "1.2.2"):
        (tmp_path / uid).write_bytes(uid.encode())
    values = {"0010,1010": "070Y", "0020,0011": "7 ", "0020,000D": "1.2"}
    database = types.SimpleNamespace(
        isOpen=True,
        fileForInstance=lambda uid: str(tmp_path / uid),
        instanceValue=lambda uid, tag: values[tag],
    )
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    monkeypatch.setattr(OptionalPackage, "isInstalled", lambda self: True)
    _saved, request = save(logic, tmp_path / "out")
    assert request.dicom
    assert request.age_years == 70.0
    assert sorted(file.read_bytes() for file in request.paths[0].rglob("*.dcm")) == [b"1.2.1", b"1.2.2"]
    assert request.use == {}
    logic.study.setSequence(node, "T2")
    assert save(logic, tmp_path / "out")[1].use == {"T2": "7"}  # its series number, by which the report calls it
    logic.worker.same = False  # the volume was edited since
    edited = save(logic, tmp_path / "out")[1]
    assert (edited.dicom, [path.suffix for path in edited.paths]) == (False, [".mha"])
    logic.worker.same = True
    node.SetAndObserveTransformNodeID(scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode").GetID())
    assert not save(logic, tmp_path / "out")[1].dicom  # what is shown is no longer what the files hold


@pytest.fixture
def loaded(scene, oblique, tmp_path, monkeypatch):
    """Loads a scan as from the DICOM database: its UID, and the values of tags that differ from the others."""
    values = {}

    def value(uid, tag):
        return values[uid].get(tag, {"0010,1010": "070Y", "0020,000D": "1.2"}.get(tag, ""))

    database = types.SimpleNamespace(isOpen=True, fileForInstance=lambda uid: str(tmp_path / uid), instanceValue=value)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    monkeypatch.setattr(OptionalPackage, "isInstalled", lambda self: True)

    def loaded(uid, name="scan", **changed):
        node = scene.load(oblique, name)
        node.SetAttribute("DICOM.instanceUIDs", uid)
        (tmp_path / uid).write_bytes(uid.encode())
        values[uid] = {
            {"number": "0020,0011", "study": "0020,000D", "age": "0010,1010"}[k]: v for k, v in changed.items()
        }
        return node

    return loaded


def test_one_exam_under_two_study_uids_is_reported_whole(logic, loaded, tmp_path):
    """Of a folder, the library reports the larger study alone."""
    nodes = [loaded("1.2.1", number="1", study="1.2"), loaded("1.3.1", number="1", study="1.3")]
    logic.study.setSequence(nodes[1], "FLAIR")
    _saved, request = save(logic, tmp_path / "out")
    assert (len(request.paths), request.dicom, request.use) == (2, False, {"FLAIR": "2"})
    assert (request.age_years, request.notes) == (70.0, ())
    assert not logic.report.isFromDicom()  # no package for DICOM objects is offered


def test_scans_of_two_people_are_reported_without_an_age_and_with_a_warning(scene, logic, loaded, tmp_path):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    for patient, age in (("A", "070Y"), ("B", "030Y")):
        item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        hierarchy.CreateItem(item, loaded(f"1.2.{age[1]}", patient, age=age))
    logic.study.combined = True
    _saved, request = save(logic, tmp_path / "out")
    assert (len(request.paths), request.age_years, request.dicom) == (2, None, False)
    assert "different patients" in request.notes[0]


def test_a_choice_that_no_series_number_tells_is_kept(logic, loaded, tmp_path):
    first, second = loaded("1.2.1", number="7"), loaded("1.2.2", number="7")  # one series, split by echo
    assert save(logic, tmp_path / "out")[1].dicom
    logic.study.setSequence(second, "T2")
    _saved, request = save(logic, tmp_path / "out")
    assert (len(request.paths), request.use, request.dicom) == (2, {"T2": "2"}, False)
    logic.study.setSequence(second, "")
    loaded("1.2.3", number="8")
    logic.study.setSequence(logic.study.scans()[2], "T1")
    _saved, request = save(logic, tmp_path / "out")
    assert (request.use, request.dicom) == ({"T1": "8"}, True)
    assert first in logic.study.scans()


def test_a_report_is_about_the_study_that_was_chosen_when_it_was_asked_for(scene, logic, loaded, tmp_path):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    nodes = {}
    for patient in "AB":
        item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        nodes[patient] = loaded(f"1.{ord(patient)}", patient, number="7", study=patient)
        hierarchy.CreateItem(item, nodes[patient])
    logic.study.scan = nodes["A"]
    logic.study.setSequence(nodes["A"], "T2")
    answer = logic.worker.answer

    def meanwhile(request):
        logic.study.scan = nodes["B"]
        return answer(request)

    logic.worker.answer = meanwhile
    _saved, request = save(logic, tmp_path / "out")
    assert (request.dicom, request.use) == (True, {"T2": "7"})
    assert [file.read_bytes() for file in request.paths[0].rglob("*.dcm")] == [f"1.{ord('A')}".encode()]


def test_a_database_that_refuses_the_objects_costs_neither_page_nor_message(panel, monkeypatch):
    def refuse(files):
        raise RuntimeError("locked")

    monkeypatch.setattr(dicom_database, "add", refuse)
    opened = []
    monkeypatch.setattr(QtGui.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    panel.report._saved("/out/report.html", ["/out/one.dcm"])
    assert opened == ["/out/report.html"]
    assert "Saved /out/report.html" in panel._said
    assert "Not added to the DICOM database: 1." in panel._said


def test_a_report_is_written_by_the_real_worker(panel, scene, shared_data, tmp_path, monkeypatch):
    scan = scene.load(shared_data / "scans" / "IXI012-HH-1211_T1w_2mm.nii.gz")
    panel.logic.study.setSequence(scan, "T1", 0.9)  # as after an analysis
    panel.updatePanel()
    panel.ui.biasField.setChecked(False)
    panel.ui.samples.setValue(1)
    opened = []
    monkeypatch.setattr(QtGui.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    scene.dialogs.path = str(tmp_path / "out")
    button(panel, "reportButton").click()
    wait(lambda: not panel.logic.worker.busy)
    assert scene.dialogs.shown == []
    page = tmp_path / "out" / "report.html"
    assert opened == [str(page)]
    assert "Research use only" in page.read_text(encoding="utf-8")
    assert "IXI012" not in page.read_text(encoding="utf-8")


@pytest.fixture
def plugin(scene, monkeypatch):
    """The plugin of the data tree over a stand-in for Slicer's base class."""
    abstract = type("AbstractScriptedSubjectHierarchyPlugin", (), {"__init__": lambda self, plugin: None})
    name = "AbstractScriptedSubjectHierarchyPlugin"
    monkeypatch.setitem(sys.modules, "SubjectHierarchyPlugins", types.ModuleType("SubjectHierarchyPlugins"))
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**{name: abstract}))
    from BrainIACBridge.BrainIACSubjectHierarchyPlugin import BrainIACSubjectHierarchyPlugin
    from PySide6 import QtCore

    owner = QtCore.QObject()
    plugin = BrainIACSubjectHierarchyPlugin(_Named(owner))
    plugin.owner = owner
    return plugin


def _Named(owner):
    owner.name = ""
    return owner


def test_the_menu_of_the_data_tree_offers_the_analysis_where_there_is_a_scan(plugin, scene, oblique, monkeypatch):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "A")
    study = hierarchy.CreateStudyItem(patient, "today")
    other = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "B")
    scan = scene.load(oblique)
    item = hierarchy.CreateItem(study, scan)
    for shown, where in ((True, item), (True, study), (True, patient), (False, other), (False, 0)):
        plugin.showContextMenuActionsForItem(where)
        assert plugin.action.isVisible() == shown
    asked = []
    handler = types.SimpleNamespace(currentItem=lambda: patient)
    monkeypatch.setattr(
        slicer, "qSlicerSubjectHierarchyPluginHandler", types.SimpleNamespace(instance=lambda: handler), raising=False
    )
    monkeypatch.setattr(slicer.util, "selectModule", asked.append)
    slicer.modules.BrainIACWidget = types.SimpleNamespace(analyzeStudyOf=asked.append)
    plugin.action.trigger()
    assert asked == ["BrainIAC", scan]


def test_the_study_chosen_in_the_data_tree_is_analyzed(panel, scene, oblique, monkeypatch):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    scene.load(oblique, "another")
    scan = scene.load(oblique, "chosen")
    hierarchy.CreateItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "A"), scan)
    asked = []
    monkeypatch.setattr(panel.logic, "analyze", lambda *unused: asked.append(panel.logic.study.included()))
    panel._parameterNode.combineStudies = True  # ticked for other scans before
    panel.analyzeStudyOf(scan)
    assert asked == [[scan]]
    panel.logic.worker, real = types.SimpleNamespace(busy=True, running=True), panel.logic.worker
    panel.analyzeStudyOf(scan)
    assert asked == [[scan]]
    assert scene.dialogs.shown == ["An analysis is running."]  # nobody waits for an answer that will not come
    panel.logic.worker = real
