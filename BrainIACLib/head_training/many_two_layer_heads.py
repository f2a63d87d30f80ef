"""Two-layer heads for several orders of the labels, trained side by side: what the test of chance needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from BrainIACLib.head_training.logistic import balanced_weights
from BrainIACLib.head_training.targets import Target
from BrainIACLib.head_training.two_layer_head import (
    BATCH,
    DROPOUT,
    LEARNING_RATE,
    WEIGHT_DECAY,
    one_thread,
)
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.principal_space import Space, space_of

if TYPE_CHECKING:
    import torch

    from BrainIACLib.head_training.two_layer_head import Loss

EPOCHS_LOOKED_AT = (5, 10, 20, 40, 70, 100)
CASE_LAYERS = 1 << 24  # cases times units of the hidden layer times heads that are trained at once


@one_thread()
def outputs_of_many(
    embeddings: np.ndarray,
    targets: list[Target],
    out: np.ndarray,
    balanced: bool,
    seed: int,
    job: Job = UNATTENDED,
) -> np.ndarray:
    """Heads for several orders of the labels, trained side by side on the cases not ``out``.

    Returns
    -------
    (epochs looked at, orders, cases out, k) outputs; each head is trained as ``fit_two_layer_head`` trains one.
    """
    space = space_of(embeddings[~out])
    width = len(space.mean)
    size = max(1, CASE_LAYERS // (len(space.coordinates) * width))
    parts = [targets[start : start + size] for start in range(0, len(targets), size)]
    coordinates = space.project(embeddings[out])
    return np.concatenate([_train_many(space, part, coordinates, out, balanced, seed, job) for part in parts], 1)


def _train_many(
    space: Space,
    targets: list[Target],
    coordinates: np.ndarray,
    out: np.ndarray,
    balanced: bool,
    seed: int,
    job: Job,
) -> np.ndarray:
    import torch

    width, heads, inputs_size = len(space.mean), len(targets), space.coordinates.shape[1]
    outputs = len(targets[0].classes) if len(targets[0].classes) > 2 else 1
    unit = float(np.sqrt(inputs_size / space.typical_square))
    inputs, held_out = (torch.from_numpy((part * unit).astype(np.float32)) for part in (space.coordinates, coordinates))
    seen = [target.rows(~out) for target in targets]
    regression = targets[0].kind == "regression"
    middles: list[tuple[float, float]] = [
        (target.values.mean(), target.values.std() or 1.0) if regression else (0.0, 1.0) for target in seen
    ]
    loss_of = _loss_of_many(seen, middles, balanced)
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, fan_in: int) -> torch.Tensor:  # as nn.Linear draws weights and biases
        return ((torch.rand(shape, generator=generator) * 2 - 1) / np.sqrt(fan_in)).expand(heads, *shape).clone()

    parameters = [
        drawn(inputs_size, width, fan_in=inputs_size),
        drawn(1, width, fan_in=inputs_size),
        drawn(width, outputs, fan_in=width),
        drawn(1, outputs, fan_in=width),
    ]
    for parameter in parameters:
        parameter.requires_grad_()
    hidden, hidden_bias, last, last_bias = parameters
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batch = len(inputs) if targets[0].kind == "survival" else BATCH
    found = []
    for epoch in range(1, EPOCHS_LOOKED_AT[-1] + 1):
        job.check()
        for rows in torch.randperm(len(inputs), generator=generator).split(batch):
            optimiser.zero_grad()
            active = torch.relu(inputs[rows] @ hidden + hidden_bias)
            kept = torch.rand(active.shape[1:], generator=generator) >= DROPOUT  # the same units in every order
            answers = (active * kept / (1 - DROPOUT)) @ last + last_bias
            loss_of(answers, rows).backward()
            optimiser.step()
        if epoch in EPOCHS_LOOKED_AT:
            with torch.no_grad():
                found.append((torch.relu(held_out @ hidden + hidden_bias) @ last + last_bias).numpy())
    # of a number back in its unit; a rank, a class or a hazard has none
    scale = np.array(middles)[:, :, None, None]
    return np.stack(found).astype(float) * scale[:, 1] + scale[:, 0]


def _loss_of_many(targets: list[Target], middles: list[tuple[float, float]], balanced: bool) -> Loss:
    """outputs (heads, m, k), rows (m,) -> sum over heads of the mean losses as in ``two_layer_head``, the slow form."""
    import torch
    import torch.nn.functional as F

    values = np.stack([target.values for target in targets])
    if targets[0].kind == "regression":
        middle, spread = (np.array(numbers)[:, None] for numbers in zip(*middles, strict=True))
        truth = torch.from_numpy(((values - middle) / spread).astype(np.float32))
        return lambda outputs, rows: ((outputs[:, :, 0] - truth[:, rows]) ** 2).mean(dim=1).sum()
    if targets[0].kind == "survival":
        times = torch.from_numpy(values)
        events = torch.from_numpy(np.stack([target.happened for target in targets]))

        def partial_likelihood(outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            order = torch.argsort(-times[:, rows], dim=1, stable=True)
            scores = outputs[:, :, 0].gather(1, order)
            died = events[:, rows].gather(1, order)
            terms = (scores - torch.logcumsumexp(scores, 1)) * died
            return -(terms.sum(dim=1) / died.sum(dim=1).clamp(min=1)).sum()

        return partial_likelihood
    classes, count = torch.from_numpy(values), len(targets[0].classes)
    weights = np.stack([balanced_weights(row, count) if balanced else np.ones(len(row)) for row in values])
    shares = torch.from_numpy(weights.astype(np.float32))

    def cross_entropy(outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        truth = classes[:, rows]
        if outputs.shape[2] == 1:
            losses = F.binary_cross_entropy_with_logits(outputs[:, :, 0], truth.float(), reduction="none")
        else:
            losses = F.cross_entropy(outputs.transpose(1, 2), truth, reduction="none")
        return (losses * shares[:, rows]).mean(dim=1).sum()

    return cross_entropy
