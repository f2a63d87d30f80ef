"""The paper's published numbers beside ours, with what differs in the data (PROTOCOL section 1.1)."""

from __future__ import annotations

import pandas as pd

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.bootstrap import paired_permutation_p
from Training.evaluation.evaluation import Evaluation
from Training.evaluation.feature_clusters import feature_clusters
from Training.evaluation.risk_groups import risk_groups
from Training.runs.cell import PAPER, percent
from Training.runs.reading import Run
from Training.tables.published import COHORTS, LOG_RANK, PUBLISHED, Published, Value
from Training.tables.table import NOTHING, Table, interval_text, no_width_note, p_text
from Training.tasks import SURVIVAL, TASKS

NO_RUN, NO_SET = "no run", "no such set"


def beside_the_paper(evaluation: Evaluation) -> Table:
    """One row a published number and initialization: theirs, ours, and why the two may not be compared."""
    rows = [row for published in PUBLISHED for row in _rows(evaluation, published)]
    rows += [
        {
            "id": row_id,
            "task": SURVIVAL.title,
            "set": split,
            "measure": "log-rank on the median split",
            "training data": "all",
            "initialisation": name,
            "paper": says[name],
            "ours": _log_rank(evaluation, split, name),
            "paper's p": "",
            "our p": "",
            "what differs": differences(evaluation, SURVIVAL.name, split),
        }
        for (row_id, split), says in LOG_RANK.items()
        for name in PAPER
    ]
    note = (
        "Paper: Tak and others, Nature Neuroscience 2026, doi 10.1038/s41593-026-02202-6, with the numbers of its "
        "preprint of 2024; ids T-01 to T-16: rows of our list of them. Our p is of BrainIAC against the row's "
        "initialization. A number can match only on the named cohort with the named weights."
    )
    shown = [
        evaluation.number(published.task, published.split, published.measure, name, published.fraction)
        for published in PUBLISHED
        for name in PAPER
    ]
    note = f"{note} {no_width_note((one['low'], one['high']) for one in shown if one is not None)}".strip()
    simulated = any(run.simulated for run in evaluation.runs)
    return Table("beside_the_paper", "The paper's numbers beside ours", pd.DataFrame(rows), note, simulated)


def differences(evaluation: Evaluation, task: str, split: str) -> str:
    """In words: the paper's data and ours for a task and set; empty only where both cohorts have one name."""
    runs = evaluation.of(task)
    paper = COHORTS.get(task, {}).get(split, "")
    if not runs:
        return f"paper: {paper}; ours: waits for that cohort"
    run = runs[0]
    rows = run.rows(split)
    if rows.empty:
        return f"paper: {paper}; ours: {NO_SET}"
    labels = ", SIMULATED LABELS" if run.simulated else ""
    ours = f"{run.config['cohort']}, {len(rows)} cases of {rows['patient'].nunique()} patients{labels}"
    parts = [f"paper: {paper}; ours: {ours}"]
    titles = {one.cell.initialisation: one.initialisation_title for one in runs}
    parts += [f"{name} is {title}" for name, title in titles.items() if title != name]
    if evaluation.mode == "probe":
        parts.append("encoder frozen (paper: whole network tuned)")
    return "; ".join(parts)


def _rows(evaluation: Evaluation, published: Published) -> list[dict]:
    rows = []
    for name, value in zip(PAPER, published.values, strict=True):
        ours, p = _ours(evaluation, published, name)
        subset = f", {published.subset}" if published.subset else ""
        rows.append(
            {
                "id": published.id,
                "task": TASKS[published.task].title,
                "set": published.split,
                "measure": _title(published) + subset,
                "training data": percent(published.fraction),
                "initialisation": name,
                "paper": _published(value),
                "ours": ours,
                "paper's p": published.p,
                "our p": p,
                "what differs": differences(evaluation, published.task, published.split),
            }
        )
    return rows


def _ours(evaluation: Evaluation, published: Published, name: str) -> tuple[str, str]:
    """(our number with its interval, p against BrainIAC)."""
    task, split = published.task, published.split
    if published.measure == "davies_bouldin":
        return _davies_bouldin(_run_at(evaluation, task, name, published.fraction), split), NOTHING
    if published.measure == "com_distance":
        return _com_distance(evaluation, published, name)
    measure = next(one for one in TASKS[task].measures if one.name == published.measure)
    number = evaluation.number(task, split, measure.name, name, published.fraction)
    if number is None:
        return NO_RUN, NOTHING
    if number["reason"]:
        return number["reason"], NOTHING
    text = interval_text(number["value"], number["low"], number["high"], measure.factor, measure.digits)
    table = evaluation.comparisons
    pair = table[
        (table["task"] == task)
        & (table["split"] == split)
        & (table["measure"] == measure.name)
        & (table["fraction"] == published.fraction)
        & (table["a"] == PAPER[0])
        & (table["b"] == name)
    ]
    return text, p_text(float(pair["p"].iloc[0])) if len(pair) else NOTHING


def _run_at(evaluation: Evaluation, task: str, name: str, fraction: float) -> Run | None:
    runs = evaluation.of(task, name, fraction)
    return runs[0] if runs else None


def _davies_bouldin(run: Run | None, split: str) -> str:
    if run is None:
        return NO_RUN
    if run.rows(split).empty:
        return NO_SET
    try:
        found = feature_clusters(run, split)
    except StatisticsError as error:
        return str(error)
    return f"{found.index_k_means:.3f} (k-means), {found.index_labels:.3f} (labels)"


def _com_distance(evaluation: Evaluation, published: Published, name: str) -> tuple[str, str]:
    run, first = (_run_at(evaluation, published.task, one, published.fraction) for one in (name, PAPER[0]))
    if run is None or run.centre_of_mass is None:
        return NO_RUN, NOTHING
    found = run.centre_of_mass
    own = found[found["sequence"] == published.subset].set_index("patient")["distance_mm"]
    text = f"{own.mean():.2f} mm"
    if name == PAPER[0] or first is None or first.centre_of_mass is None:
        return text, NOTHING
    other = first.centre_of_mass
    other = other[other["sequence"] == published.subset].set_index("patient")["distance_mm"]
    both = own.index.intersection(other.index)
    return text, p_text(paired_permutation_p(other[both], own[both])) if len(both) else NOTHING


def _log_rank(evaluation: Evaluation, split: str, name: str) -> str:
    """The p value at each fraction."""
    parts, runs = [], evaluation.of(SURVIVAL.name, name)
    if runs and all(run.rows(split).empty for run in runs):
        return NO_SET
    for run in runs:
        try:
            parts.append(f"{percent(run.cell.fraction)}: {p_text(risk_groups(run, split).test.p)}")
        except StatisticsError:
            parts.append(f"{percent(run.cell.fraction)}: not defined")
    return "; ".join(parts) or NO_RUN


def _title(published: Published) -> str:
    titles = {"davies_bouldin": "Davies-Bouldin index", "com_distance": "ComDIST"}
    known = {measure.name: measure.title for measure in TASKS[published.task].measures}
    return titles.get(published.measure) or known[published.measure]


def _published(value: Value) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, tuple):
        return f"{value[0]:g} ({value[1]:g}-{value[2]:g})"
    return f"{value:g}"
