"""PROTOCOL P-01 to P-46 as a list: what is done in these runs, and what the paper's own numbers wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from Training.evaluation.evaluation import Evaluation
from Training.figures.style import Drawn
from Training.runs.cell import FRACTIONS, PAPER, SET_NAMES, percent
from Training.runs.reading import Run
from Training.tables.published import COHORTS
from Training.tables.table import Table
from Training.tasks import AGE, IDH, SEQUENCE, SURVIVAL, TASKS


@dataclass(frozen=True)
class Row:
    """``figures``: done when they are drawn. ``tasks``: the runs it needs. ``done``: how, where that needs no run."""

    id: str
    what: str
    tasks: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("test",)
    done: str = ""


ALL = tuple(task.name for task in (SEQUENCE, AGE, IDH, SURVIVAL))
_WEIGHTS = "the authors' BrainIAC weights and MedicalNet's file"

ROWS = (
    Row("P-01", "a pool of 48,519 scans of ten conditions"),
    Row("P-02", "32,000 of them pretrain the encoder"),
    Row("P-03", "32 data sets", done="in part: Training/cohorts reads six of them and any BIDS folder or manifest"),
    Row("P-04", "DICOM becomes NIfTI", done="the library reads DICOM itself"),
    Row("P-05", "N4 bias-field correction"),
    Row("P-06", "resampling to 1 mm"),
    Row("P-07", "rigid registration to the MNI atlas"),
    Row("P-08", "brain extraction"),
    Row("P-09", "SimCLR, ResNet50"),
    Row("P-10", "views of 128 voxels a side at 1 mm"),
    Row("P-11", "200 epochs, batch 32"),
    Row("P-12", "settings that the paper does not state", done="chosen and written in Training/configs/pretrain"),
    Row("P-13", "three initializations, whole network tuned"),
    Row("P-14", "six nested fractions, constant hold-out"),
    Row("P-15", "the checkpoint with the best validation score is tested", ALL),
    Row("P-16", "optimizer, rates, batch, epochs", ALL),
    Row("P-17", "head: two fully connected layers", ALL),
    Row("P-18", "several scans: average of their embeddings", (IDH.name, SURVIVAL.name)),
    Row("P-19", "losses: cross-entropy, squared error, binary cross-entropy", ALL),
    Row("P-20", "TRIPOD+AI reporting", done="the checklist of this report"),
    Row(
        "P-21", "95 % intervals and p values", done="bootstrap by patient, DeLong, paired permutation, Holm beside them"
    ),
    Row("P-22", "tables of task, initialization, fraction, measure", done="tables/, as CSV, Markdown and LaTeX"),
    Row(
        "P-23",
        "Fig 1 and Extended Data Fig 1",
        ALL,
        figures=("Fig 1A", "Fig 1B", "Fig 1C", "Fig 1D", "Extended Data Fig 1"),
    ),
    Row("P-24", "sequence: data and hold-out", (SEQUENCE.name,)),
    Row("P-25", "Fig 2A", figures=("Fig 2A",)),
    Row("P-26", "Fig 2C and Extended Data Fig 2", figures=("Fig 2C", "Extended Data Fig 2")),
    Row("P-27", "Fig 2B", figures=("Fig 2B",)),
    Row("P-28", "Davies-Bouldin index of sequences", figures=("Fig 2B",)),
    Row("P-29", "brain age: data, internal and external", (AGE.name,), splits=("test", "external")),
    Row("P-30", "Fig 2D and 2E", figures=("Fig 2D", "Fig 2E")),
    Row("P-31", "Fig 5A and 5C", figures=("Fig 5A", "Fig 5C")),
    Row("P-32", "Fig 5E and 5F", figures=("Fig 5E-F",)),
    Row("P-33", "Fig 5B and 5D", figures=("Fig 5B", "Fig 5D")),
    Row("P-34", "IDH: data and hold-out", (IDH.name,)),
    Row("P-35", "Fig 2F", figures=("Fig 2F",)),
    Row("P-36", "Fig 2G: distance of saliency from the tumor", figures=("Fig 2G",)),
    Row("P-37", "survival: data, internal and external", (SURVIVAL.name,), splits=("test", "external")),
    Row("P-38", "Fig 2H", figures=("Fig 2H",)),
    Row("P-39", "Fig 2I", figures=("Fig 2I",)),
    Row("P-40", "concordance index", (SURVIVAL.name,), splits=("test", "external")),
    Row("P-41", "Fig 3: Kaplan-Meier, log-rank", figures=("Fig 3 internal", "Fig 3 external")),
    Row("P-42", "Fig 4: perturbed images", ALL, figures=("Fig 4",)),
    Row("P-43", "Fig 6A to 6D: saliency", figures=("Fig 6A", "Fig 6B", "Fig 6C", "Fig 6D")),
    Row("P-44", "Extended Data Fig 3: saliency of the backbone", figures=("Extended Data Fig 3",)),
    Row(
        "P-45",
        "data on request, code and weights public",
        done="in part: the code is public, Training/cohorts has a page of access routes for each cohort; no weights",
    ),
    Row(
        "P-46",
        "limits of the model",
        done="model cards; the analysis warns of what looks like none of the four sequences, and extracts the brain "
        "where a skull shows",
    ),
)

_TASK_OF_ROW = {
    **dict.fromkeys(("P-24", "P-25", "P-26", "P-27", "P-28", "P-44"), SEQUENCE.name),
    **dict.fromkeys(("P-29", "P-30", "P-31", "P-32", "P-33"), AGE.name),
    **dict.fromkeys(("P-34", "P-35", "P-36"), IDH.name),
    **dict.fromkeys(("P-37", "P-38", "P-39", "P-40", "P-41"), SURVIVAL.name),
}
_CURVES = ("P-25", "P-26", "P-30", "P-32", "P-35", "P-38", "P-39", "P-40", "P-41")
PAPER_LEVELS = {"contrast": 16, "gibbs": 9, "bias_field": 9}
"""Levels of the paper's Figure 4, each with the one that changes nothing (PROTOCOL P-42)."""
_NEEDS_NO_COHORT = ("P-03", "P-04", "P-12", "P-20", "P-21", "P-22", "P-45", "P-46")


