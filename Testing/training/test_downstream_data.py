"""Labels, studies and nested fractions of the downstream tasks (P-14, P-15, P-18, C-05, C-08, C-11, U-16)."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from hypothesis import given, settings
from hypothesis import strategies as st

from BrainIACLib.errors import TrainingError
from Training.downstream.fractions import fold_columns, nested_order, split_column
from Training.downstream.plan import Plan
from Training.downstream.studies import studies
from Training.tasks import TASKS
from Training.tasks.survival import DAYS_PER_MONTH, horizon_labels
from Training.tasks.task import Settings

SHARES = {"hold_out": 0.2, "validation": 0.2}
FRACTIONS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


def cohort(patients: int, **columns) -> pd.DataFrame:
    """Four scans a patient, with labels that depend on the patient's number."""
    rows = []
    for number in range(patients):
        for sequence in ("T1", "T2", "FLAIR", "T1CE"):
            rows.append(
                {
                    "scan": f"p{number}_{sequence}",
                    "patient": f"p{number:03d}",
                    "dataset": "here",
                    "session": "",
                    "sequence": sequence,
                    "role": "",
                    "age_years": 20.0 + number % 47,
                    "idh": float(number % 5 == 0),
                    "survival_months": 1.0 + number % 31,
                    "event": float(number % 4 > 0),
                    **{name: value(number) for name, value in columns.items()},
                }
            )
    return pd.DataFrame(rows)


def test_one_year_labels_heed_censoring():
    """C-11, test idea 11."""
    days, event = np.array([364, 366, 300, 400, 365.25]), np.array([1, 1, 0, 0, 0])
    labels = horizon_labels(days / DAYS_PER_MONTH, event)
    np.testing.assert_array_equal(labels, [1, 0, np.nan, 0, 0])
    np.testing.assert_array_equal(horizon_labels(np.array([14.0]), np.array([1]), horizon=15), [1])  # U-15
    assert np.isnan(horizon_labels(np.array([np.nan, 3]), np.array([1, np.nan]))).all()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 60), st.booleans()), min_size=1, max_size=30), st.floats(1, 40))
def test_labels_agree_with_a_plain_loop(people, horizon):
    months, event = (np.array(values, float) for values in zip(*people, strict=True))
    expected = []
    for time, died in people:
        if died and time <= horizon:
            expected.append(1.0)
        else:
            expected.append(0.0 if time >= horizon else np.nan)
    np.testing.assert_array_equal(horizon_labels(months, event, horizon), expected)


@pytest.mark.parametrize("task", TASKS)
def test_fractions_are_nested_stratified_and_apart_from_the_hold_out(task):
    """P-14, test idea 8: each fraction holds the smaller ones, in both its parts; patients never cross."""
    table = studies(cohort(150), TASKS[task]).table
    before: dict[str, set] = {}
    hold_outs = []
    for fraction in FRACTIONS:
        split = split_column(table, TASKS[task], fraction=fraction, seed=3, **SHARES)
        parts = {name: set(table["patient"][split == name]) for name in ("train", "validation", "test")}
        assert not parts["train"] & parts["validation"]
        assert not (parts["train"] | parts["validation"]) & parts["test"]
        for name, patients in before.items():
            assert patients <= parts[name]
        before = {name: parts[name] for name in ("train", "validation")}
        hold_outs.append(parts["test"])
        studies_used = int(split.isin(["train", "validation"]).sum())
        pool = int((~table["patient"].isin(parts["test"])).sum())
        assert 0 <= studies_used - round(fraction * pool) < table.groupby("patient").size().max()  # C-05
        if task == "idh" and fraction >= 0.2:
            share = table["target"][split.isin(["train", "validation"])].mean()
            assert abs(share - table["target"].mean()) < 0.5 * table["target"].mean()
    assert all(one == hold_outs[0] for one in hold_outs)
    assert len(hold_outs[0]) == 30
    again = split_column(table, TASKS[task], fraction=0.4, seed=3, **SHARES)
    other = split_column(table, TASKS[task], fraction=0.4, seed=4, **SHARES)
    assert (again == split_column(table, TASKS[task], fraction=0.4, seed=3, **SHARES)).all()
    assert not (again == other).all()


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 99))
def test_every_beginning_of_the_order_is_stratified(sizes, seed):
    """To within one patient, as an even spread must be."""
    stratum = {f"{name}-{i}": str(name) for name, size in enumerate(sizes) for i in range(size)}
    order = nested_order(stratum, seed)
    assert sorted(order) == sorted(stratum)
    for length in range(1, len(order) + 1):
        for name, size in enumerate(sizes):
            count = sum(stratum[patient] == str(name) for patient in order[:length])
            assert abs(count - length * size / len(order)) < len(sizes) + 1e-9


