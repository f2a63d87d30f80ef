"""What is known of an answer, in sentences: one set of functions for command line, panel, picture and page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from BrainIACLib.trust.age_gap import AgeGap
    from BrainIACLib.trust.findings import Drivers, Measured, SanityCheck, Spread, Stability

SMALL_CHANGE = 0.05  # of a probability
SIMILAR_MAPS = 0.5  # rank correlation of a map with that of shuffled weights
DISTANCE = (
    "distance from the training cases; 1 is the edge of what the head was trained on (95% of the training cases lie "
    "within)"
)


def cut(probability: float, digits: int = 2) -> float:
    """A probability with its further digits left off, never rounded up: it must not look as high as a gate that it
    does not reach.

    >>> cut(0.8999), cut(0.9), cut(1.0), cut(0.9 - 9e-9)
    (0.89, 0.9, 1.0, 0.89)
    """
    if not math.isfinite(probability):
        return probability
    return math.floor(probability * 10**digits + 1e-9) / 10**digits  # 0.29 * 100 is 28.999999999999996


def probability(value: float, digits: int = 2) -> str:
    """As it is shown everywhere.

    >>> probability(0.8995), probability(0.89996, 4), probability(float("nan"))
    ('0.89', '0.8999', 'nan')
    """
    return f"{cut(value, digits):.{digits}f}"


def coverage(found: Measured) -> str:
    """What was asked for and on what it was measured: no more is known of other cases."""
    cases = f"held-out cases of the training's kind ({', '.join(found.sets) or 'its sets are not named'})"
    measured = f"not measured on {cases}" if found.measured is None else f"it did in {found.measured:.0%} of {cases}"
    return f"is meant to hold the truth in {found.asked:.0%} of cases like those of the training; {measured}"


AGE_GAP = "Age at the scan {age:.1f} years, brain age gap {gap:+.1f} years"
WITH_INTERVAL = "{text} ({coverage:.0%} interval {low:+.1f} to {high:+.1f})"


def age_gap(found: AgeGap, translated: Callable[[str], str] = str) -> str:
    """Age at the scan and brain age.

    Parameters
    ----------
    translated : gives a template in the language of the reader.
    """
    text = translated(AGE_GAP).format(age=found.age_years, gap=found.gap_years)
    if found.low is None:
        return text
    return translated(WITH_INTERVAL).format(text=text, coverage=found.coverage, low=found.low, high=found.high)


def uncertainty(trust: Mapping[str, Any]) -> str:
    """The prediction interval or set in short, "" where the model states none; for columns and cards.

    >>> uncertainty({"prediction_interval": {"low": 58.0, "high": 70.0, "unit": "years", "coverage": 0.9}})
    '58.0 to 70.0 years (90%)'
    """
    if one := trust.get("prediction_interval"):
        return f"{one['low']:.1f} to {one['high']:.1f} {one['unit']} ({one['coverage']:.0%})"
    if one := trust.get("prediction_set"):
        return f"{', '.join(one['classes'])} ({one['coverage']:.0%})"
    return ""


def drivers(found: Drivers) -> str:
    """Which volumes move a number, and by how much."""
    texts = []
    for part in found.parts:
        shares = ""
        if part.percent is not None:
            shares = f" {part.percent:.2g}% of the intracranial volume (their mean {part.usual_percent:.2g}%)"
        texts.append(f"{part.what}{shares} {part.adds:+.1f}")
    mark = " * measured only roughly." if any(part.what.endswith(" *") for part in found.parts) else ""
    return f"Against the mean of the training persons of all ages, in {found.unit}: {'; '.join(texts)}.{mark}"


def spread(found: Spread) -> str:
    """What small variants do to the answer."""
    changes = [abs(number - found.numbers[0]) for number in found.numbers]
    return _change("a left-right flip and shifts by one voxel", max(changes), found.numbers[0], found.unit)


def stability(found: Stability) -> str:
    """What a perturbation does to the answer."""
    name = "Gibbs ringing" if found.perturbation == "gibbs" else found.perturbation
    return _change(f"changes of {name}", found.largest_change, found.number, found.unit)


def sanity_check(found: SanityCheck) -> str:
    """Whether the saliency map depends on the model."""
    if found.rank_correlation is None:
        return "One of the maps is the same everywhere: whether they depend on the weights cannot be told."
    if found.rank_correlation > SIMILAR_MAPS:
        return (
            "The map stays much the same when the model's weights are shuffled: it shows the scan's edges more than "
            "what the model has learned; do not read it as a reason."
        )
    return "The map changes when the model's weights are shuffled, as it should."


def _change(what: str, change: float, number: float, unit: str | None) -> str:
    if unit is not None:
        return f"Under {what} the answer moves by up to {change:.1f} {unit}."
    verdict = "holds" if change <= SMALL_CHANGE else f"moves by up to {change:.2f}"
    return f"Under {what} the probability ({probability(number)}) {verdict}."


def stated(trust: Mapping[str, Any]) -> Sequence[str]:
    """The lines about what ``Trust.to_json`` gave: set, interval, distance and drivers; older documents may lack any.

    >>> print(*stated({"novelty": {"score": 0.5, "warn_above": 1.2}}))
    Distance from the training cases: 0.50; 95% of them lie below 1, and above 1.20 a warning is given
    """
    lines = []
    if one := trust.get("prediction_set"):
        lines.append(f"Prediction set: {', '.join(one['classes'])}; it {one['meaning']}")
    if one := trust.get("prediction_interval"):
        lines.append(f"Prediction interval: {one['low']:.1f} to {one['high']:.1f} {one['unit']}; it {one['meaning']}")
    if one := trust.get("novelty"):
        lines.append(
            f"Distance from the training cases: {one['score']:.2f}; 95% of them lie below 1, and above "
            f"{one['warn_above']:.2f} a warning is given"
        )
    if one := trust.get("drivers"):
        lines.append(one["meaning"])
    return lines


def examined(trust: Mapping[str, Any]) -> Sequence[str]:
    """The lines about what was examined on request, of the same document."""
    asked = [trust.get("spread"), *trust.get("stability", {}).values(), trust.get("sanity_check")]
    return [found["meaning"] for found in asked if found]
