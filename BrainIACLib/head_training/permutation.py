"""Could the figures be chance? The installed kind of head, cross-validated on shuffled labels.

Labels are exchanged between patients with equally many cases, as a block, and within each patient: under "the embedding
says nothing of the label" every such order is as likely as the true one. Blocks alone are not enough: where everybody
has the same labels in the same order (one scan of each sequence), their exchange changes nothing. The statistic is the
report's main figure of out-of-fold answers by heads of the same kind, at the best of a few penalties (of a two-layer
head: of epochs). Choosing the best for every order, true or shuffled, takes the place of the nested choice and is as
strict; the test holds exactly whatever the statistic. Its folds are drawn without a look at the labels: folds that are
balanced for the true labels, but not for the shuffled ones, would favor the true ones. Sources: Ojala and Garriga,
Journal of Machine Learning Research 11, 2010 (test 1); the maximum over choices: Westfall and Young, Resampling-Based
Multiple Testing, 1993.
"""

from __future__ import annotations

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training import cox, logistic
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.performance import main_figure
from BrainIACLib.head_training.report import Chance
from BrainIACLib.head_training.ridge import fit_ridge
from BrainIACLib.head_training.targets import Target
from BrainIACLib.head_training.two_layer_head import outputs_of_many
from BrainIACLib.head_training.words import LEAST_DISTINCT
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.principal_space import space_of

MOST_FOLDS = 5
RIDGE_PENALTIES = np.logspace(-2, 4, 7)  # in units of the mean squared length of a case, as all below
LOGISTIC_PENALTIES = np.logspace(-1, 2, 4)
COX_PENALTIES = np.logspace(-1, 3, 3)
# kind of head -> (work, shuffles), as many as take some seconds; 39 can still show p = .025
SHUFFLES = {
    "ridge": ((1e6, 999), (np.inf, 499)),
    "logistic": ((1e5, 999), (5e6, 199), (np.inf, 99)),
    "cox": ((2e4, 199), (1e6, 99), (np.inf, 39)),
    "two-layer": ((np.inf, 39),),
}


def chance_of(
    cases: Cases,
    head: str,
    folds: int,
    seed: int,
    balanced: bool,
    job: Job = UNATTENDED,
    shuffles: int | None = None,
) -> Chance:
    """p: the share of orders, counting the labels as they are, whose labels are answered at least as well.

    None where the shuffles give fewer than ``LEAST_DISTINCT`` different labelings: too few patients have equally many
    cases, and nothing can be tested.

    Parameters
    ----------
    head : ``"linear"`` or ``"two-layer"``.
    folds : of the report; at most five are used.
    shuffles : None takes as many as the size of the data allows.
    """
    rng = np.random.default_rng(seed)
    patients, index = np.unique(cases.groups, return_inverse=True)
    fold = (rng.permutation(len(patients)) % min(MOST_FOLDS, folds))[index]
    kind = "two-layer" if head == "two-layer" else KINDS[cases.target.kind]
    if shuffles is None:
        outputs = len(cases.target.classes) if len(cases.target.classes) > 2 else 1
        work = cases.embeddings.size * outputs
        shuffles = next(count for limit, count in SHUFFLES[kind] if work <= limit)
    orders = [np.arange(len(cases)), *_shuffles(cases.groups, shuffles, rng)]
    labels = np.stack([_labels(cases.target)[order] for order in orders])
    if len(np.unique(labels.reshape(len(orders), -1), axis=0)) < LEAST_DISTINCT:
        return Chance(None, shuffles)
    targets = [cases.target.rows(order) for order in orders]
    found: list[np.ndarray] = []  # of each fold: (choices, orders, cases out, k)
    for number in np.unique(fold):
        job.check()
        out = fold == number
        found.append(OUTPUTS[kind](cases.embeddings, targets, out, balanced, seed, job))
    answers = np.empty((*found[0].shape[:2], len(cases), found[0].shape[3]))
    for number, of_fold in zip(np.unique(fold), found, strict=True):
        answers[:, :, fold == number] = of_fold
    statistics = [_best(target, answers[:, order]) for order, target in enumerate(targets)]
    better = np.count_nonzero(np.array(statistics[1:]) >= statistics[0] - 1e-12)
    return Chance(float((1 + better) / (1 + shuffles)), shuffles)


