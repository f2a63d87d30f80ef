"""What BrainIAC needs in Slicer's Python, in words and with sizes, and how it gets there after a click."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

PENDING = "BrainIAC/pendingInstall"  # in the application settings: go on after a restart, without asking again
TORCH_VERSION = ">=2.6"


REQUIREMENTS = Path(__file__).parents[1] / "Resources" / "BrainIAC-requirements.txt"


class Installation:
    """Finds out what is missing and installs it: torch through the PyTorch extension, the rest from requirements.txt.

    Parameters
    ----------
    requirementsFile : one requirement a line, with a lower bound.
    """

    def __init__(self, requirementsFile=REQUIREMENTS):
        self._requirementsFile = Path(requirementsFile)
        self._complete = None  # what isComplete found; looking takes some milliseconds

    def torchState(self):
        """'missing', 'broken' (half installed), 'old' or 'found'. Does not import it: that would lock its files."""
        try:
            spec = importlib.util.find_spec("torch")
        except ModuleNotFoundError:  # an import hook may say so instead
            spec = None
        if spec is None:
            return "missing"
        if not spec.origin or self.torchVersion() is None:
            return "broken"
        return "found" if _fulfilled("torch" + TORCH_VERSION) else "old"

    def torchVersion(self):
        """Of the torch that is installed, None without one."""
        try:
            return importlib.metadata.version("torch")
        except importlib.metadata.PackageNotFoundError:
            return None

    def unsupported(self):
        """Why this computer cannot run BrainIAC, "" if it can.

        A lower bound would not help these Macs: their last PyTorch, 2.2, does not work with NumPy 2, which Slicer has
        since 5.10 (PyTorch does from 2.3 on).
        """
        if platform.system() != "Darwin" or platform.machine() != "x86_64" or self.torchState() == "found":
            return ""
        return _(
            "This Slicer is a program for Intel processors on macOS. PyTorch ends with version 2.2 there, and BrainIAC "
            "needs {version}. On a Mac with an Apple processor install the Slicer that is made for it; a Mac with an "
            "Intel processor cannot run BrainIAC."
        ).format(version=TORCH_VERSION.removeprefix(">=") + "+")

    def missingPackages(self):
        """The lines of requirements.txt that are not fulfilled."""
        return [line for line in self._requirements() if not _fulfilled(line)]

    def isComplete(self):
        """Whether an analysis can start; looks once, and again after ``lookAgain`` or ``install``."""
        if self._complete is None:
            self._complete = self.torchState() == "found" and not self.missingPackages()
        return self._complete

    def lookAgain(self):
        """Something may have been installed or removed since."""
        self._complete = None

    def inWords(self):
        """The state as a sentence."""
        if unsupported := self.unsupported():
            return unsupported
        state = self.torchState()
        if state == "broken":
            return _("PyTorch is half installed. Set up removes it and installs it again.")
        if state == "missing":
            return _("PyTorch is not installed yet.")
        if state == "old":
            return _("PyTorch {found} is installed; BrainIAC needs {needed} or newer. Set up replaces it.").format(
                found=self.torchVersion(), needed=TORCH_VERSION.removeprefix(">=")
            )
        missing = self.missingPackages()
        if missing:
            return _("Still to be installed: {packages}.").format(packages=", ".join(missing))
        return _("Ready. Everything runs on this computer; no image leaves it.")

    def plan(self):
        """What Set up will do, for the question before it: package, license, size, host, restart."""
        lines = []
        state = self.torchState()
        if state == "old":
            lines.append(
                _("PyTorch {found} is removed first; other extensions then use the newer one.").format(
                    found=self.torchVersion()
                )
            )
        if state != "found":
            lines.append(
                _(
                    "PyTorch (BSD-3-Clause), through the PyTorch extension, from download.pytorch.org: about 0.2 GB to "
                    "download for the processor, about 3 GB for an NVIDIA graphics card; up to 7 GB on disk."
                )
            )
            if importlib.util.find_spec("PyTorchUtils") is None:
                lines.append(
                    _("The PyTorch extension, from extensions.slicer.org; Slicer then restarts, after asking you.")
                )
        if self.missingPackages():
            lines.append(
                _("{packages} (Apache-2.0 and MIT), from pypi.org: about 4 MB.").format(
                    packages=", ".join(self.missingPackages())
                )
            )
        return "\n".join("• " + line for line in lines)

    def install(self, wheels=""):
        """Install what is missing; blocks, with Slicer's own progress windows.

        Parameters
        ----------
        wheels : a folder of wheels; then nothing is fetched from the network.

        Returns
        -------
        "" when complete, else one sentence that says what to do next.
        """
        self.lookAgain()
        if unsupported := self.unsupported():
            return unsupported
        inUse = "torch" in sys.modules  # another extension loaded it: the new one is seen after a restart only
        if self.torchState() in ("broken", "old"):
            slicer.util.pip_uninstall("torch torchvision")
        problem = self._installFromFolder(wheels) if wheels else self._installFromNetwork()
        self.lookAgain()
        if problem:
            return problem
        return "" if self.isComplete() and not inUse else _("Restart Slicer to finish the installation.")

    def takePending(self):
        """Whether an installation was interrupted by a restart and can go on now; says so once."""
        settings = qt.QSettings()
        pending = bool(settings.value(PENDING))
        settings.remove(PENDING)
        return pending and importlib.util.find_spec("PyTorchUtils") is not None

    def _installFromNetwork(self):
        if self.torchState() != "found":
            problem = self._installTorch()
            if problem:
                return problem
        missing = self.missingPackages()
        if missing:
            slicer.util.pip_install(missing)
        return ""

    def _installTorch(self):
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            return self._installPyTorchExtension()
        installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH_VERSION
        )
        return "" if installed is not None else _("PyTorch was not installed. Click Set up to try again.")

    def _installPyTorchExtension(self):
        model = slicer.app.extensionsManagerModel()
        if model is None:
            return _("This Slicer has no Extensions Manager; install the PyTorch extension by hand.")
        if not model.isExtensionInstalled("PyTorch"):
            asks = model.interactive
            model.interactive = False  # the person has agreed to the plan that names it
            try:
                installed = model.installExtensionFromServer(
                    "PyTorch", False
                )  # never restarts by itself: scenes are lost
            finally:
                model.interactive = asks
            if not installed:
                return _("The PyTorch extension could not be installed; install it in the Extensions Manager.")
        return self._askForRestart()

    def _askForRestart(self):
        later = _("Restart Slicer, then click Set up again.")
        if slicer.util.confirmYesNoDisplay(
            _("Slicer has to restart now to load the PyTorch extension. Save the scene before?"), _("Set up BrainIAC")
        ):
            slicer.util.openSaveDataDialog()
        question = _("Restart Slicer? What is not saved is lost. The installation goes on by itself afterwards.")
        if not slicer.util.confirmOkCancelDisplay(question, _("Set up BrainIAC")):
            return later
        settings = qt.QSettings()
        settings.setValue(PENDING, "torch")
        settings.sync()
        slicer.util.restart()
        return later

    def _installFromFolder(self, wheels):
        wanted = self.missingPackages()
        if self.torchState() != "found":
            wanted = ["torch" + TORCH_VERSION, *wanted]
        if wanted:
            slicer.util.pip_install(["--no-index", "--find-links", wheels, *wanted])
        self.lookAgain()
        return "" if self.isComplete() else _("The folder does not hold all packages; see the README for the list.")

    def _requirements(self):
        lines = (line.strip() for line in self._requirementsFile.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def _fulfilled(requirement):
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        return wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False
