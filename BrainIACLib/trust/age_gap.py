"""The age that a model reads from a scan beside the age of the person at the scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IN_YEARS = {"years": 1.0, "months": 1 / 12}


@dataclass(frozen=True)
class AgeGap:
    """Brain age minus age at the scan, in years; limits and coverage are None where the model states no interval."""

    age_years: float
    gap_years: float
    low: float | None = None
    high: float | None = None
    coverage: float | None = None


def age_gap_of(answer: Mapping[str, Any], age_years: float | None) -> AgeGap | None:
    """The gap of an answer of an age model; None of other answers, and where the person's age is not known.

    Parameters
    ----------
    answer : the fields of ``Prediction`` as JSON; it is about age if its task says so and its unit is one of time.

    >>> age_gap_of({"task": "brain-age", "value": 64.0, "unit": "years"}, 60.0)
    AgeGap(age_years=60.0, gap_years=4.0, low=None, high=None, coverage=None)
    """
    factor = IN_YEARS.get(answer["unit"] or "")
    if age_years is None or factor is None or answer["value"] is None or "age" not in _words(answer["task"]):
        return None
    gap, found = _gap(answer["value"], factor, age_years), answer.get("trust", {}).get("prediction_interval")
    if found is None:
        return AgeGap(age_years, gap)
    low, high = (_gap(found[limit], factor, age_years) for limit in ("low", "high"))
    return AgeGap(age_years, gap, low, high, found["coverage"])


def _gap(value: float, factor: float, age_years: float) -> float:
    return round(value * factor - age_years, 2)


def _words(task: str) -> list[str]:
    return task.replace("-", " ").replace("_", " ").split()
