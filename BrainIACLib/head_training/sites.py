"""Heads across sites: each site left out as a whole, and what harmonization inside the folds would change."""

from __future__ import annotations

import numpy as np

from BrainIACLib.errors import BrainIACError, StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated, answers_under, fit_on, held_out_outputs
from BrainIACLib.head_training.labels import is_known
from BrainIACLib.head_training.performance import RESAMPLES, figure_of, main_figure
from BrainIACLib.head_training.report import Comparison, Figure, Site, SitesLeftOut
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.bootstrap import bootstrap
from BrainIACLib.statistics.combat import fit_combat

LEAST_CASES = 2  # of a site, for ComBat


def site_of(cases: Cases, column: str) -> np.ndarray:
    """(n,) the site of each case.

    Raises
    ------
    BrainIACError : no such column, an empty cell, or one site only.
    """
    if column not in cases.columns:
        raise BrainIACError(f"There is no column '{column}' of sites; the table has: {', '.join(cases.columns)}.")
    sites = np.char.strip(cases.columns[column])
    known = is_known(sites)
    if not known.all():
        case = cases.names[int(np.argmin(known))]
        raise BrainIACError(
            f"The column '{column}' says no site of {np.count_nonzero(~known)} cases, such as {case}; fill it in."
        )
    if len(set(sites.tolist())) < 2:
        raise BrainIACError(
            f"The column '{column}' names one site only, so none can be left out; choose another column."
        )
    return sites


def sites_left_out(
    cases: Cases,
    sites: np.ndarray,
    column: str,
    head: str,
    seed: int,
    balanced: bool,
    job: Job = UNATTENDED,
) -> SitesLeftOut:
    """Each case answered by a head that has seen neither its site nor its patient, wherever that patient was."""
    rng = np.random.default_rng([seed, 5])
    outputs: np.ndarray | None = None
    told = np.zeros(len(cases), bool)
    for name in np.unique(sites):
        job.check()
        out = sites == name
        seen = ~out & ~np.isin(cases.groups, cases.groups[out])
        if not _can_be_fitted(cases, seen):
            continue
        fitted = fit_on(cases, seen, head, rng, balanced, job=job)
        answered = held_out_outputs(fitted, cases, seen, out)
        outputs = np.zeros((len(cases), answered.shape[1])) if outputs is None else outputs
        outputs[out], told[out] = answered, True

    def figure(rows: np.ndarray) -> Figure | None:
        if outputs is None:
            return None
        _, metric, columns = main_figure(cases.target)
        try:
            return figure_of(metric, columns(cases.target.rows(rows), outputs[rows]), cases.groups[rows], seed)
        except StatisticsError:
            return None

    found = [
        Site(str(name), int((sites == name).sum()), figure(sites == name) if told[sites == name].all() else None)
        for name in np.unique(sites)
    ]
    whole = figure(told) if told.any() else None
    return SitesLeftOut(column, whole, tuple(found), int((~told).sum()))


def _can_be_fitted(cases: Cases, seen: np.ndarray) -> bool:
    """At least three patients of each class, or with an event, as in ``make_cases``."""
    target, groups = cases.target, cases.groups
    if target.kind == "classification":
        return all(len(set(groups[seen & (target.values == number)])) >= 3 for number in range(len(target.classes)))
    if target.kind == "survival":
        return len(set(groups[seen & target.events])) >= 3
    return len(set(groups[seen])) >= 10


def harmonised(
    cases: Cases,
    sites: np.ndarray,
    covariates: np.ndarray | None,
    done: CrossValidated,
    seed: int,
    balanced: bool,
) -> Comparison | None:
    """A linear head on embeddings from which ComBat has taken the sites, fitted inside each fold on the cases seen.

    Both are judged within sites: the harmonized case's site is an input, so that over all sites together the figure
    would also count how well the site tells the label (a label that nearly is the site reached an AUC of .99 so, from
    an embedding that knew nothing of it). Effects of the covariates are kept; the label is not among them, since it is
    not known of new cases. None where a fold leaves a site with fewer than two cases, or with none to fit on. The
    installed head is not harmonized: it does not know the site of a new scan.
    """
    for number in np.unique(done.fold):
        names, counts = np.unique(sites[done.fold != number], return_counts=True)
        if set(sites.tolist()) - set(names.tolist()) or counts.min() < LEAST_CASES:
            return None

    def without_sites(embeddings: np.ndarray, seen: np.ndarray) -> np.ndarray:
        kept = None if covariates is None else covariates[seen]
        return fit_combat(embeddings[seen], sites[seen], kept).apply(embeddings, sites, covariates)

    outputs = answers_under(done.fold, cases.embeddings, cases, seed, balanced, without_sites)
    sign = -1.0 if cases.target.kind == "regression" else 1.0
    rows = np.arange(len(cases))

    def figure(chosen: np.ndarray) -> float:
        return within_sites(cases, outputs, sites, chosen)

    def gain(chosen: np.ndarray) -> float:
        return sign * (within_sites(cases, done.outputs, sites, chosen) - figure(chosen))

    try:
        theirs, ahead = (
            bootstrap(metric, rows, groups=cases.groups, resamples=RESAMPLES, seed=seed) for metric in (figure, gain)
        )
    except StatisticsError:
        return None
    return Comparison(
        "within sites, embeddings harmonized by ComBat inside the patient folds",
        Figure(theirs.value, theirs.low, theirs.high),
        Figure(ahead.value, ahead.low, ahead.high),
    )


def within_sites(cases: Cases, outputs: np.ndarray, sites: np.ndarray, rows: np.ndarray) -> float:
    """The mean over sites, by their cases, of the main figure of some rows; of a MAE without each site's mean error.

    Raises
    ------
    StatisticsError : it is not defined on any site.
    """
    _, metric, columns = main_figure(cases.target)
    found, counts = [], []
    for name in np.unique(sites[rows]):
        of_site = rows[sites[rows] == name]
        target, answers = cases.target.rows(of_site), outputs[of_site]
        if target.kind == "regression":
            answers = answers - (answers[:, 0] - target.values).mean()
        try:
            found.append(float(metric(*columns(target, answers))))
            counts.append(len(of_site))
        except StatisticsError:  # a class is missing from this site
            continue
    if not found:
        raise StatisticsError("the figure is not defined within any site")
    return float(np.average(found, weights=counts))
