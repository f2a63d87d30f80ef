"""Reading finished cells with their checks: a table that would give a wrong number is refused, by name and row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from BrainIACLib.errors import ResultsError
from Training.runs.cell import HELD_OUT, SPLITS, Cell
from Training.runs.layout import LABELS, UNPERTURBED_LEVEL, cell_folders, finished, read_json
from Training.tasks import TASKS

_CONFIG_KEYS = ("task", "initialisation", "fraction", "seed", "mode", "cohort", "labels", "recipe", "provenance")
_METRICS_KEYS = ("counts", "validation", "seconds", "finished")


@dataclass(frozen=True)
class Run:
    """A finished cell. Tables are checked when they are read; a missing optional part is None or empty."""

    cell: Cell
    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    embeddings: pd.DataFrame | None = field(default=None, repr=False)  # features, indexed by row of predictions
    stability: pd.DataFrame | None = field(default=None, repr=False)
    centre_of_mass: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def simulated(self) -> bool:
        """Whether the labels were simulated, so that no number of this run is a finding."""
        return self.config["labels"] == "simulated"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the sequence task, in the order of the score columns."""
        return tuple(self.config["classes"])

    @property
    def initialisation_title(self) -> str:
        """What the weights at the start really were, such as an own pretraining under the name BrainIAC."""
        return self.config.get("initialisation_title", self.cell.initialisation)

    @property
    def official(self) -> bool:
        """Whether the run says that its encoder started from weights which the paper's authors published."""
        generation = self.config["provenance"].get("encoder", {}).get("generation", "own")
        return generation in ("v1", "v2")

    def rows(self, split: str) -> pd.DataFrame:
        """The predictions of one split, with their row numbers as the index."""
        return self.predictions[self.predictions["split"] == split]

    def pictures(self) -> list[Path]:
        """The saliency volumes to draw, in the order of their names."""
        return sorted((self.folder / "saliency").glob("*.npz"))


def read_runs(runs: Path) -> list[Run]:
    """All finished cells of a folder. Those still running are skipped; a damaged one is an error."""
    found = [read_run(folder) for folder in cell_folders(runs) if finished(folder)]
    _check_comparable(found)
    return found


def read_run(folder: Path) -> Run:
    """One finished cell.

    Raises
    ------
    ResultsError : a part is missing, damaged, of another layout, or contradicts another part; it names file and row.
    """
    config = read_json(folder / "config.json", _CONFIG_KEYS)
    cell = Cell.parse(folder.name)
    for key, value in asdict(cell).items():
        if config[key] != value:
            raise ResultsError(f"{folder / 'config.json'} says {key} {config[key]}, but its folder says {value}")
    if config["labels"] not in LABELS:
        raise ResultsError(f"{folder / 'config.json'} must call its labels 'real' or 'simulated'")
    if problem := TASKS[cell.task].problem_of_facts(config):
        raise ResultsError(f"{folder / 'config.json'} {problem}")
    metrics = read_json(folder / "metrics.json", _METRICS_KEYS)
    predictions = _predictions(folder / "predictions.csv", cell, config)
    return Run(
        cell,
        folder,
        config,
        metrics,
        predictions,
        _embeddings(folder / "embeddings.npz", len(predictions)),
        _stability(folder / "stability.csv"),
        _table(
            folder / "saliency" / "centre_of_mass.csv",
            {"patient": str, "sequence": str, "distance_mm": float, "threshold": float},
        ),
    )


