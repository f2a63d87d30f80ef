"""The age that a model reads from a scan beside the age of the person."""

from __future__ import annotations

import dataclasses

from slicer.i18n import tr as _

IN_YEARS = {"years": 1.0, "months": 1 / 12}


@dataclasses.dataclass(frozen=True)
class AgeGap:
    """Years between the two; ``low`` and ``high`` are None where the model states no interval."""

    age: float
    gap: float
    low: float | None
    high: float | None
    coverage: float | None

    def inWords(self):
        """In one line."""
        text = _("Age at the scan {age:.1f} years: brain age is {gap:+.1f} years").format(age=self.age, gap=self.gap)
        if self.low is None:
            return text
        return text + _(" ({coverage:.0%} interval {low:+.1f} to {high:+.1f})").format(
            coverage=self.coverage, low=self.low, high=self.high
        )


def ageGapOf(record, age):
    """The gap of an answer about age, None of other answers and without the person's age."""
    factor = IN_YEARS.get(record["unit"] or "")
    if (
        age is None
        or factor is None
        or record["value"] is None
        or "age" not in record["task"].replace("_", "-").split("-")
    ):
        return None
    found = record.get("trust", {}).get("prediction_interval")
    low, high = (found["low"] * factor - age, found["high"] * factor - age) if found else (None, None)
    return AgeGap(age, record["value"] * factor - age, low, high, found["coverage"] if found else None)
