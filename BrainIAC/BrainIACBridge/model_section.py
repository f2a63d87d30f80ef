"""The models under Models and computer: choose one, read its card, import, download, delete."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.download_dialog import DownloadDialog
from BrainIACBridge.import_dialog import ImportDialog
from BrainIACBridge.optional_packages import HUB
from BrainIACBridge.task_buttons import taskTitle
from BrainIACLib.checkpoints.model_card import model_card
from BrainIACLib.checkpoints.store import user_folders
from BrainIACLib.errors import BrainIACError
from BrainIACLib.resources import resource


class ModelSection:
    """Keeps the widgets in step with the installed models.

    Parameters
    ----------
    ui : the widgets of the panel.
    logic : a ``BrainIACLogic``.
    begin : called with what begins, in words; gives the listener for it.
    say : called with what the status line tells when that ended well.
    onChanged : called after something changed.
    """

    def __init__(self, ui, logic, begin, say, onChanged):
        self._ui, self._logic, self._begin, self._say, self._onChanged = ui, logic, begin, say, onChanged
        self._models = []
        self._dialog = None  # kept while it is open
        ui.modelSelector.activated.connect(lambda *unused: onChanged())
        ui.modelCardButton.clicked.connect(lambda *unused: self.showCard())
        ui.importButton.clicked.connect(lambda *unused: self.importWeights())
        ui.downloadButton.clicked.connect(lambda *unused: self.download())
        ui.deleteButton.clicked.connect(lambda *unused: self.delete())
        ui.modelsFolderButton.clicked.connect(lambda *unused: self.openFolder())

    def update(self, busy):
        """Show the models that are installed now; reads contracts only."""
        models = self._logic.models()
        if models != self._models:
            self._models = models
            self._ui.modelSelector.clear()
            for model in models:
                task = taskTitle(model.task) if model.contract.head is not None else _("Encoder")
                self._ui.modelSelector.addItem(f"{task}: {model.contract.title}")
        chosen = self._chosen()
        self._ui.modelCardButton.setEnabled(chosen is not None)
        removable = chosen is not None and chosen.folder.parent != resource("Models")
        self._ui.deleteButton.setEnabled(removable and not busy)
        self._ui.deleteButton.setToolTip(
            _("Deletes the model chosen above from this computer; asks first.")
            if removable
            else _("The models that came with BrainIAC stay; imported ones can be deleted.")
        )
        self._ui.importButton.setEnabled(not busy)
        self._ui.downloadButton.setEnabled(not busy)

    def contracts(self):
        """Task -> contract to use: of the model chosen, else of the first one, bundled models first."""
        return self._logic.contracts(self._chosen())

    def showCard(self):
        """What the chosen model is for."""
        contract = self._chosen().contract
        slicer.util.infoDisplay(model_card(contract), contract.title)

    def importWeights(self):
        """Recognize a weight file, ask for its license, install it; the file itself is read in the worker only."""
        path = qt.QFileDialog.getOpenFileName(None, _("Import weights"), "", _("Weights") + " (*.ckpt *.pt *.pth *.*)")
        if not path:
            return

        def install(task):
            listener = self._begin(_("Importing the weights"))
            self._logic.importWeights(path, task, self._installed, listener)
            self._onChanged()

        listener = self._begin(_("Reading {name}").format(name=Path(path).name))

        def ask(found):
            self._dialog = ImportDialog(slicer.util.mainWindow(), found, install)
            self._dialog.open()

        self._logic.inspectWeights(path, ask, listener)
        self._onChanged()

    def download(self):
        """Ask which model to fetch, stating size, host, license and folder; then fetch and install it."""
        if not HUB.offer(_("Downloading models needs a small package.")):
            return

        def fetch(name):
            listener = self._begin(_("Downloading; Cancel stops it, the next try goes on"))
            self._logic.downloadModel(name, self._installed, listener)
            self._onChanged()

        self._dialog = DownloadDialog(slicer.util.mainWindow(), user_folders()[0], fetch)
        self._dialog.open()

    def delete(self):
        """Delete the chosen model after a question that says what and how large."""
        model = self._chosen()
        megabytes = sum(path.stat().st_size for path in model.folder.rglob("*") if path.is_file()) / 1e6
        question = _("Delete '{title}' ({size:.0f} MB) from {folder}?").format(
            title=model.contract.title, size=megabytes, folder=model.folder
        )
        if slicer.util.confirmOkCancelDisplay(question, _("Delete a model")):
            try:
                self._logic.removeModel(model)
            except BrainIACError as error:
                slicer.util.errorDisplay(str(error))
            self._onChanged()

    def openFolder(self):
        """Show where imported models lie."""
        folder = user_folders()[0]
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _installed(self, modelId):
        titles = [model.contract.title for model in self._logic.models() if model.contract.id == modelId]
        self._say(_("Installed: {title}. It is used from now on.").format(title=(titles or [modelId])[0]))

    def _chosen(self):
        index = self._ui.modelSelector.property("currentIndex")
        return self._models[index] if 0 <= index < len(self._models) else None
