"""The grid as a resumable queue: what a killed child leaves, what a restart does, and what a cell's folder holds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

pytest.importorskip("pandera", reason="needs the 'training' extra")

from safetensors.torch import load_file

from BrainIACLib.checkpoints.recognition import recognise
from BrainIACLib.errors import Cancelled, StatisticsError, TrainingError
from BrainIACLib.models.heads import EncoderWithHead, LinearHead, MlpHead
from BrainIACLib.models.resnet import ResNet
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.resources import resource
from Training.data.cache import Cache, write_cache
from Training.data.prepare import main as prepare_main
from Training.downstream import queue
from Training.downstream.cell import run_cell
from Training.downstream.finetune import main
from Training.downstream.plan import Plan, Workbench, write_plan
from Training.downstream.queue import REPOSITORY, is_finished, work_in_processes, work_through
from Training.evaluation.feature_clusters import feature_clusters
from Training.evaluation.risk_groups import risk_groups
from Training.runs.cell import Cell
from Training.runs.reading import read_run, read_runs

SIZE = (16, 16, 16)
NET = {"architecture": "resnet10", "width": 0.0625, "like": ""}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """20 patients, four scans each; brightness tells the sequence, a corner the IDH status and the age."""
    folder = tmp_path_factory.mktemp("data") / "cache"
    rng = np.random.default_rng(0)
    rows, volumes = [], []
    for number in range(20):
        for place, sequence in enumerate(("T1", "T2", "FLAIR", "T1CE")):
            volume = rng.random(SIZE).astype(np.float32) * 0.2
            volume[4:12, 4:12, 4:12] += 0.2 * place
            volume[:4, :4, :4] = number / 20
            volumes.append(volume.clip(0, 1))
            rows.append(
                {
                    "scan": f"p{number:02d}_{sequence}.nii.gz",
                    "patient": f"p{number:02d}",
                    "dataset": "toy",
                    "session": "",
                    "sequence": sequence,
                    "role": "",
                    "age_years": 20.0 + number,
                    "idh": float(number % 2),
                    "survival_months": 2.0 + 2 * number,
                    "event": float(number % 3 > 0),
                }
            )
    write_cache(folder, pd.DataFrame(rows), volumes)
    return folder


def plan(cache: Path, **more) -> Plan:
    settings = {"recipes": {"finetune": "ci", "probe": "ci"}, **NET, **more}
    return Plan(cache=str(cache), cohort="toy", labels="simulated", sources={}, **settings)


def test_a_cell_folder_is_complete_and_says_what_the_checkpoint_says(cache, tmp_path):
    """P-13 to P-19, P-42: the evaluation reads it, and the checkpoint gives the predictions again."""
    cells = [Cell(task, "Scratch", 1.0, 0, "finetune") for task in ("sequence", "age", "idh", "survival")]
    write_plan(plan(cache, age_unit="months", stability={"contrast": [0.5, 1.0]}), tmp_path)
    assert work_through(tmp_path, cells, report=lambda text: None) == []
    runs = {run.cell.task: run for run in read_runs(tmp_path)}
    assert set(runs) == {"sequence", "age", "idh", "survival"}
    for run in runs.values():
        assert run.simulated
        assert run.config["initialisation_title"] == "random weights"
        assert set(run.predictions["split"]) == {"train", "validation", "test"}
        assert run.embeddings.shape == (len(run.predictions), 32)
        assert not (run.folder / "status.json").exists()
    age = runs["age"]
    assert (age.config["unit"], age.config["display_unit"]) == ("months", "years")  # U-16
    np.testing.assert_allclose(age.rows("test")["truth"], 20 + age.rows("test")["patient"].str[1:].astype(float))
    assert runs["survival"].config["left_out"]
    data = runs["survival"].config["data"]
    assert (data["total"]["scans"], data["total"]["patients"], data["size"]) == (80, 20, [16, 16, 16])
    assert [group["scans"] for group in data["groups"]] == [20] * 4
    counts = runs["idh"].metrics["counts"]
    assert sum(split["patients"] for split in counts.values()) == 20
    for split in counts.values():  # two scans a patient
        assert split["scans"] == 2 * split["patients"]
        assert split["sequences"] == {"FLAIR": split["patients"], "T1CE": split["patients"]}
    assert runs["survival"].rows("train")["score"].notna().all()  # P-41: the threshold comes from the training set

    tensors = load_file(age.folder / "checkpoint.safetensors")
    recognised = recognise({key: tuple(value.shape) for key, value in tensors.items()})
    assert recognised.generation == "own"
    net = EncoderWithHead(ResNet("resnet10", 0.0625), MlpHead(32, 1))
    net.load_state_dict(tensors)
    volumes = Cache(cache).batch(np.arange(0, 80, 4)).float() / 255
    contract = Workbench(plan(cache), tmp_path).initialisation("Scratch").contract
    with torch.inference_mode():
        months = net.eval()(normalise(volumes, contract))[:, 0].numpy()
    by_patient = age.predictions.sort_values("patient")
    np.testing.assert_allclose(by_patient["score"], months / 12, rtol=1e-3)

    stability = runs["idh"].stability
    neutral = stability[stability["level"] == 1.0]["value"].iloc[0]
    test = runs["idh"].rows("test")
    positive, negative = (test["score"][test["truth"] == value].to_numpy() for value in (1, 0))
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert neutral == pytest.approx(wins)


def test_a_probe_embeds_once_and_its_head_alone_is_kept(cache, tmp_path):
    cells = [Cell(task, "Scratch", fraction, 0, "probe") for task in ("sequence", "idh") for fraction in (0.5, 1.0)]
    write_plan(plan(cache, recipes={"probe": "probe", "finetune": "ci"}, stability={"gibbs": [0.0, 0.4]}), tmp_path)
    assert work_through(tmp_path, cells, report=lambda text: None) == []
    assert len(list((tmp_path / ".embeddings").glob("*.npy"))) == 2  # untouched, and one level for both tasks together
    run = read_run(tmp_path / cells[1].name)
    head = LinearHead(32, 4)
    tensors = load_file(run.folder / "checkpoint.safetensors")
    head.load_state_dict({key.removeprefix("head."): value for key, value in tensors.items()})
    with torch.inference_mode():
        expected = head.eval()(torch.tensor(run.embeddings.to_numpy())).softmax(1)
    found = run.predictions[[f"score_{name}" for name in run.classes]].to_numpy(float)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cross_validation_tests_every_case_once(cache, tmp_path):
    cell, tuned = Cell("age", "Scratch", 1.0, 0, "probe"), Cell("age", "Scratch", 1.0, 0, "finetune")
    write_plan(plan(cache, folds=4), tmp_path)
    work_through(tmp_path, [cell, tuned], report=lambda text: None)
    run = read_run(tmp_path / cell.name)
    assert sorted(run.rows("test")["patient"]) == [f"p{number:02d}" for number in range(20)]
    assert set(run.rows("test")["fold"].astype(int)) == {0, 1, 2, 3}
    assert (run.predictions.groupby("fold")["patient"].nunique() == 20).all()  # in one split of each fold
    assert len(feature_clusters(run, "test").labels) == 20
    with pytest.raises(StatisticsError, match="features, of its own"):  # four networks have no common plane
        feature_clusters(read_run(tmp_path / tuned.name), "test")


def test_risk_groups_of_a_fold_are_split_by_its_own_training_cases(cache, tmp_path):
    """P-41, C-10: against the medians taken from the file by hand; the folds' networks disagree about the scale."""
    cell = Cell("survival", "Scratch", 1.0, 0, "probe")
    write_plan(plan(cache, folds=4), tmp_path)
    work_through(tmp_path, [cell], report=lambda text: None)
    run = read_run(tmp_path / cell.name)
    found = risk_groups(run, "test")
    table = pd.read_csv(tmp_path / cell.name / "predictions.csv")
    medians = table[table["split"] == "train"].groupby("fold")["score"].median()
    test = table[table["split"] == "test"]
    assert len(test) == 20
    assert found.high.tolist() == (test["score"] > test["fold"].map(medians)).tolist()
    assert found.thresholds == pytest.approx(medians.tolist())
    assert len(set(found.thresholds)) == 4
    together = (test["score"] > table[table["split"] == "train"]["score"].median()).tolist()
    assert found.high.tolist() != together


