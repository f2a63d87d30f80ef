"""docs/add/task.md: a further task is one object and one line; manifest, runner, tables, figures and report know it."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.errors import ManifestError
from BrainIACLib.sequences import T1
from Training.data.cache import write_cache
from Training.data.manifest import check_manifest
from Training.downstream.plan import Plan, write_plan
from Training.downstream.queue import work_through
from Training.evaluation.evaluation import evaluate
from Training.figures.catalogue import all_figures
from Training.runs.cell import Cell
from Training.runs.layout import write_grid
from Training.tables.catalogue import all_tables
from Training.tasks import TASKS
from Training.tasks.measure import AUC, BALANCED_ACCURACY_AT_HALF
from Training.tasks.task import LabelColumn, TwoClassTask

SIZE = (16, 16, 16)


class SexTask(TwoClassTask):
    """1 female, 0 male, from a T1 scan."""

    name = "sex"
    says = "sex"
    slots = (T1.name,)
    columns = (LabelColumn("female", "must be 0 or 1", values=(0.0, 1.0)),)
    needs = "T1 scans with female"
    measures = (AUC, BALANCED_ACCURACY_AT_HALF)
    in_brief = ("one T1", "probability of\nfemale")

    def targets(self, cases, settings):
        """0 and 1."""
        return cases["female"].to_numpy(float)


@pytest.fixture(autouse=True)
def sex(monkeypatch):
    monkeypatch.setitem(TASKS, "sex", SexTask())


def rows(**columns) -> pd.DataFrame:
    people = range(24)
    table = {"scan": [f"p{n}.nii.gz" for n in people], "patient": [f"p{n}" for n in people], "dataset": "toy"}
    return pd.DataFrame({**table, "sequence": "T1", "female": [str(n % 2) for n in people], **columns})


def test_the_manifest_takes_its_column():
    assert check_manifest(rows(), "toy")["female"].tolist() == [n % 2 for n in range(24)]
    with pytest.raises(ManifestError, match="must be 0 or 1"):
        check_manifest(rows(female="3"), "toy")


def test_it_is_trained_measured_tabled_and_drawn(tmp_path):
    rng = np.random.default_rng(0)
    table = check_manifest(rows(), "toy")
    volumes = [(rng.random(SIZE) * 0.3 + 0.5 * female).astype(np.float32) for female in table["female"]]
    write_cache(tmp_path / "cache", table, volumes)
    recipes = {"finetune": "ci", "probe": "ci"}
    settings = {"architecture": "resnet10", "width": 0.0625, "like": "", "recipes": recipes}
    runs, cells = tmp_path / "runs", [Cell("sex", "Scratch", fraction, 0, "probe") for fraction in (0.8, 1.0)]
    write_plan(Plan(str(tmp_path / "cache"), "toy", "simulated", {}, **settings), runs)
    write_grid(runs, cells)
    assert work_through(runs, cells) == []
    (evaluation,) = evaluate(runs, resamples=50)
    assert set(evaluation.numbers["task"]) == {"sex"}
    tables = {one.name: one.markdown() for one in all_tables(evaluation)}
    assert "Sex, internal set: AUC" in tables["sex_test_auc"]
    drawn = {figure.number: figure for figure in all_figures(evaluation)}
    assert drawn["Extra 4"].figure is not None
    assert drawn["Extra 4"].caption == "Sex: AUC by training data."
