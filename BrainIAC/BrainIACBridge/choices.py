"""Choices of the panel and their texts; scenes store the names, the library takes the values."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _

from BrainIACLib.preprocessing.brain_extraction import AUTO, AUTO_TITLE, BACKENDS


class Device(enum.Enum):
    """Processors."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"

    def label(self):
        """The text in the panel."""
        texts = {"auto": _("Automatic"), "cpu": _("Processor (CPU)"), "cuda": _("NVIDIA graphics card")}
        return texts.get(self.value) or _("Apple graphics processor")


class Kind(enum.Enum):
    """What a new head learns."""

    auto = "auto"
    classification = "classification"
    regression = "regression"
    survival = "survival"

    def label(self):
        """The text in the panel."""
        texts = {
            "auto": _("Automatic: as the labels are"),
            "classification": _("Classes"),
            "regression": _("A measurement"),
        }
        return texts.get(self.value) or _("Survival times")


class _BrainExtraction(enum.Enum):
    def label(self):
        """The text in the panel."""
        return AUTO_TITLE if self.value == AUTO else BACKENDS[self.value].title


_offered = [AUTO, *(name for name, way in BACKENDS.items() if way.in_panel and way.is_installed())]
BrainExtraction = _BrainExtraction("BrainExtraction", {name.replace("-", "_"): name for name in _offered})
BrainExtraction.__doc__ = "Ways to find the brain: those back ends of the library that a panel offers."


def forgetWayThatIsNotHere(parameterNode):
    """A scene of another computer may name a back end that this one lacks, which a parameter node refuses to read."""
    if parameterNode.GetParameter("brainExtraction") not in ("", *BrainExtraction.__members__):
        parameterNode.UnsetParameter("brainExtraction")
