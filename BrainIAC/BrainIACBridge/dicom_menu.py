"""'Analyze with BrainIAC' in the menus of Slicer's DICOM browser.

Slicer has no place where an extension can register an entry: both browsers (CTK, C++) make a menu at each right click,
as a child of themselves, and wait for it. So the menu is seen when it comes, and the entry is added to it. In Slicer
5.10 the visual browser, then experimental, makes menus without a parent: there the table alone has the entry.
"""

from __future__ import annotations

import logging

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.dicom_database import loadScans
from BrainIACLib.errors import BrainIACError

ENTRY = "BrainIACAnalyze"  # object name of the entry


class MenuEntry(qt.QObject):
    """Adds the entry to each menu that a widget makes.

    ``selected`` gives the UIDs of the series that are selected; ``analyze`` is called with them.
    """

    def prepare(self, widget, selected, analyze):
        """Begin to watch ``widget``."""
        self._widget, self._selected, self._analyze = widget, selected, analyze
        widget.installEventFilter(self)

    def eventFilter(self, widget, event):
        """Qt's hook; a child that is being made is no menu yet, so it is looked at a moment later."""
        if event.type() == qt.QEvent.ChildAdded:
            qt.QTimer.singleShot(0, self.addToOpenMenu)
        return False

    def addToOpenMenu(self):
        """The entry into the menu that is open, once."""
        menus = [child for child in self._widget.children() if isinstance(child, qt.QMenu) and child.isVisible()]
        for menu in menus:
            if any(action.property("objectName") == ENTRY for action in menu.actions()):
                continue
            uids = list(self._selected())
            menu.addSeparator()
            action = menu.addAction(_("Analyze with BrainIAC"))
            action.setObjectName(ENTRY)
            action.setEnabled(bool(uids))
            # after the menu has closed: loading takes a while
            action.triggered.connect(lambda *unused, uids=uids: qt.QTimer.singleShot(0, lambda: self._analyze(uids)))


class DicomMenu:
    """Waits for the DICOM browser, which Slicer makes when it is first opened."""

    def __init__(self):
        self._entries, self._watched = [], None

    def watch(self):
        """Call once Slicer has started; without a main window there is no browser."""
        if slicer.util.mainWindow() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", lambda *unused: self._soon())
            slicer.util.moduleSelector().connect("moduleSelected(QString)", lambda *unused: self._soon())

    def _soon(self):
        qt.QTimer.singleShot(0, self.attach)

    def attach(self):
        """Put the entry into the menus of the browser, if there is one; calling it again is fine."""
        instance = getattr(slicer.modules, "DICOMInstance", None)
        browser = instance.browserWidget if instance is not None else None
        if browser is None or browser is self._watched:
            return
        self._watched = browser
        table = browser.dicomBrowser.dicomTableManager()
        watched = [(table, table.currentSeriesSelection)]
        visual = getattr(browser, "dicomVisualBrowser", None)
        if visual is not None and hasattr(visual, "patientView"):
            watched.append((visual, lambda: _selectedIn(visual.patientView())))
        self._entries = []
        for widget, selected in watched:
            entry = MenuEntry()
            entry.prepare(widget, selected, analyzeSeries)
            self._entries.append(entry)


def _selectedIn(view):
    """The series that are selected, else all of the patients that are."""
    series = list(view.selectedSeriesInstanceUIDs())
    if series:
        return series
    known = slicer.dicomDatabase
    studies = [study for patient in view.selectedPatientUIDs() for study in known.studiesForPatient(patient)]
    return [uid for study in studies for uid in known.seriesForStudy(study)]


def analyzeSeries(uids):
    """Load the MR series, open the module, analyze the study of the first; others can be chosen there."""
    try:
        scans = loadScans(uids)
    except BrainIACError as error:
        slicer.util.errorDisplay(str(error))
        return
    except Exception as error:  # in a callback of Qt it would reach nobody
        logging.exception("BrainIAC could not load series of the DICOM database")
        slicer.util.errorDisplay(_("The series could not be loaded ({error}).").format(error=error))
        return
    slicer.util.selectModule("BrainIAC")
    slicer.modules.BrainIACWidget.analyzeStudyOf(scans[0])
