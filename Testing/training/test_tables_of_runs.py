"""Tables of finished runs against direct computation, and the paper's numbers against its text (PROTOCOL P-22)."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import FABRICATED_SKILL, fabricate_random_runs
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, roc_auc_score

from Training.evaluation.evaluation import evaluate, holm
from Training.tables.beside_the_paper import NO_RUN
from Training.tables.catalogue import all_tables
from Training.tables.features import agreement_table, stability_table
from Training.tables.published import PUBLISHED
from Training.tables.table import Table, interval_text, p_text
from Training.tasks import TASKS


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Fabricated cells of 10 and 100 %, two seeds; one cell is taken away."""
    folder = tmp_path_factory.mktemp("runs")
    fabricate_random_runs(folder, cases=30, fractions=(0.1, 1.0), seeds=(0, 1))
    shutil.rmtree(folder / "age-MedicalNet-010-seed0-finetune")
    shutil.rmtree(folder / "age-MedicalNet-010-seed1-finetune")
    return evaluate(folder, resamples=60)[0]


@pytest.fixture(scope="module")
def tables(evaluation):
    return {table.name: table for table in all_tables(evaluation)}


@pytest.mark.parametrize(
    ("task", "measure", "reference"),
    [
        ("sequence", "balanced_accuracy", lambda t: balanced_accuracy_score(t["truth"], _answer(t))),
        ("age", "mae", lambda t: mean_absolute_error(t["truth"], t["score"])),
        ("idh", "auc", lambda t: roc_auc_score(t["truth"], t["score"])),
        ("survival", "auc", lambda t: roc_auc_score(t.dropna()["truth"], t.dropna()["score"])),
    ],
)
def test_numbers_are_means_over_seeds_of_the_plain_metric(evaluation, task, measure, reference):
    runs = evaluation.of(task, "Scratch", 1.0)
    expected = np.mean(
        [reference(pd.read_csv(run.folder / "predictions.csv").query("split == 'test'")) for run in runs]
    )
    found = evaluation.number(task, "test", measure, "Scratch", 1.0)
    assert len(runs) == found["seeds"] == 2
    assert found["value"] == pytest.approx(expected)
    assert found["low"] <= found["value"] <= found["high"]


def _answer(table):
    scores = table.filter(like="score_")
    return scores.columns.str.removeprefix("score_").to_numpy()[scores.to_numpy().argmax(axis=1)]


def test_the_fabricated_effect_is_found(evaluation, tables):
    """The scores follow the truth most with BrainIAC, least with Scratch, and the verdict says so."""
    assert FABRICATED_SKILL["BrainIAC"] > FABRICATED_SKILL["Scratch"]
    cells = tables["where_pretraining_helps"].cells
    own = cells[(cells["task"] == "Sequence classification") & (cells["training data"] == "100 %")]
    assert own["pretraining"].tolist() == ["no verdict: 2 seeds, and it takes 3"]
    age = evaluation.comparisons.query("task == 'age' and a == 'BrainIAC' and b == 'Scratch' and fraction == 1.0")
    assert (age["difference"] < 0).all()
    assert (age["test"] == "paired permutation").all()


def test_a_verdict_takes_three_seeds_and_names_a_single_pretraining(tmp_path):
    seeds = {"tasks": ("sequence",), "fractions": (1.0,), "extras": False}
    fabricate_random_runs(tmp_path, cases=40, seeds=(0, 1), **seeds)
    two = {table.name: table for table in all_tables(evaluate(tmp_path, resamples=50)[0])}["where_pretraining_helps"]
    assert two.cells["pretraining"].tolist() == ["no verdict: 2 seeds, and it takes 3"]
    fabricate_random_runs(tmp_path, cases=40, seeds=(0, 1, 2), **seeds)
    three = {table.name: table for table in all_tables(evaluate(tmp_path, resamples=50)[0])}["where_pretraining_helps"]
    assert three.cells["pretraining"].tolist() == ["better with this one pretraining"]
    for number, path in enumerate(sorted(tmp_path.glob("sequence-BrainIAC-*/config.json"))):
        config = json.loads(path.read_text())
        config["provenance"]["sha256"] = {"encoder": f"{number:064d}"}
        path.write_text(json.dumps(config))
    several = {table.name: table for table in all_tables(evaluate(tmp_path, resamples=50)[0])}
    assert several["where_pretraining_helps"].cells["pretraining"].tolist() == ["helps"]


