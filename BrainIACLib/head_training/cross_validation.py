"""Nested cross-validation by patient: every case is answered by a head that has seen neither it nor its patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.folds import fold_count, stratified_folds
from BrainIACLib.head_training.head_kinds import HEAD_KINDS, Head
from BrainIACLib.head_training.linear_head import fit_linear_head
from BrainIACLib.job import UNATTENDED, Job


@dataclass(frozen=True)
class CrossValidated:
    """``outputs``: (n, k) out of fold; ``fold``: (n,) of each case; ``penalties``: one a fold, chosen inside it.

    Of survival: log hazard ratios against the mean of the cases that the head was fitted on; ``high``: (n,) whether
    that is above the median of those cases, which no case left out has a part in (C-10).
    """

    outputs: np.ndarray
    fold: np.ndarray
    penalties: tuple[float, ...]
    high: np.ndarray | None = None


def cross_validate(
    cases: Cases,
    head: str,
    seed: int,
    balanced: bool = True,
    job: Job = UNATTENDED,
) -> CrossValidated:
    """Fit on all folds but one, with the penalty (or epochs) chosen inside them, and answer that one.

    Parameters
    ----------
    head : one of ``HEAD_KINDS``.
    """
    rng = np.random.default_rng(seed)
    fold = stratified_folds(cases.target, cases.groups, fold_count(cases.target, cases.groups), rng)
    answers, penalties = [], []
    high = np.zeros(len(cases), bool) if cases.target.kind == "survival" else None
    numbers = np.unique(fold)
    for done, number in enumerate(numbers):
        out = fold == number
        fitted = fit_on(cases, ~out, head, rng, balanced, job=job)
        answered = held_out_outputs(fitted, cases, ~out, out)
        answers.append((out, answered))
        if high is not None:
            high[out] = answered[:, 0] > np.median(held_out_outputs(fitted, cases, ~out, ~out)[:, 0])
        penalties.append(fitted.penalty)
        job.report("cross-validation", (done + 1) / len(numbers))
    return CrossValidated(_put_together(answers, len(cases)), fold, tuple(penalties), high)


def answers_under(
    folds: np.ndarray,
    inputs: np.ndarray,
    cases: Cases,
    seed: int,
    balanced: bool,
    transform: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """(n, k) out-of-fold outputs of linear heads on other inputs (n, m) than the embeddings, under given folds.

    Parameters
    ----------
    transform : makes the inputs of a fold from (inputs, mask of the cases seen), for what must be fitted inside it.
    """
    rng, answers = np.random.default_rng([seed, 2]), []
    for number in np.unique(folds):
        out = folds == number
        of_fold = inputs if transform is None else transform(inputs, ~out)
        fitted = fit_linear_head(of_fold[~out], cases.target.rows(~out), cases.groups[~out], rng, balanced)
        answered = fitted.outputs(of_fold[out])
        if cases.target.kind == "survival":
            answered = answered - fitted.outputs(of_fold[~out]).mean(axis=0)
        answers.append((out, answered))
    return _put_together(answers, len(cases))


def _put_together(answers: list[tuple[np.ndarray, np.ndarray]], cases: int) -> np.ndarray:
    """(n, k) outputs from those of each fold and the mask of its cases."""
    outputs = np.zeros((cases, answers[0][1].shape[1]))
    for out, answered in answers:
        outputs[out] = answered
    return outputs


def held_out_outputs(fitted: Head, cases: Cases, seen: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(m, k) of the cases ``out`` by a head fitted on those ``seen`` (masks or indices).

    A log hazard ratio has no zero of its own: of survival it is counted from the mean of the cases seen, so that the
    answers of several heads can be ranked together.
    """
    answered = fitted.outputs(cases.embeddings[out])
    if cases.target.kind == "survival":
        answered = answered - fitted.outputs(cases.embeddings[seen]).mean(axis=0)
    return answered


def fit_on(
    cases: Cases,
    rows: np.ndarray,
    head: str,
    rng: np.random.Generator,
    balanced: bool,
    penalty: float | None = None,
    job: Job = UNATTENDED,
) -> Head:
    """A head on some of the cases (a mask or indices)."""
    fitted: Head = HEAD_KINDS[head].fit(
        cases.embeddings[rows],
        cases.target.rows(rows),
        cases.groups[rows],
        rng,
        balanced=balanced,
        penalty=penalty,
        job=job,
    )
    return fitted
