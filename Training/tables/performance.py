"""Tables of task x initialization x fraction (PROTOCOL P-22, P-25, P-26, P-30, P-32, P-35, P-38 to P-40)."""

from __future__ import annotations

import pandas as pd

from Training.evaluation.evaluation import Evaluation, constant_value
from Training.runs.cell import HELD_OUT, INITIALISATIONS, PAPER, SET_NAMES, VARIANTS, percent
from Training.tables.table import NOTHING, Table, interval_text, no_width_note, p_text
from Training.tasks import TASKS
from Training.tasks.measure import Measure

LEAST_SEEDS = 3
"""Of each cell, and of the pretraining, before a verdict is given."""

MISSING = "missing"
"""What stands for a cell that was wanted and is not finished."""


def performance_tables(evaluation: Evaluation) -> list[Table]:
    """One table a task, split and measure: fractions down, initializations across, values with intervals."""
    return [
        _performance(evaluation, task, split, measure)
        for task in TASKS
        for split in HELD_OUT
        for measure in TASKS[task].measures
        if _has(evaluation, task, split) or (split == "test" and _wanted(evaluation, task))
    ]


def comparison_tables(evaluation: Evaluation) -> list[Table]:
    """One table a task: every pair of initializations at every fraction, each pair and test named (C-12)."""
    tables = []
    for task in TASKS:
        rows = evaluation.comparisons[evaluation.comparisons["task"] == task]
        if rows.empty:
            continue
        digits = {measure.name: (measure.factor, measure.digits) for measure in TASKS[task].measures}
        cells = pd.DataFrame(
            {
                "split": rows["split"],
                "measure": rows["measure"],
                "fraction": rows["fraction"].map(percent),
                "pair": rows["a"] + " - " + rows["b"],
                "difference (95 % CI)": [
                    interval_text(row.difference, row.low, row.high, *digits[row.measure]) for row in rows.itertuples()
                ],
                "p": rows["p"].map(p_text),
                "p, Holm": rows["p_holm"].map(p_text),
                "test": [row.test if isinstance(row.test, str) else row.reason for row in rows.itertuples()],
            }
        )
        note = (
            "Intervals by paired bootstrap of patients. p of AUC by DeLong; of MAE and balanced accuracy by paired "
            "permutation; of the concordance index by bootstrap. Holm: corrected for all pairs and fractions of the "
            "split and measure; the paper corrects nothing. "
            + no_width_note(zip(rows["low"], rows["high"], strict=True))
        ).strip()
        title = f"{TASKS[task].title}: pairs of initializations"
        tables.append(Table(f"{task}_comparisons", title, cells, note, evaluation.simulated(task)))
    return tables


def verdict_table(evaluation: Evaluation) -> Table | None:
    """Where pretraining helps, harms, or shows no difference: each pretraining of the paper's kind against Scratch."""
    table = evaluation.comparisons
    primary = {task: TASKS[task].primary for task in TASKS}
    rows, intervals = [], []
    for row in table[table["a"].isin((PAPER[0], *VARIANTS)) & (table["b"] == PAPER[2])].itertuples():
        measure = primary[row.task]
        if row.measure != measure.name:
            continue
        difference = interval_text(row.difference, row.low, row.high, measure.factor, measure.digits)
        intervals.append((row.low, row.high))
        rows.append(
            {
                "task": TASKS[row.task].title,
                "set": row.split,
                "training data": percent(row.fraction),
                "initialization": row.a,
                "difference from Scratch (95 % CI)": f"{measure.title}: {difference}",
                "p, Holm": p_text(row.p_holm),
                "pretraining": row.reason or _verdict(row, measure) + _beside_a_constant(evaluation, row, measure),
            }
        )
    if not rows:
        return None
    simulated = any(evaluation.simulated(task) for task in TASKS)
    note = (
        f"A verdict takes {LEAST_SEEDS} seeds, and p below 0.05 after Holm's correction. A seed draws the training "
        "cases, the head, the order of the batches and the random weights of Scratch; hold-out and pretraining are the "
        "same in all. A verdict on one pretraining is about that one. No difference shown does not mean no difference."
    )
    note = f"{note} {no_width_note(intervals)}".strip()
    return Table("where_pretraining_helps", "Where pretraining helps", pd.DataFrame(rows), note, simulated)


