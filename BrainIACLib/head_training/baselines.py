"""Answers that need no encoder, and covariates, judged under the very folds of the head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from BrainIACLib.embeddings.image_measures import BRAIN_ML, HISTOGRAM
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.associations import numbers_in
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated, answers_under, fit_on, held_out_outputs
from BrainIACLib.head_training.folds import stratified_folds
from BrainIACLib.head_training.labels import is_known
from BrainIACLib.head_training.linear_head import fit_linear_head
from BrainIACLib.head_training.performance import figure_of, gain_over, main_figure, means_of_others
from BrainIACLib.head_training.report import Comparison
from BrainIACLib.job import UNATTENDED, Job

IN_WORDS = {BRAIN_ML: "the volume of the brain", HISTOGRAM: "a histogram of intensities"}
MOST_LEVELS = 10  # of a covariate that is no number
INNER_FOLDS = 5


def not_measured(cases: Cases) -> list[str]:
    """A note where the table lacks what two of the baselines need."""
    absent = [what for name, what in IN_WORDS.items() if name not in cases.measures]
    if not absent:
        return []
    return [
        f"Not compared with {' and '.join(absent)}: the table, of an earlier version or another program, does not hold "
        "them for every scan. To have them, embed the scans into a new table."
    ]


def compared(cases: Cases, name: str, ours: np.ndarray, theirs: np.ndarray, seed: int) -> Comparison:
    """The main figure of outputs (n, k), and by how much the head's are better."""
    _, metric, columns = main_figure(cases.target)
    figure = figure_of(metric, columns(cases.target, theirs), cases.groups, seed)
    return Comparison(name, figure, gain_over(cases, ours, theirs, seed))


def baselines(
    cases: Cases, done: CrossValidated, covariates: np.ndarray | None, seed: int, balanced: bool
) -> tuple[Comparison, ...]:
    """A constant, covariates, brain volume, histogram, and random numbers in the place of the embedding.

    Parameters
    ----------
    covariates : (n, m) as ``design`` makes them, or None.
    """
    inputs = {IN_WORDS[name]: numbers for name, numbers in cases.measures.items()}
    if covariates is not None:
        inputs["the covariates alone"] = covariates
    random = np.random.default_rng([seed, 3]).standard_normal(cases.embeddings.shape)
    inputs["as many random numbers as the embedding has"] = random
    found = [compared(cases, *_constant(cases, done), seed)]
    for name, numbers in inputs.items():
        answers = answers_under(done.fold, numbers, cases, seed, balanced)
        found.append(compared(cases, name, done.outputs, answers, seed))
    return tuple(found)


def _constant(cases: Cases, done: CrossValidated) -> tuple[str, np.ndarray, np.ndarray]:
    if cases.target.kind == "regression":
        return "always the mean of the others", done.outputs, means_of_others(cases.target.values, done.fold)[:, None]
    if cases.target.kind == "survival":
        return "the same risk for everybody", done.outputs, np.zeros_like(done.outputs)
    largest = [np.bincount(cases.target.values[done.fold != number]).argmax() for number in done.fold]
    if len(cases.target.classes) == 2:
        return "always the larger class", done.outputs, np.zeros_like(done.outputs)
    return "always the largest class", done.outputs, np.eye(len(cases.target.classes))[largest]


def design(cases: Cases, names: Sequence[str], notes: list[str]) -> np.ndarray:
    """(n, m) numbers of covariates: a column for a number, one a level for words; gaps are the median, or no level.

    Raises
    ------
    BrainIACError : no such column, or one with too many words.
    """
    parts = []
    for name in names:
        if name not in cases.columns:
            there = ", ".join(cases.columns)
            raise BrainIACError(f"There is no column '{name}' to use as a covariate; the table has: {there}.")
        texts = cases.columns[name]
        known = is_known(texts)
        if not known.any():
            raise BrainIACError(
                f"The covariate '{name}' is empty in every case; fill it in, or leave it out of the covariates."
            )
        if not known.all():
            notes.append(f"The covariate '{name}' is missing in {np.count_nonzero(~known)} of {len(texts)} cases.")
        values = numbers_in(texts[known])
        if values is not None:
            column = np.full(len(texts), np.median(values))
            column[known] = values
            parts.append(column[:, None])
            continue
        levels = np.unique(texts[known])
        if len(levels) > MOST_LEVELS:
            raise BrainIACError(
                f"The covariate '{name}' holds {len(levels)} different words; at most {MOST_LEVELS} can be used. "
                "Leave it out of the covariates, or group its words."
            )
        parts.append((texts[:, None] == levels).astype(float))
    return np.hstack(parts)


def beside_covariates(
    cases: Cases,
    done: CrossValidated,
    covariates: np.ndarray,
    head: str,
    seed: int,
    balanced: bool,
    job: Job = UNATTENDED,
) -> tuple[Comparison, ...]:
    """Image alone, covariates alone, and both; the gain of each line is that of both over it: the other's own share.

    Both: within each fold, the image's answer about the cases seen comes from heads that had not seen them (five inner
    folds, with the fold's own penalty), and stands as one more number beside the covariates of a linear head.
    """
    rng = np.random.default_rng([seed, 4])
    both = np.zeros_like(done.outputs)
    for place, number in enumerate(np.unique(done.fold)):
        out = done.fold == number
        seen = np.flatnonzero(~out)
        inner = stratified_folds(cases.target.rows(seen), cases.groups[seen], INNER_FOLDS, rng)
        image = np.zeros((len(cases), done.outputs.shape[1]))
        image[out] = done.outputs[out]
        for part in np.unique(inner):
            rest, rows = seen[inner != part], seen[inner == part]
            found = fit_on(cases, rest, head, rng, balanced, penalty=done.penalties[place], job=job)
            image[rows] = held_out_outputs(found, cases, rest, rows)
        inputs = np.hstack([image, covariates])
        fitted = fit_linear_head(inputs[seen], cases.target.rows(seen), cases.groups[seen], rng, balanced)
        both[out] = fitted.outputs(inputs[out])
        if cases.target.kind == "survival":
            both[out] -= fitted.outputs(inputs[seen]).mean(axis=0)
    alone = answers_under(done.fold, covariates, cases, seed, balanced)
    _, metric, columns = main_figure(cases.target)
    figure = figure_of(metric, columns(cases.target, both), cases.groups, seed)
    return (
        compared(cases, "the image alone", both, done.outputs, seed),
        compared(cases, "the covariates alone", both, alone, seed),
        Comparison("both", figure),
    )
