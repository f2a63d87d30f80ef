"""The report of a trained head in sentences: one set of functions for command line, panel, model card and page.

Standard library only. Every sentence says what was measured; the facts are in ``report``.
"""

from __future__ import annotations

from dataclasses import dataclass

from BrainIACLib.head_training.figures_in_words import comparisons, doubt_of_worth, number, worth
from BrainIACLib.head_training.report import Answered, Association, Comparison, HeadReport, SitesLeftOut
from BrainIACLib.trust.words import probability

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
        Section(f"Cross-validated by patient in {report.folds} folds (95% intervals by patient)", worth(report)),
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
        return f"is {answer.truth}, answered {answer.answer} ({probability(sure)})"
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
