"""The questions of the open cohort: who is trained on, who is the external test, and the page of their results."""

import dataclasses
import functools
import statistics
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from fabricated_runs import fabricate_random_runs

from BrainIACLib.preprocessing.intensity import image_with_array
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.resources import resource
from BrainIACLib.sequences import STANDARD_NAMES
from Training.cohorts.open_data import BRATS, DS002748, IXI, learned_from, study_of, write_open_manifest
from Training.data import standardising
from Training.data.cache import write_cache
from Training.data.standardising import standardised_volume
from Training.downstream import embeddings
from Training.downstream.few_shot import few_shot
from Training.downstream.queue import work_through
from Training.reproduction import reproduce
from Training.reproduction.designs import OPEN_DESIGNS
from Training.reproduction.open_cohort import HOW, Kept
from Training.reproduction.presets import PRESETS
from Training.reproduction.results_page import BEGIN, END, main
from Training.runs.cell import ANATOMY, BUNDLED, TRIVIAL, VOLUMES
from Training.runs.reading import read_runs
from Training.starter import SIMULATED_ONLY, open_scans
from Training.synthesis.template_grid import TEMPLATE_SIZE

STUDIES = ["BraTS", "IXI", "Ljubljana MS", "ds000002", "ds002748", "single scans"]


def test_nobody_of_the_external_studies_is_trained_on():
    external = {design.name: design.external(STUDIES) for design in OPEN_DESIGNS}
    assert set(external["age-from-ixi"]) == set(STUDIES) - {"IXI"}
    assert set(external["age-from-ds002748"]) == set(STUDIES) - {"ds002748"}
    assert external["sequence-by-person"] == ()
    assert external["sequence-by-study"] == ("BraTS",)


def test_the_manifest_names_studies_and_leaves_out_the_ages_of_children(shared_data, tmp_path):
    table = pd.read_csv(write_open_manifest(shared_data, tmp_path / "open.csv"), keep_default_na=False, dtype=str)
    assert set(table["dataset"]) == set(STUDIES)
    assert (table["dataset"] == [study_of(patient) for patient in table["patient"]]).all()
    ages = pd.to_numeric(table["age_years"], errors="coerce").dropna()
    assert ages.min() >= 18
    assert not table[table["sequence"] == "T1"]["patient"].duplicated().any()


