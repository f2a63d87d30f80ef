"""``python -m Training.reproduction.results_page --report open/``: the tables of RESULTS.md, from finished runs.

Reads the runs that ``reproduce --cohort open`` left in ``open/work`` and writes what stands between the two marks of
the page. Everything else on it is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from BrainIACLib.errors import BrainIACError, ResultsError
from BrainIACLib.publishing import write_text
from Training.evaluation.evaluation import Evaluation, evaluate
from Training.reproduction.designs import OPEN_DESIGNS
from Training.runs.cell import HELD_OUT, INITIALISATIONS, PAPER, TRIVIAL, percent
from Training.tables.performance import LEAST_SEEDS, no_verdict
from Training.tables.table import interval_text, p_text
from Training.tasks import TASKS

BEGIN, END = "<!-- written by results_page: begin -->", "<!-- written by results_page: end -->"
PAGE = Path(__file__).resolve().parent.parent / "RESULTS.md"
SHOWN = (0.1, 1.0)
SETS = {"test": "internal", "external": "external"}


def section(evaluation: Evaluation, says: str) -> str:
    """Scores by set and amount of training data, then the paired comparisons on all data, as Markdown."""
    lines = [f"### {says[0].upper()}{says[1:]}", ""]
    if evaluation.missing:
        return "\n".join(
            [*lines, f"Not finished: {len(evaluation.missing)} of {len(evaluation.wanted)} runs are missing.", ""]
        )
    for task in dict.fromkeys(run.cell.task for run in evaluation.runs):
        measure = TASKS[task].primary
        there = {run.cell.initialisation for run in evaluation.of(task)}
        names = [name for name in INITIALISATIONS if name in there]
        lines += [f"{TASKS[task].title}, {measure.title}:", ""]
        lines += ["| set | training data | " + " | ".join(map(evaluation.shown, names)) + " |"]
        lines += ["|---" * (2 + len(names)) + "|"]
        for split in HELD_OUT:
            for fraction in SHOWN:
                numbers = [evaluation.number(task, split, measure.name, name, fraction) for name in names]
                known = [one for one in numbers if one is not None and not one["reason"]]
                if known:
                    cells = [_cell(one, measure) for one in numbers]
                    of = f"{SETS[split]}, {known[0]['patients']} persons"
                    lines.append(f"| {of} | {percent(fraction)} | " + " | ".join(cells) + " |")
        lines += ["", *_comparisons(evaluation, task), ""]
    return "\n".join(lines)


def _cell(number, measure) -> str:
    if number is None or number["reason"]:
        return "-"
    return interval_text(number["value"], number["low"], number["high"], measure.factor, measure.digits)


def _comparisons(evaluation: Evaluation, task: str) -> list[str]:
    """A line a set: which of the encoders and the features without training differ, by how much."""
    measure, table = TASKS[task].primary, evaluation.comparisons
    chosen = table[(table["task"] == task) & (table["measure"] == measure.name) & (table["fraction"] == 1.0)]
    chosen = chosen[chosen["b"].isin((*TRIVIAL, PAPER[2])) | chosen["a"].isin((PAPER[2],))]
    shown: dict[str, list[str]] = {}
    counted: dict[str, int] = {}
    for row in chosen.itertuples():
        if not np.isfinite(row.difference):
            continue
        found = shown.setdefault(SETS[row.split], [])
        counted[SETS[row.split]] = counted.get(SETS[row.split], 0) + 1
        if row.seeds < LEAST_SEEDS:
            return [f"{no_verdict(row.seeds).capitalize()}."]
        if row.p_holm < 0.05:
            a, b = map(evaluation.shown, (row.a, row.b))
            better, worse = (a, b) if (row.difference < 0) == measure.lower_is_better else (b, a)
            low, high = sorted((abs(row.low), abs(row.high)))  # of one sign where p is this low
            text = interval_text(abs(row.difference), low, high, measure.factor, measure.digits)
            found.append(f"{better} before {worse} by {text}, p {p_text(row.p_holm)}")
    return [
        f"- {name}, all training data, {len(found)} of {counted[name]} pairs differ (95 % CI, p after Holm): "
        + ("; ".join(found) or "none")
        + "."
        for name, found in shown.items()
    ]


def tables(report: Path, resamples: int) -> str:
    """The sections of all questions whose runs are there."""
    found = []
    for design in OPEN_DESIGNS:
        runs = report / "work" / f"runs-{design.name}"
        if runs.is_dir():
            found += [
                section(one, design.says) for one in evaluate(runs, resamples) if one.runs and one.mode == "probe"
            ]
    if not found:
        raise ResultsError(
            f"'{report}' holds no runs of the cohort open; write them with 'python -m Training reproduce'."
        )
    return "\n".join(found)


def main(argv: list[str]) -> int:
    """Exit status 0: the page is written."""
    parser = argparse.ArgumentParser(prog="python -m Training.reproduction.results_page", description=__doc__)
    parser.add_argument("--report", type=Path, required=True, help="the --out of 'reproduce --cohort open'")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into (Training/RESULTS.md)")
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args(argv)
    try:
        text = options.page.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise ResultsError(f"'{options.page}' lacks the marks '{BEGIN}' and '{END}'.")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        made = tables(options.report, options.resamples)
        write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", options.page)
    except BrainIACError as error:
        print(f"results_page: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
