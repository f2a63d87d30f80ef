"""All tables of one evaluation, in the order of the report."""

from __future__ import annotations

from Training.evaluation.evaluation import Evaluation
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
    """Every table for which there is at least one finished run."""
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
