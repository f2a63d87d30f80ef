"""How fast heads train, against scikit-learn, and what conformal coverage and permutation tests deliver.

    python -m Testing.benchmarks.head_training

Synthetic embeddings (1,000 x 2,048, a signal in a few of 32 directions). Prints a Markdown table of seconds of the
processor and of the clock for nested cross-validation and the final fit, of the whole command with its permutation
test, learning curve and map, and of scikit-learn's own nested cross-validation with the same folds and penalties; then
the coverage of prediction sets and intervals of heads from 200 cases, on 2,000 fresh cases each; then how far the
probabilities of survival heads lie from the true ones of fresh cases, before and after calibration.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from BrainIACLib.embeddings.table import EmbeddingTable, table_of
from BrainIACLib.head_training import logistic, ridge
from BrainIACLib.head_training.cases import Cases, make_cases
from BrainIACLib.head_training.cross_validation import cross_validate, fit_on
from BrainIACLib.head_training.logistic import probabilities
from BrainIACLib.head_training.risk_calibration import calibrate_risk
from BrainIACLib.head_training.training import calibrated, train_head
from BrainIACLib.statistics.conformal import prediction_sets

FRESH, COHORTS, END = 2000, 20, 12.0


def cohort(cases: int, size: int, seed: int = 0) -> EmbeddingTable:
    """One scan a patient; columns ``label``, ``age``, ``time`` and ``event`` follow the same direction."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1234).standard_normal((32, size))  # of every cohort
    hidden = rng.standard_normal((cases, 32))
    vectors = hidden @ mixing + 0.5 * rng.standard_normal((cases, size))
    risk = hidden[:, :3].sum(axis=1) / np.sqrt(3)
    columns = {
        "label": np.where(risk + rng.standard_normal(cases) > 0, "ill", "well"),
        "age": 50 + 10 * risk + 5 * rng.standard_normal(cases),
        "time": rng.exponential(12 * np.exp(-risk)) + 0.1,
        "event": (rng.random(cases) < 0.7).astype(int),
        "true_by_12": -np.expm1(-0.7 * (END - 0.1) / 12 * np.exp(risk)),  # events have 0.7 of the hazard
    }
    facts = {"model": "benchmark", "encoder_sha256": "0" * 64, "preset": "standard", "sequence": "T1"}
    rows = [
        {**facts, "scan": f"{i}", "patient": f"{i}", "sha256": f"{seed}-{i}"}
        | {name: str(values[i]) for name, values in columns.items()}
        for i in range(cases)
    ]
    return table_of(rows, vectors)


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def nested(cases: Cases) -> None:
    """What the issue asks to take under 5 seconds: nested cross-validation and the fit on all cases."""
    cross_validate(cases, "linear", 0)
    fit_on(cases, np.arange(len(cases)), "linear", np.random.default_rng(0), True)


def nested_by_scikit_learn(cases: Cases) -> None:
    """The same outer folds and penalties, five inner folds (of ridge: scikit-learn's leave-one-out)."""
    fold = np.arange(len(cases)) % 5
    size = cases.embeddings.shape[1]
    if cases.target.kind == "regression":
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=size * ridge.PENALTIES))
    else:
        solver = LogisticRegression(class_weight="balanced", max_iter=300, tol=1e-3)
        grid = {"logisticregression__C": 1 / (size * logistic.PENALTIES)}
        model = GridSearchCV(make_pipeline(StandardScaler(), solver), grid, cv=5, scoring="neg_log_loss")
    for number in range(5):
        model.fit(cases.embeddings[fold != number], cases.target.values[fold != number])
        model.predict(cases.embeddings[fold == number])
    model.fit(cases.embeddings, cases.target.values)


