"""Perturbed and explained cases of a cross-validation, against plain loops over folds and cases (P-42 to P-44)."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.models.heads import EncoderWithHead
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.saliency import guided_smoothgrad
from Training.data.cache import Cache, write_cache
from Training.downstream.cell import run_cell
from Training.downstream.one_training import train_once
from Training.downstream.perturbations import SWEEPS
from Training.downstream.plan import Plan, Workbench, write_plan
from Training.downstream.queue import work_through
from Training.downstream.recipe import load_recipe
from Training.downstream.stability import levels_of
from Training.evaluation.evaluation import evaluate
from Training.figures.catalogue import all_figures
from Training.report.protocol_checklist import protocol_checklist
from Training.runs.cell import Cell
from Training.runs.reading import read_run

SIZE, FOLDS = (16, 16, 16), 3
LEVELS = {"contrast": [0.5, 1.0], "gibbs": [0.0, 0.4], "motion": [0.0, 0.3]}
BY_NAME = {sweep.name: sweep for sweep in SWEEPS}
TASK_NAMES = ("sequence", "age", "idh")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """15 patients with T1 and T1CE; p03 (with a warning), p07, p11 with FLAIR and T2 too; one more for pretraining."""
    folder = tmp_path_factory.mktemp("data") / "cache"
    rng = np.random.default_rng(0)
    rows, volumes = [], []
    for number in range(16):
        for place, sequence in enumerate(("T1", "T1CE", "FLAIR", "T2")[: 4 if number in (3, 7, 11) else 2]):
            volume = rng.random(SIZE).astype(np.float32) * 0.3
            volume[4:12, 4:12, 4:12] += 0.15 * place
            volume[:3] = 0
            volume[-3:, -3:, -3:] = number / 16
            volumes.append(volume.clip(0, 1))
            rows.append(
                {
                    "scan": f"p{number:02d}_{sequence}.nii.gz",
                    "patient": f"p{number:02d}",
                    "dataset": "toy",
                    "session": "",
                    "sequence": sequence,
                    "role": "pretrain" if number == 15 else "",
                    "age_years": 20.0 + number,
                    "idh": float(number % 2),
                    "survival_months": np.nan,
                    "event": np.nan,
                    "warnings": "The registration has probably failed." if (number, sequence) == (3, "T2") else "",
                }
            )
    write_cache(folder, pd.DataFrame(rows), volumes)
    return folder


@pytest.fixture(scope="module")
def plan(cache):
    return Plan(
        cache=str(cache),
        cohort="toy",
        labels="real",
        sources={},
        like="",
        architecture="resnet10",
        width=0.0625,
        recipes={"finetune": "ci", "probe": "ci"},
        age_unit="months",
        folds=FOLDS,
        stability=LEVELS,
        saliency_patients=4,
    )


@pytest.fixture(scope="module")
def runs(plan, tmp_path_factory):
    """Finished cells of three tasks in both modes."""
    folder = tmp_path_factory.mktemp("runs")
    write_plan(plan, folder)
    cells = [Cell(task, "Scratch", 1.0, 0, mode) for mode in ("probe", "finetune") for task in TASK_NAMES]
    assert work_through(folder, cells, report=lambda text: None) == []
    return folder


def trainings(plan, runs, cell):
    """Every fold trained again, by itself: (split column, encoder, head whose output is that of the task)."""
    bench = Workbench(plan, runs)
    recipe = load_recipe("ci", cell.task)
    for split in bench.splits(cell, recipe.hold_out_share, recipe.validation_share):
        trained = train_once(bench, cell, recipe, split, lambda epoch, epochs: None, None)
        start = bench.initialisation("Scratch")
        encoder = start.encoder(cell.seed) if trained.net is None else trained.net.encoder
        yield split, EncoderWithHead(encoder, trained.head).eval(), trained.fitted.scale, start.contract


def metric(task, truth, answers):
    """Written out: mean share of right ones of each class, mean error, share of pairs that are ranked right."""
    truth, answers = np.array(truth), np.array(answers)
    if task == "sequence":
        right = answers.argmax(1) == truth
        return np.mean([right[truth == label].mean() for label in np.unique(truth)])
    if task == "age":
        return np.abs(answers[:, 0] - truth).mean() / 12  # learned in months, told in years
    positive, negative = answers[truth == 1, 0], answers[truth == 0, 0]
    return (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2


def answers_of(plan, runs, cell, perturb, others=0):
    """(truth, outputs) of every case, by the fold that tests it, or by the ``others``-th fold after it."""
    data = Workbench(plan, runs).studies(cell.task)
    volumes, trained = Cache(plan.cache), list(trainings(plan, runs, cell))
    truth, answers = [], []
    for fold, (split, *_) in enumerate(trained):
        _, model, scale, contract = trained[(fold + others) % FOLDS]
        for case in range(len(data.table)):
            if split[case] != "test":
                continue
            scans = [volumes.batch([row]).float() / 255 for row in data.volumes[case] if row >= 0]
            with torch.inference_mode():
                embeddings = [model.encoder(normalise(perturb(scan), contract)) for scan in scans]
                output = model.head(torch.stack(embeddings).mean(0))[0].numpy()
            truth.append(data.table["target"][case])
            answers.append(output * scale.deviation + scale.mean)
    return truth, answers


@pytest.mark.parametrize("mode", ["probe", "finetune"])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_each_case_is_perturbed_for_the_fold_that_tests_it_and_all_are_measured_together(plan, runs, task, mode):
    """P-42: a loop over folds, cases and scans, one by one."""
    cell = Cell(task, "Scratch", 1.0, 0, mode)
    found = read_run(runs / cell.name).stability.set_index(["perturbation", "level"])
    assert len(found) == 6
    assert set(found["split"]) == {"test"}
    for (name, level), value in found["value"].items():
        truth, answers = answers_of(plan, runs, cell, BY_NAME[name].at(level))
        assert len(truth) == {"sequence": 36, "age": 15, "idh": 15}[task]
        assert value == pytest.approx(metric(task, truth, answers), rel=1e-4), (name, level)
    if task == "age":  # the loop would have seen another fold's network
        _, of_another = answers_of(plan, runs, cell, BY_NAME["gibbs"].at(0.4), others=1)
        _, own = answers_of(plan, runs, cell, BY_NAME["gibbs"].at(0.4))
        assert not np.allclose(np.ravel(of_another), np.ravel(own), rtol=1e-4)


def test_the_level_without_an_effect_is_the_metric_of_the_cell_to_the_last_bit(runs):
    """U-14: against what the report's tables compute from predictions.csv."""
    for evaluation in evaluate(runs, resamples=10):
        for run in evaluation.runs:
            table = run.stability
            measure = table["metric"].iloc[0]
            number = evaluation.number(run.cell.task, "test", measure, "Scratch", 1.0)["value"]
            neutral = [table["level"][row] == BY_NAME[table["perturbation"][row]].neutral for row in table.index]
            assert sum(neutral) == len(LEVELS)
            expected = number if measure != "auc" else pytest.approx(number, abs=1e-15)  # DeLong's AUC sums otherwise
            assert all(value == expected for value in table["value"][neutral])
            if run.cell.task == "age":  # an error that every change of the image changes
                assert table["value"].nunique() == 1 + len(LEVELS)


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_perturbing_without_an_effect_gives_the_very_outputs(plan, tmp_path, mode):
    """U-14: the sweep takes them from the predictions; yet perturbing at that level changes no bit of a network's
    outputs, nor more of a probe's than embedding in other batches does."""
    cell, recipe, bench = Cell("idh", "Scratch", 1.0, 0, mode), load_recipe("ci", "idh"), Workbench(plan, tmp_path)
    split = bench.splits(cell, recipe.hold_out_share, recipe.validation_share)[1]
    trained = train_once(bench, cell, recipe, split, lambda epoch, epochs: None, None)
    expected = trained.outputs(trained.held_out)
    rounding = {"finetune": 0, "probe": 1e-6}[mode]
    for sweep in SWEEPS:
        found = trained.outputs(trained.held_out, sweep.at(sweep.neutral))
        torch.testing.assert_close(found, expected, rtol=rounding, atol=rounding)
    patients = bench.studies("idh").table["patient"]
    seen = split.isin(["train", "validation"])
    assert not set(patients[trained.held_out]) & set(patients[seen])
    assert set(patients[trained.held_out]) | set(patients[seen]) == {f"p{number:02d}" for number in range(15)}


