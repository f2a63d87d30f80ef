"""Answers as lines of text for a person at a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from BrainIACLib.errors import BrainIACError
from BrainIACLib.trust.age_gap import AgeGap
from BrainIACLib.trust.words import age_gap, examined, stated


def answer_in_lines(title: str, answer: Mapping[str, Any]) -> list[str]:
    """One answer with its doubts, how its scans were prepared, and where it lies; ``title`` names its scans."""
    lines = [f"{title}: {answer['headline']} ({answer['task']})"]
    if gap := answer["age_gap"]:
        lines.append(f"  {age_gap(AgeGap(**gap))}")
    lines += [f"  warning: {warning}" for warning in answer["warnings"]]
    lines += [f"  {line}" for line in (*stated(answer["trust"]), *examined(answer["trust"]))]
    lines += [f"  {preprocessing_in_words(record)}" for record in answer["preparation"].values()]
    folders = ", ".join(str(Path(result).parent) for result in answer["results"].values())
    return [*lines, f"  results in {folders}"] if folders else lines


def error_in_words(error: BrainIACError) -> str:
    """The sentence, and how the command line does what it advises.

    >>> error_in_words(BrainIACError("'a.nii' holds 3 volumes; choose one.", "--frame N"))
    "'a.nii' holds 3 volumes; choose one. Use: --frame N"
    """
    if not error.command:
        return str(error)
    lines = "\n" in str(error)  # a list of what there is to choose from
    return str(error) + ("\n" if lines else " ") + f"Use: {error.command}"


def preprocessing_in_words(record: Sequence[Mapping[str, Any]]) -> str:
    """How a scan was prepared, from the record of its steps."""
    steps = {step["name"]: step["parameters"] for step in record}
    if "official preset" in steps:
        return "preprocessing: none, the scan was taken as it is stored"
    backend = steps["brain extraction"]["backend"]
    brain = {
        "stripped": "the scan is already skull-stripped",
        "mask": "brain mask as given",
        "none": "whole head, brain extraction switched off",
        "bundled": "brain extracted by the bundled network",
    }.get(backend, f"brain extracted by {backend}")
    in_place = steps["registration"]["already_in_template_space"]
    return f"preprocessing: {brain}; {'already in MNI space' if in_place else 'registered to MNI space'}"
