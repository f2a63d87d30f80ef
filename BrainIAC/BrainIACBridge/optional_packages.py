"""Packages that one feature needs and Set up does not install: asked about when the feature is used."""

from __future__ import annotations

import dataclasses
import importlib.util

import slicer
import slicer.util
from slicer.i18n import tr as _


@dataclasses.dataclass(frozen=True)
class OptionalPackage:
    """``module`` is what is imported; ``size`` of the downloads together, as a text."""

    module: str
    requirement: str
    license: str
    size: str

    def isInstalled(self):
        """Looks without importing it."""
        return importlib.util.find_spec(self.module) is not None

    def offer(self, why=""):
        """Install it if the person agrees; whether it is there then.

        Parameters
        ----------
        why : what needs it, a sentence.
        """
        if not self.isInstalled():
            question = _("{why} Install {requirement} ({license}) from pypi.org into Slicer's Python now? {size}.")
            text = question.format(why=why, requirement=self.requirement, license=self.license, size=self.size)
            if not slicer.util.confirmOkCancelDisplay(text, _("BrainIAC")):
                return False
            with slicer.util.tryWithErrorDisplay(_("The package could not be installed."), waitCursor=True):
                slicer.util.pip_install([self.requirement])
            importlib.invalidate_caches()
        return self.isInstalled()


HUB = OptionalPackage("huggingface_hub", "huggingface-hub>=1.0", "Apache-2.0", "With what it needs below 10 MB")
HIGHDICOM = OptionalPackage("highdicom", "highdicom>=0.28", "MIT", "With what it needs about 4 MB")
PYARROW = OptionalPackage("pyarrow", "pyarrow>=15", "Apache-2.0", "About 55 MB")
