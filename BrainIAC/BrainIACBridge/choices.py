"""Choices of the panel and their texts; scenes store the names, the library takes the values."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _


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
