"""Hold-out, validation and nested training fractions by patient, stratified, from one seed (PROTOCOL P-14, P-15, C-08).

Patients are put into one order in which every beginning is stratified; a fraction is a beginning of it. So 10 % is a
part of 20 %, and the validation cases of 10 % are validation cases of 20 %.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from BrainIACLib.errors import TrainingError
from Training.tasks.task import Task

NEVER_TESTED = ("train", "validation")  # roles
HOLD_OUT_SEED = 0  # one hold-out for all seeds: their answers are compared case by case (P-14)
_HOLD_OUT_STREAM, _ORDER_STREAM, _FOLD_STREAM = 1, 2, 3  # so that one seed gives unrelated draws


def nested_order(stratum_of: Mapping[str, str], seed: int, stream: int = _ORDER_STREAM) -> list[str]:
    """The patients in an order whose every beginning holds the strata in their shares, to within one patient each."""
    placed = [
        ((place + 0.5) / len(members), name, patient)
        for name, members in _shuffled(stratum_of, seed, stream)
        for place, patient in enumerate(members)
    ]
    return [patient for _, _, patient in sorted(placed)]


def _shuffled(stratum_of: Mapping[str, str], seed: int, stream: int) -> list[tuple[str, list[str]]]:
    """Each stratum and its patients in random order."""
    rng = np.random.default_rng((seed, stream))
    groups: dict[str, list[str]] = {}
    for patient in sorted(stratum_of):
        groups.setdefault(stratum_of[patient], []).append(patient)
    return [(name, [groups[name][number] for number in rng.permutation(len(groups[name]))]) for name in sorted(groups)]


def split_column(
    table: pd.DataFrame,
    task: Task,
    *,
    fraction: float,
    seed: int,
    hold_out: float,
    validation: float,
    external: tuple[str, ...] = (),
) -> pd.Series:
    """For each study ``train``, ``validation``, ``test``, ``external``, or ``""`` (not in this fraction).

    Roles of the manifest win over drawing: ``test`` is the hold-out, ``pretrain`` is left out, ``validation`` is the
    validation set of every fraction, and ``train`` is never tested: neither held out nor, in an external dataset, used
    at all. The drawn hold-out is the same for all fractions and seeds. A person is in one split only: who is external,
    held out or pretrained on is in no other.

    Parameters
    ----------
    fraction : of the studies that are neither held out nor external; ``round(fraction * N)`` studies are reached by
        adding whole patients (C-05).
    hold_out, validation : shares of the patients; ``validation`` is taken out of the fraction.
    external : datasets that are never trained on (P-29).

    Raises
    ------
    TrainingError : too few patients for the fraction, or no hold-out.
    """
    split = pd.Series("", index=table.index)
    pretrained, elsewhere = table["role"] == "pretrain", table["dataset"].isin(external)
    split[elsewhere & ~pretrained & ~table["role"].isin(NEVER_TESTED)] = "external"
    split[~elsewhere & (table["role"] == "test")] = "test"
    pool = table[~table["patient"].isin(table["patient"][pretrained | elsewhere | (split != "")])]
    stratum = task.strata(pool)
    if not (split == "test").any():
        may_be_tested = pool[~pool["role"].isin(NEVER_TESTED)]
        wanted = round(hold_out * pool["patient"].nunique())
        order = nested_order(task.strata(may_be_tested), HOLD_OUT_SEED, _HOLD_OUT_STREAM) if len(may_be_tested) else []
        held_out = order[:wanted]
        split[pool.index[pool["patient"].isin(held_out)]] = "test"
        pool = pool[~pool["patient"].isin(held_out)]
    return _with_fraction(split, pool, stratum, fraction, seed, validation)


def fold_columns(
    table: pd.DataFrame, task: Task, *, folds: int, fraction: float, seed: int, validation: float
) -> list[pd.Series]:
    """One split column for each fold of a cross-validation by patient; every study is in the test split of one.

    Each stratum is dealt out to the folds one by one, so that they have equal numbers of it to within one patient.
    Patients of the role ``pretrain`` are left out, and those of ``train`` and ``validation`` are tested in no fold.
    """
    open_to_all = table[table["role"] != "pretrain"]
    stratum = task.strata(open_to_all)
    may_be_tested = open_to_all[~open_to_all["role"].isin(NEVER_TESTED)]
    dealt = task.strata(may_be_tested) if len(may_be_tested) else {}
    order = [patient for _, members in _shuffled(dealt, seed, _FOLD_STREAM) for patient in members]
    if len(order) < 2 * folds:
        raise TrainingError(f"{len(order)} patients are too few for {folds} folds; take fewer folds.")
    columns = []
    for fold in range(folds):
        split = pd.Series("", index=table.index)
        split[table["patient"].isin(order[fold::folds])] = "test"
        columns.append(
            _with_fraction(split, open_to_all[split[open_to_all.index] == ""], stratum, fraction, seed, validation)
        )
    return columns


def _with_fraction(
    split: pd.Series, pool: pd.DataFrame, stratum: Mapping[str, str], fraction: float, seed: int, validation: float
) -> pd.Series:
    given = pool["role"] == "validation"
    split[pool.index[given]] = "validation"
    pool = pool[~given]
    order = nested_order({patient: stratum[patient] for patient in pool["patient"]}, seed)
    studies = pool.groupby("patient").size()
    chosen, counted = [], 0
    for patient in order:
        if counted >= round(fraction * len(pool)):
            break
        chosen.append(patient)
        counted += int(studies[patient])
    for_validation = set() if given.any() else _validation_patients(chosen, stratum, validation)
    rows = pool["patient"].isin(chosen)
    split[pool.index[rows]] = "train"
    split[pool.index[pool["patient"].isin(for_validation)]] = "validation"
    for name in ("train", "validation", "test"):
        if not (split == name).any():
            raise TrainingError(
                f"{fraction:.0%} of {len(order)} patients leave no case for the {name} set; take a larger fraction, or "
                "a manifest with more patients."
            )
    return split


def _validation_patients(chosen: list[str], stratum: Mapping[str, str], share: float) -> set[str]:
    """Evenly spread over each stratum of the order, so that a longer beginning only adds to them; each stratum starts
    at another phase, from 0 to 1, so that a short beginning has some too: one patient of each of five strata gives
    one for validation at a share of a fifth."""
    names = sorted(set(stratum.values()))
    phase = {name: (number + 0.5) / len(names) for number, name in enumerate(names)}
    seen = dict.fromkeys(names, 0)
    found = set()
    for patient in chosen:
        name = stratum[patient]
        if int((seen[name] + 1) * share + phase[name]) > int(seen[name] * share + phase[name]):
            found.add(patient)
        seen[name] += 1
    return found