def test_perturbed_embeddings_are_computed_once_for_all_tasks_and_folds(plan, runs):
    """One file of all scans as they are; a file for each level with an effect, of the scans that some fold tests."""
    known = [np.isfinite(np.load(path)).all(1).tolist() for path in (runs / ".embeddings").glob("*.npy")]
    tested = (Cache(plan.cache).table["role"] == "").tolist()
    assert sorted(known) == sorted([[True] * len(tested), tested, tested, tested])
    cell = Cell("age", "Scratch", 1.0, 0, "probe")
    assert Workbench(plan, runs).test_volumes(cell).tolist() == np.flatnonzero(tested).tolist()


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_a_case_is_explained_by_the_network_of_the_fold_that_tests_it(plan, runs, mode):
    """P-43, P-44: against maps of every fold, made anew; of patients with all four sequences and no warning."""
    cell = Cell("sequence", "Scratch", 1.0, 0, mode)
    run = read_run(runs / cell.name)
    names = [f"{patient}_{name}_task.npz" for patient in ("p07", "p11") for name in ("FLAIR", "T1", "T1CE", "T2")]
    backbone = [f"p07_{name}_backbone.npz" for name in ("FLAIR", "T1", "T1CE", "T2")]
    assert [path.name for path in run.pictures()] == sorted([*names, *backbone])
    fold_of = run.rows("test").groupby("patient")["fold"].first().astype(int)
    volumes, trained = Cache(plan.cache), list(trainings(plan, runs, cell))
    for patient in ("p07", "p11"):
        row = volumes.table.index[volumes.table["scan"] == f"{patient}_T1CE.nii.gz"][0]
        raw = volumes.batch([row]).float() / 255
        with np.load(run.folder / "saliency" / f"{patient}_T1CE_task.npz") as stored:
            found, image, answered = stored["map"], stored["image"], str(stored["answer"])
        np.testing.assert_array_equal(image, raw[0, 0].numpy())
        for fold, (_, model, _, contract) in enumerate(trained):
            scan = normalise(raw, contract)
            with torch.inference_mode():
                answer = int(model(scan)[0].argmax())
            heat = guided_smoothgrad(model, scan, lambda outputs, answer=answer: outputs[:, answer]).map.numpy()
            heat = np.where(image > 0, heat, 0)
            same = np.allclose(found, heat / heat.max(), atol=1e-3)
            assert same == (fold == fold_of[patient])
            if same:
                assert answered == run.classes[answer]


