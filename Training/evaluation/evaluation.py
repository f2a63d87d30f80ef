"""All statistics of a folder of runs, computed once: every table and figure reads this."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.errors import StatisticsError
from Training.runs.cell import HELD_OUT, INITIALISATIONS, PAPER, UNTRAINED, Cell
from Training.runs.layout import read_few_shot, read_grid
from Training.runs.reading import Run, read_runs
from Training.tasks import TASKS
from Training.tasks.measure import Measure

OWN_PRETRAINING = "own pretraining"
NUMBER_COLUMNS = [
    *("task", "split", "subset", "measure", "initialisation", "fraction", "value", "low", "high"),
    *("method", "patients", "cases", "seeds", "reason"),
]
COMPARISON_COLUMNS = [
    *(
        "task",
        "split",
        "measure",
        "fraction",
        "a",
        "b",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "test",
        "seeds",
        "pretrainings",
        "reason",
    ),
]


@dataclass(frozen=True)
class Evaluation:
    """The finished runs of one mode, the wanted cells, and what was measured.

    ``numbers`` and ``comparisons`` have the columns above, one row a statistic; where it is not defined, ``reason``
    says why and the number is empty. ``few_shot`` : of frozen encoders, what heads learned from few cases a class.
    """

    mode: str
    runs: tuple[Run, ...]
    wanted: tuple[Cell, ...]
    numbers: pd.DataFrame = field(repr=False)
    comparisons: pd.DataFrame = field(repr=False)
    few_shot: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def missing(self) -> list[Cell]:
        """The wanted cells that are not finished."""
        there = {run.cell for run in self.runs}
        return [cell for cell in self.wanted if cell not in there]

    def of(self, task: str, initialisation: str | None = None, fraction: float | None = None) -> list[Run]:
        """The runs of a task, sorted by seed; of one initialization and fraction if given."""
        chosen = (
            run
            for run in self.runs
            if run.cell.task == task
            and initialisation in (None, run.cell.initialisation)
            and fraction in (None, run.cell.fraction)
        )
        return sorted(chosen, key=lambda run: run.cell)

    def largest(self, task: str, initialisation: str) -> Run | None:
        """The run with the most training data, of the first seed: the paper's 100 % model."""
        runs = self.of(task, initialisation)
        return max(runs, key=lambda run: (run.cell.fraction, -run.cell.seed)) if runs else None

    def stability(self, task: str, initialisation: str) -> pd.DataFrame | None:
        """The stability of the models with the most training data: the columns of stability.csv, ``value`` averaged
        over the seeds, and ``low`` and ``high``: of the interval over cases, averaged over the seeds, or where the runs
        have none the seeds' extremes, which are ``lowest_seed`` and ``highest_seed``; ``seeds`` of them. None where no
        such run has been perturbed."""
        largest = self.largest(task, initialisation)
        runs = self.of(task, initialisation, largest.cell.fraction) if largest else []
        tables = [run.stability for run in runs if run.stability is not None]
        if not tables:
            return None
        together = pd.concat(tables)
        has_interval = "low" in together and together["low"].notna().all()
        low, high = (("low", "mean"), ("high", "mean")) if has_interval else (("value", "min"), ("value", "max"))
        groups = together.groupby(["split", "perturbation", "metric", "level"], sort=False)
        seeds = {"lowest_seed": ("value", "min"), "highest_seed": ("value", "max"), "seeds": ("value", "size")}
        return groups.agg(value=("value", "mean"), low=low, high=high, **seeds).reset_index()

    def shown(self, initialisation: str) -> str:
        """What figures and pages call an initialization: "BrainIAC" only where official weights were given for it."""
        own = [run for run in self.runs if run.cell.initialisation == initialisation]
        if initialisation == PAPER[0] and own and not any(run.official for run in own):
            return OWN_PRETRAINING
        return initialisation

    def simulated(self, task: str) -> bool:
        """Whether the task's labels were simulated."""
        return any(run.simulated for run in self.of(task))

    def number(self, task: str, split: str, measure: str, initialisation: str, fraction: float) -> pd.Series | None:
        """The row of ``numbers`` for all cases of a split; None if there is no such run."""
        table = self.numbers
        found = table[
            (table["task"] == task)
            & (table["split"] == split)
            & (table["subset"] == "")
            & (table["measure"] == measure)
            & (table["initialisation"] == initialisation)
            & (table["fraction"] == fraction)
        ]
        return found.iloc[0] if len(found) else None