def test_killed_child_loses_only_its_cell_and_nothing_is_repeated(cache, tmp_path):
    """A process is killed in the middle of the second cell; the restart keeps the first as it was and does the rest."""
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"all": {"epochs": 3000}}))
    runs = tmp_path / "runs"
    write_plan(plan(cache, recipes={"probe": "ci", "finetune": str(slow)}), runs)
    quick = Cell("sequence", "Scratch", 1.0, 0, "probe")
    endless = Cell("sequence", "Scratch", 1.0, 0, "finetune")
    last = Cell("age", "Scratch", 1.0, 0, "probe")
    command = [sys.executable, "-m", "Training.downstream.queue", str(runs), quick.name, endless.name, last.name]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not (runs / endless.name / "status.json").exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (
            work_through(runs, [quick, endless], report=lambda text: None) == []
        )  # the one is finished, the other taken
        assert not is_finished(runs, endless)
    finally:
        child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        child.wait()
    before = (runs / quick.name / "metrics.json").stat().st_mtime_ns
    slow.write_text(json.dumps({"all": {"epochs": 1}}))
    assert work_through(runs, [quick, endless, last], report=lambda text: None) == []
    assert all(is_finished(runs, cell) for cell in (quick, endless, last))
    assert (runs / quick.name / "metrics.json").stat().st_mtime_ns == before
    assert len(read_runs(runs)) == 3


