"""The own pretrainings of a reproduction: stopped and gone on with, taken from elsewhere, with other views."""

import dataclasses
import json
import os
import signal

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")
pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from safetensors.numpy import load_file

from BrainIACLib.errors import CacheError, ManifestError, TrainingError
from Training.data.cache import Cache, write_cache
from Training.data.standardising import Standardising
from Training.reproduction import own_pretraining as module
from Training.reproduction import reproduce
from Training.reproduction.own_pretraining import OwnPretrainings, finished_model, only_for_pretraining, own_pretraining
from Training.reproduction.presets import PRESETS
from Training.reproduction.pretraining_volumes import CLIPPED_AT, with_real_scans
from Training.runs.cell import VARIANTS
from Training.ssl.callbacks import RunCallback
from Training.ssl.config import Pretraining, read_config
from Training.ssl.monitor_curves import NAME


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Six persons of two contrasts, as a cache."""
    rng = np.random.default_rng(0)
    names = [f"p{n}" for n in range(6) for _ in range(2)]
    table = pd.DataFrame({"scan": [f"s{n}" for n in range(12)], "patient": names, "session": "", "role": "pretrain"})
    table = table.assign(dataset="toy", sequence=["T1", "T2"] * 6)
    folder = tmp_path_factory.mktemp("patients")
    facts = dataclasses.asdict(Standardising(size=(24, 24, 24), steps="stored"))
    write_cache(folder, table, [rng.random((24, 24, 24)).astype(np.float32) for _ in names], preprocessing=facts)
    return folder


def small(base: Pretraining) -> Pretraining:
    """The settings of the night with less of everything, but its views, schedule and monitors."""
    network = dataclasses.replace(base.network, width=0.0625, projector_hidden=16, projector_size=8)
    optimisation = dataclasses.replace(base.optimisation, epochs=3, batch_size=4, warmup_epochs=1)
    monitoring = dataclasses.replace(base.monitoring, log_every=1, every=4, checkpoint_every=2)
    return dataclasses.replace(base, network=network, optimisation=optimisation, monitoring=monitoring)


def test_a_night_that_is_stopped_and_gone_on_with_is_the_whole_night(patients, tmp_path, monkeypatch):
    settings = small(PRESETS["night"].pretraining)
    whole = own_pretraining(settings, patients, tmp_path / "whole")
    saved = RunCallback._look

    def stopped_at_five(self, trainer, module, done):
        if done == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return saved(self, trainer, module, done)

    with monkeypatch.context() as patched:
        patched.setattr(RunCallback, "_look", stopped_at_five)
        with pytest.raises(KeyboardInterrupt):
            own_pretraining(settings, patients, tmp_path / "stopped")
    assert finished_model(tmp_path / "stopped", settings) is None
    assert (tmp_path / "stopped" / NAME).is_file()  # curves of what is there
    resumed = own_pretraining(settings, patients, tmp_path / "stopped")
    assert finished_model(tmp_path / "stopped", settings) == resumed
    first, second = (load_file(folder / "encoder.safetensors") for folder in (whole, resumed))
    assert first.keys() == second.keys()
    assert all((first[key] == second[key]).all() for key in first)
    log = pd.read_csv(tmp_path / "stopped" / "log.csv")
    assert log["step"].max() == 9
    assert log[["loss", "effective_rank", "alignment", "uniformity"]].notna().all().all()


def test_a_finished_pretraining_from_elsewhere_is_taken_without_drawing_a_patient(patients, tmp_path, monkeypatch):
    preset = dataclasses.replace(PRESETS["night"], pretraining=small(read_config("night")))
    model = own_pretraining(preset.pretraining, patients, tmp_path / "night")
    monkeypatch.setattr(module, "draw_cohort", None)  # would fail
    own = OwnPretrainings.of(preset, tmp_path / "work", tmp_path / "night", [], whole_cohort=False)
    assert own.unfinished() == []
    assert own.models(tmp_path, tmp_path, tmp_path, 1) == {"BrainIAC": model}
    with pytest.raises(TrainingError, match=r"network\.width was 0\.0625 and is now 0\.25"):
        OwnPretrainings.of(PRESETS["night"], tmp_path, tmp_path / "night", [], whole_cohort=False).unfinished()


def test_a_folder_without_a_pretraining_is_no_pretraining_to_go_on_with(tmp_path, capsys):
    command = ["--cohort", "open", "--preset", "night", "--out", str(tmp_path / "out")]
    assert reproduce.main([*command, "--pretraining", str(tmp_path)]) == 1
    assert "holds no pretraining to go on with" in capsys.readouterr().err
    assert reproduce.main([*command, "--brainiac", str(tmp_path), "--variants", "TwoContrasts"]) == 1
    assert "give one or the other" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_variants_are_the_files_of_settings_and_differ_from_the_night_in_the_views_alone():
    pretrainings = PRESETS["night"].pretrainings
    assert list(pretrainings) == ["BrainIAC", *VARIANTS]
    assert pretrainings["BrainIAC"].views == read_config("paper").views  # the paper's, and no others
    for name, file in (("BetterViews", "better_views"), ("TwoContrasts", "two_contrasts")):
        assert pretrainings[name] == read_config(file)
        same = dataclasses.replace(pretrainings[name], name=read_config("night").name, views=read_config("night").views)
        assert same == read_config("night")


def test_a_comparison_on_real_scans_draws_those_alone_who_are_pretrained_on():
    cohort = only_for_pretraining(PRESETS["night"].cohort)
    assert cohort.pretrain == PRESETS["night"].cohort.pretrain
    assert cohort.train == cohort.test == cohort.external == 0
    assert cohort.maps == PRESETS["night"].cohort.training_maps


@pytest.fixture(scope="module")
def real_scans(tmp_path_factory):
    """Three persons on a grid twice as fine, one of whom no line is tested on."""
    volumes = np.random.default_rng(1).random((3, 48, 48, 48)).astype(np.float32)
    volumes[:, :10] = 0
    table = pd.DataFrame(
        {"scan": ["a", "b", "c"], "patient": ["a", "b", "c"], "session": "", "role": ["", "train", ""]}
    )
    table = table.assign(dataset="real", sequence="T1", image_sha256=["1", "2", "3"], warnings="")
    folder = tmp_path_factory.mktemp("real")
    write_cache(folder, table, volumes, preprocessing=dataclasses.asdict(Standardising(size=(48, 48, 48))))
    return folder


def test_a_pretraining_sees_of_the_real_scans_those_that_test_nothing(patients, real_scans, tmp_path):
    joined = Cache(with_real_scans(patients, real_scans, tmp_path / "joined"))
    first, second = Cache(patients), Cache(real_scans)
    assert joined.table["patient"].tolist() == [*first.table["patient"], "b"]
    assert set(joined.table["role"]) == {"pretrain"}
    assert joined.table["image_sha256"].tolist() == [""] * 12 + ["2"]
    assert (joined.batch(range(12)) == first.batch(range(12))).all()
    blocks = second.batch([1])[0, 0].numpy().reshape(24, 2, 24, 2, 24, 2).mean((1, 3, 5))  # what area means
    low, high = np.percentile(blocks[blocks > 0], CLIPPED_AT)
    expected = np.where(blocks > 0, np.clip(blocks, low, high), 0) / high * 255
    assert np.abs(joined.batch([12])[0, 0].numpy() - expected).max() <= 1
    assert joined.preprocessing["clip_percentiles"] == list(CLIPPED_AT)  # and so the encoder's contract asks for it


def test_volumes_of_other_caches_are_not_gone_on_with(patients, real_scans, tmp_path):
    folder = with_real_scans(patients, real_scans, tmp_path / "joined")
    assert with_real_scans(patients, real_scans, folder) == folder
    with pytest.raises(CacheError, match="holds volumes of other caches"):
        with_real_scans(real_scans, real_scans, folder)
    with pytest.raises(ManifestError, match="no real scan to pretrain on that tests nothing"):
        with_real_scans(real_scans, patients, tmp_path / "other")


def test_a_night_on_simulated_and_real_heads_runs(patients, real_scans, tmp_path, monkeypatch):
    preset = dataclasses.replace(PRESETS["night"], pretraining=small(read_config("night")))
    monkeypatch.setattr(module, "draw_cohort", lambda *arguments: patients)
    own = OwnPretrainings.of(preset, tmp_path, None, [], whole_cohort=False)
    model = own.models(tmp_path, tmp_path, tmp_path, 1, real_scans)["BrainIAC"]
    contract = json.loads((model / "contract.json").read_text(encoding="utf-8"))
    assert contract["training_data"] == "13 scans of 7 patients: real, toy"
    assert contract["encoder"]["clip_percentiles"] == list(CLIPPED_AT)