class Coarse(Workbench):
    """Whose encoders see half of the cache's voxels along each axis."""

    def initialisation(self, name):
        start = super().initialisation(name)
        return dataclasses.replace(start, contract=dataclasses.replace(start.contract, input_size=(16, 16, 16)))


def test_maps_and_artefacts_of_a_cache_that_is_finer_are_made_on_the_grid_that_the_encoder_sees(plan, cache, tmp_path):
    table = Cache(cache).table
    volumes = [volume[0].numpy() / np.float32(255) for volume in Cache(cache).batch(range(len(table)))]
    fine = [volume.repeat(2, 0).repeat(2, 1).repeat(2, 2) for volume in volumes]
    write_cache(tmp_path / "cache", table, fine)
    tumour = np.zeros((32, 32, 32), bool)
    tumour[8:16, 8:16, 8:16] = True
    np.savez(tmp_path / "tumours.npz", **{patient: tumour for patient in set(table["patient"])})
    facts = {"cache": str(tmp_path / "cache"), "tumours": str(tmp_path / "tumours.npz"), "spacing_mm": (2.0, 2.0, 2.0)}
    finer = dataclasses.replace(plan, **facts)
    found = {}
    for name, bench in (
        ("fine", Coarse(finer, tmp_path / "fine")),
        ("same", Workbench(dataclasses.replace(plan, tumours="", spacing_mm=(4.0, 4.0, 4.0)), tmp_path / "same")),
    ):
        cell = Cell("sequence", "Scratch", 1.0, 0, "probe")
        run_cell(bench, cell)
        found[name] = read_run(tmp_path / name / cell.name)
    (fine_picture, same_picture) = (np.load(run.pictures()[0]) for run in found.values())
    for key in ("image", "map", "spacing"):
        np.testing.assert_allclose(fine_picture[key], same_picture[key], atol=1e-3)
    np.testing.assert_array_equal(fine_picture["tumour"], tumour[::2, ::2, ::2])
    pd.testing.assert_frame_equal(found["fine"].stability, found["same"].stability)


