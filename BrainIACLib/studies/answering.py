"""Ask every installed model whose slots the study fills, and where it looked; what cannot be answered says why."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass

from BrainIACLib import sequences
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.checkpoints.installed import find_model, installed_models
from BrainIACLib.contracts import EMBEDDING_TASK, HeadContract
from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.job import Job
from BrainIACLib.predictions import Explanation, Prediction
from BrainIACLib.predictor import Predictor
from BrainIACLib.studies.document import Answer, Interval
from BrainIACLib.trust import words
from BrainIACLib.trust.age_gap import age_gap_of

if typing.TYPE_CHECKING:
    from BrainIACLib.studies.analysis import StudyOptions

ANY = "any"
OF_SERIES = " of series "  # behind the task of an answer that belongs to one scan
_FOR_ANY = (sequences.T1.name, sequences.T1CE.name, sequences.T2.name, sequences.FLAIR.name)  # in order of preference


@dataclass(frozen=True)
class Answered:
    """The answers, the maps (name of the answer -> slot -> map), and why other tasks have none."""

    answers: tuple[Answer, ...]
    maps: Mapping[str, Mapping[str, Explanation]]
    not_answered: Mapping[str, str]


def ask_all(
    predictor: Predictor, slots: Mapping[str, str], options: StudyOptions, age_years: float | None, job: Job
) -> Answered:
    """Answers of all tasks, or of ``options.tasks``. ``slots``: sequence -> key of a series of the predictor's study.

    The sequence task is asked about every slot, since its answer belongs to one scan.
    """
    tasks = sorted({model.task for model in installed_models(predictor.models_folder)} - {EMBEDDING_TASK})
    asked = [task for task in tasks if not options.tasks or task in options.tasks]
    not_answered = {task: "no model for it is installed" for task in options.tasks if task not in tasks}
    questions: list[tuple[str, str, Mapping[str, str]]] = []
    for task in asked:
        try:
            questions += _questions(predictor, task, slots)
        except BrainIACError as error:
            not_answered[task] = str(error)
    answers, maps = [], {}
    for number, (name, task, taken) in enumerate(questions):
        part = job.part(number / len(questions), (number + 1) / len(questions), name)
        try:
            prediction = predictor.predict(task, taken, accept_missing=_accepts(predictor, task), age_years=age_years)
        except Cancelled:
            raise
        except BrainIACError as error:
            not_answered[name] = str(error)
            continue
        maps[name], doubts = _maps(predictor, task, taken, prediction, options.samples, part)
        prediction = dataclasses.replace(prediction, warnings=(*prediction.warnings, *doubts))
        answers.append(_answer(name, prediction, maps[name], age_years))
    return Answered(tuple(answers), maps, not_answered)


def _questions(predictor: Predictor, task: str, slots: Mapping[str, str]) -> list[tuple[str, str, Mapping[str, str]]]:
    """(name of the answer, task, slot -> key). Raises BrainIACError where the study lacks a scan."""
    head = find_model(task, predictor.models_folder).head
    if task == SEQUENCE_TASK:
        return [(f"{task}{OF_SERIES}{key}", task, {head.slots[0]: key}) for key in slots.values()]
    return [(task, task, _taken(head, slots))]


def _taken(head: HeadContract, slots: Mapping[str, str]) -> dict[str, str]:
    if head.slots == (ANY,):
        key = next((slots[slot] for slot in _FOR_ANY if slot in slots), None)
        if key is None:
            raise BrainIACError("The study has no scan that the model takes.")
        return {ANY: key}
    taken = {slot: slots[slot] for slot in head.slots if slot in slots}
    missing = [slot for slot in head.slots if slot not in slots]
    if not taken or (missing and head.missing_policy == "refuse"):
        raise BrainIACError(f"The study has no {', no '.join(missing)}; the model needs {', '.join(head.slots)}.")
    return taken


def _accepts(predictor: Predictor, task: str) -> bool:
    return find_model(task, predictor.models_folder).head.missing_policy != "refuse"


def _maps(
    predictor: Predictor, task: str, taken: Mapping[str, str], prediction: Prediction, samples: int, job: Job
) -> tuple[dict[str, Explanation], list[str]]:
    """slot -> map, and why there is none where a model has no map of this scan: that costs no answer."""
    maps: dict[str, Explanation] = {}
    doubts: list[str] = []
    for number, (slot, key) in enumerate(taken.items() if samples > 0 else ()):
        part = job.part(number / len(taken), (number + 1) / len(taken))
        try:
            maps[slot] = predictor.explain(task, key, prediction.label, samples, job=part, scans=taken)
        except Cancelled:
            raise
        except BrainIACError as error:
            doubts.append(f"There is no map of where the model looked: {error}")
    return maps, doubts


def _answer(name: str, prediction: Prediction, maps: Mapping[str, Explanation], age_years: float | None) -> Answer:
    found = prediction.trust.prediction_interval
    interval = None
    if found is not None:
        interval = Interval(found.low, found.high, found.coverage.asked, f"it {words.coverage(found.coverage)}")
    return Answer(
        task=name,
        model=str(prediction.provenance["model"]["id"]),
        label=prediction.label,
        headline=prediction.headline,
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        value=prediction.value,
        unit=prediction.unit,
        interval=interval,
        age_gap=age_gap_of(prediction.to_json(), age_years),
        series=prediction.scans,
        warnings=tuple(prediction.warnings),
        valid_range=prediction.valid_range,
        saliency={slot: dict(one.parameters) for slot, one in maps.items()},
        trust=prediction.trust.to_json(),
        provenance=prediction.provenance,
    )