def protocol_checklist(evaluation: Evaluation, drawn: list[Drawn]) -> Table:
    """One row an id: done or not in these runs, and which data the paper's number waits for."""
    figures = {figure.number: figure for figure in drawn}
    rows = [
        {
            "id": row.id,
            "the paper": row.what,
            "here": _here(row, evaluation, figures),
            "the paper's numbers": _paper(row),
        }
        for row in ROWS
    ]
    simulated = any(run.simulated for run in evaluation.runs)
    note = "The ids P-01 to P-46 are the rows of our protocol: a checklist of what the paper did in its experiments."
    return Table("protocol_checklist", "Protocol P-01 to P-46", pd.DataFrame(rows), note, simulated)


def _here(row: Row, evaluation: Evaluation, figures: dict[str, Drawn]) -> str:
    if row.done:
        return f"done: {row.done}"
    if row.id in _ALONE:
        return _ALONE[row.id](evaluation)
    said = _SAYS[row.id](evaluation) if row.id in _SAYS else ""
    waits = [f"{figures[number].number} waits for {figures[number].waits_for}" for number in row.figures
             if figures[number].figure is None]  # fmt: skip
    for task in row.tasks:
        for split in row.splits:
            if not any(len(run.rows(split)) for run in evaluation.of(task)):
                waits.append(f"waits for {TASKS[task].says} runs with the {SET_NAMES[split]} set")
    tasks = row.tasks or ((_TASK_OF_ROW[row.id],) if row.id in _TASK_OF_ROW else tuple(TASKS))
    runs = [run for task in tasks for run in evaluation.of(task)]
    by_fold = _by_fold(row, runs, figures)
    if waits:
        there = ", ".join(TASKS[task].says for task in row.tasks if evaluation.of(task))
        done = said or (f"done for {there}" if there else "")
        return "; ".join([*([done] if done else []), *by_fold, *waits])
    cohorts = ", ".join(sorted({run.config["cohort"] for run in runs}))
    simulated = " with SIMULATED LABELS" if any(run.simulated for run in runs) else ""
    missing = sum(cell.task in tasks for cell in evaluation.missing)
    missing = [f"{missing} cells missing"] if missing else []
    partly = _partly(row, evaluation, tasks)
    done = "done in part" if partly else "done"
    return "; ".join([said or f"{done} on {cohorts}{simulated}", *partly, *by_fold, *missing])


def _partly(row: Row, evaluation: Evaluation, tasks: tuple[str, ...]) -> list[str]:
    """What of the paper's fractions or levels was not run, for the rows that are curves over them."""
    if row.id in _CURVES:
        there = {run.cell.fraction for task in tasks for run in evaluation.of(task)}
        absent = [percent(fraction) for fraction in FRACTIONS if fraction not in there]
        return (
            [f"{', '.join(map(percent, sorted(there)))} of the data (no run at {', '.join(absent)})"] if absent else []
        )
    if row.id == "P-42":
        return _levels(evaluation)
    return []


def _levels(evaluation: Evaluation) -> list[str]:
    """The levels of each of the paper's perturbations, where they are fewer than the paper's."""
    tables = [run.stability for run in evaluation.runs if run.stability is not None]
    found = []
    for name, of_paper in PAPER_LEVELS.items():
        levels = sorted({level for table in tables for level in table["level"][table["perturbation"] == name]})
        if len(levels) < of_paper:
            said = ", ".join(f"{level:g}" for level in levels) or "no level"
            found.append(f"{name.replace('_', ' ')} at {said} ({len(levels)} levels; the paper: {of_paper})")
    return found


def _by_fold(row: Row, runs: list[Run], figures: dict[str, Drawn]) -> list[str]:
    """For what a cross-validation has no hold-out: on whom it was done instead, where any of it is drawn."""
    drawn = [number for number in row.figures if figures[number].figure is not None]
    if row.id not in _BY_FOLD or not drawn or not any("fold" in run.predictions for run in runs):
        return []
    return [f"{', '.join(drawn)} by cross-validation: {_BY_FOLD[row.id]}"]