def test_two_processes_share_the_cells(cache, tmp_path, capfd):
    cells = [Cell("age", "Scratch", fraction, 0, "probe") for fraction in (0.5, 0.6, 0.8, 1.0)]
    write_plan(plan(cache), tmp_path)
    assert work_in_processes(tmp_path, cells, 2) == []
    started = [line.split()[-1] for line in capfd.readouterr().out.splitlines() if line.startswith("[")]
    assert sorted(started) == sorted(cell.name for cell in cells)  # each by one of them, once


def test_failure_is_kept_and_the_next_cell_is_tried(cache, tmp_path):
    cells = [Cell("age", "BrainIAC", 1.0, 0, "probe"), Cell("age", "Scratch", 1.0, 0, "probe")]
    write_plan(plan(cache), tmp_path)
    assert work_through(tmp_path, cells, report=lambda text: None) == cells[:1]
    status = json.loads((tmp_path / cells[0].name / "status.json").read_text())
    assert status["state"] == "failed"
    assert "needs weights" in status["message"]
    assert is_finished(tmp_path, cells[1])
    with pytest.raises(Cancelled):
        work_through(tmp_path, [Cell("idh", "Scratch", 1.0, 0, "probe")], cancelled=lambda: True)


def test_any_error_of_a_cell_is_recorded_and_the_rest_goes_on(cache, tmp_path, monkeypatch):
    """As a want of memory, or a network that meets a volume it cannot take."""
    cells = [Cell("age", "Scratch", 1.0, 0, "probe"), Cell("idh", "Scratch", 1.0, 0, "probe")]
    write_plan(plan(cache), tmp_path)

    def broken(bench, cell, cancelled):
        if cell == cells[0]:
            raise RuntimeError("not enough memory")
        run_cell(bench, cell, cancelled)

    monkeypatch.setattr(queue, "run_cell", broken)
    assert work_through(tmp_path, cells, report=lambda text: None) == cells[:1]
    status = json.loads((tmp_path / cells[0].name / "status.json").read_text())
    assert (status["state"], status["message"]) == ("failed", "RuntimeError: not enough memory")
    assert is_finished(tmp_path, cells[1])


def test_an_empty_last_file_is_no_finished_cell(cache, tmp_path):
    """A full disk may leave one of no bytes."""
    cell = Cell("idh", "Scratch", 1.0, 0, "probe")
    write_plan(plan(cache), tmp_path)
    (tmp_path / cell.name).mkdir()
    (tmp_path / cell.name / "metrics.json").touch()
    assert not is_finished(tmp_path, cell)
    assert read_runs(tmp_path) == []
    assert work_through(tmp_path, [cell], report=lambda text: None) == []
    assert is_finished(tmp_path, cell)


def test_other_settings_need_another_folder(cache, tmp_path):
    write_plan(plan(cache), tmp_path)
    write_plan(plan(cache), tmp_path)
    with pytest.raises(TrainingError, match="other settings \\(folds\\)"):
        write_plan(plan(cache, folds=3), tmp_path)


def test_command_line(cache, tmp_path, capsys):
    common = ["--cache", str(cache), "--runs", str(tmp_path), "--recipe", "ci", "--probe-recipe", "ci", "--simulated"]
    common += ["--architecture", "resnet10", "--width", "0.0625", "--mode", "probe", "--stability", "none"]
    arguments = ["--task", "sequence", "--init", "scratch", "--fraction", "0.5", "1.0", *common]
    assert main(arguments) == 0
    assert "2 of 2 runs" in capsys.readouterr().out
    assert json.loads((tmp_path / "grid.json").read_text())["cells"] == [
        "sequence-Scratch-050-seed0-probe",
        "sequence-Scratch-100-seed0-probe",
    ]
    assert main(["--grid", "paper", "--init", "medicalnet", "--fraction", "1", *common]) == 1


