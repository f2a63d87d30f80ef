"""All tables of one evaluation, in the order of the report."""

from __future__ import annotations

import dataclasses

from Training.evaluation.evaluation import Evaluation
from Training.runs.cell import PAPER
from Training.tables.beside_the_paper import beside_the_paper
from Training.tables.features import (
    agreement_table,
    calibration_table,
    cluster_table,
    com_distance_table,
    stability_table,
    survival_table,
)
from Training.tables.few_shot import few_shot_table
from Training.tables.performance import comparison_tables, performance_tables, subset_tables, verdict_table
from Training.tables.runs import run_tables
from Training.tables.table import Table


def all_tables(evaluation: Evaluation) -> list[Table]:
    """Every table for which there is at least one finished run; initializations are called as in the figures, but for
    the table beside the paper's numbers, which has the paper's names."""
    return [_as_in_figures(evaluation, table) for table in _all_tables(evaluation)]


def _as_in_figures(evaluation: Evaluation, table: Table) -> Table:
    shown = evaluation.shown(PAPER[0])
    if shown == PAPER[0] or table.name == "beside_the_paper":
        return table
    cells = table.cells.rename(columns={PAPER[0]: shown})
    for column in {"initialisation", "initialization", "pair"} & set(cells.columns):
        cells[column] = cells[column].str.replace(PAPER[0], shown)
    return dataclasses.replace(table, cells=cells)


def _all_tables(evaluation: Evaluation) -> list[Table]:
    single = (cluster_table, com_distance_table, survival_table, stability_table, agreement_table, calibration_table)
    verdict, few = verdict_table(evaluation), evaluation.few_shot
    simulated = any(run.simulated for run in evaluation.runs)
    return [
        *([verdict] if verdict is not None else []),
        *([few_shot_table(few, simulated)] if few is not None and len(few) else []),
        beside_the_paper(evaluation),
        *performance_tables(evaluation),
        *comparison_tables(evaluation),
        *subset_tables(evaluation),
        *(table for make in single if (table := make(evaluation)) is not None),
        *run_tables(evaluation),
    ]
