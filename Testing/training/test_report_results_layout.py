"""The layout of finished runs: what is written is read back; damage is refused by file and row (PROTOCOL P-14)."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import fabricate_random_runs

from BrainIACLib.errors import ResultsError
from Training.runs.cell import Cell, paper_grid
from Training.runs.layout import read_grid, write_status
from Training.runs.reading import read_run, read_runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    fabricate_random_runs(folder, cases=8, tasks=("sequence", "survival"), fractions=(1.0,))
    return folder


@pytest.fixture
def runs(finished, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(finished, tmp_path / "runs")


def test_paper_grid_is_72_cells_whose_names_come_back():
    grid = paper_grid()
    assert len(grid) == len({cell.name for cell in grid}) == 72
    assert [Cell.parse(cell.name) for cell in grid] == grid


@pytest.mark.parametrize(
    "name", ["sequence-BrainIAC", "sequence-BrainIAC-000-seed0-finetune", "mri-Scratch-010-seed0-probe"]
)
def test_other_folder_names_are_refused(name):
    with pytest.raises(ResultsError):
        Cell.parse(name)


def test_what_is_written_is_read_back(runs):
    found = {run.cell.name: run for run in read_runs(runs)}
    assert len(found) == 6
    assert set(found) == {cell.name for cell in read_grid(runs)}
    run = found["sequence-Scratch-100-seed0-finetune"]
    plain = pd.read_csv(run.folder / "predictions.csv")
    assert run.predictions["score_FLAIR"].to_numpy() == pytest.approx(plain["score_FLAIR"].to_numpy())
    assert run.embeddings.shape == (len(plain), 16)
    assert run.simulated
    survival = found["survival-BrainIAC-100-seed0-finetune"].rows("external")
    censored_early = (survival["event"] == 0) & (survival["time"] <= 12)
    assert (survival["truth"].isna() == censored_early).all()


def test_running_cells_are_skipped(runs):
    (runs / "sequence-Scratch-100-seed0-finetune" / "metrics.json").unlink()
    assert len(read_runs(runs)) == 5


CELL = "sequence-BrainIAC-100-seed0-finetune"


def change(column, value, row=9):
    """A damage: one value of predictions.csv."""

    def damage(folder):
        table = pd.read_csv(folder / "predictions.csv", dtype=str)
        table.loc[row, column] = value
        table.to_csv(folder / "predictions.csv", index=False)

    return damage


def rewrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def configure(**changes):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("score_T1", "nan"), r"predictions\.csv, row 11: score_T1 is 'nan', not a finite number"),
        (change("score_T1", ""), r"predictions\.csv, row 11: score_T1 is empty"),
        (change("truth", "PD"), r"predictions\.csv, row 11: truth is 'PD', not one of T1, T2, FLAIR, T1CE"),
        (change("split", "holdout"), r"row 11: split is 'holdout'"),
        (change("patient", "train1"), r"row 11: this patient is in the training and the test split"),
        (change("scan", "test8_scan"), r"row 11: this scan is predicted twice"),
        (rewrite("predictions.csv", ""), r"predictions\.csv is not a table"),
        (rewrite("predictions.csv", "patient,scan\na,b\n"), "lacks the column split"),
        (rewrite("config.json", "{"), r"config\.json is not JSON"),
        (rewrite("metrics.json", "{}"), r"metrics\.json is not of results layout 1"),
        (configure(fraction=0.5), r"config\.json says fraction 0\.5, but its folder says 1\.0"),
        (configure(labels="maybe"), "must call its labels 'real' or 'simulated'"),
        (rewrite("embeddings.npz", "no"), r"embeddings\.npz is not a file of embeddings"),
        (rewrite("stability.csv", "perturbation,level\ngibbs,0\n"), r"stability\.csv lacks the column metric"),
        (
            rewrite("stability.csv", "perturbation,level,metric,value,split\nfog,0,auc,0.5,test\n"),
            r"stability\.csv has the perturbation 'fog', not one of contrast, gibbs",
        ),
        (change("score_DWI", "0.1"), r"predictions\.csv has the column 'score_DWI', but .* knows no such class"),
    ],
)
def test_damage_is_named(runs, damage, words):
    damage(runs / CELL)
    with pytest.raises(ResultsError, match=words):
        read_run(runs / CELL)


def test_cells_that_cannot_be_compared_are_refused(runs):
    """P-14: a constant hold-out, and one truth for it."""
    table = pd.read_csv(runs / CELL / "predictions.csv")
    table.drop(index=9).to_csv(runs / CELL / "predictions.csv", index=False)
    (runs / CELL / "embeddings.npz").unlink()
    with pytest.raises(ResultsError, match="different cases in the test split"):
        read_runs(runs)
    table["truth"] = table["truth"].replace({"T1": "T2", "T2": "T1"})
    table.to_csv(runs / CELL / "predictions.csv", index=False)
    with pytest.raises(ResultsError, match="disagree about the truth of the test split"):
        read_runs(runs)


def test_one_folder_holds_one_cohort(runs):
    configure(cohort="another")(runs / CELL)
    with pytest.raises(ResultsError, match="put them into separate folders"):
        read_runs(runs)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(ResultsError, match="there is no folder of runs"):
        read_runs(tmp_path / "nothing")


def test_in_a_cross_validation_a_patient_may_change_sides(runs):
    """C-08 holds within each fold, not across them."""
    table = pd.read_csv(runs / CELL / "predictions.csv").assign(fold=0)
    other = table[table["split"] == "test"].assign(split="train", fold=1)
    pd.concat([table, other]).to_csv(runs / CELL / "predictions.csv", index=False)
    assert len(read_run(runs / CELL).predictions) == len(table) + len(other)
    pd.concat([table, other.assign(fold=0)]).to_csv(runs / CELL / "predictions.csv", index=False)
    with pytest.raises(ResultsError, match="in the training and the test split"):
        read_run(runs / CELL)


def test_status_is_plain_json(tmp_path):
    write_status(tmp_path, "running", epoch=3, epochs=10, message="", updated="2026-01-01T00:00:00")
    assert json.loads((tmp_path / "status.json").read_text())["epoch"] == 3
    assert not list(tmp_path.glob("*tmp*"))
    assert np.isfinite(json.loads((tmp_path / "status.json").read_text())["epochs"])
