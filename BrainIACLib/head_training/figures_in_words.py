"""The figures of a trained head in sentences: how good, better than chance or not, calibrated, covered."""

from __future__ import annotations

from BrainIACLib.head_training.report import (
    Comparison,
    Coverage,
    Figure,
    HeadReport,
    LearningCurve,
    RiskCalibration,
    RiskGroups,
)

SIGNIFICANT = 0.05
LEAST_DISTINCT = 20  # with fewer ways to label the cases, no p below SIGNIFICANT could be believed
UNTESTED = (
    f"too few patients have equally many cases, and their labels can be shuffled in fewer than {LEAST_DISTINCT} ways"
)


def worth(report: HeadReport) -> tuple[str, ...]:
    """Figures, chance, learning curve, risk groups, calibration, coverage, repeated scans."""
    lines = [f"{name} {number(figure)}: {_meaning(report, name)}" for name, figure in report.metrics.items()]
    p = report.metrics[report.main_figure].p_against_the_mean
    if p is not None:
        lines.append(f"against always answering the mean: p = {p:.3g}")
    lines += [chance_in_words(report.permutation.p), learning(report.learning_curve, report.main_figure)]
    if report.median_split is not None:
        lines.append(risk_groups(report.median_split))
    if report.risk_calibration is not None:
        lines.append(risk_calibration(report.risk_calibration, f"{report.endpoint:g} {report.unit}"))
    if report.calibration is not None:
        errors = report.calibration
        lines.append(
            f"calibration error of the probabilities {errors.error_after:.2f} (without temperature "
            f"{errors.error_before:.2f})"
        )
    lines.append(coverage(report))
    if report.repeatability is not None:
        repeated = report.repeatability
        lines.append(
            f"repeated scans: the answers about {repeated.people} people with {repeated.cases} cases agree with ICC(1) "
            f"{number(repeated.icc)}; 1 is perfect"
        )
    return tuple(lines)


def number(figure: Figure) -> str:
    """With its interval, where there is one."""
    interval = "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.value:.3f}{interval}"


def _meaning(report: HeadReport, name: str) -> str:
    guessing = 1 / max(1, len(report.classes))
    of_two = report.classes if len(report.classes) == 2 else ("", "")
    meaning = {
        "MAE": f"mean absolute error in {report.unit}; 0 is perfect",
        "MAE of the mean": "what always answering the mean of the others errs by",
        "R2": "share of the variance explained; 1 is perfect, 0 is no better than the mean",
        "C-index": "chance that of two people the one who had the event first had the higher risk; 0.5 is guessing",
        "AUC": f"chance that a case of '{of_two[1]}' scores above one of '{of_two[0]}'; 0.5 is guessing",
        "balanced accuracy": f"mean accuracy of the classes; {guessing:.2f} is guessing",
        "accuracy": "share of cases that are answered right",
    }[name]
    few = "" if report.metrics[name].low is not None else "; no interval, too few cases of a class"
    return meaning + few


def chance_in_words(p: float | None) -> str:
    """Whether shuffled labels do as well."""
    if p is None:
        return f"It cannot be tested whether this head is better than chance: {UNTESTED}."
    if p < SIGNIFICANT:
        return f"The embedding says something of the labels: heads of shuffled labels do as well with p = {p:.3g}."
    return f"Heads of shuffled labels do as well with p = {p:.2f}: there is no evidence of more than chance."


def doubt_of_worth(p: float | None) -> str | None:
    """What every answer of the head must say after "Unverified:", or None where the labels beat the shuffled ones."""
    if p is None:
        return f"that it is better than chance: no test was possible, as {UNTESTED}"
    if p < SIGNIFICANT:
        return None
    return f"that it is better than chance: in its own cross-validation shuffled labels did as well (p = {p:.2f})"


def learning(curve: LearningCurve, name: str) -> str:
    """Whether more cases would help."""
    if curve.gain is None:
        return "Too few cases for a learning curve."
    gain = curve.gain
    if gain.low is None or gain.high is None or curve.negligible is None:
        return "Whether more cases would help cannot be told from so few."
    against = (
        f"from {curve.share:.0%} of the cases to all, the {name} improved by {gain.value:+.3f} ({gain.low:+.3f} to "
        f"{gain.high:+.3f})"
    )
    if gain.low > 0:
        return f"More cases would help: {against}."
    if gain.high < curve.negligible:
        return f"More cases like these would hardly help: {against}."
    return f"Whether more cases would help cannot be told: {against}."


def risk_groups(found: RiskGroups) -> str:
    """The log-rank test between them."""
    if found.p is None:
        return "All cases lie on one side of the median risk of the training cases: no high and low group."
    sizes = f"{found.high} against {found.low} cases"
    return (
        f"High against low risk, split at the median of the cases that each head was fitted on ({sizes}): log-rank "
        f"p = {found.p:.3g}."
    )


def risk_calibration(found: RiskCalibration, end: str) -> str:
    """How far the probabilities are from Kaplan-Meier."""
    groups = f"{len(found.groups)} groups by risk" if len(found.groups) > 1 else "all cases"
    earlier = "" if found.slope == 1 else f"; {found.error_before:.2f} before the spread of the risks was corrected"
    return (
        f"The probability of an event by {end}, held out, differs from Kaplan-Meier by {found.error_after:.2f} on "
        f"average in {groups} (chance alone: at least {found.error_by_chance:.2f}{earlier})."
    )


def coverage(report: HeadReport) -> str:
    """Of the prediction set or interval, without a full stop."""
    found = report.conformal
    if found is None:
        return "prediction set: none for survival, as censored times have no score"
    if found.measured is None:
        return f"prediction set or interval: none, too few cases for a coverage of {found.asked:.0%}"
    if report.kind == "regression":
        meaning = f"prediction interval: the answer plus or minus {found.quantile:.3g} {report.unit}"
    else:
        meaning = (
            f"prediction set: the classes that cannot be excluded, on average {found.mean_set_size:.1f} of "
            f"{len(report.classes)}"
        )
    return f"{meaning}; {coverage_asked(found)}, {counted(report)}"


def coverage_asked(found: Coverage) -> str:
    """Asked for and measured."""
    return f"coverage asked {found.asked:.0%}, measured {found.measured:.0%}"


def counted(report: HeadReport) -> str:
    """By what coverage is counted; with several cases a patient, by case is not by patient."""
    if report.patients == report.cases:
        return "counted by case; every patient has one"
    return (
        f"counted by case, not by patient: {report.cases} cases of {report.patients} patients, where a patient with "
        "several cases counts several times"
    )


def comparisons(found: tuple[Comparison, ...], ours: str = "the head is") -> tuple[str, ...]:
    """Each with its figure, and by how much ``ours`` is better."""
    return tuple(
        f"{one.name}: {number(one.figure)}" + ("" if one.gain is None else f"; {ours} better by {_signed(one.gain)}")
        for one in found
    )


def _signed(figure: Figure) -> str:
    interval = "" if figure.low is None else f" ({figure.low:+.3f} to {figure.high:+.3f})"
    return f"{figure.value:+.3f}{interval}"
