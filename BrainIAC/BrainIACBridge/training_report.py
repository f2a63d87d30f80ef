"""The report of a training (``BrainIACLib.head_training``) as the panel shows it."""

from __future__ import annotations

import dataclasses
import json

from slicer.i18n import tr as _

from BrainIACLib.head_training.report import report_from_json
from BrainIACLib.head_training.words import sections


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a head that had not seen the case said of it: a class, a number, or a risk (of survival)."""

    scan: str  # the first of the case, by which it is found again
    name: str  # all of its scans, for people
    true: object
    predicted: object

    @property
    def trueText(self):
        """For people."""
        return _short(self.true)

    @property
    def predictedText(self):
        """For people."""
        return _short(self.predicted)


class TrainingReport:
    """A ``HeadReport`` for the panel's tables and plots; the sentences are the library's."""

    def __init__(self, report):
        self._report = report
        self.task = report.task
        self.target = report.target
        self.kind = report.kind
        self.unit = report.unit or ""
        self.classes = list(report.classes)
        self.confusion = [list(row) for row in report.confusion]
        self.map = [list(place) for place in report.map.coordinates]
        self.answers = [Answer(row.case, " + ".join(row.scans), row.truth, row.answer) for row in report.out_of_fold]

    @classmethod
    def fromText(cls, text):
        """From the JSON of a worker's answer or a scene; None where there is none, or one of an earlier version."""
        try:
            return cls(report_from_json(json.loads(text))) if text else None
        except ValueError:
            return None

    @property
    def hardest(self):
        """The answers that were most wrong, worst first."""
        byScan = {answer.scan: answer for answer in self.answers}
        return [byScan[row.case] for row in self._report.hardest]

    def groups(self, most):
        """For each case the text by which the map is colored: its class, or its range of values."""
        if self.kind == "classification":
            names = list(dict.fromkeys(self.classes))
            if len(names) <= most:
                return [str(answer.true) for answer in self.answers]
            return [
                str(answer.true) if str(answer.true) in names[: most - 1] else _("others") for answer in self.answers
            ]
        values = [float(answer.true) for answer in self.answers]
        ordered = sorted(values)
        limits = [ordered[len(ordered) * part // 4] for part in (1, 2, 3)]
        texts = [
            _("1: below {0:.4g}").format(limits[0]),
            _("2: {0:.4g} to {1:.4g}").format(limits[0], limits[1]),
            _("3: {0:.4g} to {1:.4g}").format(limits[1], limits[2]),
            _("4: {0:.4g} and more").format(limits[2]),
        ]
        return [texts[sum(value >= limit for limit in limits)] for value in values]

    def inWords(self):
        """What to doubt first, then how well, how sure, better than chance and trivial answers or not."""
        return "\n".join(
            line for section in sections(self._report) for line in (f"{section.title}:", *section.lines, "")
        ).strip()


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
