"""``python -m Training.reproduction.results_page --report open/ --tuned tuned/ more/``: RESULTS_TABLES.md.

Reads the runs that ``reproduce --cohort open`` left in ``open/work``, and in ``tuned/work`` and others those of the
preset ``tuned``, and writes what stands between the two marks of the page. Everything else on it is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from BrainIACLib.errors import BrainIACError, ResultsError
from BrainIACLib.publishing import write_text
from BrainIACLib.statistics.agreement import agreement
from Training.evaluation.evaluation import Evaluation, aligned, evaluate
from Training.reproduction.designs import OPEN_DESIGNS
from Training.runs.cell import HELD_OUT, INITIALISATIONS, PAPER, SET_NAMES, TRIVIAL, percent
from Training.tables.performance import LEAST_SEEDS, no_verdict
from Training.tables.table import interval_text, p_text
from Training.tasks import AGE, TASKS

BEGIN, END = "<!-- written by results_page: begin -->", "<!-- written by results_page: end -->"
PAGE = Path(__file__).resolve().parent.parent / "RESULTS_TABLES.md"
SHOWN = (0.1, 1.0)
NAMES = {"contrast": "gamma", "gibbs": "Gibbs", "bias_field": "bias field"}
LEVELS = (("contrast", 1.0), ("contrast", 0.5), ("contrast", 2.0), ("gibbs", 0.4), ("bias_field", 0.4))
"""Of the perturbed scans: as they are, then the paper's strongest, the same for every line and never chosen."""
FEW_SCANS = 5
SEEDS_SAID = ["95 % over persons, averaged over the seeds; in brackets the lowest and the highest seed.", ""]


def section(evaluation: Evaluation, says: str) -> str:
    """Scores by set and amount of training data, then the paired comparisons on all data, as Markdown."""
    how = "" if evaluation.mode == "probe" else "; whole networks tuned"
    heading = f"### {says[0].upper()}{says[1:]}{how}"
    if evaluation.missing:
        return "\n".join(
            [heading, "", f"Not finished: {len(evaluation.missing)} of {len(evaluation.wanted)} runs are missing.", ""]
        )
    lines = []
    for task in dict.fromkeys(run.cell.task for run in evaluation.runs):
        measure = TASKS[task].primary
        there = {run.cell.initialisation for run in evaluation.of(task)}
        names = [name for name in INITIALISATIONS if name in there]
        lines += [f"{heading}: {measure.title}", "", *SEEDS_SAID]
        lines += ["| set | training data | " + " | ".join(map(evaluation.shown, names)) + " |"]
        lines += ["|---" * (2 + len(names)) + "|"]
        for split in HELD_OUT:
            for fraction in SHOWN:
                numbers = [evaluation.number(task, split, measure.name, name, fraction) for name in names]
                known = [one for one in numbers if one is not None and not one["reason"]]
                if known:
                    cells = [
                        _cell(number, measure, _by_seed(evaluation, task, split, name, fraction))
                        for name, number in zip(names, numbers, strict=True)
                    ]
                    of = f"{SET_NAMES[split]}, {known[0]['patients']} persons"
                    lines.append(f"| {of} | {percent(fraction)} | " + " | ".join(cells) + " |")
        lines += ["", *_comparisons(evaluation, task), *_pairs_of_seeds(evaluation, task)]
        lines += _few_of_a_class(evaluation, task)
        if task == AGE.name:
            lines += [*_offsets(evaluation, task, names), *_own_medians(evaluation)]
        lines.append("")
    return "\n".join(lines)