def test_slurm_jobs_are_cells(cache, tmp_path):
    """With submitit's debug executor, which runs a job in this process."""
    pytest.importorskip("submitit", reason="needs the 'slurm' extra")
    from Training.downstream.slurm import submit

    runs = tmp_path / "runs"
    write_plan(plan(cache), runs)
    cells = [Cell("age", "Scratch", fraction, 0, "probe") for fraction in (0.5, 1.0)]
    work_through(runs, cells[:1], report=lambda text: None)
    jobs = submit(runs, cells, cluster="debug")
    assert [job.result() for job in jobs] == [0]  # the finished cell is not submitted
    assert is_finished(runs, cells[1])


def test_saliency_lies_in_the_brain_and_its_distance_is_in_mm(cache, tmp_path):
    """P-36, P-43, P-44: with a mask in one corner the distance is that of the two centers on the given spacing."""
    masks = tmp_path / "tumours.npz"
    corner = np.zeros(SIZE, bool)
    corner[:2, :2, :2] = True
    np.savez(masks, **{f"p{number:02d}": corner for number in range(20)})
    more = {"saliency_patients": 2, "tumours": str(masks), "spacing_mm": (2.0, 3.0, 4.0)}
    cells = [Cell(task, "Scratch", 1.0, 0, "probe") for task in ("idh", "sequence")]
    write_plan(plan(cache, **more), tmp_path / "runs")
    work_through(tmp_path / "runs", cells, report=lambda text: None)
    idh, sequence = (read_run(tmp_path / "runs" / cell.name) for cell in cells)
    assert sorted(idh.centre_of_mass["sequence"]) == ["FLAIR", "FLAIR", "T1CE", "T1CE"]
    for row in idh.centre_of_mass.to_dict("records"):
        with np.load(idh.folder / "saliency" / f"{row['patient']}_{row['sequence']}_task.npz") as stored:
            heat, image = stored["map"].astype(float), stored["image"]
        assert not heat[image == 0].any()
        assert heat.max() == 1
        grid = np.indices(SIZE).reshape(3, -1)
        centre = (grid * heat.ravel()).sum(1) / heat.sum()
        expected = np.linalg.norm((centre - 0.5) * (2.0, 3.0, 4.0))
        assert row["distance_mm"] == pytest.approx(expected, rel=1e-4)
    assert sum(path.name.endswith("_backbone.npz") for path in sequence.pictures()) == 4


def test_finished_runs_on_an_earlier_state_of_the_cache_are_not_mixed_with_new_ones(cache, tmp_path):
    """Labels or scans that were edited since would make them incomparable."""
    edited = tmp_path / "cache"
    shutil.copytree(cache, edited)
    one = plan(edited)
    write_plan(one, tmp_path / "runs")
    cell = Cell("sequence", "Scratch", 1.0, 0, "probe")
    assert work_through(tmp_path / "runs", [cell], report=lambda text: None) == []
    write_plan(one, tmp_path / "runs")  # nothing was edited
    table = Cache(edited).table.assign(age_years=50.0)
    volumes = [volume[0].numpy() / np.float32(255) for volume in Cache(edited).batch(range(len(table)))]
    shutil.rmtree(edited)
    write_cache(edited, table, volumes)
    with pytest.raises(TrainingError, match="holds 1 finished runs on an earlier state of the cache"):
        write_plan(one, tmp_path / "runs")


def test_an_edited_manifest_is_seen_by_finetune(tmp_path, capsys):
    """Real files, through the command: settings and volumes of the cache stay, new scans and roles are taken up."""
    lines = []
    for number, role in enumerate(("train", "validation", "train", "test")):
        for name in ("T1", "T2"):
            image = sitk.ReadImage(str(resource("SampleData", f"simulated_{name}.nii.gz")))
            sitk.WriteImage(image * (1 + number), str(tmp_path / f"p{number}_{name}.nii.gz"))
            lines.append(f"p{number}_{name}.nii.gz,p{number},sim,{name},{role}\n")
    manifest = tmp_path / "m.csv"
    manifest.write_text("scan,patient,dataset,sequence,role\n" + "".join(lines[:6]))
    made = ["--manifest", str(manifest), "--out", str(tmp_path / "c")]
    assert prepare_main([*made, "--steps", "stored", "--size", "16", "16", "16"]) == 0
    manifest.write_text("scan,patient,dataset,sequence,role\n" + "".join(lines))
    arguments = ["--task", "sequence", "--init", "scratch", "--mode", "probe", "--probe-recipe", "ci"]
    arguments += ["--architecture", "resnet10", "--width", "0.0625", "--runs", str(tmp_path / "runs")]
    assert main([*arguments, "--manifest", str(manifest), "--cache", str(tmp_path / "c")]) == 0
    assert "was edited since" in capsys.readouterr().err
    (run,) = read_runs(tmp_path / "runs")
    assert set(run.rows("test")["patient"]) == {"p3"}
    assert Cache(tmp_path / "c").size == SIZE
