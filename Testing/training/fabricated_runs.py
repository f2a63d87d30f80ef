"""Folders of runs with random predictions, for testing tables, figures and reports; nothing here was ever trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from Training.runs import layout as results
from Training.runs.cell import FRACTIONS, PAPER, Cell
from Training.tasks import TASKS

CLASSES = ("T1", "T2", "FLAIR", "T1CE")
FABRICATED_SKILL = {"BrainIAC": 1.0, "MedicalNet": 0.6, "Scratch": 0.3}
"""The known effect: how strongly each initialization's random scores follow the truth."""


def fabricate_random_runs(
    folder: Path,
    *,
    cases: int = 60,
    tasks: tuple[str, ...] = TASKS,
    fractions: tuple[float, ...] = FRACTIONS,
    seeds: tuple[int, ...] = (0,),
    modes: tuple[str, ...] = ("finetune",),
    labels: str = "simulated",
    extras: bool = True,
    generation: str = "v1",
) -> list[Cell]:
    """Write finished cells whose predictions are random numbers around a fabricated truth.

    A cell's skill grows with ``FABRICATED_SKILL`` of its initialization and with its fraction; ``extras`` adds
    embeddings, stability and saliency to the cells of the largest fraction; ``generation`` is that of BrainIAC's
    weights. The grid asks for all cells written.
    """
    cells = [
        Cell(task, name, fraction, seed, mode)
        for task in tasks
        for name in PAPER
        for fraction in fractions
        for seed in seeds
        for mode in modes
    ]
    results.write_grid(folder, cells)
    for number, cell in enumerate(cells):
        generator = np.random.default_rng(number)
        skill = FABRICATED_SKILL[cell.initialisation] * (0.6 + 0.4 * cell.fraction)
        table = _truth(cell.task, cases)
        trained = round(cell.fraction * cases)  # nested: the first of the training patients
        table = table.drop(index=table.index[(table["split"] == "train").to_numpy()][trained:]).reset_index(drop=True)
        _add_scores(table, cell.task, skill, generator)
        more = {"classes": list(CLASSES)} if cell.task == "sequence" else {}
        if generation == "own":
            more["initialisation_title"] = "a fabricated start"
        path = results.write_config(
            folder,
            cell,
            cohort="fabricated",
            labels=labels,
            recipe={"name": "none", "epochs": 0},
            provenance={
                "command": "fabricate_random_runs",
                "sha256": {"manifest": "0" * 64},
                "encoder": {"architecture": "none", "width": 1.0, "training_data": "nothing", "generation": generation},
            },
            data={
                "groups": [
                    {"dataset": "fabricated", "role": role, "sequence": name, "scans": 3 + place, "patients": 3}
                    for role in ("", "pretrain")
                    for place, name in enumerate(CLASSES)
                ],
                "total": {"scans": 36, "patients": 6},
                "size": [8, 8, 8],
                "preprocessing": {"steps": "standard"},
            },
            **more,
        )
        largest = extras and cell.fraction == max(fractions)
        results.write_predictions(path, table, _embeddings(table, skill, generator) if largest else None)
        if largest:
            _write_stability(path, cell, skill)
            _write_saliency(path, cell, generator)
        counts = {
            split: {"patients": int(rows["patient"].nunique()), "scans": len(rows), "sequences": {"T1": len(rows)}}
            for split, rows in table.groupby("split")
        }
        validation = {"metric": TASKS[cell.task].primary.name, "value": 0.5, "epoch": 0}
        results.write_metrics(path, counts=counts, validation=validation, seconds=1.0, finished="2026-01-01T00:00:00")
    return cells


def _truth(task: str, cases: int) -> pd.DataFrame:
    """The same cases for every cell of a task: training, test and external patients."""
    generator = np.random.default_rng(len(task))
    splits = np.repeat(["train", "test", "external"], cases)
    if task in ("sequence", "idh"):  # no external set in the paper
        splits = splits[: 2 * cases]
    table = pd.DataFrame({"patient": [f"{split}{i}" for i, split in enumerate(splits)], "split": splits})
    table["scan"] = table["patient"] + "_scan"
    if task == "sequence":
        table["truth"] = np.resize(CLASSES, len(table))
    elif task == "age":
        table["truth"] = generator.uniform(1, 40, len(table)).round(1)
        table["dataset"] = np.where(splits == "external", np.resize(["IXI", "Pixar"], len(table)), "internal")
    elif task == "idh":
        table["truth"] = (generator.random(len(table)) < 0.3).astype(int)
    else:
        death, lost = generator.exponential(14, len(table)), generator.uniform(3, 60, len(table))
        table["time"], table["event"] = np.minimum(death, lost).round(2), (death <= lost).astype(int)
        known = (table["event"] == 1) | (table["time"] > 12)
        table["truth"] = np.where(known, (table["time"] <= 12).astype(float), np.nan)
    return table


