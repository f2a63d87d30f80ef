"""*Save report*: a page, a table, JSON, and DICOM objects that go into Slicer's DICOM database."""

from __future__ import annotations

import logging

import qt
from slicer.i18n import tr as _

from BrainIACBridge import dicom_database
from BrainIACBridge.optional_packages import HIGHDICOM


class ReportSection:
    """The button and what it asks.

    Parameters
    ----------
    ui : the widgets of the panel.
    logic : a ``BrainIACLogic``.
    begin : called with what begins, in words; gives the listener for it.
    say : called with what the status line tells when that ended well.
    onChanged : called after it began.
    """

    def __init__(self, ui, logic, begin, say, onChanged):
        self._ui, self._logic, self._begin, self._say, self._onChanged = ui, logic, begin, say, onChanged
        self._offered = False  # the package for DICOM objects is offered once a session
        ui.reportButton.clicked.connect(lambda *unused: self.save())

    def update(self, reason):
        """The button can be used unless there is a ``reason`` against it."""
        tip = _("A page that opens anywhere, a table and JSON; DICOM objects where the scans came from DICOM.")
        self._ui.reportButton.setEnabled(not reason)
        self._ui.reportButton.setToolTip(reason or tip)

    def save(self):
        """Ask for the folder, write the report, show the page."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the report"))
        if not folder:
            return
        if self._logic.report.isFromDicom() and not HIGHDICOM.isInstalled() and not self._offered:
            self._offered = True
            HIGHDICOM.offer(_("With one more package the answers are written as DICOM objects, too."))
        self._logic.saveReport(folder, self._saved, self._begin(_("Writing the report")))
        self._onChanged()

    def _saved(self, page, objects):
        said = _("Saved {page}.").format(page=page)
        if objects:
            said += " " + self._addToDatabase(objects)
        self._say(said)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(page))

    def _addToDatabase(self, objects):
        """Put DICOM objects into Slicer's database, in words; the report is saved whether that succeeds or not."""
        try:
            added = dicom_database.add(objects)
        except Exception:  # of Slicer's indexer, of a database that another program holds
            logging.exception("BrainIAC: the DICOM objects were not added to the database")
            added = 0
        if added == len(objects):
            text = _("{number} DICOM objects name the patient; they lie beside it and are in Slicer's DICOM database.")
        else:
            text = _(
                "{number} DICOM objects name the patient; they lie beside it. Not added to the DICOM database: {lost}."
            )
        return text.format(number=len(objects), lost=len(objects) - added)