def test_the_tables_are_written_between_the_marks_alone(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    arguments = ["--report", str(tmp_path), "--page", str(page), "--resamples", "20"]
    assert main(arguments) == 1
    assert "holds no runs" in capsys.readouterr().err
    runs = tmp_path / "work" / "runs-age-from-ixi"
    settings = {"tasks": ("age",), "fractions": (0.1, 1.0), "modes": ("probe",), "extras": False}
    fabricate_random_runs(runs, cases=30, seeds=(0, 1, 2), **settings)
    assert main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "tested there and elsewhere: MAE (years)" in text
    assert "pairs with Scratch or what needs no training differ" in text
    errors = {}
    for name in ("BrainIAC", "Scratch"):
        tables = [pd.read_csv(path) for path in sorted(runs.glob(f"age-{name}-*/predictions.csv"))]
        internal = [table[table["split"] == "test"] for table in tables]
        errors[name] = [(table["score"] - table["truth"]).abs().mean() for table in internal]
    better = sum(own < random for own, random in zip(errors["BrainIAC"], errors["Scratch"], strict=True))
    assert f"better than Scratch in {better} of 6 pairs of a seed and an amount of data" in text
    few = errors["Scratch"][:3]  # of 10 %, in the order of the seeds
    assert f"[{min(few):.1f}, {max(few):.1f}]" in text
    assert main(arguments) == 0
    assert page.read_text(encoding="utf-8") == text


def test_tuned_networks_and_perturbed_scans_have_sections_of_their_own(tmp_path):
    """The same levels for every line, as they stand in the runs: none is chosen for what it does to the test."""
    page, tuned = tmp_path / "page.md", tmp_path / "tuned"
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    settings = {"tasks": ("age",), "fractions": (1.0,), "cases": 30, "generation": "own"}
    fabricate_random_runs(tmp_path / "work" / "runs-age-from-ixi", modes=("probe",), **settings)
    runs = tuned / "work" / "runs-age-from-ixi"
    fabricate_random_runs(runs, modes=("finetune",), **settings)
    assert main(["--report", str(tmp_path), "--tuned", str(tuned), "--page", str(page), "--resamples", "20"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "elsewhere; whole networks tuned: MAE (years)" in text
    (line,) = (line for line in text.splitlines() if line.startswith("| own pretraining, tuned |"))
    table = pd.read_csv(runs / "age-BrainIAC-100-seed0-finetune" / "stability.csv")
    contrast = table[table["perturbation"] == "contrast"]
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2].startswith(f"{contrast['value'][contrast['level'] == 1].item():.2f}")
    for column, level in ((3, 0.5), (4, 2.0)):
        assert cells[column].startswith(f"{contrast['value'][contrast['level'] == level].item():.2f}")
    predictions = pd.read_csv(runs / "age-BrainIAC-100-seed0-finetune" / "predictions.csv")
    internal = predictions[predictions["split"] == "test"]
    bias, r = (internal["score"] - internal["truth"]).mean(), internal["score"].corr(internal["truth"])
    assert f"means of the seeds: own pretraining {bias:+.1f}, {r:.2f};" in text.split("whole networks tuned")[1]


def test_a_verdict_of_the_page_takes_three_seeds(tmp_path):
    for seeds, says in (
        ((0,), "No verdict: 1 seed, and it takes 3."),
        ((0, 1, 2), "own pretraining before Scratch by"),
    ):
        page, report = tmp_path / "page.md", tmp_path / str(len(seeds))
        page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
        runs = report / "work" / "runs-age-from-ixi"
        settings = {"tasks": ("age",), "fractions": (1.0,), "modes": ("probe",), "extras": False, "generation": "own"}
        fabricate_random_runs(runs, cases=40, seeds=seeds, **settings)
        assert main(["--report", str(report), "--page", str(page), "--resamples", "50"]) == 0
        text = page.read_text()
        assert says in text
        assert len(seeds) > 1 or " before " not in text
        ages = read_runs(runs)[0].rows("external")["truth"]
        own = statistics.fmean(abs(age - statistics.median(ages)) for age in ages)
        assert f"- external: ages of {min(ages):.0f} to {max(ages):.0f}; their own median" in text
        assert f"errs by {own:.2f} years" in text.split("- external: ages of")[1].splitlines()[0]


def test_who_the_bundled_anatomy_encoder_learned_from_is_tested_by_no_line(shared_data, tmp_path):
    table = pd.read_csv(write_open_manifest(shared_data, tmp_path / "open.csv"), keep_default_na=False, dtype=str)
    trained = set(table["patient"][table["role"] == "train"])
    assert trained
    assert trained <= learned_from(resource("Models", "structure-volumes"))
    assert set(table["dataset"][table["role"] == "train"]) == {"IXI"}
    # four sequences of persons of BraTS were trained on, and there that encoder is no line
    tested = [design for design in OPEN_DESIGNS if ANATOMY not in design.without]
    assert all(design.tasks == ("age",) for design in tested)
    assert (table["age_years"][table["dataset"] == BRATS] == "").all()
    left = table[(table["dataset"] == "IXI") & (table["role"] == "") & (table["age_years"] != "")]
    assert len(left) >= 50  # to be tested


def test_a_scan_that_the_probes_kept_is_the_volume_that_would_be_made(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    array = rng.random(TEMPLATE_SIZE, dtype=np.float32) * 300
    array[:40] = 0
    image = image_with_array(array, icbm152().image)
    mask = image_with_array((array > 0).astype(np.float32), icbm152().image)
    done = SimpleNamespace(image=image, mask=mask, warnings=("a warning",))
    for module in (open_scans, standardising):
        monkeypatch.setattr(module, "standardise", lambda image, options: done)
    path = resource("SampleData", "simulated_T1.nii.gz")
    scan = open_scans.OpenScan(path, path.name, "scan", "T1", "p", "study", None, "", False, "0" * 64)
    kept = Kept(tmp_path, {str(path.resolve()): scan})
    (first, facts), (second, of_itself) = kept(path, HOW), standardised_volume(path, HOW)
    assert list(tmp_path.iterdir())  # for the next one
    assert facts == of_itself
    assert np.abs(first.astype(int) - second).max() <= 1


def test_every_question_is_asked_with_every_line_and_each_encoder_looks_at_a_scan_once(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    rows = [
        (f"{study}{n}", study, "T1", 20.0 + n) for study, count in ((IXI, 30), (DS002748, 15)) for n in range(count)
    ]
    rows += [
        (f"{study}{n}", study, name, np.nan) for study in (BRATS, "openms") for n in range(5) for name in STANDARD_NAMES
    ]
    table = pd.DataFrame(rows, columns=["patient", "dataset", "sequence", "age_years"])
    table = table.assign(scan=[f"s{n}" for n in range(len(table))], session="", role="")
    table = table.assign(idh=np.nan, survival_months=np.nan, event=np.nan)
    write_cache(tmp_path / "cache", table, [rng.random((16, 16, 16)).astype(np.float32) for _ in rows])
    seen = []

    def embedded(encoder, inputs, rows, device):
        seen.append(len(rows))
        size = getattr(encoder, "embedding_size", getattr(encoder, "size", None))
        return np.random.default_rng(len(seen)).normal(size=(len(rows), size)).astype(np.float32)

    monkeypatch.setattr(embeddings, "embed_volumes", embedded)
    monkeypatch.setattr(reproduce, "open_cache", lambda *arguments: tmp_path / "cache")
    work = lambda runs, cells, processes: work_through(runs, cells, report=lambda text: None)  # noqa: E731
    monkeypatch.setattr(reproduce, "work_in_processes", work)
    monkeypatch.setattr(reproduce, "few_shot", functools.partial(few_shot, draws=2))
    monkeypatch.setattr(reproduce.evaluate, "main", lambda arguments: 0)
    small = {"cells": {"probe": {"age": (1.0,), "sequence": (1.0,)}}, "seeds": (0,)}
    monkeypatch.setitem(PRESETS, "frozen", dataclasses.replace(PRESETS["frozen"], **small))
    model = str(SIMULATED_ONLY)
    command = ["--cohort", "open", "--preset", "frozen", "--out", str(tmp_path / "out"), "--brainiac", model]
    assert reproduce.main(command) == 0
    lines = {"BrainIAC", "Scratch", BUNDLED, ANATOMY, VOLUMES, *TRIVIAL}
    for design in OPEN_DESIGNS:
        runs = tmp_path / "out" / "work" / f"runs-{design.name}"
        assert {run.cell.initialisation for run in read_runs(runs)} == lines - set(design.without)
        assert (runs / "few_shot.csv").is_file() == (design.name == "sequence-by-study")
    # BrainIAC is Bundled here, and the volumes are the anatomy encoder's: two lines less
    assert seen == [len(table)] * (len(lines) - 2)
    assert "no runs of IDH mutation: The manifest has nothing for the task 'idh': it needs" in capsys.readouterr().out