def _pool(evaluation: Evaluation) -> str:
    """How many scans and patients there were to choose from."""
    totals = [run.config["data"]["total"] for run in evaluation.runs if "data" in run.config]
    if not totals:
        return "waits for a run that records its data"
    most = max(totals, key=lambda total: total["scans"])
    return f"in part: {most['scans']} scans of {most['patients']} patients; their conditions are not recorded (Fig 1A)"


def _preparation(evaluation: Evaluation) -> str:
    """How the volumes of the runs were made."""
    ways = {
        "simulated": "not done: the volumes are drawn in template space, skull-stripped",
        "stored": "not done here: the scans were taken as stored",
        "standard": "done, by the library",
        "": "not recorded",
    }
    made = [run.config["data"]["preprocessing"] for run in evaluation.runs if "data" in run.config]
    kinds = {"simulated" if one.get("simulated") else one.get("steps", "") for one in made}
    return "; ".join(ways[kind] for kind in sorted(kinds)) or "waits for a run that records its data"


def _pretraining(evaluation: Evaluation) -> str:
    """What the encoder under the paper's name was trained on, and its net."""
    runs = [run for run in evaluation.runs if run.cell.initialisation == PAPER[0]]
    encoders = {
        (run.initialisation_title, one.get("training_data", "not recorded"), one.get("architecture", ""))
        for run in runs
        if (one := run.config["provenance"].get("encoder", {}))
    }
    said = [f"in part: {title}, {net}, trained on {data}" for title, data, net in sorted(encoders)]
    return "; ".join(said) or "waits for a pretrained encoder whose record says what it saw"


def _initialisations(evaluation: Evaluation) -> str:
    titles = {run.cell.initialisation: run.initialisation_title for run in evaluation.runs}
    parts = [f"{name}: {titles[name]}" if name in titles else f"{name}: waits for its file" for name in PAPER]
    mode = "whole network tuned" if evaluation.mode == "finetune" else "encoder frozen, only the head trained"
    return "; ".join([*parts, mode])


def _fractions(evaluation: Evaluation) -> str:
    of_task = {task: tuple(sorted({run.cell.fraction for run in evaluation.of(task)})) for task in TASKS}
    parts = []
    for fractions in dict.fromkeys(there for there in of_task.values() if there):
        names = ", ".join(TASKS[task].says for task, there in of_task.items() if there == fractions)
        absent = ", ".join(percent(fraction) for fraction in FRACTIONS if fraction not in fractions)
        parts.append(f"{', '.join(map(percent, fractions))} for {names}" + (f" (no run at {absent})" if absent else ""))
    if any("fold" in run.predictions for run in evaluation.runs):
        parts.append("cross-validation in place of a hold-out: every case is tested once in every cell")
    else:
        parts.append("the hold-out is checked to be the same in all cells")
    return "; ".join(parts)


def _recipes(evaluation: Evaluation) -> str:
    """Which tasks were trained by the paper's recipe, and which by another."""
    return _grouped(
        evaluation,
        lambda recipe: str(recipe.get("name", "not named")).replace("\\", "/").rsplit("/", 1)[-1],
        lambda name: "the paper's" if name == "paper" else f"not the paper's: recipe '{name}'",
    )


def _heads(evaluation: Evaluation) -> str:
    """Which tasks have the paper's head."""
    titles = {"mlp": "two layers", "linear": "not the paper's: one linear layer"}
    return _grouped(evaluation, lambda recipe: recipe.get("head", ""), lambda head: titles.get(head, "not recorded"))


def _grouped(evaluation: Evaluation, key: Callable[[dict], str], title: Callable[[str], str]) -> str:
    tasks: dict[str, dict[str, None]] = {}
    for run in evaluation.runs:
        tasks.setdefault(title(key(run.config["recipe"])), {})[TASKS[run.cell.task].says] = None
    return "; ".join(f"{what} ({', '.join(names)})" for what, names in tasks.items())


_ALONE = {
    "P-01": _pool,
    **dict.fromkeys(("P-05", "P-06", "P-07", "P-08"), _preparation),
    **dict.fromkeys(("P-02", "P-09", "P-10", "P-11"), _pretraining),
    "P-13": _initialisations,
    "P-14": _fractions,
}
"""Rows that the records of the runs answer, whatever else is there."""

_SAYS = {"P-16": _recipes, "P-17": _heads}
"""Rows that are not done by the mere fact that there are runs."""

_BY_FOLD = {
    "P-42": "each case perturbed for the network of the fold that tests it, one metric of all cases",
    **dict.fromkeys(("P-36", "P-43", "P-44"), "each case explained by the network of the fold that tests it"),
}
"""What is done with networks, beyond their predictions."""


def _paper(row: Row) -> str:
    if row.id in _NEEDS_NO_COHORT:
        return ""
    task = _TASK_OF_ROW.get(row.id)
    if task is None:
        return f"wait for the paper's cohorts, {_WEIGHTS}"
    return f"wait for {', '.join(COHORTS[task].values())}; {_WEIGHTS}"