def _read_csv(path: Path, kinds: dict[str, type], may_be_empty: tuple[str, ...] = ()) -> pd.DataFrame:
    """A CSV with the columns of ``kinds``, each of its kind; numbers are finite unless the column may be empty."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # pandas: empty, or ragged
        raise ResultsError(f"{path} is not a table ({error}): run this cell again") from error
    missing = [name for name in kinds if name not in table]
    if missing:
        raise ResultsError(f"{path} lacks the column {', '.join(missing)}")
    for name, kind in kinds.items():
        empty = table[name] == ""
        if name not in may_be_empty and empty.any():
            raise ResultsError(f"{path}, row {int(np.argmax(empty)) + 2}: {name} is empty")
        if kind is float:
            numbers = pd.to_numeric(table[name], errors="coerce")
            bad = ~empty & ~np.isfinite(numbers)
            if bad.any():
                row = int(np.argmax(bad))
                raise ResultsError(f"{path}, row {row + 2}: {name} is '{table[name].iloc[row]}', not a finite number")
            table[name] = numbers
    return table


def _table(path: Path, kinds: dict[str, type]) -> pd.DataFrame | None:
    return _read_csv(path, kinds) if path.is_file() else None


def _stability(path: Path) -> pd.DataFrame | None:
    table = _table(path, {"perturbation": str, "level": float, "metric": str, "value": float, "split": str})
    if table is not None:
        for end in {"low", "high"} & set(table.columns):
            table[end] = pd.to_numeric(table[end], errors="coerce")
    if table is not None and (unknown := set(table["perturbation"]) - set(UNPERTURBED_LEVEL)):
        raise ResultsError(f"{path} has the perturbation '{min(unknown)}', not one of {', '.join(UNPERTURBED_LEVEL)}")
    return table


def _predictions(path: Path, cell: Cell, config: dict) -> pd.DataFrame:
    task = TASKS[cell.task]
    kinds = {"patient": str, "scan": str, "split": str} | task.answer_columns(config)
    table = _read_csv(path, kinds, task.may_be_empty)
    if foreign := [name for name in table.columns if name.startswith("score_") and name not in kinds]:
        raise ResultsError(f"{path} has the column '{foreign[0]}', but {cell.name} knows no such class")
    allowed = {"split": SPLITS} | task.allowed(config)
    for name, values in allowed.items():
        if name not in table:
            continue
        bad = ~(table[name].isin(values) | (table[name].isna() & (name in task.may_be_empty)))
        if bad.any():
            row = int(np.argmax(bad))
            expected = ", ".join(str(value) for value in values)
            raise ResultsError(f"{path}, row {row + 2}: {name} is '{table[name].iloc[row]}', not one of {expected}")
    if "time" in kinds and (table["time"] < 0).any():
        row = int(np.argmax(table["time"] < 0))
        raise ResultsError(f"{path}, row {row + 2}: a survival time cannot be negative")
    _check_leak(path, table)
    return table


def _check_leak(path: Path, table: pd.DataFrame) -> None:
    """No patient may be in training and test of the same fold (C-08); nor may a scan be predicted twice in one."""
    fold = table["fold"] if "fold" in table else pd.Series("", index=table.index)
    held_out = table["split"].isin(HELD_OUT)
    seen = set(zip(fold[~held_out], table["patient"][~held_out], strict=True))
    for row in table.index[held_out]:
        if (fold[row], table["patient"][row]) in seen:
            raise ResultsError(f"{path}, row {row + 2}: this patient is in the training and the test split")
    twice = table[held_out].duplicated(["split", "scan"])
    if twice.any():
        row = int(twice.index[np.argmax(twice)])
        raise ResultsError(f"{path}, row {row + 2}: this scan is predicted twice in the {table['split'][row]} split")


def _embeddings(path: Path, rows: int) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            embedding, row = arrays["embedding"], arrays["row"]
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(f"{path} is not a file of embeddings ({error}): run this cell again") from error
    if embedding.ndim != 2 or row.shape != embedding.shape[:1] or not np.isfinite(embedding).all():
        raise ResultsError(f"{path} must hold finite embeddings (cases, features) and one row number each")
    if len(row) and (row.min() < 0 or row.max() >= rows):
        raise ResultsError(f"{path} names row {int(row.max())}, but predictions.csv has {rows} rows")
    return pd.DataFrame(embedding, index=row)


def _check_comparable(runs: list[Run]) -> None:
    """Within a task all cells have one cohort and the same test cases, or no comparison of them would mean anything."""
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(run.cell.task, run)
        for key in ("cohort", "labels"):
            if run.config[key] != other.config[key]:
                raise ResultsError(
                    f"{run.folder.name} has {key} '{run.config[key]}', but {other.folder.name} has "
                    f"'{other.config[key]}': put them into separate folders of runs"
                )
        for split in HELD_OUT:
            truth = [name for name in ("patient", "truth", "time", "event") if name in run.predictions]
            cases, others = (one.rows(split).set_index("scan")[truth].sort_index() for one in (run, other))
            if not cases.index.equals(others.index):
                raise ResultsError(
                    f"{run.folder.name} and {other.folder.name} have different cases in the {split} split: "
                    "run one of them again with the hold-out of the other"
                )
            if not cases.equals(others):
                raise ResultsError(
                    f"{run.folder.name} and {other.folder.name} disagree about the truth of the {split} split: "
                    "run both again with the same manifest"
                )
