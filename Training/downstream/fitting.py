"""One training loop for whole networks and for heads on embeddings: best validation checkpoint (PROTOCOL P-15)."""

from __future__ import annotations

import copy
import typing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from BrainIACLib.errors import Cancelled, TrainingError
from Training.downstream.inputs import in_batches
from Training.downstream.recipe import Optimisation, Recipe
from Training.tasks.task import TargetScale, Task


class Inputs(typing.Protocol):
    def batch(self, studies: np.ndarray) -> tuple: ...


@dataclass(frozen=True)
class Fitted:
    """``score`` is the validation score of ``epoch`` (from 1), whose weights the model holds now; ``history`` has one
    row an epoch."""

    epoch: int
    score: float
    scale: TargetScale
    history: list[dict[str, float]]


def fit(
    model: nn.Module,
    inputs: Inputs,
    targets: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    task: Task,
    recipe: Recipe,
    *,
    rate: float,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Fitted:
    """Train ``model`` in place and leave it with the weights of the best validation score.

    Parameters
    ----------
    targets : (n,) of all studies; NaN ones must not be in ``train`` and ``validation``.
    train, validation : row numbers of studies.
    progress : called after each epoch with its number and the number of epochs.

    Raises
    ------
    Cancelled : asked to stop; the model is then of no use.
    TrainingError : nobody to train on or to validate with, or a loss that is not finite.
    """
    if not len(train) or not len(validation):
        raise TrainingError(
            f"{len(train)} training and {len(validation)} validation cases have a known label for the task "
            f"'{task.name}', and both need one; take a larger fraction."
        )
    rng = np.random.default_rng((seed, 4))
    scale = task.scale(targets[train])
    model.to(device)
    batches = max(1, len(train) // recipe.batch_size)
    optimisation = Optimisation(recipe, model.parameters(), rate, batches)
    epochs, patience = recipe.epochs_and_patience(batches)
    best: tuple[float, float] | None = None
    history, best_state, best_epoch = [], None, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of dropout
        for epoch in range(1, epochs + 1):
            if cancelled is not None and cancelled():
                raise Cancelled("Stopped as asked; this training was not finished.")
            order = rng.permutation(train)
            training_loss = _one_epoch(model, inputs, targets, order, task, recipe, optimisation, scale)
            if not np.isfinite(training_loss):
                raise TrainingError(f"The loss is not finite in epoch {epoch}; take a recipe with a lower rate.")
            outputs = predict(model, inputs, validation, recipe.batch_size)
            truth = torch.from_numpy(targets[validation])
            validation_loss = float(task.loss(outputs, truth, scale))
            score = task.validation_score(targets[validation], task.scores(outputs, scale))
            history.append(
                {
                    "epoch": epoch,
                    "training_loss": training_loss,
                    "validation_loss": validation_loss,
                    task.primary.name: score,
                    "learning_rate": optimisation.rate,
                }
            )
            optimisation.end_epoch(validation_loss)
            rank = (-score if task.primary.lower_is_better else score, -validation_loss)
            if best is None or rank > best:
                best, best_epoch, best_state = rank, epoch, copy.deepcopy(model.state_dict())
            if progress is not None:
                progress(epoch, epochs)
            if epoch - best_epoch >= patience:
                break
    model.load_state_dict(best_state)
    return Fitted(best_epoch, history[best_epoch - 1][task.primary.name], scale, history)


@torch.inference_mode()
def predict(model: nn.Module, inputs: Inputs, rows: np.ndarray, batch_size: int) -> Tensor:
    """Raw outputs (len(rows), outputs) on the CPU, in evaluation mode."""
    model.eval()
    return torch.cat([model(*inputs.batch(part)).float().cpu() for part in in_batches(rows, batch_size)])


def _one_epoch(
    model: nn.Module,
    inputs: Inputs,
    targets: np.ndarray,
    order: np.ndarray,
    task: Task,
    recipe: Recipe,
    optimisation: Optimisation,
    scale: TargetScale,
) -> float:
    """The mean loss. Studies beyond the last whole batch wait for another epoch, except where there is no whole one."""
    model.train()
    device = next(model.parameters()).device
    batches = list(in_batches(order, recipe.batch_size))
    if len(batches) > 1 and len(batches[-1]) < recipe.batch_size:
        batches.pop()
    total = 0.0
    for part in batches:
        mixed = recipe.mixed_precision and device.type == "cuda"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):  # float16 would need a gradient scaler
            outputs = model(*inputs.batch(part))
        value = task.loss(outputs.float(), torch.from_numpy(targets[part]).to(device), scale)
        optimisation.step(value)
        total += float(value.detach())
    return total / len(batches)
