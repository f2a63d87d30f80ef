"""Preparation: resumable, in parallel, with the library's own preprocessing, and honest about what failed."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import CacheError, ManifestError, ScanError
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.resources import resource
from BrainIACLib.scans import read_scan
from Training.data import prepare as prepare_module
from Training.data.cache import Cache
from Training.data.prepare import main, prepare
from Training.data.standardising import Standardising, standardised_volume, standardising_of

HOW = Standardising(size=(16, 16, 16), steps="stored")


def fake(path, how):
    """One volume a file, from its number; files with 'bad' in their name cannot be used."""
    if "bad" in path.name:
        raise ScanError(f"'{path.name}' is no scan.")
    number = int(path.stem[-2:])
    return np.full((4, 4, 4), number, np.uint8), {"image_sha256": f"hash{number}", "warnings": ""}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "SCANS_PER_SHARD", 3)
    rows = []
    for number in range(8):
        scan = tmp_path / "raw" / (f"scan{number:02d}.nii" if number != 4 else "bad04.nii")
        scan.parent.mkdir(exist_ok=True)
        scan.write_text("x")
        rows.append({"scan": str(scan), "patient": f"p{number}", "dataset": "d", "sequence": "T1", "role": ""})
    return pd.DataFrame(rows).assign(age_years=np.nan)


def test_the_cache_holds_what_could_be_used(tmp_path, table):
    failures = prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    cache = Cache(tmp_path / "c")
    assert cache.table["patient"].tolist() == ["p0", "p1", "p2", "p3", "p5", "p6", "p7"]
    assert cache.batch(range(7))[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert cache.table["scan"][0] == "scan00.nii"  # relative: no folder of this machine
    assert failures["reason"].tolist() == ["'bad04.nii' is no scan."]
    assert "bad04.nii" in (tmp_path / "c" / "failures.csv").read_text()
    assert standardising_of(cache.preprocessing) == HOW


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, table):
    prepare(table, tmp_path / "whole", HOW, standardise_one=fake)
    seen = []

    def dying(path, how):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(path.name)
        return fake(path, how)

    with pytest.raises(KeyboardInterrupt):
        prepare(table, tmp_path / "c", HOW, standardise_one=dying)
    assert not (tmp_path / "c" / "cache.json").exists()
    (tmp_path / "c" / ".shard-00001.npy.1.partial").write_bytes(b"half")  # what a kill in a write leaves
    seen.clear()

    def noting(path, how):
        seen.append(path.name)
        return fake(path, how)

    prepare(table, tmp_path / "c", HOW, standardise_one=noting)
    assert "scan00.nii" not in seen  # the first shard was done
    first, second = ((tmp_path / name / "cache.json").read_text() for name in ("whole", "c"))
    assert first == second
    assert (Cache(tmp_path / "c").batch(range(7)) == Cache(tmp_path / "whole").batch(range(7))).all()


def test_a_changed_scan_or_setting_is_not_mistaken_for_done(tmp_path, table):
    prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    prepare(table, tmp_path / "c", HOW, standardise_one=None)  # finished: nothing is done again
    with pytest.raises(CacheError, match="cache of other scans or settings"):
        prepare(table, tmp_path / "c", Standardising(size=(8, 8, 8)), standardise_one=fake)
    (tmp_path / "c" / "cache.json").unlink()
    (tmp_path / "raw" / "scan07.nii").write_text("longer than before")
    seen = []
    prepare(table, tmp_path / "c", HOW, standardise_one=lambda path, how: (seen.append(path.name), fake(path, how))[1])
    assert seen == ["scan06.nii", "scan07.nii"]


def test_edited_roles_and_labels_reach_a_finished_cache(tmp_path, table):
    """Otherwise patients that were moved into the hold-out would still be pretrained on (P-02)."""
    prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    fingerprint = Cache(tmp_path / "c").fingerprint
    prepare(table, tmp_path / "c", HOW, standardise_one=None)
    assert Cache(tmp_path / "c").fingerprint == fingerprint  # a run that was begun on it goes on
    table["role"] = "test"
    prepare(table, tmp_path / "c", HOW, standardise_one=None)  # no volume is made again
    assert (Cache(tmp_path / "c").table["role"] == "test").all()


def test_the_same_image_in_two_roles_is_refused(tmp_path, table):
    """C-09: found by image hash, although the files have other names and patients."""
    table["role"] = ["pretrain"] * 7 + ["test"]

    def same(path, how):
        volume, _ = fake(path, how)
        return volume, {"image_sha256": "same", "warnings": ""}

    with pytest.raises(ManifestError, match="the same image"):
        prepare(table, tmp_path / "c", HOW, standardise_one=same)
    assert not (tmp_path / "c" / "cache.json").exists()


def test_nothing_usable_is_an_error(tmp_path, table):
    with pytest.raises(CacheError, match="No scan could be used"):
        prepare(table.iloc[4:5], tmp_path / "c", HOW, standardise_one=fake)


def test_a_volume_is_what_the_contract_of_an_encoder_says():
    """U-10: area resize, then min-max, as BrainIACLib computes it for a prediction; to the step of uint8."""
    path = resource("SampleData", "simulated_T1.nii.gz")
    volume, facts = standardised_volume(path, HOW)
    encoder = HOW.encoder_contract(
        architecture="resnet50", width=1.0, embedding="gap", embedding_size=2048, weights="encoder.safetensors",
        sha256="0" * 64,
    )  # fmt: skip
    assert isinstance(encoder, EncoderContract)
    scan = read_scan(path)
    expected = model_input(scan.image, encoder)[0, 0]
    assert (torch.from_numpy(volume).float() / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6
    assert facts["source_sha256"] == scan.sha256


def test_the_command_prepares_in_several_processes(tmp_path, monkeypatch, capsys):
    """Real files, spawned workers, a scan that cannot be read, the inventory, and the exit status."""
    monkeypatch.setattr(prepare_module, "SCANS_PER_SHARD", 2)
    for name in ("T1", "T2", "FLAIR"):
        shutil.copy(resource("SampleData", f"simulated_{name}.nii.gz"), tmp_path)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    lines = [f"simulated_{name}.nii.gz,p1,sim,{name}" for name in ("T1", "T2", "FLAIR")] + ["broken.nii.gz,p2,sim,T1"]
    (tmp_path / "m.csv").write_text("scan,patient,dataset,sequence\n" + "\n".join(lines) + "\n")
    arguments = ["--manifest", str(tmp_path / "m.csv"), "--out", str(tmp_path / "c"), "--steps", "stored"]
    assert main([*arguments, "--size", "16", "16", "16", "--workers", "2"]) == 1
    said = capsys.readouterr()
    assert "| all |  |  | 3 | 1 |" in said.out
    assert "left out: " in said.err
    cache = Cache(tmp_path / "c")
    assert cache.table["sequence"].tolist() == ["T1", "T2", "FLAIR"]
    assert json.loads((tmp_path / "c" / "shard-00001.json").read_text())["failed"][0]["row"] == 3
    alone, _ = standardised_volume(tmp_path / "simulated_T2.nii.gz", HOW)
    assert (cache.batch([1])[0, 0].numpy() == alone).all()
    assert main(["--manifest", str(tmp_path / "none.csv"), "--out", str(tmp_path / "d")]) == 1
