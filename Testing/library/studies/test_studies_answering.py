"""Which models are asked and what they are given; no network runs."""

from __future__ import annotations

import dataclasses

import pytest

from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import Job
from BrainIACLib.studies import answering
from BrainIACLib.studies.analysis import StudyOptions
from BrainIACLib.studies.answering import ask_all

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
