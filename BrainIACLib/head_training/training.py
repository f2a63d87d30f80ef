"""From a table of embeddings and a column of labels to a head with everything that is known of its worth."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import BrainIACLib
from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.associations import label_against_columns
from BrainIACLib.head_training.baselines import baselines, beside_covariates, design, not_measured
from BrainIACLib.head_training.cases import Cases, make_cases
from BrainIACLib.head_training.cross_validation import CrossValidated, cross_validate, fit_on
from BrainIACLib.head_training.head_kinds import HEAD_KINDS, Head, HeadKind
from BrainIACLib.head_training.judgement import (
    answers_of,
    coverage_of,
    facts_of_kind,
    few_patients,
    hardest_of,
    labels_of,
    map_of,
    repeatability_of,
)
from BrainIACLib.head_training.learning_curve import learning_curve
from BrainIACLib.head_training.logistic import balanced_weights, probabilities
from BrainIACLib.head_training.performance import main_figure, performance
from BrainIACLib.head_training.permutation import chance_of
from BrainIACLib.head_training.report import HeadReport
from BrainIACLib.head_training.risk_calibration import RiskCalibration, calibrate_risk
from BrainIACLib.head_training.sites import harmonised, site_of, sites_left_out
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.conformal import classification_scores, regression_scores
from BrainIACLib.trust.conformal import Conformal, conformal_of
from BrainIACLib.trust.novelty import Novelty, novelty_of
from BrainIACLib.trust.temperature import fit_temperature

RESERVED_TASKS = ("sequence", "embedding")
ONE_YEAR = {"months": 12.0, "years": 1.0, "weeks": 52.0, "days": 365.0}  # the end point unless told otherwise (U-15)


@dataclass(frozen=True)
class TrainedHead:
    """A head fitted on all cases, and what cross-validation says of it.

    ``fitted`` gives logits, the number, or, of survival, the log of the cumulative hazard at ``endpoint``;
    ``threshold``, of survival: the median probability of the training cases, above which a risk is high (C-10).
    """

    task: str
    cases: Cases
    kind: HeadKind
    fitted: Head
    solver: str
    temperature: float | None
    conformal: Conformal | None
    novelty: Novelty
    endpoint: float | None
    threshold: float | None
    encoder_model: str
    encoder_sha256: str
    table_sha256: str
    balanced: bool
    seed: int
    report: HeadReport

    def install(self, models_folder: Path, *, folders: Sequence[Path] | None = None, replace: bool = False) -> Path:
        """Make it a model that ``brainiac analyze --task`` and Slicer use.

        Parameters
        ----------
        models_folder : the store to write to; the encoder is looked for there and among the bundled models, or in
            ``folders``.
        replace : take an earlier head for the same task, trained here, out of the store.

        Raises
        ------
        ModelError : the encoder is not installed, there is such a head already, or the store cannot be written.
        """
        from BrainIACLib.head_training.installation import install_head

        return install_head(self, models_folder, folders, replace)


def train_head(
    table: EmbeddingTable,
    target: str,
    task: str,
    kind: str = "auto",
    seed: int = 0,
    job: Job = UNATTENDED,
    *,
    head: str = "linear",
    balanced: bool = True,
    coverage: float = 0.9,
    event: str = "event",
    endpoint: float | None = None,
    slots: Sequence[str] | None = None,
    missing: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    covariates: Sequence[str] = (),
    site: str | None = None,
    shuffles: int | None = None,
) -> TrainedHead:
    """Fit, cross-validate, calibrate and judge a head. Reads no image and writes nothing.

    Parameters
    ----------
    target : the column to learn: words or few numbers (classes), numbers, or times for ``kind="survival"``.
    task : the name under which the head will be asked for.
    head : one of ``HEAD_KINDS``: ``"linear"`` (ridge, logistic, Cox) or ``"two-layer"`` (the paper's, P-17).
    balanced : classes count the same; probabilities are then those of classes of equal frequency.
    coverage : of prediction sets and intervals.
    event, endpoint : of survival: the column of events, and the time at which the probability is given, in the unit
        of the times; None is one year.
    slots, missing, leave_out : which cells are cases, and which labels say nothing; see ``make_cases``.
    covariates : columns (age, sex, molecular status) whose answers are shown beside the image's, alone and with it;
        the head that is installed reads the image alone.
    site : the column of sites, each of which is also left out as a whole.
    shuffles : of the labels in the test of chance; None takes as many as the size of the data allows.
    job : told each step and the fraction of the whole, which never falls.

    Raises
    ------
    BrainIACError : labels that cannot be used, with the reason; an unknown kind of head.
    Cancelled : as asked.
    """
    if head not in HEAD_KINDS:
        raise BrainIACError(f"The head '{head}' does not exist; choose one of: {', '.join(HEAD_KINDS)}.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", task) or task in RESERVED_TASKS:
        raise BrainIACError(
            f"'{task[:60]}' cannot be the name of a new task: use a-z, 0-9, '.', '_', '-', and none of "
            f"{', '.join(RESERVED_TASKS)}."
        )
    started = time.perf_counter()
    cases = make_cases(table, target, kind, event, slots, missing, leave_out)
    notes = [*cases.notes, *few_patients(cases), *not_measured(cases)]
    beside = design(cases, covariates, notes) if covariates else None
    places = site_of(cases, site) if site is not None else None
    end = _endpoint(cases, endpoint)
    done = cross_validate(cases, head, seed, balanced, job.part(0.0, 0.6))
    rng = np.random.default_rng([seed, 1])
    job.report("fit on all cases", 0.6)
    fitted = fit_on(cases, np.arange(len(cases)), head, rng, balanced, job=job)
    risk, threshold = None, None
    if end is not None:
        risk = calibrate_risk(done.outputs[:, 0], cases.target.values, cases.target.happened, end)
        fitted = _with_baseline(fitted, cases, risk)
        threshold = float(np.median(-np.expm1(-np.exp(fitted.outputs(cases.embeddings)[:, 0]))))
    validated = time.perf_counter() - started
    temperature, conformal = calibrated(cases, done, coverage, balanced)
    job.report("test of chance", 0.6)
    chance = chance_of(cases, head, len(set(done.fold)), seed, balanced, job, shuffles)
    job.report("learning curve", 0.8)
    curve = learning_curve(cases, done, head, seed, balanced, job)
    job.report("trivial answers", 0.85)
    trivial = baselines(cases, done, beside, seed, balanced)
    facts = facts_of_kind(cases, done, temperature, risk, threshold, balanced)
    if beside is not None:
        job.report("covariates", 0.9)
        facts["covariates"] = beside_covariates(cases, done, beside, head, seed, balanced, job)
    if places is not None:
        job.report("sites", 0.92)
        facts["sites"] = sites_left_out(cases, places, str(site), head, seed, balanced, job)
        facts["harmonised"] = harmonised(cases, places, beside, done, seed, balanced)
    job.report("report", 0.95)
    report = HeadReport(
        notice=BrainIACLib.RESEARCH_USE_ONLY,
        library=BrainIACLib.__version__,
        task=task,
        kind=cases.target.kind,
        target=cases.target.name,
        classes=cases.target.classes,
        unit=cases.target.unit,
        solver=HEAD_KINDS[head].solver(cases.target.kind),
        penalty=float(fitted.penalty),
        endpoint=end,
        balanced=balanced,
        seed=seed,
        cases=len(cases),
        patients=len(set(cases.groups)),
        scans=sum(map(len, cases.scans)),
        slots=cases.slots,
        labels=labels_of(cases.target),
        folds=len(set(done.fold)),
        penalties_of_folds=tuple(map(float, done.penalties)),
        main_figure=main_figure(cases.target)[0],
        metrics=performance(cases, done.outputs, done.fold, seed),
        permutation=chance,
        learning_curve=curve,
        out_of_fold=answers_of(cases, done, temperature),
        hardest=hardest_of(cases, done),
        map=map_of(cases, job),
        conformal=coverage_of(cases, done, temperature, conformal, coverage),
        notes=tuple(notes),
        seconds={"nested cross-validation and fit": validated, "all": time.perf_counter() - started},
        near_duplicates=cases.near_duplicates,
        associations=label_against_columns(cases, seed),
        baselines=trivial,
        repeatability=repeatability_of(cases, done),
        **facts,
    )
    return TrainedHead(
        task=task,
        cases=cases,
        kind=HEAD_KINDS[head],
        fitted=fitted,
        solver=report.solver,
        temperature=temperature,
        conformal=conformal,
        novelty=novelty_of(cases.embeddings, cases.groups, seed),
        endpoint=end,
        threshold=threshold,
        encoder_model=str(table.columns["model"][0]),
        encoder_sha256=str(table.columns["encoder_sha256"][0]),
        table_sha256=table.sha256,
        balanced=balanced,
        seed=seed,
        report=report,
    )


def _endpoint(cases: Cases, endpoint: float | None) -> float | None:
    target = cases.target
    if target.kind != "survival":
        return None
    end = ONE_YEAR[target.unit or ""] if endpoint is None else endpoint
    first, last = target.values[target.happened].min(), target.values.max()
    if not first <= end <= last:
        raise BrainIACError(
            f"The end point {end:g} {target.unit} must lie between the first event ({first:g}) and the longest time "
            f"({last:g}); choose another one, in the unit of the times."
        )
    return end


def _with_baseline(fitted: Head, cases: Cases, risk: RiskCalibration) -> Head:
    """The head's output becomes the log of the cumulative hazard at the end point, as calibrated on unseen cases."""
    middle = fitted.outputs(cases.embeddings)[:, 0].mean()
    bias = risk.slope * (fitted.bias - middle) + risk.baseline
    changed: Head = dataclasses.replace(fitted, weights=risk.slope * fitted.weights, bias=bias)  # type: ignore[type-var]
    return changed


def calibrated(
    cases: Cases, done: CrossValidated, coverage: float, balanced: bool
) -> tuple[float | None, Conformal | None]:
    """Temperature (None where there are no classes) and conformal quantile (None for survival), from unseen cases."""
    target = cases.target
    if target.kind == "survival":
        return None, None
    if target.kind == "regression":
        return None, conformal_of(regression_scores(target.values, done.outputs[:, 0]), done.fold, coverage)
    weights = balanced_weights(target.values, len(target.classes)) if balanced else None
    temperature = fit_temperature(done.outputs, target.values, weights)

    def scores(divisor: float) -> np.ndarray:
        return classification_scores(probabilities(done.outputs / divisor), target.values)

    def scores_knowing(seen: np.ndarray) -> np.ndarray:
        shares = None if weights is None else weights[seen]
        return scores(fit_temperature(done.outputs[seen], target.values[seen], shares))

    return temperature, conformal_of(scores(temperature), done.fold, coverage, scores_knowing)
