"""The layout of finished runs, version 1: what the runner writes and every table and figure reads.

::

    runs/
      grid.json                       the cells that were asked for: {"layout_version": 1, "cells": [<cell name>, ...]}
      few_shot.csv                    optional: heads learned from few cases a class, a row a set and initialization
      <cell>/                         one training, named <task>-<initialization>-<percent>-seed<seed>-<mode>,
        config.json                   for example sequence-BrainIAC-010-seed0-finetune
        status.json                   while it runs
        predictions.csv
        embeddings.npz                optional
        stability.csv                 optional
        saliency/                     optional
        metrics.json                  written last: a cell that has it is finished

``config.json``: ``layout_version``; ``task``, ``initialisation``, ``fraction``, ``seed``, ``mode`` (the cell);
``cohort`` (a name to print); ``labels`` ("real" only if images and labels are of real patients, else "simulated", which
every table and figure then says); ``classes`` (list, for the task ``sequence``); ``horizon_months`` (survival; 12 if
absent, U-15); ``data`` (what there was to choose from: ``groups``, a list of {"dataset", "role", "sequence", "scans",
"patients"}, their ``total``, the ``size`` of a volume in voxels, ``preprocessing``); ``initialisation_title`` (what the
weights really are, if not the paper's); ``recipe`` (optimizer, rates, batch, epochs, head, selection, ...);
``provenance`` (command, versions, device, ``encoder``, ``sha256`` of manifest, encoder and code as far as known). More
keys are kept.

``metrics.json``: ``layout_version``; ``counts`` ({split: {"patients": n, "scans": n, "sequences": {name: scans}}});
``validation`` (the score that chose the checkpoint: {"metric": ..., "value": ..., "epoch": ...}); ``seconds``;
``finished`` (ISO time). More keys are kept.

``status.json``: ``state`` ("queued", "running", "failed"), ``epoch``, ``epochs``, ``message``, ``updated`` (ISO time).

``predictions.csv``: one row a prediction, with columns ``patient``, ``scan`` (file or study name), ``split``
(``train``, ``validation``, ``test``, ``external``), optional ``dataset`` and ``fold`` (of a cross-validation; each case
is in the test split of one fold, and trained on or validated with in the others), and

=========  =====================================================================================================
task       truth and scores
=========  =====================================================================================================
sequence   ``truth`` one of ``classes``; ``score_<class>`` the probability of each class
age        ``truth`` and ``score`` in years
idh        ``truth`` 1 mutant, 0 wild type; ``score`` the probability of a mutation
survival   ``time`` in months, ``event`` 1 died, 0 censored; ``truth`` 1 died within the horizon, 0 alive at it, empty
           if censored before it; ``score`` the risk (higher is worse). Training rows are needed: their median risk
           splits the test cases, of each fold by its own training rows (P-41)
=========  =====================================================================================================

``embeddings.npz``: ``embedding`` (n, features) float and ``row`` (n,), the row in predictions.csv, counted from 0. Not
in a cross-validation of whole networks, whose folds have features of their own.

``stability.csv`` (P-42): ``perturbation`` (one of ``UNPERTURBED_LEVEL``), ``level``, ``split``, ``metric`` (the
task's primary measure), ``value``: of the whole split, in a cross-validation too, where each case is perturbed for
the network of the fold that tests it; optional ``low`` and ``high``, its interval over cases. Levels at which nothing
is perturbed are in it too, with the metric of predictions.csv. A split for which the metric is not defined (one class
alone) is left out.

``saliency/``: of test cases, in a cross-validation by the network of the fold that tests them.
``saliency/centre_of_mass.csv`` (P-36): ``patient``, ``sequence``, ``distance_mm``, ``threshold``.
``saliency/<any>.npz``: ``image`` and ``map`` (X, Y, Z, RAS, the map 0 to 1), ``spacing`` (3,) mm, ``patient``,
``sequence``, ``target`` ("task", or "backbone" for Extended Data Fig 3), optional ``answer`` (the class whose logit is
explained, the most probable one, right or wrong) and ``tumour`` (X, Y, Z) mask. One file is one row of pictures.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from BrainIACLib.errors import ResultsError
from BrainIACLib.publishing import write_bytes, write_text
from Training.runs.cell import CELL_NAME, MODES, Cell, paper_grid

LAYOUT_VERSION = 1
UNPERTURBED_LEVEL = {
    **{"contrast": 1.0, "gibbs": 0.0, "bias_field": 0.0},  # the paper's three
    **{"motion": 0.0, "noise": 0.0, "resolution": 1.0},
}
LABELS = ("real", "simulated")
FEW_SHOT = "few_shot.csv"


def write_grid(runs: Path, cells: Iterable[Cell]) -> None:
    """Note which cells are wanted, so that a report can show those that are missing."""
    runs.mkdir(parents=True, exist_ok=True)
    names = [cell.name for cell in cells]
    write_text(_json({"layout_version": LAYOUT_VERSION, "cells": names}), runs / "grid.json")


def read_grid(runs: Path) -> list[Cell]:
    """The wanted cells: those of grid.json, or else the paper's grid for the seeds and modes that are there."""
    if (runs / "grid.json").is_file():
        return [Cell.parse(name) for name in read_json(runs / "grid.json", ("cells",))["cells"]]
    there = [Cell.parse(folder.name) for folder in cell_folders(runs)]
    return paper_grid(sorted({cell.seed for cell in there}) or [0], sorted({cell.mode for cell in there}) or MODES[:1])


