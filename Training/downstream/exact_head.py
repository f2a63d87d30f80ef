"""A linear head on frozen embeddings, solved instead of descended to: ridge or logistic regression of the library.

The penalty is chosen by leaving training patients out, so the validation cases decide nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from BrainIACLib.head_training.linear_head import fit_linear_head
from BrainIACLib.head_training.targets import Target
from BrainIACLib.models.heads import LinearHead
from Training.downstream.fitting import Fitted
from Training.tasks.task import Task

UNCHOSEN = 1.0  # penalty where a class has one patient alone, so that none can be left out
NEVER = -1e4  # logit of a class without a training case


@torch.no_grad()
def solve(
    head: LinearHead,
    embeddings: torch.Tensor,
    targets: np.ndarray,
    patients: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    task: Task,
    seed: int,
) -> Fitted:
    """Set the weights of ``head``; ``epoch`` of what is returned is 0.

    Parameters
    ----------
    embeddings : (n, D) of all studies.
    targets, patients : (n,).
    train, validation : row numbers.
    """
    scale = task.scale(targets[train])
    features = embeddings[torch.from_numpy(train)].double().numpy()
    wanted = (targets[train] - scale.mean) / scale.deviation if task.kind == "regression" else targets[train]
    there, codes = np.unique(wanted, return_inverse=True) if task.kind == "classification" else (None, None)
    head.fc.weight.zero_()
    head.fc.bias.zero_()
    if not np.ptp(features, axis=0).any():  # nothing to learn from
        if task.kind == "regression":
            head.fc.bias.fill_(float(wanted.mean()))
    elif there is None:
        _, groups = np.unique(patients[train], return_inverse=True)
        fitted = fit_linear_head(features, Target(task.name, task.kind, wanted), groups, np.random.default_rng(seed))
        _set(head, fitted.weights, fitted.bias)
    elif len(there) == 1:
        _absent(head, there, task.outputs)
    else:
        _, groups = np.unique(patients[train], return_inverse=True)
        target = Target(task.name, task.kind, codes, tuple(map(str, there)))
        alone = min(len(set(groups[codes == number])) for number in range(len(there))) < 2
        fitted = fit_linear_head(
            features, target, groups, np.random.default_rng(seed), penalty=UNCHOSEN if alone else None
        )
        weights, bias = fitted.weights, fitted.bias
        if task.outputs > 1 and len(there) == 2:  # one logit of the second class against the first
            weights, bias = np.stack([0 * weights[0], weights[0]]), np.array([0.0, bias[0]])
        _absent(head, there, task.outputs)
        rows = there.astype(int) if task.outputs > 1 else np.array([0])
        head.fc.weight[rows] = torch.from_numpy(weights).float()
        head.fc.bias[rows] = torch.from_numpy(bias).float()
    outputs = head.eval()(embeddings[torch.from_numpy(validation)].float())
    score = task.validation_score(targets[validation], task.scores(outputs, scale))
    return Fitted(0, score, scale, [{"epoch": 0, task.primary.name: score}])


def _set(head: LinearHead, weights: np.ndarray, bias: np.ndarray) -> None:
    head.fc.weight.copy_(torch.from_numpy(weights))
    head.fc.bias.copy_(torch.from_numpy(bias))


def _absent(head: LinearHead, there: np.ndarray, outputs: int) -> None:
    """Classes that no training case has are never answered; of a two-class task, the only class always is."""
    if outputs == 1:
        head.fc.bias.fill_(-NEVER if there[0] == 1 and len(there) == 1 else NEVER if len(there) == 1 else 0.0)
        return
    missing = [number for number in range(outputs) if number not in there]
    head.fc.bias[missing] = NEVER
