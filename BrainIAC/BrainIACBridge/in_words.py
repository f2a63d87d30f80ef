"""Answers and preprocessing steps as a person reads them."""

from __future__ import annotations

from slicer.i18n import tr as _

from BrainIACBridge.task_buttons import answerTitle
from BrainIACLib.answers import worth_showing
from BrainIACLib.trust.words import examined, probability, stated, uncertainty

MOST_DRIVERS = 2  # on a card


def answerInWords(record):
    """What, with which warnings, how sure, valid for whom, computed where; the scans stand above it on the card."""
    lines = [
        record["headline"],
        *(_("Warning: {text}").format(text=warning) for warning in record["warnings"]),
        *_uncertainty(record),
        *examined(record.get("trust", {})),
        _("Valid for: {range}").format(range=record["valid_range"]),
        _("Computed on: {device}").format(device=record["provenance"]["device"]) + _inBrackets(record["note"]),
    ]
    return "\n".join(lines)


def intervalInShort(record):
    """The interval around a value, for its card; "" where the model states none. What it means stands behind it."""
    trust = record.get("trust", {})
    if not trust.get("prediction_interval"):
        return ""
    return _("Interval: {interval}").format(interval=uncertainty(trust))


def driversInShort(record):
    """The volumes that move an answer most, for its card; "" where the model states none. The rest stands behind it."""
    parts = record.get("trust", {}).get("drivers", {}).get("parts", [])
    named = [
        _("{what} {percent:.2g}% of the intracranial volume (mean of the training persons {usual:.2g}%)").format(
            what=part["what"], percent=part["percent"], usual=part["usual_percent"]
        )
        for part in parts
        if part.get("percent") is not None
    ]
    return _("Moved most by: {list}").format(list="; ".join(named[:MOST_DRIVERS])) if named else ""


def stepsInWords(steps):
    """What was done with a scan, one line a step: seconds, figures of quality, warnings.

    Parameters
    ----------
    steps : the ``record`` of a scan in the worker's "study" value.
    """
    lines = []
    for step in steps:
        figures = [f"{name.replace('_', ' ')} {_short(value)}" for name, value in step["quality"].items()]
        figures.insert(0, _("{seconds:.1f} s").format(seconds=step["seconds"]))
        lines.append(f"{step['name']}: {', '.join(figures)}")
        lines += [_("Warning: {text}").format(text=warning) for warning in step["warnings"]]
    return "\n".join(lines)


def _uncertainty(record):
    if record["probabilities"]:
        shown = worth_showing(record["probabilities"]).items()
        yield _("Probabilities: {list}").format(list=", ".join(f"{name} {probability(value)}" for name, value in shown))
    yield from stated(record.get("trust", {}))  # scenes of earlier versions have none


def _inBrackets(note):
    return f" ({note})" if note else ""


def _short(value):
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # 1310 ml, not 1.31e+03


def outcomeInWords(seconds, failed, unasked):
    """How an analysis of a study ended: its time, and what was not answered."""
    said = _("Done in {seconds:.0f} s.").format(seconds=seconds)
    if failed:
        said += " " + _("Not answered: {reasons}").format(reasons=" ".join(dict.fromkeys(failed)))
    if unasked:
        tasks = "; ".join(f"{answerTitle(task)}: {reason}" for task, reason in unasked.items())
        said += " " + _("Not asked: {tasks}.").format(tasks=tasks)
    return said
