"""What is known of one answer beyond itself, as facts; the sentences about them are in ``words``."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from BrainIACLib.trust import words


class Severity(enum.Enum):
    """How much a doubt weighs."""

    none = "none"  # nothing was found; the answer may still be wrong
    doubt = "doubt"  # a reason to look again
    grave = "grave"  # outside what the model knows: do not rely on the answer


@dataclass(frozen=True)
class Doubt:
    """A reason to doubt an answer, in one sentence."""

    text: str
    severity: Severity = Severity.doubt


@dataclass(frozen=True)
class Measured:
    """How far a set or an interval is to be believed.

    ``asked``: the share of cases that is meant to hold the truth; ``measured``: the share of held-out cases of the
    training's kind that did, None if nobody measured; ``sets``: what those cases were.
    """

    asked: float
    measured: float | None
    sets: tuple[str, ...]


@dataclass(frozen=True)
class PredictionSet:
    """The classes that cannot be excluded; the answer itself is always one of them."""

    classes: tuple[str, ...]
    coverage: Measured


@dataclass(frozen=True)
class PredictionInterval:
    """The values that cannot be excluded, in the unit shown."""

    low: float
    high: float
    unit: str
    coverage: Measured


@dataclass(frozen=True)
class Distance:
    """How unlike the training cases: 95 % of them lie below 1; above ``warn_above`` the answer is doubted."""

    score: float
    warn_above: float


@dataclass(frozen=True)
class Spread:
    """The numbers of small variants, the first unchanged: probabilities of a class, or values in ``unit``."""

    variants: tuple[str, ...]
    numbers: tuple[float, ...]
    unit: str | None

    @property
    def mean(self) -> float:
        """Of all variants."""
        return fmean(self.numbers)

    @property
    def standard_deviation(self) -> float:
        """Of all variants."""
        return pstdev(self.numbers)


@dataclass(frozen=True)
class Stability:
    """The number under a perturbation of growing level; ``number``: without it."""

    perturbation: str
    curve: tuple[tuple[float, float], ...]  # level, number
    number: float
    unit: str | None

    @property
    def largest_change(self) -> float:
        """Of the number, at any level."""
        return max(abs(number - self.number) for _, number in self.curve)


@dataclass(frozen=True)
class SanityCheck:
    """The rank correlation (Spearman) of a saliency map with that of shuffled weights; None if one is constant."""

    rank_correlation: float | None
    samples: int


@dataclass(frozen=True)
class Driver:
    """What one part of an embedding of volumes adds to a number; of a structure, also its share of the intracranial
    volume and that of the training persons, in percent."""

    what: str
    adds: float
    percent: float | None = None
    usual_percent: float | None = None


@dataclass(frozen=True)
class Drivers:
    """The parts of a number, in its ``unit``, against the mean of the training persons; they add up to it."""

    unit: str
    parts: tuple[Driver, ...]


@dataclass(frozen=True)
class Trust:
    """Everything that is known; None or empty where the contract allows nothing to be said, or nobody asked."""

    prediction_set: PredictionSet | None = None
    prediction_interval: PredictionInterval | None = None
    novelty: Distance | None = None
    drivers: Drivers | None = None
    spread: Spread | None = None
    stability: tuple[Stability, ...] = ()
    sanity_check: SanityCheck | None = None
    grave: tuple[str, ...] = ()  # those of the answer's warnings for which it must not be relied on
    standing: tuple[str, ...] = ()  # those that stand with every answer of the head, and tell no scan from another

    def to_json(self) -> dict[str, Any]:
        """What is known, each finding with its ``meaning`` in words."""
        found: dict[str, Any] = {}
        if self.prediction_set is not None:
            found["prediction_set"] = {
                "coverage": self.prediction_set.coverage.asked,
                "classes": list(self.prediction_set.classes),
                "meaning": words.coverage(self.prediction_set.coverage),
            }
        if self.prediction_interval is not None:
            one = self.prediction_interval
            limits = {"coverage": one.coverage.asked, "low": one.low, "high": one.high, "unit": one.unit}
            found["prediction_interval"] = {**limits, "meaning": words.coverage(one.coverage)}
        if self.novelty is not None:
            found["novelty"] = {
                "score": self.novelty.score,
                "warn_above": self.novelty.warn_above,
                "meaning": words.DISTANCE,
            }
        if self.drivers is not None:
            found["drivers"] = {
                "unit": self.drivers.unit,
                "parts": [dataclasses.asdict(part) for part in self.drivers.parts],
                "meaning": words.drivers(self.drivers),
            }
        if self.spread is not None:
            found["spread"] = {
                "variants": list(self.spread.variants),
                "numbers": list(self.spread.numbers),
                "mean": self.spread.mean,
                "standard_deviation": self.spread.standard_deviation,
                "meaning": words.spread(self.spread),
            }
        if self.stability:
            found["stability"] = {
                one.perturbation: {
                    "curve": [list(pair) for pair in one.curve],
                    "largest_change": one.largest_change,
                    "meaning": words.stability(one),
                }
                for one in self.stability
            }
        if self.sanity_check is not None:
            found["sanity_check"] = {
                "rank_correlation": self.sanity_check.rank_correlation,
                "samples": self.sanity_check.samples,
                "meaning": words.sanity_check(self.sanity_check),
            }
        if self.grave:
            found["grave"] = list(self.grave)
        if self.standing:
            found["standing"] = list(self.standing)
        return found


def weightiest(warnings: Sequence[str], trust: Mapping[str, Any]) -> tuple[Severity, str]:
    """What decides how far an answer is to be relied on, and the sentence for it, "" if there is none.

    Parameters
    ----------
    warnings : of the answer.
    trust : what ``Trust.to_json`` gave; documents of earlier versions may lack any part.

    >>> weightiest(["Thick slices.", "Too old."], {"grave": ["Too old."]})
    (<Severity.grave: 'grave'>, 'Too old.')
    """
    grave, novelty = trust.get("grave", []), trust.get("novelty")
    if grave or (novelty and novelty["score"] > novelty["warn_above"]):
        return Severity.grave, next(iter([*grave, *warnings]), "")
    return (Severity.doubt, warnings[0]) if warnings else (Severity.none, "")
