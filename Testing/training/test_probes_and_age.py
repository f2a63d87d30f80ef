"""Probes of embeddings and the age head: against scikit-learn and hand counts; what is judged is never seen."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the 'training' extra")

from sklearn.linear_model import Ridge

from BrainIACLib.checkpoints.installed import InstalledModel, find_encoder, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.models.anatomy import EMBEDDING_NAMES
from BrainIACLib.resources import resource
from Training.starter import age
from Training.starter.age import Cases, corrected, fit, leave_studies_out
from Training.starter.features import REPRESENTATIONS, Features
from Training.starter.open_scans import OpenScan
from Training.starter.probes import (
    agreement_of_contrasts,
    answers,
    effective_rank,
    folds_by_subject,
    majority_of_study,
    report,
)


def cohort(size: int = len(EMBEDDING_NAMES), noise: float = 3.0, seed: int = 0) -> Cases:
    """Three studies of which one number tells the age, the same way in each."""
    rng = np.random.default_rng(seed)
    study = np.repeat(["a", "b", "single scans"], [60, 40, 10])
    ages = rng.uniform(20, 80, len(study))
    values = rng.normal(size=(len(study), size))
    values[:, 0] = (ages - 50) / 15 + rng.normal(0, noise / 15, len(study))
    return Cases(values, ages, study, np.array([f"p{i}" for i in range(len(study))]))


def test_the_standing_doubt_of_the_contract_is_what_the_code_says_of_its_figures():
    head = read_contract(resource("Models") / age.ID).head
    figures = re.fullmatch(r"mean absolute error ([\d.]+) years .* all left out, (\d+) persons", head.metrics[-1])
    ages = re.search(r"left out, (\d+) to (\d+) years old", head.valid_range)
    across = {"MAE": float(figures[1]), "persons": int(figures[2]), "ages": [float(ages[1]), float(ages[2])]}
    assert head.standing_doubt == age.standing_doubt({"all": across}, head.conformal)
    assert f"{across['MAE']:.1f} years" in head.standing_doubt.text  # not "7", the target that was missed


def test_the_ridge_is_scikit_learns_with_the_same_weights():
    cases = cohort(size=6)
    head = age._ridges(cases, [7.0])[0]
    weights = age._decade_weights(cases.ages)
    weights = weights / weights.mean()
    scaled = cases.values / (cases.values.std(axis=0) + 1e-9)
    oracle = Ridge(alpha=7.0).fit(scaled, cases.ages, sample_weight=weights)
    assert head.ages(cases.values) == pytest.approx(oracle.predict(scaled), abs=1e-6)


def test_the_penalty_is_the_largest_within_one_standard_error_of_the_least():
    cases = cohort(size=12, noise=6.0)
    chosen = fit(cases).penalty
    errors, spread = [], []
    for penalty in age.PENALTIES:  # plainly, one penalty at a time
        squares = np.zeros((age.REPEATS, len(cases.ages)))
        for repeat in range(age.REPEATS):
            part = np.random.default_rng(repeat).permutation(len(cases.ages)) % 10
            for tenth in range(10):
                out = part == tenth
                head = age._ridges(cases.rows(~out), [penalty])[0]
                squares[repeat, out] = (head.ages(cases.values[out]) - cases.ages[out]) ** 2
        weights = age._decade_weights(cases.ages)
        squares = squares.mean(0)
        errors.append((weights * squares).sum() / weights.sum())
        spread.append(np.sqrt((weights**2 * (squares - errors[-1]) ** 2).sum()) / weights.sum())
    least = int(np.argmin(errors))
    assert chosen == max(p for p, e in zip(age.PENALTIES, errors, strict=True) if e <= errors[least] + spread[least])
    assert chosen > age.PENALTIES[least]


def test_decades_count_alike_up_to_a_limit():
    weights = age._decade_weights(np.array([*[25.0] * 20, *[35.0] * 10, 72.0]))
    assert weights.tolist() == [*[1.0] * 20, *[2.0] * 10, 4.0]


def test_a_study_that_is_judged_takes_no_part_in_its_answers():
    cases = cohort()
    changed = dataclasses.replace(cases, ages=np.where(cases.study == "b", cases.ages[::-1], cases.ages))
    first, second = leave_studies_out(cases), leave_studies_out(changed)
    assert first.said[cases.study == "b"] == pytest.approx(second.said[cases.study == "b"])
    assert np.abs(first.said - second.said)[cases.study == "a"].max() > 1  # years


def test_a_head_that_knows_age_passes_and_one_that_does_not_fails(monkeypatch):
    informed = cohort(size=12)
    blind = dataclasses.replace(informed, values=np.random.default_rng(5).normal(size=informed.values.shape))
    of = {"volumes": informed, "histogram": blind, "block averages": blind}
    monkeypatch.setattr(age, "cases_of", lambda features, name: of[name])
    monkeypatch.setattr(age, "other_sequences", lambda features, head: {})
    facts, _, _ = age.judge(None)
    assert facts["passes"]
    assert facts["across studies"]["all"]["MAE"] < 6
    of["volumes"] = dataclasses.replace(blind, values=blind.values[:, ::-1].copy())
    assert not age.judge(None)[0]["passes"]


def test_undoing_the_pull_to_the_mean_gives_a_slope_of_one():
    ages = np.linspace(20, 80, 50)
    said = 0.5 * ages + 25 + np.random.default_rng(0).normal(0, 2, 50)
    assert np.polyfit(ages, corrected(said, ages), 1)[0] == pytest.approx(1)


def test_the_interval_is_that_of_the_study_that_needs_the_widest():
    cases = cohort()
    error = np.where(cases.study == "b", 10.0, 4.0)
    left = age.Left(cases.ages + error, np.zeros(len(error)), np.ones(len(error), bool))
    width, coverage = age.interval(cases, left)
    assert width == pytest.approx(10.0)
    assert coverage == pytest.approx(70 / 110)  # those of b are not covered by what the others need
    few = np.where(cases.study == "single scans", 30.0, error)  # ten persons set no width
    width, coverage = age.interval(cases, age.Left(cases.ages + few, left.constant, left.within))
    assert width == pytest.approx(10.0)
    assert coverage == pytest.approx(60 / 110)


def test_the_installed_head_answers_as_the_fitted_one(tmp_path: Path):
    embeddings = cohort().values
    cases = dataclasses.replace(cohort(), values=embeddings[:, :17])
    facts = {
        "across studies": age.figures(cases, cases.ages + 1.0, cases.ages * 0 + 50, np.ones(len(cases.ages), bool)),
        "interval": {"half width": 12.0, "coverage of other studies": 0.9},
        "passes": True,
    }
    folder = age.install(facts, cases, embeddings, tmp_path)
    contract = read_contract(folder)
    assert contract.encoder.sha256 == find_encoder(model_id=age.ANATOMY_MODEL).contract.encoder.sha256
    import torch

    head = load_model(InstalledModel(folder, contract)).head
    with torch.inference_mode():
        said = head(torch.from_numpy(embeddings).float())[:, 0].numpy()
    assert said == pytest.approx(fit(cases).ages(cases.values), abs=1e-3)


def scan(number: int, study: str, sequence: str = "T1", subject: str | None = None) -> OpenScan:
    path = Path(f"{study}/{number}.nii.gz")
    person = subject or f"{study}{number}"
    sex = "FM"[number % 2]
    return OpenScan(path, str(path), "scan", sequence, person, study, 20.0 + number, sex, True, f"{study}{number}")


def test_the_report_has_a_cell_for_every_representation():
    rng = np.random.default_rng(0)
    scans = [scan(i, "IXI") for i in range(24)] + [scan(i, "ds002748") for i in range(24)]
    for subject in ("x", "y"):
        scans += [scan(i, "UPENN-GBM", name, subject) for i, name in enumerate(("T1", "T2", "FLAIR", "T1CE"))]
    for study in ("one", "two"):
        scans += [scan(i, study, name) for i, name in enumerate(("T1", "T2", "FLAIR", "T1CE"))]
    features = Features(scans, {name: rng.normal(size=(len(scans), 5)) for name in REPRESENTATIONS})
    repeats = {name: rng.normal(size=(8, 5)) for name in REPRESENTATIONS}, np.repeat([0, 1], 4)
    rows = [line for line in report(features, repeats, "0" * 64).splitlines() if line.startswith("|")]
    assert len(rows) >= 14
    assert {line.count("|") for line in rows} == {len(REPRESENTATIONS) + 2}


def test_answers_of_a_fold_do_not_change_with_its_own_labels():
    rng = np.random.default_rng(1)
    values, fold, groups = rng.normal(size=(40, 4)), np.arange(40) % 4, np.arange(40)
    target = values @ np.array([5.0, 0, 0, 0]) + 50
    changed = np.where(fold == 2, target[::-1], target)
    first, second = (answers(values, labels, fold, groups) for labels in (target, changed))
    assert first[fold == 2] == pytest.approx(second[fold == 2])
    assert np.abs(first - target).mean() < 1.0


def test_studies_of_one_source_are_left_out_together_and_single_scans_alone():
    scans = [scan(0, "BraTS2021", subject="BraTS2021_01476"), scan(1, "UPENN-GBM", subject="BraTS-GLI-00001")]
    scans += [scan(2, "openms cross-sectional", subject="openms_cs_1"), scan(3, "one"), scan(4, "two")]
    first, second, third, *single = Features(scans, {}).sources()
    assert first == second != third
    assert single == ["one", "two"]


def test_the_majority_of_a_study_never_counts_the_fold_that_is_judged():
    sex = np.array(["F", "F", "M", "M", "M", "F"])
    study = np.array(["a", "a", "a", "b", "b", "alone"])
    said = majority_of_study(sex, study, np.arange(6))
    assert said.tolist()[2:5] == ["F", "M", "M"]
    assert said[5] == "M"  # of the others: three of five


def test_folds_keep_a_subject_together():
    subjects = np.repeat([f"s{i}" for i in range(20)], 3)
    fold = folds_by_subject(subjects)
    assert all(len(set(fold[subjects == name])) == 1 for name in set(subjects))


def test_the_effective_rank_of_equal_axes_is_their_number():
    square = np.vstack([np.eye(6), -np.eye(6)])
    assert effective_rank(square) == pytest.approx(6)
    assert effective_rank(np.outer(np.arange(9.0), np.ones(6))) == pytest.approx(1)


def test_icc_is_one_for_equal_repeats_and_low_for_shuffled_ones():
    rng = np.random.default_rng(0)
    subjects, person = np.repeat(np.arange(12), 4), rng.normal(size=(12, 3))
    same = person[subjects]
    assert agreement_of_contrasts(same, subjects) == pytest.approx(1)
    assert abs(agreement_of_contrasts(rng.permutation(same), subjects)) < 0.3
    with_constants = np.concatenate([same, np.zeros((len(same), 9))], 1)  # blocks outside the brain
    assert agreement_of_contrasts(with_constants, subjects) == pytest.approx(1)
