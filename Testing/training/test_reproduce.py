"""The whole chain at its smallest: draw, pretrain, probe, finetune, perturb, report."""

import json
import shutil
from types import SimpleNamespace

import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")
pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from BrainIACLib.resources import resource
from Training.data import prepare
from Training.downstream.perturbations import SWEEPS
from Training.report import evaluate
from Training.reproduction import own_pretraining, reproduce
from Training.reproduction.presets import PRESETS
from Training.runs.cell import ANATOMY, BUNDLED, FRACTIONS, Cell
from Training.runs.layout import read_grid
from Training.runs.reading import read_runs


def test_ci_preset_from_label_map_to_report(label_map, prepared_label_maps, tmp_path, shared_data, monkeypatch, capsys):
    """Every number is marked simulated, and the own pretraining is named as such."""
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / f"{label_map.name}.nii.gz").write_bytes(
        (shared_data / "labelmaps" / f"{label_map.name}.nii.gz").read_bytes()
    )
    command = ["--cohort", "synthetic", "--preset", "ci", "--out", str(tmp_path / "report"), "--processes", "1"]
    command += ["--labelmaps", str(maps), "--prepared-labelmaps", str(prepared_label_maps)]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert reproduce.main(command) == 0
    assert "no MedicalNet runs" in capsys.readouterr().out
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Learned from few cases" in page  # few-shot runs stand on the page itself
    runs = read_runs(tmp_path / "report" / "work" / "runs")
    assert len(runs) == 10  # four probes and a finetuning, from two initializations
    for run in runs:
        assert run.simulated
        assert "no findings" in run.config["simulated_note"]
        if run.cell.initialisation == "BrainIAC":
            assert "own-ci-simclr" in run.config["initialisation_title"]
        assert run.stability is not None


def test_without_label_maps_it_says_so_and_writes_nothing(tmp_path, capsys):
    status = reproduce.main(["--cohort", "synthetic", "--labelmaps", str(tmp_path), "--out", str(tmp_path / "report")])
    assert status == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "https://github.com/BBillot/SynthSeg, folder data/training_label_maps" in error
    assert not (tmp_path / "report").exists()


def test_a_cache_of_another_preset_is_not_taken_for_this_one(tmp_path, capsys):
    """With one folder for two presets, the second would have trained on volumes of the size of the first."""
    shutil.copy(resource("SampleData", "simulated_T1.nii.gz"), tmp_path)
    manifest = tmp_path / "m.csv"
    manifest.write_text("scan,patient,dataset,sequence\nsimulated_T1.nii.gz,p,d,T1\n")
    made = ["--manifest", str(manifest), "--out", str(tmp_path / "report" / "work" / "cache"), "--steps", "stored"]
    assert prepare.main([*made, "--size", "16", "16", "16"]) == 0
    command = ["--cohort", str(manifest), "--preset", "ci", "--out", str(tmp_path / "report")]
    assert reproduce.main([*command, "--brainiac", str(tmp_path)]) == 1
    assert "cache of other settings (size is (16, 16, 16) there and (32, 38, 30) here" in capsys.readouterr().err


def test_a_pretraining_that_is_stopped_ends_in_one_sentence(tmp_path, monkeypatch, capsys):
    from Training.ssl import monitor_curves, pretrain
    from Training.ssl.callbacks import Stopped

    def stopped(*arguments):
        raise Stopped

    drawn = []
    monkeypatch.setattr(reproduce, "usable_label_maps", lambda *arguments: [])
    for module in (reproduce, own_pretraining):
        monkeypatch.setattr(module, "draw_cohort", lambda *arguments: tmp_path)
        monkeypatch.setattr(module, "Cache", lambda *arguments, **options: SimpleNamespace(size=(32, 38, 30)))
    monkeypatch.setattr(pretrain, "pretrain", stopped)
    monkeypatch.setattr(monitor_curves, "draw_monitors", drawn.append)
    assert reproduce.main(["--cohort", "synthetic", "--out", str(tmp_path / "report")]) == 130
    assert drawn == [tmp_path / "report" / "work" / "pretraining"]  # of a stopped one too
    assert capsys.readouterr().err == "reproduce: stopped; run the same command again to go on.\n"


def test_each_cell_is_wanted_once_for_each_seed_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "usable_label_maps", lambda *arguments: [])
    monkeypatch.setattr(reproduce, "draw_cohort", lambda *arguments: tmp_path)
    monkeypatch.setattr(reproduce, "Cache", lambda *arguments, **options: SimpleNamespace(size=(32, 38, 30)))
    monkeypatch.setattr(reproduce, "_possible_tasks", lambda cache: ("age",))
    no_cache = SimpleNamespace(table={"dataset": []})
    monkeypatch.setattr(
        reproduce, "Workbench", lambda plan, runs: SimpleNamespace(plan=plan, runs=runs, cache=no_cache)
    )
    monkeypatch.setattr(reproduce, "refuse_unknown_datasets", lambda datasets, external: None)
    monkeypatch.setattr(reproduce, "remarks", lambda bench, tasks: [])
    monkeypatch.setattr(reproduce, "possible_cells", lambda bench, cells: (cells, []))
    monkeypatch.setattr(reproduce, "work_in_processes", lambda runs, cells, processes: [])
    monkeypatch.setattr(evaluate, "main", lambda arguments: 0)
    command = ["--cohort", "synthetic", "--preset", "ci", "--out", str(tmp_path), "--brainiac", str(tmp_path)]
    assert reproduce.main([*command, "--seeds", "3", "5", "3"]) == 0
    expected = {Cell("age", start, 1.0, seed, "probe") for start in ("BrainIAC", "Scratch") for seed in (3, 5)}
    wanted = read_grid(tmp_path / "work" / "runs")
    assert set(wanted) == expected
    assert len(wanted) == len(expected)


def test_full_preset_is_the_paper_s_grid():
    """P-13, P-14: four tasks, three initializations, six fractions, in both modes and for each seed."""
    preset = PRESETS["full"]
    cells = preset.wanted(["BrainIAC", "MedicalNet", "Scratch"])
    assert len(cells) == len(set(cells)) == 4 * 3 * 6 * 2 * len(preset.seeds)
    assert {cell.fraction for cell in cells} == set(FRACTIONS)
    assert preset.recipes["finetune"] == "paper"
    assert json.dumps({name: list(levels) for name, levels in preset.stability.items()})


def test_the_preset_tuned_trains_whole_networks_of_a_pretraining_and_of_random_weights_alone():
    """And sweeps them at all levels of the paper; the lines beside them at a few, or not at all."""
    preset = PRESETS["tuned"]
    cells = preset.wanted(["BrainIAC", "Scratch", BUNDLED, ANATOMY, "Blocks"], ("age",))
    assert {cell.initialisation for cell in cells if cell.mode == "finetune"} == {"BrainIAC", "Scratch"}
    assert {cell.fraction for cell in cells if cell.mode == "finetune"} == {0.1, 1.0}
    assert {cell.initialisation for cell in cells if cell.mode == "probe"} > {BUNDLED, ANATOMY, "Blocks"}
    assert preset.stability == {sweep.name: sweep.levels for sweep in SWEEPS[:3]}
    assert not {"BrainIAC", "Scratch"} & {*preset.few_levels, *preset.unswept}