def evaluate(folder: Path, resamples: int = 2000) -> list[Evaluation]:
    """Read the finished runs of ``folder`` and measure them: one evaluation per mode that was wanted."""
    runs, wanted = read_runs(folder), read_grid(folder)
    wanted += [run.cell for run in runs if run.cell not in wanted]
    evaluations = []
    for mode in sorted({cell.mode for cell in wanted}):
        of_mode = [run for run in runs if run.cell.mode == mode]
        found = measure_runs(mode, of_mode, [cell for cell in wanted if cell.mode == mode], resamples)
        evaluations.append(replace(found, few_shot=read_few_shot(folder)) if mode == "probe" else found)
    return evaluations


def measure_runs(mode: str, runs: list[Run], wanted: list[Cell], resamples: int) -> Evaluation:
    """The statistics of runs of one mode."""
    numbers, comparisons = [], []
    for task in TASKS:
        fractions = sorted({run.cell.fraction for run in runs if run.cell.task == task})
        for fraction, split in itertools.product(fractions, HELD_OUT):
            seeds = {name: _seeds(runs, task, name, fraction) for name in INITIALISATIONS}
            there = {name: found for name, found in seeds.items() if found and len(found[0].rows(split))}
            for measure in TASKS[task].measures:
                for found in there.values():
                    numbers += _numbers(measure, found, split, resamples)
                comparisons += _comparisons(measure, there, split, resamples)
    table = pd.DataFrame(comparisons, columns=COMPARISON_COLUMNS)
    for _, family in table.groupby(["task", "split", "measure"]):
        table.loc[family.index, "p_holm"] = holm(family["p"].to_numpy(dtype=float))
    return Evaluation(mode, tuple(runs), tuple(wanted), pd.DataFrame(numbers, columns=NUMBER_COLUMNS), table)


def holm(p: np.ndarray) -> np.ndarray:
    """P values corrected for how many of them there are (Holm, Scandinavian Journal of Statistics 6, 1979).

    Undefined ones (NaN) stay so and do not count.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * (len(order) - np.arange(len(order)))
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected


def aligned(runs: list[Run], split: str) -> list[pd.DataFrame]:
    """Each run's rows of a split in the order of their scans, which is the same in all of them."""
    return [run.rows(split).sort_values("scan", kind="stable") for run in runs]


def constant_value(
    evaluation: Evaluation, task: str, split: str = "test", fraction: float | None = None
) -> float | None:
    """The primary measure of the answer that needs no image: measured where it is known, else what chance gives.

    Of ages it is the median, which errs least where it is learned, and is called so (``Task.without_image``); the line
    *Constant* is a head without an image and says the mean.

    Parameters
    ----------
    fraction : of the training data that it is learned from; None for the largest. Of several seeds the mean.
    """
    if TASKS[task].chance is not None:
        return TASKS[task].chance
    runs = evaluation.of(task)
    fraction = max((run.cell.fraction for run in runs), default=None) if fraction is None else fraction
    runs = [run for run in runs if run.cell.fraction == fraction and len(run.rows(split))]
    values = []
    for run in (run for run in runs if run.cell.initialisation == runs[0].cell.initialisation):
        cases = run.rows(split)
        answer = constant_answers(run, cases)
        if answer is not None:
            values.append(TASKS[task].primary.value(cases.assign(score=answer)))
    return float(np.mean(values)) if values else None


