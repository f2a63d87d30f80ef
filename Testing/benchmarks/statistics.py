"""CPU seconds of the patient bootstrap at the paper's largest test set, against a plain loop over resamples.

``python -m Testing.benchmarks.statistics`` (one core: ``OMP_NUM_THREADS=1``). 2,000 resamples for 3 models, 6 fractions
and 1,296 patients, as in Fig 2D (PROTOCOL P-30); the plain loop resamples the cases and calls scikit-learn, is timed on
fewer resamples, and is scaled up.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, roc_auc_score

from BrainIACLib.statistics.bootstrap import bootstrap, bootstrap_difference
from BrainIACLib.statistics.delong import auc_with_interval, compare_aucs
from BrainIACLib.statistics.metrics import auc, balanced_accuracy, c_index, mae

PATIENTS, RESAMPLES, CURVES = 1296, 2000, 3 * 6
LOOP_RESAMPLES = 100


def main() -> None:
    """Print one row a metric: vectorized seconds, the loop's seconds, their ratio."""
    generator = np.random.default_rng(0)
    patients = np.arange(PATIENTS)
    age, label = generator.uniform(0, 40, PATIENTS), generator.integers(0, 2, PATIENTS)
    sequence = generator.integers(0, 4, PATIENTS)
    time_to, score = generator.exponential(12, PATIENTS), generator.random(PATIENTS)
    answers = np.where(generator.random(PATIENTS) < 0.8, sequence, 0)
    rows = (
        (mae, mean_absolute_error, (age, age + generator.normal(0, 4, PATIENTS))),
        (balanced_accuracy, balanced_accuracy_score, (sequence, answers)),
        (auc, roc_auc_score, (label, score)),
        (c_index, None, (time_to, label, score)),
    )
    print(f"{RESAMPLES} resamples x {CURVES} curves, n = {PATIENTS}, CPU seconds")
    for metric, slow_metric, columns in rows:
        fast = _seconds(lambda m=metric, c=columns: bootstrap(m, *c, groups=patients, resamples=RESAMPLES)) * CURVES
        line = f"{metric.__name__:<18} vectorized {fast:7.2f}"
        if slow_metric is not None:
            slow = _seconds(lambda m=slow_metric, c=columns: _plain_loop(m, *c)) * RESAMPLES / LOOP_RESAMPLES * CURVES
            line += f"   plain loop {slow:8.1f}   ratio {slow / fast:6.0f}"
        print(line)
    pair = ((age, age + score), (age, age + answers))
    print(f"one paired difference (mae) {_seconds(lambda: bootstrap_difference(mae, *pair)):.3f}")
    print(f"one DeLong interval {_seconds(lambda: auc_with_interval(label, score)):.4f}", end=", ")
    print(f"one DeLong comparison {_seconds(lambda: compare_aucs(label, score, age)):.4f}")


def _plain_loop(metric, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, PATIENTS, PATIENTS) for _ in range(LOOP_RESAMPLES))
    return np.quantile([metric(truth[drawn], answer[drawn]) for drawn in draws], (0.025, 0.975))


def _seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
