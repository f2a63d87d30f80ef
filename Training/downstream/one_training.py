"""One training: a head on frozen embeddings, or encoder and head together (PROTOCOL P-13, P-17, P-18)."""

from __future__ import annotations

import copy
import typing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from BrainIACLib.errors import TrainingError
from Training.downstream.embeddings import embeddings_of
from Training.downstream.exact_head import solve
from Training.downstream.fitting import Fitted, fit, predict
from Training.downstream.inputs import EmbeddingInputs, VolumeInputs, pool_studies
from Training.downstream.network import StudyNet, absorb_input_scale, absorb_output_scale, new_head
from Training.downstream.perturbations import Perturbation
from Training.downstream.plan import Workbench, with_truth
from Training.downstream.recipe import Recipe
from Training.runs.cell import HELD_OUT, Cell
from Training.tasks import TASKS
from Training.tasks.task import TargetScale


class Outputs(typing.Protocol):
    def __call__(self, rows: np.ndarray, perturb: Perturbation | None = None) -> torch.Tensor:
        """Raw outputs (len(rows), outputs) of studies by row number; of perturbed scans only for held-out studies."""


@dataclass(frozen=True)
class Trained:
    """One training: whom it saw (its split column), what predicts (raw outputs, or embeddings, of studies by row
    number), and how it came about."""

    split: pd.Series
    fitted: Fitted
    outputs: Outputs
    pooled: Callable[[np.ndarray], np.ndarray]
    tensors: dict[str, torch.Tensor]
    net: StudyNet | None  # None for a probe
    head: nn.Module

    @property
    def held_out(self) -> np.ndarray:
        """Row numbers of the studies that test this training, which it neither trained on nor validated with."""
        return np.flatnonzero(self.split.isin(HELD_OUT))


def train_once(
    bench: Workbench,
    cell: Cell,
    recipe: Recipe,
    split: pd.Series,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool] | None,
) -> Trained:
    """Train a cell on one split column (see ``fractions``).

    Parameters
    ----------
    progress : called after each epoch with its number and the number of epochs.
    cancelled : polled before each epoch.
    """
    task = TASKS[cell.task]
    data, start, device = bench.studies(cell.task), bench.initialisation(cell.initialisation), bench.plan.device
    targets = data.table["target"].to_numpy(float)
    train, validation = with_truth(data, split, "train"), with_truth(data, split, "validation")
    if cell.mode == "finetune" and (recipe.solver == "exact" or start.fixed):
        raise TrainingError(
            f"'{start.title}' with this recipe has a head to train and no network to tune; take mode probe."
        )
    head = new_head(recipe.head, start.embedding_size, task.outputs, recipe.dropout, cell.seed)
    how = {
        "rate": recipe.learning_rate(start.pretrained),
        "seed": cell.seed,
        "device": device,
        "progress": progress,
        "cancelled": cancelled,
    }
    if cell.mode == "probe":
        pooled = pool_studies(embeddings_of(bench, cell.initialisation, cell.seed), data.volumes)
        if recipe.solver == "exact":
            patients = data.table["patient"].to_numpy()
            fitted = solve(head, pooled, targets, patients, train, validation, task, cell.seed)
        else:
            inputs = EmbeddingInputs(pooled, train)
            fitted = fit(head, inputs, targets, train, validation, task, recipe, **{**how, "device": "cpu"})
            absorb_input_scale(head, inputs.mean, inputs.deviation)

        def outputs(rows: np.ndarray, perturb: Perturbation | None = None) -> torch.Tensor:
            if perturb is None:
                return _head_outputs(head, pooled[torch.from_numpy(rows)])
            # of the test volumes of all tasks and folds at once, so that each of them finds these embeddings computed
            perturbed = embeddings_of(bench, cell.initialisation, cell.seed, bench.test_volumes(cell), perturb)
            return _head_outputs(head, pool_studies(perturbed, data.volumes[rows]))

        def embeddings(rows: np.ndarray) -> np.ndarray:
            return pooled.numpy()[rows]

        return Trained(split, fitted, outputs, embeddings, _tensors(head, None, fitted.scale), None, head)
    net = StudyNet(start.encoder(cell.seed), head)
    volume_inputs = VolumeInputs(bench.cache, data.volumes, start.contract, device, resized=bench.resized)
    fitted = fit(net, volume_inputs, targets, train, validation, task, recipe, **how)

    def net_outputs(rows: np.ndarray, perturb: Perturbation | None = None) -> torch.Tensor:
        inputs = VolumeInputs(bench.cache, data.volumes, start.contract, device, perturb, bench.resized)
        return predict(net, inputs, rows, recipe.batch_size)

    def net_embeddings(rows: np.ndarray) -> np.ndarray:
        without_head = StudyNet(net.encoder, nn.Identity())
        return predict(without_head, volume_inputs, rows, recipe.batch_size).numpy()

    return Trained(split, fitted, net_outputs, net_embeddings, _tensors(head, net.encoder, fitted.scale), net, head)


@torch.inference_mode()
def _head_outputs(head: nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    return head.eval()(embeddings)


def _tensors(head: nn.Module, encoder: nn.Module | None, scale: TargetScale) -> dict[str, torch.Tensor]:
    """What a checkpoint holds: keys as in ``BrainIACLib.checkpoints.recognition``, the age scale in the last layer."""
    scaled = copy.deepcopy(head).cpu()
    absorb_output_scale(scaled, scale.mean, scale.deviation)
    tensors = {f"head.{key}": value for key, value in scaled.state_dict().items()}
    if encoder is not None:
        tensors |= {f"encoder.{key}": value.detach().cpu() for key, value in encoder.state_dict().items()}
    return {key: value.contiguous() for key, value in tensors.items()}
