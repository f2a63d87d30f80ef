"""The paper's head on stored embeddings: linear, ReLU, dropout, linear (P-17, U-02), trained with AdamW.

The number of epochs is chosen on a quarter of the patients, then the head is trained anew on all. The first layer is
trained on the coordinates of a ``Space`` and turned back onto embeddings: with fewer cases than numbers, gradients
never leave the span of the cases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from BrainIACLib.head_training.folds import stratified_folds
from BrainIACLib.head_training.logistic import balanced_weights
from BrainIACLib.head_training.targets import Target
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.principal_space import Space, space_of

if TYPE_CHECKING:
    import torch

    Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # outputs, rows -> mean loss

MOST_EPOCHS, PATIENCE, BATCH, LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 100, 10, 64, 1e-3, 1e-2, 0.2


@dataclass(frozen=True)
class TwoLayerHead:
    """``hidden``: (h, d), ``hidden_bias``: (h,), ``weights``: (k, h), ``bias``: (k,); ``penalty``: the epochs."""

    hidden: np.ndarray
    hidden_bias: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    penalty: float

    def outputs(self, embeddings: np.ndarray) -> np.ndarray:
        """(m, d) -> (m, k)."""
        return np.maximum(embeddings @ self.hidden.T + self.hidden_bias, 0) @ self.weights.T + self.bias

    def tensors(self) -> dict[str, np.ndarray]:
        """The state of ``models.heads.MlpHead``."""
        last = {"fc.weight": self.weights, "fc.bias": self.bias}
        return {**last, "hidden.weight": self.hidden, "hidden.bias": self.hidden_bias}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A batch is computed before a second thread has woken, and threads that wait for a core keep another one busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def fit_two_layer_head(
    embeddings: np.ndarray,
    target: Target,
    groups: np.ndarray,
    rng: np.random.Generator,
    balanced: bool = True,
    penalty: float | None = None,
    job: Job = UNATTENDED,
) -> TwoLayerHead:
    """On (n, d) embeddings. ``penalty``: the epochs; None chooses them by early stopping on patients left out."""
    import torch

    space = space_of(embeddings)
    middle, spread = (target.values.mean(), target.values.std()) if target.kind == "regression" else (0.0, 1.0)
    seed = int(rng.integers(2**31))
    epochs = penalty
    if epochs is None:
        out = stratified_folds(target, groups, 4, rng) == 0
        epochs = _train(space, target, out, middle, spread, balanced, seed, MOST_EPOCHS, job)[1]
    nobody = np.zeros(len(embeddings), bool)
    (first, last), _ = _train(space, target, nobody, middle, spread, balanced, seed, int(epochs), job)
    with torch.no_grad():
        hidden, hidden_bias = space.on_embeddings(
            first.weight.numpy().T.astype(float), first.bias.numpy().astype(float)
        )
        weights, bias = last.weight.numpy().astype(float) * spread, last.bias.numpy().astype(float) * spread + middle
    return TwoLayerHead(hidden, hidden_bias, weights, bias, float(epochs))


def _train(
    space: Space,
    target: Target,
    out: np.ndarray,
    middle: float,
    spread: float,
    balanced: bool,
    seed: int,
    epochs: int,
    job: Job,
) -> tuple[tuple[torch.nn.Linear, torch.nn.Linear], int]:
    """The layers after ``epochs`` on the cases not ``out``, and after which epoch the loss on ``out`` was least."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    size = space.coordinates.shape[1]
    unit = float(np.sqrt(size / space.typical_square))  # so that the net sees numbers of variance near 1
    inputs = torch.from_numpy((space.coordinates * unit).astype(np.float32))
    outputs = len(target.classes) if len(target.classes) > 2 else 1
    width = len(space.mean)  # as many as an embedding has numbers (P-17)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, last = nn.Linear(size, width), nn.Linear(width, outputs)
        net = nn.Sequential(first, nn.ReLU(), nn.Dropout(DROPOUT), last)
        optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        loss_of = _loss(target, middle, spread, balanced)
        train, held_out = (torch.from_numpy(np.flatnonzero(rows)) for rows in (~out, out))
        # a partial likelihood needs everybody at risk in one batch
        batch = len(train) if target.kind == "survival" else BATCH
        best, best_epoch = np.inf, epochs
        for epoch in range(1, epochs + 1):
            job.check()
            net.train()
            for rows in train[torch.randperm(len(train), generator=generator)].split(batch):
                optimiser.zero_grad()
                loss_of(net(inputs[rows]), rows).backward()
                optimiser.step()
            net.eval()
            if len(held_out):
                with torch.no_grad():
                    loss = loss_of(net(inputs[held_out]), held_out).item()
                if loss < best - 1e-4:
                    best, best_epoch = loss, epoch
                elif epoch - best_epoch >= PATIENCE:
                    break
    with torch.no_grad():
        first.weight *= unit
    return (first, last), best_epoch


def _loss(target: Target, middle: float, spread: float, balanced: bool) -> Loss:
    """outputs (m, k), rows (m,) -> mean loss."""
    import torch
    import torch.nn.functional as F

    if target.kind == "regression":
        truth = torch.from_numpy(((target.values - middle) / spread).astype(np.float32))
        return lambda outputs, rows: F.mse_loss(outputs[:, 0], truth[rows])
    if target.kind == "survival":
        times, events = torch.from_numpy(target.values), torch.from_numpy(target.happened)

        def partial_likelihood(outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            order = torch.argsort(-times[rows], stable=True)
            scores = outputs[order, 0]
            terms = (scores - torch.logcumsumexp(scores, 0))[events[rows][order]]
            return -terms.sum() / max(1, len(terms))

        return partial_likelihood
    classes = torch.from_numpy(target.values)
    weights = balanced_weights(target.values, len(target.classes)) if balanced else np.ones(len(target.values))
    shares = torch.from_numpy(weights.astype(np.float32))

    def cross_entropy(outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        if outputs.shape[1] == 1:
            losses = F.binary_cross_entropy_with_logits(outputs[:, 0], classes[rows].float(), reduction="none")
        else:
            losses = F.cross_entropy(outputs, classes[rows], reduction="none")
        return (losses * shares[rows]).mean()

    return cross_entropy