def test_some_lines_are_swept_at_a_few_levels_and_some_not_at_all(plan, tmp_path):
    levels = {"contrast": [0.5, 0.6, 1.0, 2.0], "gibbs": [0.0, 0.05, 0.4]}
    bench = Workbench(
        dataclasses.replace(plan, stability=levels, few_levels=("Histogram",), unswept=("Blocks",)), tmp_path
    )
    assert [levels_of(bench.plan, name, "Scratch") for name in levels] == list(levels.values())
    assert [levels_of(bench.plan, name, "Histogram") for name in levels] == [[0.5, 1.0, 2.0], [0.0, 0.4]]
    for name in ("Histogram", "Blocks", "Constant"):
        cell = Cell("age", name, 1.0, 0, "probe")
        run_cell(bench, cell)
        found = read_run(tmp_path / cell.name).stability
        assert (found is None) == (name != "Histogram")
    assert set(read_run(tmp_path / "age-Histogram-100-seed0-probe").stability["level"]) == {0.0, 0.4, 0.5, 1.0, 2.0}


def test_a_split_of_one_class_is_left_out_of_the_sweep(plan, cache, tmp_path):
    """An AUC of a half would be made up; the cell is finished all the same."""
    table = Cache(cache).table
    table["role"] = np.where(table["patient"].isin(["p01", "p03", "p05"]), "test", table["role"])
    volumes = [volume[0].numpy() / np.float32(255) for volume in Cache(cache).batch(range(len(table)))]
    write_cache(tmp_path / "cache", table, volumes)
    one = dataclasses.replace(plan, cache=str(tmp_path / "cache"), folds=0, saliency_patients=0)
    write_plan(one, tmp_path / "runs")
    cells = [Cell(task, "Scratch", 1.0, 0, "probe") for task in ("idh", "age")]
    assert work_through(tmp_path / "runs", cells, report=lambda text: None) == []
    idh, age = (read_run(tmp_path / "runs" / cell.name) for cell in cells)
    assert len(idh.stability) == 0
    assert len(age.stability) == 6


def test_the_checklist_says_how_it_was_done_without_a_hold_out(runs):
    found = evaluate(runs, resamples=10)[0]
    cells = protocol_checklist(found, list(all_figures(found))).cells.set_index("id")["here"]
    assert "Fig 4 by cross-validation: each case perturbed for the network of the fold that tests it" in cells["P-42"]
    assert cells["P-42"].startswith("done for sequence classification, brain age, IDH mutation; ")
    assert "waits" in cells["P-43"]  # of a start that these runs do not have
    assert "cross-validation" not in cells["P-43"]
