"""What BrainIAC needs in Slicer's Python, in words and with sizes, and how it gets there after a click."""

from __future__ import annotations

import importlib.metadata
import importlib.util
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

    def torchState(self):
        """'missing', 'broken' (half installed) or 'found'. Looks without importing: that would lock torch's files."""
        try:
            spec = importlib.util.find_spec("torch")
        except ModuleNotFoundError:  # an import hook may say so instead
            spec = None
        if spec is None:
            return "missing"
        try:
            return "found" if spec.origin and importlib.metadata.version("torch") else "broken"
        except importlib.metadata.PackageNotFoundError:
            return "broken"

    def missingPackages(self):
        """The lines of requirements.txt that are not fulfilled."""
        return [line for line in self._requirements() if not _fulfilled(line)]

    def isComplete(self):
        """Whether an analysis can start."""
        return self.torchState() == "found" and not self.missingPackages()

    def inWords(self):
        """The state as a sentence."""
        state = self.torchState()
        if state == "broken":
            return _("PyTorch is half installed. Set up removes it and installs it again.")
        if state == "missing":
            return _("PyTorch is not installed yet.")
        missing = self.missingPackages()
        if missing:
            return _("Still to be installed: {packages}.").format(packages=", ".join(missing))
        return _("Ready. Everything runs on this computer; no image leaves it.")

    def plan(self):
        """What Set up will do, for the question before it: package, license, size, host."""
        lines = []
        if self.torchState() != "found":
            lines.append(
                _(
                    "PyTorch (BSD-3-Clause), through the PyTorch extension, from download.pytorch.org: about 0.2 GB to "
                    "download for the processor, about 3 GB for an NVIDIA graphics card; up to 7 GB on disk."
                )
            )
        if self.missingPackages():
            lines.append(
                _("{packages} (Apache-2.0), from pypi.org: about 1 MB.").format(
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
        if self.torchState() == "broken":
            slicer.util.pip_uninstall("torch torchvision")
        if wheels:
            return self._installFromFolder(wheels)
        if self.torchState() != "found":
            problem = self._installTorch()
            if problem:
                return problem
        missing = self.missingPackages()
        if missing:
            slicer.util.pip_install(missing)
        qt.QSettings().remove(PENDING)
        return "" if self.isComplete() else _("Restart Slicer to finish the installation.")

    def isPending(self):
        """Whether an installation was interrupted by a restart and can go on now."""
        return bool(qt.QSettings().value(PENDING)) and importlib.util.find_spec("PyTorchUtils") is not None

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
            settings = qt.QSettings()
            settings.setValue(PENDING, "torch")  # before the call, which may restart Slicer
            settings.sync()
            model.interactive = False
            if not model.installExtensionFromServer("PyTorch", True):
                settings.remove(PENDING)
                return _("The PyTorch extension could not be installed; install it in the Extensions Manager.")
        return _("Restart Slicer; the installation then goes on by itself.")

    def _installFromFolder(self, wheels):
        wanted = self.missingPackages()
        if self.torchState() != "found":
            wanted = ["torch" + TORCH_VERSION, *wanted]
        if wanted:
            slicer.util.pip_install(["--no-index", "--find-links", wheels, *wanted])
        return "" if self.isComplete() else _("The folder does not hold all wheels; see the README for the list.")

    def _requirements(self):
        lines = (line.strip() for line in self._requirementsFile.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def _fulfilled(requirement):
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        return importlib.metadata.version(wanted.name) in wanted.specifier
    except importlib.metadata.PackageNotFoundError:
        return False
