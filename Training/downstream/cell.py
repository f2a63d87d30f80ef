"""One cell of the grid, from its data to its folder: train, predict, perturb, write (PROTOCOL P-13 to P-19, P-42).

The folder's layout is that of ``Training.runs.layout``; ``metrics.json`` is written last.
"""

from __future__ import annotations

import dataclasses
import platform
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

import BrainIACLib
from BrainIACLib.publishing import write_bytes, write_text
from Training.data.cache import Cache
from Training.data.inventory import inventory
from Training.downstream.one_training import Trained, train_once
from Training.downstream.plan import Workbench
from Training.downstream.predictions import predictions_table
from Training.downstream.recipe import load_recipe, recipe_facts
from Training.downstream.run_saliency import write_saliency
from Training.downstream.stability import stability_table
from Training.downstream.studies import Studies
from Training.runs.cell import CONSTANT, PROBED_ONLY, Cell
from Training.runs.layout import write_config, write_metrics, write_predictions, write_status
from Training.tasks import TASKS

CHECKPOINT = "checkpoint.safetensors"
SECONDS_BETWEEN_STATUS = 1.0
PATHS_OF_THE_PLAN = ("cache", "sources", "command", "embeddings")  # of this machine, and so in no record


def run_cell(bench: Workbench, cell: Cell, cancelled: Callable[[], bool] | None = None) -> None:
    """Work on a cell from its start to its ``metrics.json``; what an unfinished earlier try left there is removed."""
    started = time.monotonic()
    task, plan = TASKS[cell.task], bench.plan
    recipe_name = plan.recipes[cell.mode]
    recipe = load_recipe(recipe_name, cell.task)
    start = bench.initialisation(cell.initialisation)
    data = bench.studies(cell.task)
    splits = bench.splits(cell, recipe.hold_out_share, recipe.validation_share)
    overlap = bench.refuse_pretrained_on(cell, splits)
    shutil.rmtree(bench.runs / cell.name, ignore_errors=True)
    folder = write_config(
        bench.runs,
        cell,
        cohort=plan.cohort,
        labels=plan.labels,
        recipe=recipe_facts(recipe_name, recipe, start.pretrained),
        provenance=_provenance(bench, start.facts),
        data=_data(bench.cache),
        initialisation_title=start.title,
        overlap_with_pretraining=overlap,
        simulated_note=plan.simulated_note,
        folds=plan.folds,
        left_out=data.left_out,
        **task.facts(plan.settings),
    )

    told = time.monotonic()

    def progress(epoch: int, epochs: int) -> None:
        nonlocal told
        if time.monotonic() - told > SECONDS_BETWEEN_STATUS:
            told = time.monotonic()
            _status(folder, "running", epoch, epochs, "")

    _status(folder, "running", 0, recipe.epochs, "")

    own_features = plan.folds > 0 and cell.mode == "finetune"  # of each fold's network: of no use side by side
    tables, embeddings, trainings = [], [], []
    for fold, split in enumerate(splits):
        trained = train_once(bench, cell, recipe, split, progress, cancelled)
        trainings.append(trained)
        rows = np.flatnonzero(split != "")  # of each fold anew: its own training cases split its risk groups (P-41)
        table = predictions_table(bench, cell, trained, rows)
        tables.append(table.assign(fold=fold) if plan.folds else table)
        if cell.fraction == 1 and not own_features:
            embeddings.append(trained.pooled(rows))
    predictions = pd.concat(tables)
    write_predictions(folder, predictions, np.concatenate(embeddings) if embeddings else None)
    write_text(_history(trainings), folder / "history.csv")
    if not plan.folds:
        write_bytes(save(trainings[0].tensors), folder / CHECKPOINT)
    unswept = (CONSTANT, *plan.unswept)  # no perturbation changes the constant answer
    if cell.fraction == 1 and plan.stability and cell.initialisation not in unswept:
        stability = stability_table(bench, cell, trainings, predictions)
        write_text(stability.to_csv(index=False), folder / "stability.csv")
    if cell.fraction == 1 and plan.saliency_patients and not start.fixed and cell.initialisation not in PROBED_ONLY:
        write_saliency(bench, cell, trainings, folder)
    best = [trained.fitted for trained in trainings]
    write_metrics(
        folder,
        counts=_counts(data, bench.cache.table["sequence"], splits),
        validation={
            "metric": task.primary.name,
            "value": float(np.mean([one.score for one in best])) * task.display_factor(plan.settings),
            "epoch": int(np.median([one.epoch for one in best])),
        },
        seconds=round(time.monotonic() - started, 2),
        finished=_now(),
    )
    (folder / "status.json").unlink(missing_ok=True)


def _counts(data: Studies, sequence: pd.Series, splits: list[pd.Series]) -> dict:
    """Patients and scans of each split, and its scans of each ``sequence`` (of the table of scans): of all folds
    together for the test cases, of the first fold for the others."""
    counts = {}
    for name in ("train", "validation", "test", "external"):
        rows = np.any([split == name for split in splits], axis=0) if name == "test" else (splits[0] == name).to_numpy()
        if rows.any():
            volumes = data.volumes[rows]
            of_sequence = sequence.iloc[volumes[volumes >= 0]].value_counts()
            counts[name] = {
                "patients": int(data.table["patient"][rows].nunique()),
                "scans": int(of_sequence.sum()),
                "sequences": {str(key): int(count) for key, count in of_sequence.sort_index().items()},
            }
    return counts


def _data(cache: Cache) -> dict:
    """What there was to choose from: scans and patients by data set, role and sequence, and how they were prepared."""
    groups = inventory(cache.table)[["dataset", "role", "sequence", "scans", "patients"]].to_dict("records")
    prepared = {key: cache.preprocessing[key] for key in ("steps", "simulated") if key in cache.preprocessing}
    return {"groups": groups[:-1], "total": groups[-1], "size": [int(n) for n in cache.size], "preprocessing": prepared}


def _history(trainings: list[Trained]) -> str:
    return pd.concat([pd.DataFrame(one.fitted.history).assign(fold=fold) for fold, one in enumerate(trainings)]).to_csv(
        index=False
    )


def _provenance(bench: Workbench, encoder: dict) -> dict:
    return {
        "command": bench.plan.command,
        "versions": {
            "brainiac": BrainIACLib.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "device": bench.plan.device,
        "sha256": {"encoder": encoder["sha256"], "cache": bench.cache_sha256},
        "encoder": encoder,
        "plan": {k: v for k, v in dataclasses.asdict(bench.plan).items() if k not in PATHS_OF_THE_PLAN},
    }


def _status(folder: Path, state: str, epoch: int, epochs: int, message: str) -> None:
    write_status(folder, state, epoch=epoch, epochs=epochs, message=message, updated=_now())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
