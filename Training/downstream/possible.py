"""What the data allow: which cells of a grid can be trained at all, and what is to be known before they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from BrainIACLib.errors import ManifestError, TrainingError
from Training.downstream.plan import Workbench
from Training.downstream.recipe import load_recipe
from Training.downstream.studies import studies
from Training.runs.cell import PAPER, Cell, percent
from Training.tasks import TASKS


def refuse_unknown_datasets(datasets: Iterable[str], external: Sequence[str]) -> None:
    """Raise ManifestError if a dataset that is to be external is not in the cohort, or if all of them are."""
    there = sorted(set(datasets))
    unknown = sorted(set(external) - set(there))
    if unknown:
        raise ManifestError(
            f"The cohort has no dataset '{unknown[0]}' to be the external test; it has {', '.join(there)}."
        )
    if set(there) <= set(external):
        raise ManifestError(
            f"Every dataset of the cohort is an external test ({', '.join(there)}), so that none is left to train on; "
            "name fewer with --external."
        )


def possible_cells(bench: Workbench, cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """The cells whose splits can be drawn with every seed, and a sentence for each amount of data with which not."""
    sentences: dict[tuple[str, float, str], str] = {}
    for task, fraction, seed, mode in dict.fromkeys((one.task, one.fraction, one.seed, one.mode) for one in cells):
        cell, key = Cell(task, PAPER[2], fraction, seed, mode), (task, fraction, mode)
        recipe = load_recipe(bench.plan.recipes[mode], task)
        try:
            bench.splits(cell, recipe.hold_out_share, recipe.validation_share)
        except TrainingError as error:
            sentences.setdefault(key, f"no runs of {TASKS[task].says} with {percent(fraction)}: {error}")
    left = [cell for cell in cells if (cell.task, cell.fraction, cell.mode) not in sentences]
    return left, list(dict.fromkeys(sentences.values()))


def remarks(bench: Workbench, tasks: Sequence[str]) -> list[str]:
    """Sentences on what the data lack: an external test, labels, and persons who are in two sites."""
    found = []
    if not bench.plan.external and not bench.plan.folds:
        found.append("no external test, because no dataset is external (--external): its figures are left out")
    for name in tasks:
        data = studies(bench.cache.table, TASKS[name], bench.plan.settings)
        if missing := data.left_out.get("without the label"):
            found.append(f"{TASKS[name].says}: {missing} scans lack the label and are left out")
        both = persons_of_two_sites(bench, name)
        if both:
            found.append(
                f"{TASKS[name].says}: {len(both)} {'person has' if len(both) == 1 else 'persons have'} scans in an "
                f"external dataset and in another, the first is '{both[0]}'; nobody trains on them, and those of the "
                "external dataset test"
            )
    return found


def persons_of_two_sites(bench: Workbench, task: str) -> list[str]:
    """Who has studies of a task in an external dataset and in another one."""
    table = bench.studies(task).table
    elsewhere = table["dataset"].isin(bench.plan.external)
    return sorted(set(table["patient"][elsewhere]) & set(table["patient"][~elsewhere]))
