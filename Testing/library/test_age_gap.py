"""Brain age beside the age of the person: the same numbers and words on card, page and command line."""

from __future__ import annotations

import pytest

from BrainIACLib.cli.words import answer_in_lines
from BrainIACLib.trust.age_gap import age_gap_of
from BrainIACLib.trust.words import age_gap

INTERVAL = {"prediction_interval": {"low": 58.0, "high": 70.0, "coverage": 0.9, "unit": "years", "meaning": ""}}


def answer(**changes):
    return {"task": "age", "value": 64.0, "unit": "years", "trust": {}, **changes}


def test_the_gap_is_said_with_its_interval():
    gap = age_gap_of(answer(trust=INTERVAL), 60.0)
    assert (gap.gap_years, gap.low, gap.high) == (4.0, -2.0, 10.0)
    assert age_gap(gap) == "Age at the scan 60.0 years, brain age gap +4.0 years (90% interval -2.0 to +10.0)"
    assert age_gap(age_gap_of(answer(), 60.0)).endswith("+4.0 years")


def test_a_terminal_shows_the_gap_that_the_json_holds():
    gap = {"age_years": 60.0, "gap_years": 4.0, "low": -2.0, "high": 10.0, "coverage": 0.9}
    told = {"headline": "64.0 years", "task": "age", "warnings": [], "trust": {}, "preparation": {}, "results": {}}
    lines = answer_in_lines("a.nii", {**told, "age_gap": gap})
    assert lines[1] == "  Age at the scan 60.0 years, brain age gap +4.0 years (90% interval -2.0 to +10.0)"
    assert answer_in_lines("a.nii", {**told, "age_gap": None}) == lines[:1]


def test_months_are_counted_in_years_and_other_answers_have_no_gap():
    assert age_gap_of(answer(task="brain_age", value=780.0, unit="months"), 60.0).gap_years == pytest.approx(5.0)
    assert age_gap_of(answer(), None) is None
    assert age_gap_of(answer(task="dosage"), 60.0) is None
    assert age_gap_of(answer(unit=None), 60.0) is None
    assert age_gap_of(answer(value=None), 60.0) is None
