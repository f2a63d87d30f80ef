"""Tables of what was trained: cases by split, recipe, selection and cost of each cell (PROTOCOL P-14 to P-16, C-05)."""

from __future__ import annotations

import pandas as pd

from Training.evaluation.evaluation import Evaluation
from Training.runs.cell import SPLITS, percent
from Training.tables.table import NOTHING, Table
from Training.tasks import TASKS

_NOT_OF_THE_RECIPE = ("name", "learning_rate")  # the rate in use depends on the start


def run_tables(evaluation: Evaluation) -> list[Table]:
    """Realized sample sizes, how each cell was trained, and what its recipe says."""
    counts, training = [], []
    recipes: dict[tuple[str, str], dict[str, None]] = {}
    for run in evaluation.runs:
        head = {
            "task": run.cell.task,
            "initialisation": run.cell.initialisation,
            "fraction": percent(run.cell.fraction),
            "seed": str(run.cell.seed),
        }
        by_split = run.metrics["counts"]
        counts.append(
            head
            | {"cohort": run.config["cohort"], "labels": run.config["labels"]}
            | {
                f"{split} patients/scans": f"{by_split[split]['patients']}/{by_split[split]['scans']}"
                if split in by_split
                else NOTHING
                for split in SPLITS
            }
        )
        validation = run.metrics["validation"]
        recipe = run.config["recipe"]
        settings = ", ".join(f"{key} {value}" for key, value in recipe.items() if key not in _NOT_OF_THE_RECIPE)
        name = str(recipe.get("name", NOTHING))
        recipes.setdefault((name, settings), {})[TASKS[run.cell.task].title] = None
        training.append(
            head
            | {
                "recipe": name,
                "learning rate": _number(recipe.get("learning_rate")),
                "chosen epoch": str(validation.get("epoch", NOTHING)),
                "validation": f"{validation.get('metric', '')} {_number(validation.get('value'))}",
                "seconds": _number(run.metrics["seconds"]),
            }
        )
    if not counts:
        return []
    rows = [
        {"recipe": name, "tasks": ", ".join(tasks), "settings": settings} for (name, settings), tasks in recipes.items()
    ]
    simulated = any(run.simulated for run in evaluation.runs)
    note = "Counts are computed from the manifest, never taken from the paper."
    return [
        Table("counts", "Patients and scans of each cell", pd.DataFrame(counts), note, simulated),
        Table("training", "How each cell was trained", pd.DataFrame(training), "", simulated),
        Table("recipes", "Recipes", pd.DataFrame(rows), "Learning rates: the table before this one.", simulated),
    ]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else NOTHING