def write_few_shot(runs: Path, found: pd.DataFrame) -> None:
    """Keep what heads learned from few cases a class; the columns are those of ``Training.downstream.few_shot``."""
    write_text(found.to_csv(index=False), Path(runs) / FEW_SHOT)


def read_few_shot(runs: Path) -> pd.DataFrame | None:
    """The table, or None where there is none. Raises ResultsError if it is damaged."""
    path = Path(runs) / FEW_SHOT
    if not path.is_file():
        return None
    try:
        found = pd.read_csv(path)
        found[["task", "split", "initialisation", "shots", "value", "low", "high", "draws", "cases"]]
        return found
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(f"{path} cannot be read ({error}): delete it, and run the command that wrote it") from error


def few_shot_is_new(runs: Path) -> bool:
    """Whether the table was written after every run was finished."""
    path = Path(runs) / FEW_SHOT
    finished_at = [(folder / "metrics.json").stat().st_mtime for folder in cell_folders(runs) if finished(folder)]
    return path.is_file() and all(path.stat().st_mtime >= at for at in finished_at)


def cell_folders(runs: Path) -> Iterator[Path]:
    """The folders of cells, finished or not, in the order of their names."""
    if not runs.is_dir():
        raise ResultsError(f"there is no folder of runs at {runs}: write one with 'python -m Training finetune'")
    return (path for path in sorted(runs.iterdir()) if path.is_dir() and CELL_NAME.match(path.name))


def finished(folder: Path) -> bool:
    """Whether a cell's metrics.json, which is written last, is there; an empty one is what a full disk left."""
    path = folder / "metrics.json"
    return path.is_file() and path.stat().st_size > 0


def write_config(runs: Path, cell: Cell, *, cohort: str, labels: str, recipe: dict, provenance: dict, **more) -> Path:
    """Make a cell's folder with its config.json and return it. ``more`` holds ``classes`` for the sequence task."""
    if labels not in LABELS:
        raise ResultsError(f"the labels of a run are 'real' or 'simulated', not '{labels}'")
    folder = runs / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    head = {"layout_version": LAYOUT_VERSION, **asdict(cell), "cohort": cohort, "labels": labels}
    write_text(_json({**head, **more, "recipe": recipe, "provenance": provenance}), folder / "config.json")
    return folder


def write_predictions(folder: Path, predictions: pd.DataFrame, embeddings: np.ndarray | None = None) -> None:
    """Write predictions.csv and, one row each, embeddings.npz."""
    write_text(predictions.to_csv(index=False), folder / "predictions.csv")
    if embeddings is not None:
        if len(embeddings) != len(predictions):
            raise ResultsError(f"{folder.name}: {len(embeddings)} embeddings for {len(predictions)} predictions")
        stream = io.BytesIO()
        np.savez_compressed(stream, embedding=embeddings.astype(np.float32), row=np.arange(len(predictions)))
        write_bytes(stream.getvalue(), folder / "embeddings.npz")


def write_metrics(folder: Path, *, counts: dict, validation: dict, seconds: float, finished: str, **more) -> None:
    """Write metrics.json, which marks the cell as finished; everything else must be written before."""
    content = {"counts": counts, "validation": validation, "seconds": seconds, "finished": finished, **more}
    write_text(_json({"layout_version": LAYOUT_VERSION, **content}), folder / "metrics.json")


def write_status(folder: Path, state: str, *, epoch: int, epochs: int, message: str, updated: str) -> None:
    """Write status.json, which the dashboard shows until the cell is finished."""
    content = {"state": state, "epoch": epoch, "epochs": epochs, "message": message, "updated": updated}
    write_text(_json({"layout_version": LAYOUT_VERSION, **content}), folder / "status.json")


def read_json(path: Path, needed: Iterable[str]) -> dict[str, Any]:
    """A JSON object of this layout with the ``needed`` keys; ResultsError names the file otherwise."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON ({error}): delete the folder and run this cell again") from error
    if not isinstance(content, dict) or content.get("layout_version") != LAYOUT_VERSION:
        raise ResultsError(f"{path} is not of results layout {LAYOUT_VERSION}: read it with the version that wrote it")
    missing = [key for key in needed if key not in content]
    if missing:
        raise ResultsError(f"{path} lacks {', '.join(missing)}: run this cell again")
    return content


def _json(content: dict) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
