"""The report of a trained head in sentences: one set of functions for command line, panel, model card and page.

Standard library only. Every sentence says what was measured; the facts are in ``report``.
"""

from __future__ import annotations

from dataclasses import dataclass

from BrainIACLib.head_training.report import (
    Answered,
    Association,
    Comparison,
    Coverage,
    Figure,
    HeadReport,
    LearningCurve,
    RiskCalibration,
    RiskGroups,
    SitesLeftOut,
)

SIGNIFICANT = 0.05
LEAST_DISTINCT = 20  # with fewer ways to label the cases, no p below SIGNIFICANT could be believed
UNTESTED = (
    f"too few patients have equally many cases, and their labels can be shuffled in fewer than {LEAST_DISTINCT} ways"
)
MOST_NAMED = 3


@dataclass(frozen=True)
class Section:
    """A heading and its lines, each a sentence or a clause without its full stop."""

    title: str
    lines: tuple[str, ...]


def sections(report: HeadReport) -> tuple[Section, ...]:
    """The whole report, what to doubt first; sections with nothing to say are left out."""
    found = (
        Section("Before you use it", doubts(report)),
        Section("Learned from", (subject(report), labels_in_words(report))),
        Section(f"Cross-validated by patient in {report.folds} folds (95 % intervals by patient)", worth(report)),
        Section("Beside answers that need no encoder, under the same folds", comparisons(report.baselines)),
        Section("Image and covariates side by side", comparisons(report.covariates, "both are")),
        Section("Sites", sites(report)),
        Section("The label and the other columns of the table", tuple(map(association, report.associations))),
        Section("Notes", report.notes),
    )
    return tuple(section for section in found if section.lines)


def subject(report: HeadReport) -> str:
    """What was learned by what, from how much."""
    counts = f"{report.cases} cases of {report.patients} patients ({report.scans} scans)"
    return f"{report.task}: {report.kind} of '{report.target}', {report.solver}, {counts}"


def labels_in_words(report: HeadReport) -> str:
    """Sizes of classes, range of numbers, events."""
    labels = report.labels
    if report.kind == "classification":
        sizes = zip(report.classes, labels.class_sizes, strict=True)
        return "cases: " + ", ".join(f"{name} {count}" for name, count in sizes)
    spread = f"{labels.lowest:.4g} to {labels.highest:.4g} {report.unit}, median {labels.median:.4g}"
    if report.kind == "survival":
        return f"{labels.events} events in {report.cases} cases; times {spread}"
    return f"values {spread}"


def doubts(report: HeadReport) -> tuple[str, ...]:
    """What can make all figures worthless: leaks, a label in disguise, nothing beyond chance or trivial answers."""
    lines = []
    if pairs := report.near_duplicates:
        named = "; ".join(f"{pair.first} and {pair.second}" for pair in pairs[:MOST_NAMED])
        more = f" and {len(pairs) - MOST_NAMED} more pairs" if len(pairs) > MOST_NAMED else ""
        closest = min(pairs, key=lambda pair: pair.distance / pair.typical)
        lines.append(
            f"The same person under two names? {named}{more}: their embeddings lie {closest.distance:.2g} apart, "
            f"nearest neighbors around them {closest.typical:.2g}. They count as one patient here; correct the table."
        )
    for found in report.associations:
        if found.strong:
            lines.append(
                f"The label can be read off the column '{found.column}' ({_associated(found)}): unless this is the "
                "label itself, the head may have learned that column instead."
            )
    if (chance := doubt_of_worth(report.permutation.p)) is not None:
        lines.append(f"Not shown: {chance}.")
    if (best := _best_trivial(report)) is not None:
        lines.append(
            f"Not shown to be better than {best.name}: {report.main_figure} {number(best.figure)} against "
            f"{number(report.metrics[report.main_figure])} of the head."
        )
    return tuple(lines)


def _best_trivial(report: HeadReport) -> Comparison | None:
    """The best of the trivial answers that the head is not shown to be better than; None if there is none."""
    gains = {one: one.gain for one in report.baselines if one.gain is not None}
    ahead = [one for one, gain in gains.items() if gain.low is None or gain.low <= 0]
    return min(ahead, key=lambda one: gains[one].value, default=None)


def unverified(report: HeadReport) -> tuple[str, ...]:
    """The doubts as every answer of the head repeats them after "Unverified:", without a full stop."""
    found = [doubt_of_worth(report.permutation.p)]
    found += [
        f"that it learned '{report.target}' and not '{one.column}', off which its label could be read"
        for one in report.associations
        if one.strong
    ]
    if pairs := len(report.near_duplicates):
        found.append(f"who is who in its training table: {pairs} pairs of cases may be one person under two names")
    if (best := _best_trivial(report)) is not None:
        found.append(f"that it is better than {best.name}")
    return tuple(text for text in found if text is not None)


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


def sites(report: HeadReport) -> tuple[str, ...]:
    """Each site left out, and what harmonization would change."""
    lines: list[str] = []
    if report.sites is not None:
        lines += _sites_left_out(report.sites, report.main_figure)
    if report.harmonised is not None:
        lines += comparisons((report.harmonised,))
    return tuple(lines)


def _sites_left_out(found: SitesLeftOut, name: str) -> list[str]:
    whole = "not defined" if found.figure is None else number(found.figure)
    lines = [f"{name} with each '{found.column}' left out as a whole: {whole}"]
    lines += [
        f"'{site.name}' left out ({site.cases} cases): "
        + ("not defined on it alone" if site.figure is None else number(site.figure))
        for site in found.sites
    ]
    if found.untold:
        lines.append(f"{found.untold} cases could not be left out: the other sites lack a class or events")
    return lines


def association(found: Association) -> str:
    """One line."""
    return f"'{found.column}': {_associated(found)}, {found.cases} cases"


def _associated(found: Association) -> str:
    return f"{found.measure} {number(found.figure)}"


def answer_in_words(answer: Answered, unit: str | None) -> str:
    """What was true and what was said."""
    if answer.probabilities is not None:
        sure = answer.probabilities[str(answer.answer)]
        return f"is {answer.truth}, answered {answer.answer} ({sure:.2f})"
    if answer.event is not None:
        fate = "event at" if answer.event else "censored at"
        return f"{fate} {answer.truth:.4g} {unit}, log hazard ratio {answer.answer:+.2f}"
    return f"is {answer.truth:.4g}, answered {answer.answer:.4g} {unit}"


def hardest_in_words(report: HeadReport, most: int) -> tuple[str, ...]:
    """The answers that were most wrong, worst first."""
    answers = {answer.case: answer for answer in report.out_of_fold}
    return tuple(
        f"{' + '.join(hard.scans)}: {answer_in_words(answers[hard.case], report.unit)}"
        for hard in report.hardest[:most]
    )


def figures_for_contract(report: HeadReport) -> tuple[str, ...]:
    """The figures as every answer of the head may quote them."""
    p = report.permutation.p
    lines = [f"{name} {number(figure)}, nested cross-validation by patient" for name, figure in report.metrics.items()]
    return (*lines, "against chance: not tested" if p is None else f"against chance: p = {p:.3g}")
