"""What helps a pretraining: one thing is changed at a time, and the table says what the embeddings hold."""

import argparse
import dataclasses

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from Training.data.cache import write_cache
from Training.data.standardising import Standardising
from Training.reproduction import what_helps
from Training.reproduction.presets import PRESETS
from Training.ssl.callbacks import Stopped
from Training.ssl.config import Hardware, Monitoring, Network, Optimisation, Pretraining, as_plain

SIZE = (16, 16, 16)
BASE = Pretraining(
    network=Network("resnet10", 1 / 16, "gap", projector_hidden=16, projector_size=8),
    optimisation=Optimisation(epochs=2, batch_size=4, learning_rate=1e-3, warmup_epochs=1),
    monitoring=Monitoring(every=1000),
    hardware=Hardware(accelerator="cpu", precision="32-true"),
)


@pytest.fixture(scope="module")
def table():
    """24 patients of two scans; the last eight are to test."""
    roles = ["pretrain"] * 8 + ["train"] * 8 + ["test"] * 8
    rows = [
        {"scan": f"p{n}{s}", "patient": f"p{n:02d}", "dataset": "d", "sequence": s, "role": roles[n], "session": ""}
        for n in range(24)
        for s in ("T1", "T2")
    ]
    table = pd.DataFrame(rows)
    return table.assign(age_years=20.0 + 5 * (table.index // 2 % 8), radius_mm=np.tile([8.0, 8.0, 20.0, 20.0], 12))


def test_one_thing_changes_at_a_time():
    changed = {}
    base = PRESETS["small"].pretraining
    for name, config in what_helps.variants(base).items():
        if config is None:
            continue
        plain, other = as_plain(base), as_plain(config)
        changed[name] = {
            key for part in ("views", "optimisation") for key in plain[part] if plain[part][key] != other[part][key]
        }
        assert {key: other[key] for key in ("name", "network", "seed")} == {
            key: plain[key] for key in ("name", "network", "seed")
        }
    assert changed == {
        "default": set(),
        "no intensity views": {"intensity_probability", "noise_probability"},
        "contrast inverted in half of the views": {"invert_probability"},
        "no crop, no zoom": {"crop_probability", "zoom"},
        "half the batch": {"batch_size"},
        "half the epochs": {"epochs"},
        "twice the epochs": {"epochs"},
    }


def test_a_probe_reads_what_is_in_the_embedding_and_nothing_else(table):
    """Ages are asked of patients, sequences of scans; only test patients are answered for."""
    rng = np.random.default_rng(0)
    planted = np.c_[table["age_years"], table["sequence"] == "T2", rng.normal(size=(48, 3))].astype(np.float32)
    truth, answer, patients = what_helps.answers(table, planted, "age_years")
    assert patients.tolist() == [f"p{n:02d}" for n in range(16, 24)]
    assert truth.tolist() == list(range(20, 60, 5))
    assert np.abs(truth - answer).mean() < 3  # of deviations of 10 from the mean
    truth, answer, patients = what_helps.answers(table, planted, "sequence")
    assert len(truth) == len(set(patients)) * 2 == 16
    assert (truth == answer).all()
    truth, answer, _ = what_helps.answers(table, planted[:, 2:], "age_years")
    assert np.abs(truth - answer).mean() > 5


def test_the_table_compares_with_its_first_row(table):
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(48, 3)).astype(np.float32) for _ in range(2)]
    knowing = [np.c_[one, 5 * (table["sequence"] == "T2")].astype(np.float32) for one in noise]
    text = what_helps.results_table(table, {"default": noise, "planted": knowing}, resamples=200)
    head, _, default, planted, constant = (line.split("|")[1:-1] for line in text.splitlines())
    assert head[2].strip() == "sequence: balanced accuracy (%)"
    assert default[3].strip() == ""
    assert planted[1].strip() == "2"
    assert planted[2].strip() == "100.0 (100.0 to 100.0)"
    assert constant[2].strip() == "50.0 (50.0 to 50.0)"  # of two classes
    assert float(planted[3].split(",")[0].split("(")[0]) > 20


def test_a_signal_ends_it_without_a_traceback(tmp_path, monkeypatch):
    def stopped(cohort, base, options):
        assert (cohort, base) == (PRESETS["ci"].cohort, PRESETS["ci"].pretraining)
        raise Stopped

    monkeypatch.setattr(what_helps, "run", stopped)
    assert what_helps.main(["--out", str(tmp_path), "--preset", "ci"]) == 130


def test_it_runs_and_goes_on(table, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    volumes = (rng.random(SIZE, dtype=np.float32) * (0.4 if name == "T1" else 1) for name in table["sequence"])
    how = dataclasses.asdict(Standardising(size=SIZE, steps="stored"))
    write_cache(tmp_path / "synthetic", table, volumes, preprocessing=how)
    monkeypatch.setattr(what_helps, "draw_cohort", lambda cohort, maps, folder, prepared, processes: folder)
    options = argparse.Namespace(out=tmp_path, labelmaps=tmp_path, seeds=[0], processes=1)
    what_helps.run(PRESETS["ci"].cohort, BASE, options)
    first = (tmp_path / "table.md").read_text()
    assert all(f"| {name} |" in first for name in what_helps.variants(BASE))
    capsys.readouterr()
    (tmp_path / "half-the-batch-seed0" / "embeddings.npy").unlink()  # as if killed before it was written
    what_helps.run(PRESETS["ci"].cohort, BASE, options)
    said = capsys.readouterr().err
    assert said.count("is finished") == 1
    assert "volumes/s" not in said  # no pretraining was repeated
    assert (tmp_path / "table.md").read_text() == first
