"""Which models are asked, what they are given, and the age at the scan beside the brain age; no network runs."""

from __future__ import annotations

import dataclasses

import pytest

from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import Job
from BrainIACLib.predictor import Prediction
from BrainIACLib.studies import answering
from BrainIACLib.studies.analysis import StudyOptions
from BrainIACLib.studies.answering import ask_all
from BrainIACLib.studies.document import Interval

HEAD = find_model("sequence").contract.head


def head(*slots: str, policy: str = "refuse"):
    return dataclasses.replace(HEAD, slots=slots, missing_policy=policy)


def test_a_model_gets_the_series_of_its_slots():
    assert answering._taken(head("T1CE", "FLAIR"), {"T1": "2", "FLAIR": "4", "T1CE": "5"}) == {
        "T1CE": "5",
        "FLAIR": "4",
    }
    assert answering._taken(head("any"), {"T2": "3", "FLAIR": "4"}) == {"any": "3"}


def test_a_model_that_wants_more_says_what_is_missing():
    with pytest.raises(BrainIACError, match="no FLAIR"):
        answering._taken(head("T1CE", "FLAIR"), {"T1CE": "5"})
    assert answering._taken(head("T1CE", "FLAIR", policy="masked-mean"), {"T1CE": "5"}) == {"T1CE": "5"}
    with pytest.raises(BrainIACError, match="no scan"):
        answering._taken(head("any"), {})


def predicted(task: str, value: float | None, unit: str | None) -> Prediction:
    return Prediction(
        task=task, scans={"T1": "2"}, label="x", confidence=None, probabilities={}, warnings=(), valid_range="",
        provenance={}, value=value, unit=unit,
    )  # fmt: skip


def test_the_gap_is_the_brain_age_minus_the_age_with_the_interval_moved_along():
    gap = answering._age_gap(predicted("brain-age", 60.0, "years"), Interval(52.0, 68.0, 0.9, ""), 54.5)
    assert (gap.gap_years, gap.low, gap.high) == (5.5, -2.5, 13.5)
    assert answering._age_gap(predicted("age", 120.0, "months"), None, 9.0).gap_years == 1.0


@pytest.mark.parametrize(
    ("task", "value", "unit", "age"),
    [
        ("age", 60.0, "years", None),
        ("volume", 60.0, "years", 54.0),
        ("age", 60.0, "mm", 54.0),
        ("age", None, None, 54.0),
    ],
)
def test_there_is_no_gap_without_an_age_of_a_person(task, value, unit, age):
    assert answering._age_gap(predicted(task, value, unit), None, age) is None


class _Predictor:
    """Answers at once; of the task "broken" it says why it cannot."""

    models_folder = None

    def predict(self, task, scans, **_):
        raise BrainIACError("this scan does not suit the model")


def test_an_answer_that_fails_is_told_and_does_not_end_the_rest():
    found = ask_all(_Predictor(), {"T1": "2", "T2": "3"}, StudyOptions(tasks=("sequence", "survival")), None, Job())
    assert found.answers == ()
    assert set(found.not_answered) == {"survival", "sequence of series 2", "sequence of series 3"}
    assert "not suit" in found.not_answered["sequence of series 2"]