def test_an_interval_without_width_has_a_remark(tables, tmp_path):
    """A constant answer has the same balanced accuracy in every resample: 25.0 (25.0-25.0) is no certainty."""
    fabricate_random_runs(tmp_path, cases=16, tasks=("sequence",), fractions=(0.1, 1.0), extras=False)
    for path in tmp_path.glob("sequence-*/predictions.csv"):
        rows = pd.read_csv(path)
        for column in rows.filter(like="score_"):
            rows[column] = float(column == "score_T1")
        rows.to_csv(path, index=False)
    constant = {table.name: table for table in all_tables(evaluate(tmp_path, resamples=20)[0])}
    names = ("sequence_test_balanced_accuracy", "sequence_comparisons", "where_pretraining_helps", "beside_the_paper")
    assert "25.0 (25.0-25.0)" in constant[names[0]].cells["Scratch"].tolist()
    for name in names:
        assert "An interval without width" in constant[name].note, name
        assert "An interval without width" not in tables[name].note, name


def test_no_table_names_a_row_of_our_protocol_without_saying_what_it_is(tables):
    """Codes of lists that nobody outside has; the table of the paper's numbers says what its ids are."""
    assert "ids T-01 to T-16: rows of our list" in tables["beside_the_paper"].note
    for name, table in tables.items():
        if name != "beside_the_paper":
            assert re.findall(r"\b[A-Z]-\d\d\b", table.markdown()) == [], name


def test_missing_cells_are_shown_never_invented(evaluation, tables):
    table = tables["age_test_mae"].cells.set_index("training data")
    assert table.loc["10 %", "MedicalNet"] == "missing"
    assert re.fullmatch(r"\d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\)", table.loc["10 %", "Scratch"])
    assert {cell.name for cell in evaluation.missing} == {f"age-MedicalNet-010-seed{seed}-finetune" for seed in (0, 1)}
    beside = tables["beside_the_paper"].cells
    row = beside[(beside["id"] == "T-04") & (beside["initialisation"] == "MedicalNet")].iloc[0]
    assert (row["paper"], row["ours"]) == ("7.61 (7.35-7.87)", NO_RUN)


def test_the_median_age_stands_beside_the_error_of_age(evaluation, tables):
    """By hand: the median age of the training cases, for every case."""
    run = evaluation.largest("age", "BrainIAC")
    rows = pd.read_csv(run.folder / "predictions.csv")
    median = rows[rows["split"] == "train"]["truth"].median()
    expected = (rows[rows["split"] == "external"]["truth"] - median).abs().mean()
    cells = tables["age_agreement"].cells.query("split == 'external' and initialisation == 'BrainIAC'")
    assert cells["MAE of the median age (years)"].tolist() == [f"{expected:.2f}"]
    halves = rows.assign(fold=np.arange(len(rows)) % 2)
    folded = dataclasses.replace(run, predictions=halves)
    medians = halves[halves["split"] == "train"].groupby("fold")["truth"].median()
    test = halves[halves["split"] == "test"]
    expected = (test["truth"] - test["fold"].map(medians)).abs().mean()
    found = agreement_table(dataclasses.replace(evaluation, runs=(folded,))).cells.query("split == 'test'")
    assert found["MAE of the median age (years)"].tolist() == [f"{expected:.2f}"]


def test_a_table_of_one_seed_says_so(evaluation, tables):
    """Of two seeds here: without it, its error of age seems to contradict the mean of the seeds in another table."""
    run = evaluation.largest("age", "BrainIAC")
    mean = evaluation.number("age", "external", "mae", "BrainIAC", 1.0)["value"]
    row = tables["age_agreement"].cells.query("split == 'external' and initialisation == 'BrainIAC'")
    rows = run.rows("external")
    assert (
        row["MAE (years)"].tolist() == [f"{mean_absolute_error(rows['truth'], rows['score']):.2f}"] != [f"{mean:.2f}"]
    )
    for name in ("age_agreement", "davies_bouldin", "com_distance", "calibration"):
        assert tables[name].note.startswith("Of the first seed."), name


