"""Embeddings of every volume by each frozen encoder, computed once for all cells and restarts of a folder of runs."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from BrainIACLib.publishing import write_bytes
from Training.downstream.inputs import VolumeInputs, embed_volumes
from Training.downstream.perturbations import Perturbation
from Training.downstream.plan import Workbench

FOLDER = ".embeddings"


def embeddings_of(
    bench: Workbench,
    initialisation: str,
    seed: int,
    rows: np.ndarray | None = None,
    perturb: Perturbation | None = None,
) -> np.ndarray:
    """float32 (len(cache), D); rows of the cache that were not asked for are NaN. Kept where the plan says.

    Parameters
    ----------
    seed : of random weights; without meaning for pretrained ones.
    rows : the volumes to embed, all by default.
    perturb : applied to the volumes before they are normalized.
    """
    start = bench.initialisation(initialisation)
    rows = np.arange(len(bench.cache)) if rows is None else np.unique(rows)
    key = {
        "weights": start.sha256
        if start.pretrained
        else f"random {0 if start.fixed else seed} {start.contract.architecture}",
        "width": start.contract.width,
        "input": [start.contract.input_size, start.contract.resize_mode],
        "normalisation": [start.contract.normalisation, start.contract.clip_percentiles],
        "cache": bench.cache_sha256,
        "perturbation": [perturb.name, perturb.level] if perturb else None,
        "rows": hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest(),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]

    def compute() -> np.ndarray:
        inputs = VolumeInputs(bench.cache, rows[:, None], start.contract, bench.plan.device, perturb, bench.resized)
        known = embed_volumes(start.encoder(seed), inputs, rows, bench.plan.device)
        everything = np.full((len(bench.cache), known.shape[1]), np.nan, np.float32)
        everything[rows] = known
        return everything

    folder = Path(bench.plan.embeddings) if bench.plan.embeddings else bench.runs / FOLDER
    of = start.contract.architecture if start.pretrained else initialisation
    return _kept(folder, f"{of}-{name}", compute)[:, : start.numbers]


def _kept(folder: Path, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """From the file if it is there; else one process computes it while others that want it wait."""
    path = folder / f"{name}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        if not path.is_file():
            stream = io.BytesIO()
            np.save(stream, compute(), allow_pickle=False)
            write_bytes(stream.getvalue(), path)
    return np.load(path, allow_pickle=False)
