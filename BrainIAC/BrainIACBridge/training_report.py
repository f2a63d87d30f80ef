"""The report of a training (``BrainIACLib.head_training``) as the panel shows it."""

from __future__ import annotations

import dataclasses

from slicer.i18n import tr as _


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
    """Reads the report's dictionary; the only place in the module that knows its keys."""

    def __init__(self, report):
        self._report = report
        self.task = report["task"]
        self.target = report["target"]
        self.kind = report["kind"]
        self.unit = report["unit"] or ""
        self.classes = report["classes"]
        self.confusion = report.get("confusion", [])
        self.map = report["map"]["coordinates"]
        self.answers = [
            Answer(row["case"], " + ".join(row["scans"]), row["truth"], row["answer"]) for row in report["out_of_fold"]
        ]

    @property
    def hardest(self):
        """The answers that were most wrong, worst first."""
        byScan = {answer.scan: answer for answer in self.answers}
        return [byScan[row["case"]] for row in self._report["hardest"]]

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
        """How well, how sure, better than chance or not, would more cases help."""
        report = self._report
        lines = [
            _("{cases} cases of {patients} people; each answered by a head that had not seen the person.").format(
                cases=report["cases"], patients=report["patients"]
            )
        ]
        for name, figure in report["metrics"].items():
            interval = ""
            if figure["low"] is not None:
                interval = _(" (95 % interval {low:.3g} to {high:.3g})").format(low=figure["low"], high=figure["high"])
            lines.append(f"{name} {figure['value']:.3g}{interval}: {figure['meaning']}.")
        lines += [report["permutation"]["meaning"], report["learning_curve"]["verdict"]]
        for name in ("median_split", "calibration"):  # of survival; scenes of earlier versions have none
            if meaning := report.get(name, {}).get("meaning"):
                lines.append(meaning)
        conformal = {"counted": _("by case"), **report["conformal"]}
        if conformal["coverage"] is None:
            lines.append(f"{conformal['meaning']}.")
        else:
            lines.append(
                _("{meaning}; coverage asked {coverage:.0%}, measured {measured:.0%}, {counted}.").format(**conformal)
            )
        lines += [_("Note: {text}").format(text=note) for note in report["notes"]]
        return "\n".join(lines)


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