def constant_answers(run: Run, cases: pd.DataFrame) -> np.ndarray | None:
    """The constant answer to each case, from the (fold's) training and validation cases; None where there is none."""
    known = run.predictions[run.predictions["split"].isin(("train", "validation"))]
    if known.empty:
        return None
    task = TASKS[run.cell.task]
    if "fold" not in known or not cases["split"].isin(("test",)).all():
        return task.constant_answer(known, cases)
    answers = np.full(len(cases), np.nan)
    for fold in cases["fold"].unique():
        own = (cases["fold"] == fold).to_numpy()
        found = task.constant_answer(known[known["fold"] == fold], cases[own])
        if found is None:
            return None
        answers[own] = found
    return answers


def pretrainings(runs: list[Run]) -> int:
    """How many different encoders the runs started from."""
    return len({run.config["provenance"].get("sha256", {}).get("encoder") for run in runs})


def _seeds(runs: list[Run], task: str, initialisation: str, fraction: float) -> list[Run]:
    chosen = [
        run
        for run in runs
        if (run.cell.task, run.cell.initialisation, run.cell.fraction) == (task, initialisation, fraction)
    ]
    return sorted(chosen, key=lambda run: run.cell.seed)


def _columns(measure: Measure, tables: list[pd.DataFrame]) -> tuple[list[np.ndarray], np.ndarray]:
    """(truth columns and one answer a seed, patients)."""
    known = [measure.known(table) for table in tables]
    truth = [known[0][name].to_numpy() for name in measure.truth]
    answers = [measure.answer(rows) for rows in known]
    return truth + answers, known[0]["patient"].to_numpy()


def _subsets(measure: Measure, task: str, table: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """(name, mask of rows): all cases, then for the primary measure pairs of classes and data sets (P-26, P-32)."""
    yield "", np.ones(len(table), bool)
    if measure is not TASKS[task].primary:
        return
    yield from TASKS[task].subsets(table)
    if "dataset" in table and table["dataset"].nunique() > 1:
        for name in sorted(table["dataset"].unique()):
            yield str(name), (table["dataset"] == name).to_numpy()


def _numbers(measure: Measure, runs: list[Run], split: str, resamples: int) -> Iterator[dict]:
    cell, tables = runs[0].cell, aligned(runs, split)
    for subset, mask in _subsets(measure, cell.task, tables[0]):
        columns, patients = _columns(measure, [table[mask] for table in tables])
        row = {
            "task": cell.task,
            "split": split,
            "subset": subset,
            "measure": measure.name,
            "initialisation": cell.initialisation,
            "fraction": cell.fraction,
            "patients": len(np.unique(patients)),
            "cases": len(patients),
            "seeds": len(runs),
            "reason": "",
        }
        try:
            interval, method = measure.estimate(columns, patients, resamples)
        except StatisticsError as error:
            yield row | {"reason": str(error)}
            continue
        yield row | {"value": interval.value, "low": interval.low, "high": interval.high, "method": method}


def _comparisons(measure: Measure, there: dict[str, list[Run]], split: str, resamples: int) -> Iterator[dict]:
    for a, b in itertools.combinations(there, 2):
        if {a, b} <= set(UNTRAINED):  # how they compare with each other is no question here
            continue
        cell = there[a][0].cell
        (left, patients), (right, _) = (_columns(measure, aligned(there[name], split)) for name in (a, b))
        row = {"task": cell.task, "split": split, "measure": measure.name, "fraction": cell.fraction, "a": a, "b": b}
        row |= {"seeds": min(len(there[a]), len(there[b])), "pretrainings": pretrainings(there[a])}
        try:
            found, test = measure.compare(left, right, patients, resamples)
        except StatisticsError as error:
            yield row | {"reason": str(error)}
            continue
        interval = found.interval
        numbers = {"difference": interval.value, "low": interval.low, "high": interval.high, "p": found.p}
        yield row | numbers | {"test": test, "reason": ""}