def _verdict(row, measure: Measure) -> str:
    """In words; never from fewer than ``LEAST_SEEDS`` seeds, and in general only from as many pretrainings."""
    if row.seeds < LEAST_SEEDS:
        return no_verdict(row.seeds)
    if not row.p_holm < 0.05:
        return "no difference shown"
    better = (row.difference < 0) == measure.lower_is_better
    if row.pretrainings < LEAST_SEEDS:
        return f"{'better' if better else 'worse'} with this one pretraining"
    return "helps" if better else "harms"


def no_verdict(seeds: int) -> str:
    """What is said in place of a verdict where there are too few seeds."""
    return f"no verdict: {seeds} seed{'s' if seeds > 1 else ''}, and it takes {LEAST_SEEDS}"


def _beside_a_constant(evaluation: Evaluation, row, measure: Measure) -> str:
    """A remark where the pretrained model is no better than an answer that needs no image."""
    own = evaluation.number(row.task, row.split, measure.name, row.a, row.fraction)
    constant = constant_value(evaluation, row.task, row.split, row.fraction)
    if own is None or constant is None or (own["value"] < constant) == measure.lower_is_better:
        return ""
    return f"; no better than {TASKS[row.task].without_image}"


def subset_tables(evaluation: Evaluation) -> list[Table]:
    """Pairs of sequences (Fig 2C, Extended Data Fig 2) and data sets (Fig 5E, F)."""
    tables = []
    for task in TASKS:
        measure = TASKS[task].primary
        rows = evaluation.numbers[(evaluation.numbers["task"] == task) & (evaluation.numbers["subset"] != "")]
        if rows.empty:
            continue
        cells = pd.DataFrame(
            {
                "split": rows["split"],
                "subset": rows["subset"],
                "fraction": rows["fraction"].map(percent),
                "initialisation": rows["initialisation"],
                f"{measure.title} (95 % CI)": [
                    interval_text(row.value, row.low, row.high, measure.factor, measure.digits)
                    if not row.reason
                    else row.reason
                    for row in rows.itertuples()
                ],
                "cases": rows["cases"].astype(str),
            }
        ).sort_values(["split", "subset", "fraction"], key=_numeric, kind="stable")
        note = no_width_note(zip(rows["low"], rows["high"], strict=True))
        tables.append(
            Table(f"{task}_subsets", f"{TASKS[task].title}: subsets", cells, note, evaluation.simulated(task))
        )
    return tables


def _numeric(column: pd.Series) -> pd.Series:
    """Fractions by size, everything else as text."""
    return column.str.removesuffix(" %").astype(int) if column.name == "fraction" else column


def _has(evaluation: Evaluation, task: str, split: str) -> bool:
    return any(len(run.rows(split)) for run in evaluation.of(task))


def _wanted(evaluation: Evaluation, task: str) -> bool:
    return any(cell.task == task for cell in evaluation.wanted)


def _performance(evaluation: Evaluation, task: str, split: str, measure: Measure) -> Table:
    fractions = sorted({cell.fraction for cell in evaluation.wanted if cell.task == task})
    wanted = {cell.initialisation for cell in evaluation.wanted}
    names = [name for name in INITIALISATIONS if name in PAPER or name in wanted]
    rows, reasons = [], set()
    for fraction in fractions:
        row = {"training data": percent(fraction)}
        for name in names:
            number = evaluation.number(task, split, measure.name, name, fraction)
            if number is None:
                wanted = any(
                    (cell.task, cell.initialisation, cell.fraction) == (task, name, fraction)
                    for cell in evaluation.wanted
                )
                row[name] = MISSING if wanted else NOTHING
                continue
            row[name] = interval_text(number.value, number.low, number.high, measure.factor, measure.digits)
            if number.reason:
                reasons.add(f"{name} at {percent(fraction)}: {number.reason}.")
        rows.append(row)
    own = evaluation.numbers
    own = own[
        (own["task"] == task) & (own["split"] == split) & (own["measure"] == measure.name) & (own["subset"] == "")
    ]
    methods = sorted(set(own["method"].dropna()))
    counts = ", ".join(sorted({f"{row.patients} patients, {row.cases} cases" for row in own.itertuples()}))
    seeds = ", ".join(sorted({str(row.seeds) for row in own.itertuples()}))
    note = f"95 % CI: {' and '.join(methods)}; {counts}; seeds a cell: {seeds}." if methods else ""
    note = " ".join([note, *sorted(reasons), no_width_note(zip(own["low"], own["high"], strict=True))]).strip()
    name = f"{task}_{split}_{measure.name}"
    title = f"{TASKS[task].title}, {SET_NAMES[split]} set: {measure.title}"
    return Table(name, title, pd.DataFrame(rows), note, evaluation.simulated(task))
