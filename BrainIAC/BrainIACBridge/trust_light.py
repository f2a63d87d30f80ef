"""One traffic light for an answer, and the sentence of doubt behind it."""

from __future__ import annotations

import dataclasses
import enum

from slicer.i18n import tr as _

from BrainIACLib.trust.findings import Severity, weightiest


class Color(enum.Enum):
    """How far an answer can be relied on, within what its model knows. Each is told apart in gray as well."""

    green = "#2e9e44"
    amber = "#d98a00"
    red = "#d03030"
    gray = "#8a8a8a"

    @property
    def sign(self):
        """A sign that needs no color."""
        return {"green": "✓", "amber": "!", "red": "✗", "gray": "…"}[self.name]

    def inWords(self):
        """For tooltips and screen readers."""
        texts = {
            "green": _("No doubt was found; the answer may still be wrong."),
            "amber": _("There is a reason to doubt the answer."),
            "red": _("Do not rely on the answer."),
        }
        return texts.get(self.name) or _("The answer is about an earlier state of the scans.")


@dataclasses.dataclass(frozen=True)
class Light:
    """The color, and the weightiest reason; "" where there is none."""

    color: Color
    doubt: str


def lightOf(record, staleness=""):
    """The light of an answer.

    Parameters
    ----------
    record : the fields of ``BrainIACLib.predictor.Prediction``.
    staleness : why the answer is not about what the scene shows now, "" if it is.
    """
    if staleness:
        return Light(Color.gray, staleness)
    severity, doubt = weightiest(record["warnings"], record.get("trust", {}))
    color = {Severity.none: Color.green, Severity.doubt: Color.amber, Severity.grave: Color.red}[severity]
    return Light(color, doubt or (color.inWords() if color is Color.red else ""))
