"""The table of few-shot runs."""

from __future__ import annotations

import pandas as pd

from Training.tables.table import Table, interval_text
from Training.tasks import TASKS


def few_shot_table(found: pd.DataFrame, simulated: bool) -> Table:
    """Cases a class down, initializations across; ``found`` as ``downstream.few_shot`` gives it."""
    rows = []
    for (task, split, shots), group in found.groupby(["task", "split", "shots"], sort=False):
        measure = TASKS[task].primary
        cells = {
            row.initialisation: interval_text(row.value, row.low, row.high, measure.factor, measure.digits)
            for row in group.itertuples()
        }
        rows.append({"task": TASKS[task].title, "set": split, "cases a class": str(shots), **cells})
    draws = ", ".join(sorted({str(count) for count in found["draws"]}))
    note = f"Mean over {draws} draws of the training cases, and the range that holds 95 % of them. Encoders are frozen."
    return Table("few_shot", "Learned from few cases", pd.DataFrame(rows).fillna("-"), note, simulated)