def perturbed(evaluations: Sequence[Evaluation], says: str) -> str:
    """As Markdown, Figure 4 in numbers, on the external set or without one the internal: the measure of scans as they
    are, and at the strongest levels of each artifact. ``evaluations`` : the modes of one question."""
    lines: list[str] = []
    for task in dict.fromkeys(run.cell.task for one in evaluations for run in one.runs):
        measure = TASKS[task].primary
        tables = {
            (one.mode, name): table[table["metric"] == measure.name]
            for one in evaluations
            for name in INITIALISATIONS
            if (table := one.stability(task, name)) is not None
        }
        if not tables:
            continue
        split = max(HELD_OUT, key=lambda name: (name in set(next(iter(tables.values()))["split"]), name == "external"))
        lines += [f"### Perturbed scans, {says}, {SET_NAMES[split]} set: {measure.title}", ""]
        lines += SEEDS_SAID
        lines += [
            "| line | as they are | " + " | ".join(f"{NAMES[kind]} {level:g}" for kind, level in LEVELS[1:]) + " |"
        ]
        lines += ["|---" * (1 + len(LEVELS)) + "|"]
        for one in evaluations:
            for name in INITIALISATIONS:
                if (one.mode, name) not in tables:
                    continue
                table = tables[one.mode, name]
                cells = [_at(table[table["split"] == split], kind, level, measure) for kind, level in LEVELS]
                tuned = ", tuned" if one.mode == "finetune" else ""
                lines.append(f"| {one.shown(name)}{tuned} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _at(table, kind: str, level: float, measure) -> str:
    found = table[(table["perturbation"] == kind) & np.isclose(table["level"], level)]
    if not len(found):
        return "-"
    row = found.iloc[0]
    text = interval_text(row["value"], row["low"], row["high"], measure.factor, measure.digits)
    if row["seeds"] < 2:
        return text
    return f"{text} {_ends(row['lowest_seed'], row['highest_seed'], measure)}"


def _few_of_a_class(evaluation: Evaluation, task: str) -> Iterator[str]:
    """A warning beside scores of a set that has few scans of a class."""
    runs = evaluation.of(task)
    if not TASKS[task].classes:
        return
    for split in HELD_OUT:
        counts = runs[0].rows(split)["truth"].value_counts()
        if len(counts) and counts.min() < FEW_SCANS:
            of = ", ".join(f"{name} {count}" for name, count in counts.items())
            yield f"- {SET_NAMES[split]}: its scans are {of}; **of so few scans of a class its scores say little**."


def _offsets(evaluation: Evaluation, task: str, names: Sequence[str]) -> Iterator[str]:
    """A line a set: of all training data, each line's mean answer minus age, and its correlation with age."""
    for split in HELD_OUT:
        found = []
        for name in names:
            tables = [rows for rows in aligned(evaluation.of(task, name, 1.0), split) if len(rows)]
            pairs = [agreement(rows["truth"], rows["score"]) for rows in tables]
            if pairs:
                r = [one.r for one in pairs if one.r is not None]
                bias = np.mean([one.bias for one in pairs])
                found.append(f"{evaluation.shown(name)} {bias:+.1f}, {f'{np.mean(r):.2f}' if r else 'no r'}")
        if found:
            of = f"{SET_NAMES[split]}, all training data, bias (years) and r, means of the seeds"
            yield f"- {of}: {'; '.join(found)}."


def _own_medians(evaluation: Evaluation) -> Iterator[str]:
    """A line a set: how far its ages spread. A line that errs by more than their own median knows less of a person than
    the set's ages tell, however far it is before a constant that was learned elsewhere."""
    for split in HELD_OUT:
        ages = evaluation.of(AGE.name)[0].rows(split)["truth"]
        if len(ages):
            error = (ages - ages.median()).abs().mean()
            yield (
                f"- {SET_NAMES[split]}: ages of {ages.min():.0f} to {ages.max():.0f}; their own median, which no line "
                f"could learn, errs by {error:.2f} years."
            )


def _cell(number, measure, by_seed: Sequence[float]) -> str:
    if number is None or number["reason"]:
        return "-"
    text = interval_text(number["value"], number["low"], number["high"], measure.factor, measure.digits)
    return text if len(by_seed) < 2 else f"{text} {_ends(min(by_seed), max(by_seed), measure)}"


def _by_seed(evaluation: Evaluation, task: str, split: str, name: str, fraction: float) -> list[float]:
    return [TASKS[task].primary.value(run.rows(split)) for run in evaluation.of(task, name, fraction)]


def _pairs_of_seeds(evaluation: Evaluation, task: str) -> Iterator[str]:
    """A line a set: in how many pairs of one seed and one amount the pretraining is better than random weights."""
    measure = TASKS[task].primary
    fractions = sorted({run.cell.fraction for run in evaluation.of(task, PAPER[0])})
    for split in HELD_OUT:
        if not len(evaluation.of(task)[0].rows(split)):
            continue
        values = [[_by_seed(evaluation, task, split, name, one) for one in fractions] for name in (PAPER[0], PAPER[2])]
        own, random = (np.concatenate(of_line) if of_line else np.empty(0) for of_line in values)
        if len(own) == len(random) > 1:
            better = int((own < random if measure.lower_is_better else own > random).sum())
            pair = f"{evaluation.shown(PAPER[0])} is better than {evaluation.shown(PAPER[2])}"
            yield f"- {SET_NAMES[split]}: {pair} in {better} of {len(own)} pairs of a seed and an amount of data."


def _ends(lowest: float, highest: float, measure) -> str:
    return f"[{lowest * measure.factor:.1f}, {highest * measure.factor:.1f}]"


def _comparisons(evaluation: Evaluation, task: str) -> list[str]:
    """A line a set: which pairs with random weights or with what needs no training differ, by how much."""
    measure, table = TASKS[task].primary, evaluation.comparisons
    chosen = table[(table["task"] == task) & (table["measure"] == measure.name) & (table["fraction"] == 1.0)]
    chosen = chosen[chosen["b"].isin((*TRIVIAL, PAPER[2])) | chosen["a"].isin((PAPER[2],))]
    shown: dict[str, list[str]] = {}
    counted: dict[str, int] = {}
    for row in chosen.itertuples():
        if not np.isfinite(row.difference):
            continue
        found = shown.setdefault(SET_NAMES[row.split], [])
        counted[SET_NAMES[row.split]] = counted.get(SET_NAMES[row.split], 0) + 1
        if row.seeds < LEAST_SEEDS:
            return [f"{no_verdict(row.seeds).capitalize()}."]
        if row.p_holm < 0.05:
            a, b = map(evaluation.shown, (row.a, row.b))
            better, worse = (a, b) if (row.difference < 0) == measure.lower_is_better else (b, a)
            low, high = sorted((abs(row.low), abs(row.high)))  # of one sign where p is this low
            text = interval_text(abs(row.difference), low, high, measure.factor, measure.digits)
            found.append(f"{better} before {worse} by {text}, p {p_text(row.p_holm)}")
    families = {
        SET_NAMES[split]: int(np.isfinite(of["p"].to_numpy(dtype=float)).sum())
        for split, of in table[(table["task"] == task) & (table["measure"] == measure.name)].groupby("split")
    }
    return [
        f"- {name}, all training data, {len(found)} of {counted[name]} pairs with Scratch or what needs no training "
        f"differ (95 % CI, p after Holm of {families[name]}): " + ("; ".join(found) or "none") + "."
        for name, found in shown.items()
    ]


def tables(report: Path, resamples: int, tuned: Sequence[Path] = ()) -> str:
    """The sections of all questions whose runs are there.

    Parameters
    ----------
    tuned : reports of the preset ``tuned``; of them tuned networks and perturbed scans are told, in own sections.
    """
    found = []
    for one, says in _questions(report, resamples):
        if one.mode == "probe":
            found.append(section(one, says))
    of_question: dict[str, list[Evaluation]] = {}
    for folder in tuned:
        for one, says in _questions(folder, resamples):
            of_question.setdefault(says, []).append(one)
    for says, evaluations in of_question.items():
        found += [section(one, says) for one in evaluations if one.mode == "finetune"]
        if not any(one.missing for one in evaluations):
            found.append(perturbed(evaluations, says))
    if not found:
        raise ResultsError(
            f"'{report}' holds no runs of the cohort open; write them with 'python -m Training reproduce'."
        )
    return "\n".join(found)


def _questions(report: Path, resamples: int) -> Iterator[tuple[Evaluation, str]]:
    """What was measured of each question and mode, and what the question says."""
    for design in OPEN_DESIGNS:
        runs = report / "work" / f"runs-{design.name}"
        if runs.is_dir():
            yield from ((one, design.says) for one in evaluate(runs, resamples) if one.runs)


def main(argv: list[str]) -> int:
    """Exit status 0: the page is written."""
    parser = argparse.ArgumentParser(prog="python -m Training.reproduction.results_page", description=__doc__)
    parser.add_argument("--report", type=Path, required=True, help="the --out of 'reproduce --cohort open'")
    parser.add_argument("--tuned", type=Path, nargs="+", default=[], help="those of the preset tuned")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into (Training/RESULTS_TABLES.md)")
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args(argv)
    try:
        text = options.page.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise ResultsError(f"'{options.page}' lacks the marks '{BEGIN}' and '{END}'.")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        made = tables(options.report, options.resamples, options.tuned)
        write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", options.page)
    except BrainIACError as error:
        print(f"results_page: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
