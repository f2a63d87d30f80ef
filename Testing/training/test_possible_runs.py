"""Data that cannot give every run: each lack has a sentence, what can be trained is, and no figure is empty."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.errors import ManifestError, TrainingError
from Training.data.cache import write_cache
from Training.data.manifest import check_manifest
from Training.downstream.fractions import fold_columns, split_column
from Training.downstream.plan import Plan, Workbench, write_plan
from Training.downstream.possible import possible_cells, refuse_unknown_datasets, remarks
from Training.downstream.queue import work_through
from Training.downstream.studies import studies
from Training.evaluation.evaluation import evaluate
from Training.figures.catalogue import all_figures
from Training.reproduction import reproduce
from Training.runs.cell import FRACTIONS, Cell
from Training.runs.layout import write_grid
from Training.tasks import AGE

RECIPES = {"finetune": "ci", "probe": "exact"}
SIZE = (16, 16, 16)


def workbench(folder, persons: int = 20, ages: bool = True, copies: int = 0, **plan) -> Workbench:
    """Two thirds of the persons are of "here", the others of "away"; the first ``copies`` were scanned in both."""
    rng = np.random.default_rng(0)
    here = 2 * persons // 3
    names = [f"p{n}" for n in range(persons)] + [f"p{n}" for n in range(copies)]
    known = [20.0 + 60 * n / persons for n in range(persons)] + [50.0] * copies
    table = pd.DataFrame({"scan": [f"s{n}.nii.gz" for n in range(len(names))], "patient": names, "session": ""})
    table = table.assign(
        role="",
        dataset=["here"] * here + ["away"] * (len(names) - here),
        sequence="T1",
        age_years=known if ages else np.nan,
    )
    write_cache(folder / "cache", table, [rng.random(SIZE).astype(np.float32) for _ in names])
    settings = {"architecture": "resnet10", "width": 0.0625, "like": "", "recipes": RECIPES, **plan}
    return Workbench(Plan(str(folder / "cache"), "toy", "simulated", {}, **settings), folder / "runs")


def probes(fractions=FRACTIONS, seeds=(0,)) -> list[Cell]:
    return [Cell("age", "Histogram", fraction, seed, "probe") for fraction in fractions for seed in seeds]


def figures_of(bench: Workbench, cells: list[Cell]) -> dict[str, tuple[bool, str]]:
    """number -> (drawn, what it waits for), once all cells are finished."""
    write_plan(bench.plan, bench.runs)
    write_grid(bench.runs, cells)
    assert work_through(bench.runs, cells, report=lambda text: None) == []
    (evaluation,) = evaluate(bench.runs, resamples=20)
    return {one.number: (one.figure is not None, one.waits_for) for one in all_figures(evaluation)}


def test_without_an_external_set_its_figures_wait_and_the_others_are_drawn(tmp_path):
    bench = workbench(tmp_path)
    assert any("no external test" in sentence for sentence in remarks(bench, ["age"]))
    drawn = figures_of(bench, probes((1.0,)))  # one amount of data, too
    assert drawn["Fig 2D"] == (True, "")
    for number in ("Fig 2E", "Fig 2I", "Fig 3 external", "Fig 4 external", "Fig 5C", "Fig 5D", "Fig 5E-F"):
        is_drawn, waits_for = drawn[number]
        assert not is_drawn
        assert "external" in waits_for, number


def test_an_external_dataset_that_is_not_there_is_named_and_so_are_those_that_are():
    there = ("here", "here", "away")
    with pytest.raises(ManifestError, match="no dataset 'IXI' to be the external test; it has away, here"):
        refuse_unknown_datasets(there, ("IXI",))
    with pytest.raises(ManifestError, match="none is left to train on"):
        refuse_unknown_datasets(there, ("here", "away"))
    refuse_unknown_datasets(there, ("away",))


def test_an_external_dataset_that_is_not_there_is_refused_before_any_scan_is_prepared(tmp_path, monkeypatch, capsys):
    (tmp_path / "one.nii.gz").write_bytes(b"never read")
    manifest = tmp_path / "m.csv"
    manifest.write_text("scan,patient,dataset\none.nii.gz,p,here\n", encoding="utf-8")
    monkeypatch.setattr(reproduce, "_cohort_cache", lambda *arguments: pytest.fail("it began"))
    command = ["--out", str(tmp_path / "out"), "--brainiac", str(tmp_path), "--cohort"]
    assert reproduce.main([*command, str(manifest), "--external", "away"]) == 1
    assert "no dataset 'away' to be the external test; it has here" in capsys.readouterr().err
    assert reproduce.main([*command, "open", "--external", "IXI"]) == 1
    assert "--external is for a manifest" in capsys.readouterr().err
    assert reproduce.main([*command, str(manifest), "--question", "age-from-ixi"]) == 1
    assert "--question is for the cohort open" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["age", "Age", "patient age (y)"])
def test_a_label_under_another_name_is_pointed_out(name):
    scans = {"scan": ["a", "b"], "patient": ["a", "b"], "dataset": "d", "sequence": "T1", name: ["31", "45"]}
    table = check_manifest(pd.DataFrame({**scans, "image": "x"}), "m.csv")
    with pytest.raises(TrainingError) as caught:
        studies(table, AGE)
    assert str(caught.value).endswith(f"The column '{name}' is not read: this label is read from 'age_years'.")


def test_no_other_column_is_taken_for_a_label():
    scans = {
        "scan": ["a"],
        "patient": ["a"],
        "dataset": "d",
        "sequence": "T1",
        "image": "x",
        "survival_months": "3",
        "event": "1",
    }
    with pytest.raises(TrainingError) as caught:
        studies(check_manifest(pd.DataFrame(scans), "m.csv"), AGE)
    assert "is not read" not in str(caught.value)


def test_an_amount_of_data_of_too_few_persons_is_left_out_with_a_sentence(tmp_path):
    """Ten persons to learn from: 10 % is one of them, who cannot train and validate."""
    bench = workbench(tmp_path, external=("away",))
    cells, sentences = possible_cells(bench, probes(seeds=(0, 1)))
    left = {cell.fraction for cell in cells}
    assert 0.1 not in left
    assert {0.6, 0.8, 1.0} <= left
    assert len(cells) == 2 * len(left)  # of all seeds or of none
    assert sentences[0].startswith("no runs of brain age with 10 %: 10% of")
    drawn = figures_of(bench, [cell for cell in cells if cell.seed == 0])
    assert drawn["Fig 2D"][0]
    assert drawn["Fig 2E"][0]


def test_folds_of_more_than_half_of_the_persons_are_refused_and_fewer_training_persons_than_folds_are_not(tmp_path):
    assert possible_cells(workbench(tmp_path / "a", persons=9, folds=5), probes((1.0,)))[0] == []
    bench = workbench(tmp_path / "b", persons=16, folds=5)
    cells, _ = possible_cells(bench, probes((0.4, 1.0)))  # 40 % of 13 are five persons, one of them to validate
    assert cells == probes((0.4, 1.0))
    assert figures_of(bench, cells)["Fig 2D"][0]


def test_missing_labels_and_persons_of_two_sites_are_said_and_nobody_is_on_both_sides(tmp_path):
    bench = workbench(tmp_path, copies=2, external=("away",))
    (sentence,) = remarks(bench, ["age"])
    assert "2 persons have scans in an external dataset and in another, the first is 'p0'" in sentence
    (split,) = bench.splits(probes((1.0,))[0], 0.2, 0.2)
    table = bench.studies("age").table
    trained_or_held_out = table["patient"][split.isin(("train", "validation", "test"))]
    assert not set(trained_or_held_out) & set(table["patient"][split == "external"])
    assert set(table["patient"][(split == "") & (table["dataset"] == "here")]) == {"p0", "p1"}


def test_without_any_age_the_question_is_refused_in_a_sentence(tmp_path):
    bench = workbench(tmp_path, ages=False)
    with pytest.raises(TrainingError, match="has nothing for the task 'age'"):
        bench.studies("age")
    with pytest.raises(TrainingError, match="labels for none of the tasks"):
        reproduce._work(bench.plan, [], bench.runs, tmp_path / "out", None, 10)
    assert not bench.runs.exists()


@pytest.fixture
def people() -> pd.DataFrame:
    ages = np.linspace(20, 80, 30)
    table = pd.DataFrame({"patient": [f"p{n}" for n in range(30)], "dataset": ["here"] * 20 + ["away"] * 10})
    return table.assign(role=["train"] * 8 + [""] * 12 + ["train"] * 4 + [""] * 6, sequence="T1", target=ages)


def test_who_has_the_role_train_is_tested_nowhere(people):
    """As the persons from whom a line of the comparison was made, long before the comparison."""
    split = split_column(people, AGE, fraction=1.0, seed=0, hold_out=0.2, validation=0.2, external=("away",))
    trains = people["role"] == "train"
    assert not split[trains].isin(("test", "external")).any()
    assert (split == "test").sum() == 4  # a fifth of all 20, not of the 12 that may be tested
    assert set(split[people["dataset"] == "away"]) == {"external", ""}
    columns = fold_columns(people, AGE, folds=3, fraction=1.0, seed=0, validation=0.2)
    tested = np.sum([column == "test" for column in columns], axis=0)
    assert (tested == ~trains).all()