def _labels(target: Target) -> np.ndarray:
    """(n, 1 or 2) what is exchanged."""
    return np.stack([target.values] if target.events is None else [target.values, target.events], axis=1)


def _best(target: Target, answers: np.ndarray) -> float:
    """The main figure (more is better) of the best choice; answers (choices, n, k)."""
    name, metric, columns = main_figure(target)
    sign = -1.0 if name == "MAE" else 1.0
    try:
        return max(sign * float(metric(*columns(target, outputs))) for outputs in answers)
    except StatisticsError:
        return -np.inf


def _ridge(embeddings: np.ndarray, targets: list[Target], out: np.ndarray, *_) -> np.ndarray:
    space = space_of(embeddings[~out])
    responses = np.stack([target.values for target in targets], axis=1)[~out]
    coordinates, found = space.project(embeddings[out]), []
    for penalty in RIDGE_PENALTIES * space.typical_square:
        weights, middle = fit_ridge(space, responses, penalty)
        found.append((coordinates @ weights + middle).T)
    return np.stack(found)[:, :, :, None]


def _logistic(embeddings: np.ndarray, targets: list[Target], out: np.ndarray, balanced: bool, *_) -> np.ndarray:
    space, count = space_of(embeddings[~out]), len(targets[0].classes)
    classes = np.stack([target.values for target in targets], axis=1)[~out]
    weights = np.ones(classes.shape)
    if balanced:
        weights = np.stack([logistic.balanced_weights(column, count) for column in classes.T], axis=1)
    choices, orders = len(LOGISTIC_PENALTIES), len(targets)
    fitted, bias = logistic.fit_logistic(
        space.coordinates,
        np.tile(classes, choices),
        count,
        np.tile(weights, choices),
        np.repeat(LOGISTIC_PENALTIES * space.typical_square, orders),
        logistic.COARSE,
        most_steps=300,
    )
    outputs = np.einsum("nr,frk->fnk", space.project(embeddings[out]), fitted, optimize=True) + bias[:, None]
    return outputs.reshape(choices, orders, *outputs.shape[1:])


def _cox(embeddings: np.ndarray, targets: list[Target], out: np.ndarray, _balanced, _seed, job) -> np.ndarray:
    space = space_of(embeddings[~out])
    coordinates = space.project(embeddings[out])
    found = np.empty((len(COX_PENALTIES), len(targets), int(out.sum()), 1))
    for order, target in enumerate(targets):
        job.check()
        begin = None
        for place in reversed(range(len(COX_PENALTIES))):
            penalty = COX_PENALTIES[place] * space.typical_square
            begin = cox.fit_cox(
                space.coordinates, target.values[~out], target.events[~out], penalty, begin, tolerance=1e-3
            )
            found[place, order, :, 0] = coordinates @ begin
    return found


KINDS = {"regression": "ridge", "classification": "logistic", "survival": "cox"}
OUTPUTS = {"ridge": _ridge, "logistic": _logistic, "cox": _cox, "two-layer": outputs_of_many}


def _shuffles(groups: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """``count`` times whose label each case gets, (n,).

    Patients with equally many cases exchange theirs as a block; then each patient's are shuffled among themselves,
    which changes nothing where they are all equal.
    """
    sizes = np.bincount(groups)
    rows = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    orders = np.tile(np.arange(len(groups)), (count, 1))
    for size in np.unique(sizes[sizes > 0]):
        same = np.stack([rows[patient] for patient in np.flatnonzero(sizes == size)])
        for order in orders:
            order[same] = rng.permuted(rng.permutation(same), axis=1)
    return list(orders)