def test_a_perturbation_stands_at_its_strongest_levels_for_every_line(tmp_path):
    """The worst level would be chosen after the fact, of more levels for one line than for another."""
    fabricate_random_runs(tmp_path, cases=24, tasks=("age",), fractions=(1.0,))
    (path,) = tmp_path.glob("age-Scratch-100-*/stability.csv")
    table = pd.read_csv(path)
    table.loc[(table["perturbation"] == "contrast") & (table["level"] == 1.5), "value"] = 99.0
    table.to_csv(path, index=False)
    cells = stability_table(evaluate(tmp_path, resamples=10)[0]).cells
    at = {
        name: own["strongest level"].str.split(" at ").str[1].tolist() for name, own in cells.groupby("initialisation")
    }
    assert set(at) == {"BrainIAC", "MedicalNet", "Scratch"}
    for levels in at.values():
        assert sorted(levels) == ["0.4", "0.4", "0.5", "2"]
    gamma = table[(table["perturbation"] == "contrast")].set_index("level")["value"]
    row = cells[(cells["initialisation"] == "Scratch") & cells["strongest level"].str.endswith(" at 2")].iloc[0]
    assert row["change"] == f"{gamma[2.0] - gamma[1.0]:+.3f}"
    assert "99.000" not in cells.to_csv()


def test_recipes_are_told_once(tables):
    """How a cell was trained names its recipe; the settings stand once for all tasks that share them."""
    assert set(tables["training"].cells["recipe"]) == {"none"}
    recipes = tables["recipes"].cells
    assert recipes["settings"].tolist() == ["epochs 0"]
    assert len(recipes) == 1
    assert set(recipes["tasks"][0].split(", ")) == {task.title for task in TASKS.values()}


def test_simulated_labels_are_marked_in_every_format(tables):
    for table in tables.values():
        assert table.simulated
        assert "SIMULATED LABELS" in table.markdown().split("\n")[0]
        assert "SIMULATED LABELS" in table.latex()
        assert ",simulated" in table.csv().split("\n")[1]


def test_no_table_holds_nan_or_none(tables):
    for table in tables.values():
        assert not re.search(r"\b(nan|NaN|None|inf|NaT|<NA>)\b", table.markdown()), table.name
        assert len(table.cells)


def test_one_class_only_gives_words(tmp_path):
    """A test set without a mutation: no AUC, and the note says why; calibration and other tasks stay."""
    fabricate_random_runs(tmp_path, cases=12, tasks=("idh",), fractions=(1.0,), extras=False)
    for path in tmp_path.glob("idh-*/predictions.csv"):
        pd.read_csv(path).assign(truth=0).to_csv(path, index=False)
    found = evaluate(tmp_path, resamples=20)[0]
    tables = {table.name: table for table in all_tables(found)}
    auc = tables["idh_test_auc"]
    assert auc.cells["BrainIAC"].tolist() == ["-"]
    assert "two classes are needed" in auc.note
    assert "two classes are needed" in tables["idh_comparisons"].cells["test"].iloc[0]


def test_published_numbers_stand_in_the_papers_text(shared_data):
    """Every value and limit of T-01 to T-14 is in the preprint's text."""
    text = (shared_data.parent / "paper" / "brainiac_preprint.txt").read_text(encoding="utf-8")
    for published in PUBLISHED:
        for value in published.values:
            for number in value if isinstance(value, tuple) else (value,):
                printed = {f"{number:g}", f"{number:.1f}", f"{number:.2f}"}
                assert any(re.search(rf"(?<![\d.]){re.escape(form)}(?!\d)", text) for form in printed), published


def test_formats_escape_and_round():
    table = Table("t", "A & B", pd.DataFrame({"p_%": ["a|b", "50 %"]}), "x < y")
    assert r"a\|b" in table.markdown()
    latex = table.latex()
    assert r"\caption{A \& B}" in latex
    assert r"p\_\%" in latex
    assert r"x \textless{} y" in latex
    assert latex.count(r"\\") == 3
    assert interval_text(0.7612, 0.61, 0.904, 1, 2) == "0.76 (0.61-0.90)"
    assert interval_text(-0.5, -1, 0.25, 1, 2) == "-0.50 (-1.00 to 0.25)"
    assert (interval_text(np.nan, 0, 1, 1, 2), p_text(np.nan), p_text(0.0001)) == ("-", "-", "<0.001")


def test_holm_by_hand():
    """Three p values by the step-down definition; an undefined one neither counts nor changes."""
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