def coverage(target: str, kind: str, asked: float) -> tuple[float, float, float]:
    """Over ``COHORTS`` cohorts of 200 cases: mean measured by cross-validation; mean and deviation on fresh cases."""
    measured, fresh = [], []
    for seed in range(COHORTS):
        cases = make_cases(cohort(200, 64, 2 * seed), target, kind)
        new = make_cases(cohort(FRESH, 64, 2 * seed + 1), target, kind)
        done = cross_validate(cases, "linear", seed)
        fitted = fit_on(cases, np.arange(len(cases)), "linear", np.random.default_rng(seed), True)
        temperature, conformal = calibrated(cases, done, asked, balanced=True)
        outputs = fitted.outputs(new.embeddings)
        if kind == "regression":
            inside = np.abs(outputs[:, 0] - new.target.values) <= conformal.quantile
        else:
            sets = prediction_sets(probabilities(outputs / temperature), conformal.quantile)
            inside = sets[np.arange(FRESH), new.target.values]
        measured.append(conformal.measured)
        fresh.append(inside.mean())
    return float(np.mean(measured)), float(np.mean(fresh)), float(np.std(fresh))


def survival_gaps(head: str, count: int, cohorts: int) -> tuple[float, float, float]:
    """Mean distance from the true probability in fifths of fresh cases by risk: before, after; share of heads rescaled.

    Before: Breslow's baseline at the head's scores of its own training cases.
    """
    gaps, rescaled = [], []
    for seed in range(cohorts):
        cases = make_cases(cohort(count, 64, 2 * seed), "time", "survival")
        new = cohort(FRESH, 64, 2 * seed + 1)
        truth = new.columns["true_by_12"].astype(float)
        done = cross_validate(cases, head, seed)
        fitted = fit_on(cases, np.arange(count), head, np.random.default_rng(seed), True)
        own = fitted.outputs(cases.embeddings)[:, 0]
        scores = fitted.outputs(new.embeddings.astype(float))[:, 0] - own.mean()
        times, events = cases.target.values, cases.target.events
        after = calibrate_risk(done.outputs[:, 0], times, events, END)
        fifths = np.array_split(np.argsort(scores), 5)
        gaps.append(
            [
                np.mean([abs(risk.probabilities(scores)[rows].mean() - truth[rows].mean()) for rows in fifths])
                for risk in (calibrate_risk(own - own.mean(), times, events, END, slope=1.0), after)
            ]
        )
        rescaled.append(after.slope != 1)
    before, after = np.mean(gaps, axis=0)
    return float(before), float(after), float(np.mean(rescaled))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--size", type=int, default=2048)
    arguments = parser.parse_args()
    table = cohort(arguments.cases, arguments.size)
    shape = f"{arguments.cases} x {arguments.size}"
    print(f"| head ({shape}) | processor s | clock s | whole command, processor s | scikit-learn, processor s |")
    print("|---|---|---|---|---|")
    for target, kind in (("label", "classification"), ("age", "regression"), ("time", "survival")):
        cases = make_cases(table, target, kind)
        cpu, wall = timed(lambda cases=cases: nested(cases))
        whole, _ = timed(lambda target=target, kind=kind: train_head(table, target, "benchmark", kind))
        theirs = "-" if kind == "survival" else f"{timed(lambda cases=cases: nested_by_scikit_learn(cases))[0]:.1f}"
        print(f"| {kind} | {cpu:.1f} | {wall:.1f} | {whole:.1f} | {theirs} |", flush=True)
    print(f"\n| coverage asked | of | cross-validated | on {FRESH} fresh cases | deviation between {COHORTS} cohorts |")
    print("|---|---|---|---|---|")
    for target, kind in (("label", "classification"), ("age", "regression")):
        for asked in (0.8, 0.9):
            measured, fresh, spread = coverage(target, kind, asked)
            print(f"| {asked:.0%} | {kind} | {measured:.1%} | {fresh:.1%} | {spread:.1%} |", flush=True)
    print("\n| survival head | cases | cohorts | distance before | after calibration | heads rescaled |")
    print("|---|---|---|---|---|---|")
    for head, cohorts in (("linear", COHORTS), ("two-layer", COHORTS // 2)):
        for count in (60, 200):
            before, after, rescaled = survival_gaps(head, count, cohorts)
            print(f"| {head} | {count} | {cohorts} | {before:.3f} | {after:.3f} | {rescaled:.0%} |", flush=True)


if __name__ == "__main__":
    main()
