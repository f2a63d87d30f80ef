"""One traffic light for an answer, and the sentence of doubt behind it."""

from __future__ import annotations

import dataclasses
import enum

from slicer.i18n import tr as _

DO_NOT_RELY = "do not rely"  # the words of the library where an answer lies outside what its model knows


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
    warnings = list(record["warnings"])
    grave = [text for text in warnings if DO_NOT_RELY in text.lower()]
    novelty = record.get("trust", {}).get("novelty")
    if grave or (novelty and novelty["score"] > novelty["warn_above"]):
        return Light(Color.red, (grave or warnings or [Color.red.inWords()])[0])
    if warnings:
        return Light(Color.amber, warnings[0])
    return Light(Color.green, "")