def test_patients_with_one_sequence_do_not_crowd_out_the_others():
    """As in the open cohort: most persons have a T1 only, and every fold needs some of those with all four."""
    scans = cohort(60)
    scans = scans[(scans["sequence"] == "T1") | (scans["patient"] < "p015")].reset_index(drop=True)
    table = studies(scans, TASKS["sequence"]).table
    for split in fold_columns(table, TASKS["sequence"], folds=5, fraction=0.4, seed=0, validation=0.2):
        complete = {name: set(scans["sequence"][split == name]) for name in ("train", "test")}
        assert complete == {"train": {"T1", "T2", "FLAIR", "T1CE"}, "test": {"T1", "T2", "FLAIR", "T1CE"}}


def test_roles_and_external_datasets_win_over_drawing():
    """The official hold-out (C-04), a given validation set, pretraining patients and external sets (P-29)."""
    role = lambda n: "test" if n < 10 else "validation" if n < 20 else "pretrain" if n < 30 else ""  # noqa: E731
    table = studies(cohort(80, role=role, dataset=lambda n: "away" if n >= 70 else "here"), TASKS["age"]).table
    for fraction in (0.2, 1.0):
        split = split_column(table, TASKS["age"], fraction=fraction, seed=0, external=("away",), **SHARES)
        number = table["patient"].str[1:].astype(int)
        assert (split[number < 10] == "test").all()
        assert (split[(number >= 10) & (number < 20)] == "validation").all()
        assert (split[(number >= 20) & (number < 30)] == "").all()
        assert (split[number >= 70] == "external").all()
        assert (split[(number >= 30) & (number < 70)] == "train").sum() == round(fraction * 40)


def test_one_scan_with_a_role_speaks_for_its_person():
    """C-08: scans whose role was left empty do not bring a person into another split."""
    scans = cohort(60, dataset=lambda n: "away" if n >= 50 else "here")
    number = scans["patient"].str[1:].astype(int)
    first = scans["sequence"] == "T2"  # not a scan of the age task
    for role, low in (("test", 0), ("validation", 10), ("pretrain", 20)):
        scans.loc[first & number.between(low, low + 9), "role"] = role
    scans.loc[first & (number == 55), "role"] = "pretrain"
    scans["same_person_as"] = np.where(number == 56, "p040", "")  # an external person who is in the pool, too
    table = studies(scans, TASKS["age"]).table
    split = split_column(table, TASKS["age"], fraction=1.0, seed=0, external=("away",), **SHARES)
    number = table["scan"].str.extract(r"p(\d+)")[0].astype(int)
    assert (split[number < 10] == "test").all()
    assert (split[number.between(10, 19)] == "validation").all()
    assert (split[number.between(20, 29) | number.isin([40, 55])] == "").all()
    assert (split[(number >= 50) & (number != 55)] == "external").all()
    assert (split[number.between(30, 49) & (number != 40)] == "train").all()


def test_all_seeds_have_the_same_hold_out():
    """P-14: evaluation averages seeds case by case."""
    table = studies(cohort(50), TASKS["idh"]).table
    first, second = (split_column(table, TASKS["idh"], fraction=0.6, seed=seed, **SHARES) for seed in (1, 2))
    assert ((first == "test") == (second == "test")).all()
    assert not (first == second).all()


def test_folds_leave_out_who_was_pretrained_on():
    table = studies(cohort(40, role=lambda n: "pretrain" if n < 10 else ""), TASKS["age"]).table
    columns = fold_columns(table, TASKS["age"], folds=5, fraction=1.0, seed=0, validation=0.2)
    pretrained = table["role"] == "pretrain"
    assert all((split[pretrained] == "").all() and (split[~pretrained] != "").all() for split in columns)


