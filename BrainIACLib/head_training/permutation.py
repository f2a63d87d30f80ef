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
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.figures_in_words import LEAST_DISTINCT
from BrainIACLib.head_training.head_kinds import HEAD_KINDS
from BrainIACLib.head_training.performance import main_figure
from BrainIACLib.head_training.report import Chance
from BrainIACLib.head_training.targets import Target
from BrainIACLib.job import UNATTENDED, Job

MOST_FOLDS = 5


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
    head : one of ``HEAD_KINDS``.
    folds : of the report; at most five are used.
    shuffles : None takes as many as the size of the data allows.
    """
    rng = np.random.default_rng(seed)
    patients, index = np.unique(cases.groups, return_inverse=True)
    fold = (rng.permutation(len(patients)) % min(MOST_FOLDS, folds))[index]
    shuffled = HEAD_KINDS[head].shuffled(cases.target.kind)
    if shuffles is None:
        outputs = len(cases.target.classes) if len(cases.target.classes) > 2 else 1
        shuffles = shuffled.count(cases.embeddings.size * outputs)
    orders = [np.arange(len(cases)), *_shuffles(cases.groups, shuffles, rng)]
    labels = np.stack([_labels(cases.target)[order] for order in orders])
    if len(np.unique(labels.reshape(len(orders), -1), axis=0)) < LEAST_DISTINCT:
        return Chance(None, shuffles)
    targets = [cases.target.rows(order) for order in orders]
    found: list[np.ndarray] = []  # of each fold: (choices, orders, cases out, k)
    for number in np.unique(fold):
        job.check()
        out = fold == number
        found.append(shuffled.outputs(cases.embeddings, targets, out, balanced, seed, job))
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
