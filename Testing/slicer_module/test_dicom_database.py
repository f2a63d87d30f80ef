"""From Slicer's DICOM database and back into it: the entry in the browser's menus, series as volumes, results."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import sys
import types

import pydicom
import qt
import slicer
from BrainIACBridge import dicom_database, dicom_menu
from BrainIACBridge.dicom_menu import DicomMenu
from BrainIACBridge.optional_packages import OptionalPackage
from person import button, wait
from PySide6 import QtCore, QtWidgets

from BrainIACLib.worker.requests import AnalyzeStudy, CompareImages

# The menu, as CTK makes it: a child of the browser, with entries, waited for


class Browser(QtWidgets.QWidget):
    """As ctkDICOMTableManager and ctkDICOMBrowser::onSeriesRightClicked."""

    def __init__(self, selection):
        super().__init__()
        self.selection, self.chosen = selection, []

    def currentSeriesSelection(self):
        return tuple(self.selection)  # lists come as tuples from PythonQt

    def rightClick(self, choose):
        menu = QtWidgets.QMenu(self)
        for text in ("View DICOM metadata", "Delete"):
            menu.addAction(text)
        QtCore.QTimer.singleShot(100, lambda: choose(menu))
        self.chosen.append(menu.exec(QtCore.QPoint(0, 0)))
        return menu


@pytest.fixture
def browser(scene, monkeypatch):
    """A DICOM browser with two selected series and the entry in its menus; what it analyzes is noted."""
    table = Browser(["1.2.1", "1.2.2"])
    asked = []
    monkeypatch.setattr(dicom_menu, "analyzeSeries", asked.append)
    widget = types.SimpleNamespace(dicomBrowser=types.SimpleNamespace(dicomTableManager=lambda: table))
    slicer.modules.DICOMInstance = types.SimpleNamespace(browserWidget=widget)
    menu = DicomMenu()
    menu.attach()
    menu.attach()  # each time that the browser is shown
    table.asked, table.kept = asked, menu
    yield table
    table.close()


def entry(menu):
    return [action for action in menu.actions() if "BrainIAC" in action.text()]


def pick(action, menu):
    """A click on an entry, which also closes the menu."""
    menu.setActiveAction(action)
    action.trigger()
    menu.close()


def test_each_menu_of_the_browser_has_the_entry_once_and_it_analyzes_the_selected_series(browser):
    for times in (1, 2):
        found = []
        browser.rightClick(lambda menu, found=found: (found.extend(entry(menu)), pick(entry(menu)[0], menu)))
        assert len(found) == 1
        wait(lambda times=times: len(browser.asked) == times, 5)
    assert browser.asked == [["1.2.1", "1.2.2"]] * 2


def test_the_entries_of_the_browser_work_as_before(browser):
    browser.rightClick(lambda menu: pick(menu.actions()[1], menu))
    QtCore.QCoreApplication.processEvents()
    assert browser.asked == []


def test_without_a_selection_the_entry_is_gray(browser):
    browser.selection = []
    states = []
    browser.rightClick(lambda menu: (states.extend(action.isEnabled() for action in entry(menu)), menu.close()))
    assert states == [False]


def test_the_visual_browser_has_it_too_for_series_or_a_whole_patient(scene, monkeypatch):
    table, visual = Browser([]), Browser([])
    view = types.SimpleNamespace(selectedSeriesInstanceUIDs=lambda: (), selectedPatientUIDs=lambda: ("p",))
    visual.patientView = lambda: view
    slicer.dicomDatabase = types.SimpleNamespace(
        studiesForPatient=lambda patient: [patient + "1", patient + "2"], seriesForStudy=lambda study: [study + ".1"]
    )
    asked = []
    monkeypatch.setattr(dicom_menu, "analyzeSeries", asked.append)
    widget = types.SimpleNamespace(
        dicomBrowser=types.SimpleNamespace(dicomTableManager=lambda: table), dicomVisualBrowser=visual
    )
    slicer.modules.DICOMInstance = types.SimpleNamespace(browserWidget=widget)
    menu = DicomMenu()
    menu.attach()
    visual.rightClick(lambda opened: pick(entry(opened)[0], opened))
    wait(lambda: asked, 5)
    assert asked == [["p1.1", "p2.1"]]


def test_the_browser_is_found_when_it_is_shown_for_the_first_time(scene, monkeypatch):
    connected = {}
    selector = types.SimpleNamespace(connect=lambda signal, act: connected.update({signal: act}))
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: selector)
    monkeypatch.setattr(slicer.util, "moduleSelector", lambda: selector, raising=False)
    monkeypatch.setattr(slicer.app.layoutManager(), "connect", selector.connect, raising=False)
    slicer.modules.DICOMInstance = types.SimpleNamespace(browserWidget=None)
    menu = DicomMenu()
    menu.watch()
    assert set(connected) == {"layoutChanged(int)", "moduleSelected(QString)"}
    table = Browser(["1.2.1"])
    widget = types.SimpleNamespace(dicomBrowser=types.SimpleNamespace(dicomTableManager=lambda: table))
    slicer.modules.DICOMInstance.browserWidget = widget
    connected["moduleSelected(QString)"]("DICOM")
    QtCore.QCoreApplication.processEvents()
    found = []
    table.rightClick(lambda opened: (found.extend(entry(opened)), opened.close()))
    assert len(found) == 1


# Series as volumes


class Database:
    """As ctkDICOMDatabase: series -> modality; instances that were indexed."""

    isOpen = True

    def __init__(self, modalities=()):
        self.modalities, self.indexed = dict(modalities), {}

    def filesForSeries(self, series, hits=-1):
        return [f"/files/{series}.dcm"] if series in self.modalities else []

    def fileValue(self, file, tag):
        return self.modalities[file.removeprefix("/files/").removesuffix(".dcm")]

    def fileForInstance(self, uid):
        return self.indexed.get(uid, "")

    def instanceValue(self, uid, tag):
        return ""


@pytest.fixture
def dicom(scene, oblique, monkeypatch):
    """A database with two MR series, one CT and one report; what is loaded is noted."""
    slicer.dicomDatabase = Database({"mr1": "MR", "mr2": "MR", "ct": "CT", "sr": "SR"})
    loaded = []

    def load(series):
        loaded.append(series)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
        nodes = []
        for uid in series:
            nodes.append(scene.load(oblique, uid))
            item = hierarchy.GetItemByDataNode(nodes[-1]) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), nodes[-1])
            hierarchy.SetItemUID(item, "DICOM", uid)
        return [node.GetID() for node in nodes]

    module = types.ModuleType("DICOMLib")
    module.DICOMUtils = types.SimpleNamespace(loadSeriesByUID=load)
    monkeypatch.setitem(sys.modules, "DICOMLib", module)
    return loaded


def test_mr_series_alone_are_loaded_and_those_in_the_scene_are_not_loaded_again(dicom):
    first = dicom_database.loadScans(["ct", "mr1", "sr"])
    assert [node.GetName() for node in first] == ["mr1"]
    both = dicom_database.loadScans(["mr1", "mr2"])
    assert both[0] is first[0]
    assert dicom == [["mr1"], ["mr2"]]


def test_an_entry_opens_the_module_with_the_study_and_a_selection_without_mr_says_so(scene, dicom, monkeypatch):
    asked = []
    monkeypatch.setattr(slicer.util, "selectModule", asked.append, raising=False)
    slicer.modules.BrainIACWidget = types.SimpleNamespace(analyzeStudyOf=lambda scan: asked.append(scan.GetName()))
    dicom_menu.analyzeSeries(["mr2", "mr1"])
    assert asked == ["BrainIAC", "mr2"]
    dicom_menu.analyzeSeries(["ct"])
    slicer.dicomDatabase.modalities["mr3"] = "MR"
    sys.modules["DICOMLib"].DICOMUtils.loadSeriesByUID = lambda series: 1 / 0
    dicom_menu.analyzeSeries(["mr3"])
    assert "no MR series" in scene.dialogs.shown[0]
    assert "could not be loaded" in scene.dialogs.shown[1]
    assert asked == ["BrainIAC", "mr2"]


# Results into the database


def objectFile(path, uid):
    """A small DICOM file."""
    data = pydicom.Dataset()
    data.SOPInstanceUID, data.SOPClassUID = uid, pydicom.uid.ComprehensiveSRStorage
    data.PatientID, data.Modality = "1", "SR"
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPInstanceUID, data.file_meta.MediaStorageSOPClassUID = uid, data.SOPClassUID
    data.save_as(path, enforce_file_format=True)
    return str(path)


@pytest.fixture
def indexer(monkeypatch):
    """As ctkDICOMIndexer, which copies where it is told to."""

    calls = []

    class Indexer:
        def addListOfFiles(self, database, files, copy):
            calls.append((tuple(files), copy))
            database.indexed |= {str(pydicom.dcmread(file).SOPInstanceUID): "/database/copy.dcm" for file in files}

        def waitForImportFinished(self):
            calls.append("waited")

    monkeypatch.setitem(sys.modules, "ctk", types.SimpleNamespace(ctkDICOMIndexer=Indexer))
    return calls


def test_objects_are_copied_into_the_database_and_its_browser_shows_them(scene, indexer, tmp_path):
    slicer.dicomDatabase, shown = Database(), []
    table = types.SimpleNamespace(updateTableViews=lambda: shown.append(1))
    widget = types.SimpleNamespace(dicomBrowser=types.SimpleNamespace(dicomTableManager=lambda: table))
    slicer.modules.DICOMInstance = types.SimpleNamespace(browserWidget=widget)
    files = [objectFile(tmp_path / "a.dcm", "1.2.7"), objectFile(tmp_path / "b.dcm", "1.2.8")]
    assert dicom_database.add(files) == 2
    assert indexer == [(tuple(files), True), "waited"]
    assert shown == [1]
    slicer.dicomDatabase = None
    assert dicom_database.add(files) == 0


def test_a_saved_report_puts_its_objects_into_the_database_and_says_so(
    panel, scene, oblique, indexer, tmp_path, monkeypatch
):
    node = scene.load(oblique)
    (tmp_path / "slice.dcm").write_bytes(b"a slice")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.1")
    slicer.dicomDatabase = Database()
    slicer.dicomDatabase.indexed["1.2.1"] = str(tmp_path / "slice.dcm")
    asked, offered = [], []
    monkeypatch.setattr(OptionalPackage, "isInstalled", lambda self: bool(offered))
    monkeypatch.setattr(OptionalPackage, "offer", lambda self, why: offered.append(self.module))
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: None)
    objects = [objectFile(tmp_path / "result.dcm", "1.2.9")]

    def request(request, done, failed, progress):
        asked.append(request)
        done({"same": True, "report": str(tmp_path / "report.html"), "objects": objects, "document": {}})

    monkeypatch.setattr(panel.logic.worker, "request", request)
    scene.dialogs.path = str(tmp_path)
    panel.updatePanel()
    for _ in range(2):
        button(panel, "reportButton").click()
    assert offered == ["highdicom"]  # once
    assert [type(one) for one in asked] == [CompareImages, AnalyzeStudy] * 2
    assert asked[1].dicom
    assert slicer.dicomDatabase.indexed["1.2.9"]
    said = panel.ui.statusLabel.text()
    assert "1 DICOM object" in said
    assert "Slicer's DICOM database" in said