def test_folds_and_external_datasets_exclude_each_other():
    with pytest.raises(TrainingError, match="never trained on"):
        Plan("cache", "here", "real", {}, folds=5, external=("away",))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("folds", [2, 5])
def test_every_fold_has_its_share_of_each_stratum(task, folds):
    """Five folds of five age strata, too: no fold may be tested on an age that it never saw."""
    table = studies(cohort(61), TASKS[task]).table
    stratum = pd.Series(TASKS[task].strata(table))
    columns = fold_columns(table, TASKS[task], folds=folds, fraction=1.0, seed=0, validation=0.2)
    tested = [stratum[sorted(set(table["patient"][split == "test"]))].value_counts() for split in columns]
    tested = pd.DataFrame(tested).fillna(0)
    assert (tested.max() - tested.min() <= 1).all()
    assert tested.sum(axis=1).max() - tested.sum(axis=1).min() <= 1


@pytest.mark.parametrize("task", TASKS)
def test_a_tenth_of_sixty_patients_has_someone_to_validate_with(task):
    """As in the open cohort: six of 61, of five age strata."""
    table = studies(cohort(76), TASKS[task]).table
    for split in fold_columns(table, TASKS[task], folds=5, fraction=0.1, seed=0, validation=0.2):
        patients = {name: table["patient"][split == name].nunique() for name in ("train", "validation")}
        assert patients["train"] + patients["validation"] == 6
        assert 1 <= patients["validation"] <= 2


def test_every_case_is_in_the_test_split_of_one_fold():
    table = studies(cohort(40), TASKS["sequence"]).table
    columns = fold_columns(table, TASKS["sequence"], folds=5, fraction=1.0, seed=0, validation=0.2)
    assert (sum((split == "test").astype(int) for split in columns) == 1).all()
    for split in columns:
        assert not set(table["patient"][split == "test"]) & set(table["patient"][split != "test"])
    with pytest.raises(TrainingError, match="too few"):
        fold_columns(table, TASKS["sequence"], folds=30, fraction=1.0, seed=0, validation=0.2)


def test_studies_of_several_scans_mark_what_is_missing():
    """P-18, U-03: a missing scan is -1, never another one; a second scan of the same kind is counted, not used."""
    scans = cohort(3)
    scans = scans[~((scans["patient"] == "p001") & (scans["sequence"] == "FLAIR"))]
    scans = pd.concat([scans, scans[scans["scan"] == "p2_T1CE"].assign(scan="again")]).reset_index(drop=True)
    found = studies(scans, TASKS["idh"])
    assert [scans["scan"][row] if row >= 0 else "" for row in found.volumes.ravel()] == [
        *("p0_T1CE", "p0_FLAIR"),
        *("p1_T1CE", ""),
        *("p2_T1CE", "p2_FLAIR"),
    ]
    assert found.left_out["second scan of the same kind"] == 1
    assert found.left_out["studies that lack a scan (kept: masked mean)"] == 1


def test_censored_patients_are_counted_and_have_no_truth():
    found = studies(cohort(60), TASKS["survival"])
    censored = found.table["target"].isna()
    assert censored.sum() == found.left_out["censored before 12 months (not trained on, no AUC)"] > 0
    assert (found.table["event"][censored] == 0).all()


def test_ages_are_learnt_in_the_declared_unit():
    years, months = (
        studies(cohort(5), TASKS["age"], Settings(age_unit=unit)).table["target"] for unit in ("years", "months")
    )
    np.testing.assert_allclose(months, 12 * years)


def test_a_person_of_two_cohorts_is_one_patient():
    """C-09."""
    scans = cohort(20)
    scans["same_person_as"] = ""
    scans.loc[scans["patient"] == "p007", "same_person_as"] = "p003"
    assert studies(scans, TASKS["age"]).table["patient"].nunique() == 19


def test_too_few_cases_are_said_in_words():
    with pytest.raises(TrainingError, match="needs T1 scans with age_years"):
        studies(cohort(3, age_years=lambda n: np.nan), TASKS["age"])
    with pytest.raises(TrainingError, match="larger fraction"):
        split_column(studies(cohort(8), TASKS["age"]).table, TASKS["age"], fraction=0.1, seed=0, **SHARES)
