"""How good is the embedding for something? k nearest neighbors and a linear probe on labeled volumes, while training.

Volumes with a label are split once by patient into halves, one to fit and one to test. They may also be volumes that
are pretrained on, whose labels pretraining never sees: this watches a run, it is no evaluation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from Training.data.cache import Cache
from Training.data.splits import split_by_patient

NEIGHBOURS = 5
FEWEST = 8  # labeled volumes on either side


@dataclass(frozen=True)
class Labelled:
    """Volumes with a label. ``labels`` are text (classes) or numbers (regression); rows are those of the cache."""

    label: str
    fit_rows: list[int]
    fit_labels: np.ndarray
    test_rows: list[int]
    test_labels: np.ndarray

    @property
    def classes(self) -> bool:
        return self.fit_labels.dtype.kind in "OUT"

    @property
    def score_name(self) -> str:
        """Balanced accuracy is better high, mean absolute error low."""
        return "balanced accuracy" if self.classes else "mean absolute error"


def labelled_volumes(cache: Cache, label: str, most: int, seed: int) -> Labelled | None:
    """The labeled volumes to watch, or None where there are too few, or only one class."""
    table = cache.table
    if label not in table:
        return None
    numbers = pd.api.types.is_numeric_dtype(table[label])
    known = table[table[label].notna() if numbers else ~table[label].isin(["", "other"])]
    if "role" in known:
        known = known[known["role"] != "test"]
    known = known.sample(min(most, len(known)), random_state=seed).sort_index()
    if known["patient"].nunique() < 2 or (not numbers and known[label].nunique() < 2):
        return None
    side = split_by_patient(known, {"fit": 0.5, "test": 0.5}, seed)
    fit, test = known[side == "fit"], known[side == "test"]
    if min(len(fit), len(test)) < FEWEST or (not numbers and fit[label].nunique() < 2):
        return None
    values = [part[label].to_numpy(float if numbers else object) for part in (fit, test)]
    return Labelled(label, fit.index.tolist(), values[0], test.index.tolist(), values[1])


def embed(encoder: nn.Module, cache: Cache, rows: list[int], device: torch.device, batch_size: int = 16) -> Tensor:
    """float32 (N, embedding_size) on the CPU, without views, in evaluation mode; the training mode is restored."""
    training = encoder.training
    encoder.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            volumes = cache.batch(rows[start : start + batch_size]).to(device).float().div_(255)
            parts.append(encoder(volumes).float().cpu())
    encoder.train(training)
    return torch.cat(parts)


def scores(watched: Labelled, fit: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """k-NN (cosine distance) and linear probe (on standardized embeddings): the score named by ``score_name``."""
    neighbours = min(NEIGHBOURS, len(fit))
    if watched.classes:
        models = (
            KNeighborsClassifier(neighbours, metric="cosine"),
            make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        )
        score = balanced_accuracy_score
    else:
        models = (KNeighborsRegressor(neighbours, metric="cosine"), make_pipeline(StandardScaler(), Ridge(10.0)))
        score = mean_absolute_error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not converged, or a class absent from the test half
        found = [score(watched.test_labels, model.fit(fit, watched.fit_labels).predict(test)) for model in models]
    return float(found[0]), float(found[1])