def _add_scores(table: pd.DataFrame, task: str, skill: float, generator: np.random.Generator) -> None:
    noise = generator.normal(size=len(table))
    if task == "sequence":
        logits = generator.normal(size=(len(table), 4)) + 3 * skill * (table["truth"].to_numpy()[:, None] == CLASSES)
        exponentials = np.exp(logits)
        for k, name in enumerate(CLASSES):
            table[f"score_{name}"] = exponentials[:, k] / exponentials.sum(axis=1)
    elif task == "age":
        table["score"] = 20 + skill * (table["truth"] - 20) + noise * 4
    elif task == "idh":
        table["score"] = 1 / (1 + np.exp(-(2 * skill * (table["truth"] - 0.5) + noise)))
    else:
        table["score"] = 1 / (1 + np.exp(-(skill * 1.5 * (1 - np.log1p(table["time"]) / 2.5) + noise)))


def _embeddings(table: pd.DataFrame, skill: float, generator: np.random.Generator) -> np.ndarray:
    if table["truth"].dtype.kind in "fi":
        code = table["truth"].fillna(0).to_numpy() / max(1.0, table["truth"].max())
    else:
        code = np.array([CLASSES.index(name) for name in table["truth"]]) / 3
    centres = np.stack([np.cos(5 * code), np.sin(5 * code), code], axis=1) @ generator.normal(size=(3, 16))
    return skill * 4 * centres + generator.normal(size=(len(table), 16))


def _write_stability(folder: Path, cell: Cell, skill: float) -> None:
    start = {"balanced_accuracy": 0.25 + 0.7 * skill, "mae": 8 - 5 * skill, "auc": 0.5 + 0.4 * skill}
    metric = TASKS[cell.task].primary.name
    rows = []
    for perturbation, levels, none in (
        ("contrast", (0.5, 1.0, 1.5, 2.0), 1.0),
        ("gibbs", (0, 0.2, 0.4), 0),
        ("bias_field", (0, 0.2, 0.4), 0),
    ):
        for level in levels:
            harm = abs(level - none) * (1.2 - skill)
            value = start[metric] + harm * (4 if metric == "mae" else -0.2)
            rows.append((perturbation, level, "test", metric, value))
    table = pd.DataFrame(rows, columns=["perturbation", "level", "split", "metric", "value"])
    table.to_csv(folder / "stability.csv", index=False)


def _write_saliency(folder: Path, cell: Cell, generator: np.random.Generator) -> None:
    """A ball for a head, a smaller one for a tumor, and a blob near it; distances around 30 mm."""
    (folder / "saliency").mkdir(exist_ok=True)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij"))
    image = ((grid**2).sum(axis=0) < 0.7) * (0.6 + 0.2 * np.cos(6 * grid[0]) * np.cos(5 * grid[1]))
    tumour = ((grid - np.array([0.3, 0.2, 0.1])[:, None, None, None]) ** 2).sum(axis=0) < 0.04
    offset = np.array([0.3, 0.2, 0.1]) + generator.normal(0, 0.1, 3)
    blob = np.exp(-8 * ((grid - offset[:, None, None, None]) ** 2).sum(axis=0))
    sequences = {"sequence": CLASSES, "age": ("T1",), "idh": ("T1CE", "FLAIR"), "survival": CLASSES}[cell.task]
    for sequence in sequences:
        for target in ("task", "backbone") if cell.task == "sequence" else ("task",):
            arrays = {"image": image, "map": blob, "spacing": np.full(3, 5.0), "tumour": tumour}
            np.savez_compressed(
                folder / "saliency" / f"{target}_{sequence}.npz",
                **arrays,
                patient="test1",
                sequence=sequence,
                target=target,
            )
    if cell.task == "idh":
        rows = [
            (f"test{i}", sequence, generator.gamma(9, 3.2), 0.0) for i in range(30) for sequence in ("T1CE", "FLAIR")
        ]
        table = pd.DataFrame(rows, columns=["patient", "sequence", "distance_mm", "threshold"])
        table.to_csv(folder / "saliency" / "centre_of_mass.csv", index=False)
