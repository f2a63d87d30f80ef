"""What is known of the worth of a trained head, as facts: frozen dataclasses, made by ``judgement``.

``words`` turns them into sentences for the command line, the panel, the model card and the page; ``report_to_json`` and
``report_from_json`` carry them through files, pipes and scenes. Standard library only: Slicer's panel reads them too.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass

from BrainIACLib import typed_json
from BrainIACLib.errors import RequestError

Plain = typing.Any  # what json.loads gives


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval by patient; without limits where there are too few cases of a class."""

    value: float
    low: float | None = None
    high: float | None = None
    p_against_the_mean: float | None = None  # of a mean absolute error: paired, against answering the mean


@dataclass(frozen=True)
class Labels:
    """What there is to learn from: cases of each class; or the range of the numbers (or times) and the events."""

    class_sizes: tuple[int, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    median: float | None = None
    events: int | None = None


@dataclass(frozen=True)
class Chance:
    """How many of ``shuffles`` orders of the labels the same kind of head answers as well; None: not testable."""

    p: float | None
    shuffles: int


@dataclass(frozen=True)
class LearningCurve:
    """``points``: (patients fitted on, main figure); ``gain``: from ``share`` of the patients to all, better is more.

    ``gain`` is None with too few cases for a curve; its limits are None with too few for an interval.
    """

    points: tuple[tuple[float, float], ...]
    share: float | None = None
    gain: Figure | None = None
    negligible: float | None = None  # a gain below this helps nobody


@dataclass(frozen=True)
class Answered:
    """What a head that had not seen the patient said of a case: a class, a number, or a log hazard ratio."""

    case: str
    scans: tuple[str, ...]
    fold: int
    truth: str | float
    answer: str | float
    probabilities: Mapping[str, float] | None = None
    event: bool | None = None


@dataclass(frozen=True)
class HardCase:
    """A case that was answered wrong; ``difficulty`` is 1 - probability of the truth, absolute error, or rank error."""

    case: str
    scans: tuple[str, ...]
    difficulty: float


@dataclass(frozen=True)
class EmbeddingMap:
    """(x, y) of each case in the order of the answers."""

    method: str
    coordinates: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Coverage:
    """Of the prediction set or interval: asked for, and measured on folds not used for it, counted by case."""

    asked: float
    measured: float | None = None  # None: too few cases for that coverage
    quantile: float | None = None  # of a number, half the interval's width
    mean_set_size: float | None = None


@dataclass(frozen=True)
class TemperatureCalibration:
    """Expected calibration errors of held-out probabilities, without and with the temperature of the other folds."""

    temperature: float
    error_before: float
    error_after: float


@dataclass(frozen=True)
class RiskGroup:
    """Mean probability of an event by the end point, and its share by Kaplan-Meier."""

    predicted: float
    observed: float
    cases: int


@dataclass(frozen=True)
class RiskCalibration:
    """Of survival: mean distances of held-out probabilities from Kaplan-Meier; ``before``: without the slope."""

    slope: float
    baseline: float
    error_before: float
    error_after: float
    error_by_chance: float
    groups: tuple[RiskGroup, ...]


@dataclass(frozen=True)
class RiskGroups:
    """Cases above and not above the median risk of the cases that their head was fitted on (C-10), and log-rank p.

    ``p`` is None where one group is empty. ``threshold``: of the installed head, on its probability.
    """

    high: int
    low: int
    p: float | None
    threshold: float


@dataclass(frozen=True)
class Association:
    """How far the label can be read off another column of the table; ``strong``: the interval begins beyond a limit."""

    column: str
    measure: str  # one of associations.MEASURES
    figure: Figure
    cases: int
    strong: bool


@dataclass(frozen=True)
class NearDuplicate:
    """Two cases under different names whose embeddings lie closer than those of different people do here."""

    first: str
    second: str
    distance: float
    typical: float  # of nearest neighbors around them


@dataclass(frozen=True)
class Comparison:
    """Another answer to the same cases under the same folds, and by how much the head is better (positive: better)."""

    name: str
    figure: Figure
    gain: Figure | None = None  # of the head over it; None for the head itself


@dataclass(frozen=True)
class Site:
    """A site that was left out as a whole: its cases, and the main figure on them where it is defined."""

    name: str
    cases: int
    figure: Figure | None


@dataclass(frozen=True)
class SitesLeftOut:
    """``figure``: over all cases, each answered by a head that had seen no case of its site; None: not defined."""

    column: str
    figure: Figure | None
    sites: tuple[Site, ...]
    untold: int = 0  # cases whose site could not be left out, as the others lack a class or events


@dataclass(frozen=True)
class Repeatability:
    """Agreement of held-out answers about people with several cases: ICC(1), one-way random effects."""

    people: int
    cases: int
    icc: Figure


@dataclass(frozen=True)
class HeadReport:
    """Everything that a person needs to judge a head. All figures are of cases that the answering head had not seen."""

    notice: str
    library: str
    task: str
    kind: str
    target: str
    classes: tuple[str, ...]
    unit: str | None
    solver: str
    penalty: float
    endpoint: float | None
    balanced: bool
    seed: int
    cases: int
    patients: int
    scans: int
    slots: tuple[str, ...]
    labels: Labels
    folds: int
    penalties_of_folds: tuple[float, ...]
    main_figure: str
    metrics: Mapping[str, Figure]
    permutation: Chance
    learning_curve: LearningCurve
    out_of_fold: tuple[Answered, ...]
    hardest: tuple[HardCase, ...]
    map: EmbeddingMap
    conformal: Coverage | None  # None: survival, which has none
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    confusion: tuple[tuple[int, ...], ...] = ()  # rows are the true classes, columns the answers
    calibration: TemperatureCalibration | None = None
    risk_calibration: RiskCalibration | None = None
    median_split: RiskGroups | None = None
    near_duplicates: tuple[NearDuplicate, ...] = ()
    associations: tuple[Association, ...] = ()
    baselines: tuple[Comparison, ...] = ()
    covariates: tuple[Comparison, ...] = ()  # image alone, covariates alone, both
    harmonised: Comparison | None = None
    sites: SitesLeftOut | None = None
    repeatability: Repeatability | None = None


def report_to_json(report: HeadReport) -> dict[str, Plain]:
    """Plain dictionaries, lists, texts and numbers; ``in_words`` holds the sentences beside the facts."""
    from BrainIACLib.head_training.words import sections

    words = {section.title: list(section.lines) for section in sections(report)}
    return {**dataclasses.asdict(report), "in_words": words}


def report_from_json(document: Mapping[str, Plain]) -> HeadReport:
    """What ``report_to_json`` wrote.

    Raises
    ------
    ValueError : it is no such report, or one of another version of BrainIAC.
    """
    facts = {name: value for name, value in document.items() if name != "in_words"}
    try:
        return typed_json.decoded(HeadReport, facts, "The report of a trained head")
    except RequestError as error:
        raise ValueError(f"this is no report of a trained head, or one of another version: {error}") from None
