"""Could the figures be chance? The whole nested cross-validation on shuffled labels.

Refitting a logistic or Cox head hundreds of times would take minutes, so the test is made with least squares on the
same embeddings: on class indicators, on the number, or on martingale residuals of survival times. There, shuffled
labels are further columns of one linear system. Its folds are drawn without a look at the labels: folds that are
balanced for the true labels, but not for the shuffled ones, would favour the true ones. Labels are exchanged between
patients with equally many cases, as a block, and within each patient: under "the embedding says nothing of the label"
every such order is as likely as the true one, and the test holds exactly. Blocks alone are not enough: where everybody
has the same labels in the same order (one scan of each sequence), their exchange changes nothing. The statistic,
the rank correlation of out-of-fold answers and labels (of two classes: a rescaled AUC), is not the figure of the
installed head, but of its sister. Source: Ojala and Garriga, Journal of Machine Learning Research 11, 2010 (test 1).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cox import martingale_residuals
from BrainIACLib.head_training.ridge import fit_ridge, left_out_errors
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.principal_space import space_of

PENALTIES = np.logspace(-2, 3, 6)
SIGNIFICANT = 0.05
LEAST_DISTINCT = 20  # with fewer ways to label the cases, no p below SIGNIFICANT could be believed


def permutation_p(cases: Cases, folds: int, shuffles: int, seed: int, job: Job = UNATTENDED) -> float | None:
    """Share of shuffles, counting the labels as they are, whose labels are predicted at least as well.

    None where the shuffles give fewer than ``LEAST_DISTINCT`` different labellings: too few patients have equally many
    cases, and nothing can be tested.
    """
    rng = np.random.default_rng(seed)
    patients, index = np.unique(cases.groups, return_inverse=True)
    fold = (rng.permutation(len(patients)) % folds)[index]
    responses = _responses(cases)
    scale = responses.std(axis=0)
    responses = (responses - responses.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    orders = [np.arange(len(cases)), *_shuffles(cases.groups, shuffles, rng)]
    columns = np.stack([responses[order] for order in orders], axis=1)  # (n, 1 + shuffles, k)
    if len(np.unique(columns.swapaxes(0, 1).reshape(len(orders), -1), axis=0)) < LEAST_DISTINCT:
        return None
    size = columns.shape[2]
    flat = columns.reshape(len(cases), -1)
    answers = np.empty_like(flat)
    for number in np.unique(fold):
        job.check()
        out = fold == number
        space = space_of(cases.embeddings[~out])
        penalties = PENALTIES * space.typical_square
        losses = left_out_errors(space, flat[~out], cases.groups[~out], penalties)
        chosen = losses.reshape(len(penalties), len(orders), size).sum(axis=2).argmin(axis=0)
        coordinates = space.project(cases.embeddings[out])
        for place in np.unique(chosen):
            which = np.flatnonzero(np.repeat(chosen == place, size))
            weights, middle = fit_ridge(space, flat[~out][:, which], penalties[place])
            answers[np.ix_(out, which)] = coordinates @ weights + middle
    agreement = _rank_correlations(answers, flat).reshape(len(orders), size).mean(axis=1)
    return float((1 + np.count_nonzero(agreement[1:] >= agreement[0] - 1e-12)) / (1 + shuffles))


def _rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's, column by column of (n, m); 0 for a constant column."""
    ranks = [rankdata(values, axis=0) for values in (first, second)]
    a, b = (rank - rank.mean(axis=0) for rank in ranks)
    lengths = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return (a * b).sum(axis=0) / np.where(lengths > 0, lengths, 1.0)


def _responses(cases: Cases) -> np.ndarray:
    """(n, k) numbers that least squares can be fitted to."""
    target = cases.target
    if target.kind == "regression":
        return target.values[:, None]
    if target.kind == "survival":
        return martingale_residuals(target.values, target.events)[:, None]
    indicators = (target.values[:, None] == np.arange(len(target.classes))).astype(float)
    return indicators[:, 1:] if len(target.classes) == 2 else indicators


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
