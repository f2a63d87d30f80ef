"""Which model to download: how large, from where, where to, under which license; nothing is contacted before."""

from __future__ import annotations

import shutil

import qt
from slicer.i18n import tr as _

from BrainIACBridge.question import Question
from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES


class DownloadDialog(Question):
    """Asks without blocking; ``onAccepted(id)`` is called if the person agrees.

    Parameters
    ----------
    folder : where models are kept.
    """

    def __init__(self, parent, folder, onAccepted):
        super().__init__(parent, _("Download a model"))
        self._files = {file.id: file for file in OFFICIAL_FILES if file.hub}
        self._folder = folder
        layout = qt.QFormLayout(self.dialog)
        self._choice = qt.QComboBox()
        self._choice.setObjectName("downloadChoice")
        for file in self._files.values():
            self._choice.addItem(file.title, file.id)
        self._choice.setToolTip(_("Models that their authors offer for download."))
        layout.addRow(_("Model:"), self._choice)
        self._facts = qt.QLabel()
        self._facts.setObjectName("downloadFacts")
        self._facts.setWordWrap(True)
        layout.addRow(self._facts)
        layout.addRow(qt.QLabel(_("Research use only; not for diagnosis or treatment decisions.")))
        accepted = _("Accept license and download")
        layout.addRow(self.buttons(accepted, lambda: onAccepted(self._choice.property("currentData"))))
        self._choice.currentIndexChanged.connect(self._showFacts)
        self._showFacts()

    def _showFacts(self, *unused):
        file = self._files[self._choice.property("currentData")]
        existing = next(folder for folder in (self._folder, *self._folder.parents) if folder.exists())
        self._facts.setText(
            _(
                "About {size} MB from huggingface.co/{hub} into {folder} ({free:.1f} GB free). Source: {source}. "
                "License: {license}."
            ).format(
                size=file.megabytes,
                hub=file.hub,
                folder=self._folder,
                free=shutil.disk_usage(existing).free / 1e9,
                source=file.source,
                license=file.licence,
            )
        )
