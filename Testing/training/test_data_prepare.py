"""Preparation: resumable, in parallel, with the library's own preprocessing, and honest about what failed."""

import hashlib
import json
import shutil
from pathlib import Path

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
from Training.data import shards
from Training.data.cache import Cache, write_cache
from Training.data.prepare import cache_of_manifest, main, prepare, settings_of
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
    monkeypatch.setattr(shards, "SCANS_PER_SHARD", 3)
    rows = []
    for number in range(8):
        scan = tmp_path / "raw" / (f"scan{number:02d}.nii" if number != 4 else "bad04.nii")
        scan.parent.mkdir(exist_ok=True)
        scan.write_text("x")
        rows.append({"scan": str(scan), "patient": f"p{number}", "dataset": "d", "sequence": "T1", "role": ""})
    return pd.DataFrame(rows).assign(age_years=np.nan)


class Noting:
    """``fake`` that notes what it is asked for, and fails for any scan but those allowed and the bad one."""

    def __init__(self, *allowed):
        self._allowed, self.seen = allowed, []

    def __call__(self, path, how):
        if "bad" not in path.name:
            assert path.name in self._allowed, f"{path.name} was standardized again"
            self.seen.append(path.name)
        return fake(path, how)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    seen.clear()

    def noting(path, how):
        seen.append(path.name)
        return fake(path, how)

    prepare(table, tmp_path / "c", HOW, standardise_one=noting)
    assert not {"scan00.nii", "scan03.nii"} & set(seen)  # of the first shard, which was done, and of one that was not
    assert not list((tmp_path / "c").glob("scan-*"))
    first, second = ((tmp_path / name / "cache.json").read_text() for name in ("whole", "c"))
    assert first == second
    assert (Cache(tmp_path / "c").batch(range(7)) == Cache(tmp_path / "whole").batch(range(7))).all()


def test_what_a_killed_run_kept_is_believed_by_its_checksum_alone(tmp_path, table):
    """A shard, or the volume of a single scan, that was changed between kill and resume is made again."""
    prepare(table, tmp_path / "whole", HOW, standardise_one=fake)

    def dying(path, how):
        if path.name == "scan07.nii":
            raise KeyboardInterrupt
        return fake(path, how)

    with pytest.raises(KeyboardInterrupt):
        prepare(table, tmp_path / "c", HOW, standardise_one=dying)
    for path in (next((tmp_path / "c").glob("shard-00001-*.npy")), *(tmp_path / "c").glob("scan-*.part")):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # of the same size
        path.write_bytes(content)
    noting = Noting("scan03.nii", "scan05.nii", "scan06.nii", "scan07.nii")
    prepare(table, tmp_path / "c", HOW, standardise_one=noting)
    assert noting.seen == ["scan03.nii", "scan05.nii", "scan06.nii", "scan07.nii"]
    assert (tmp_path / "c" / "cache.json").read_text() == (tmp_path / "whole" / "cache.json").read_text()


def test_progress_is_told_scan_by_scan(tmp_path, table):
    told = []
    prepare(table, tmp_path / "c", HOW, standardise_one=fake, report=lambda done, of: told.append((done, of)))
    assert told == [(done, 8) for done in range(9)]


def test_a_changed_scan_or_setting_is_not_mistaken_for_done(tmp_path, table):
    prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    prepare(table, tmp_path / "c", HOW, standardise_one=Noting())  # finished: nothing is done again
    before = contents(tmp_path / "c")
    with pytest.raises(CacheError, match=r"other settings \(size is \(16, 16, 16\) there and \(8, 8, 8\) here"):
        prepare(table, tmp_path / "c", Standardising(size=(8, 8, 8), steps="stored"), standardise_one=fake)
    assert contents(tmp_path / "c") == before
    (tmp_path / "c" / "cache.json").unlink()
    (tmp_path / "raw" / "scan07.nii").write_text("longer than before")
    noting = Noting("scan07.nii")
    prepare(table, tmp_path / "c", HOW, standardise_one=noting)
    assert noting.seen == ["scan07.nii"]


def test_scans_that_were_copied_are_known_by_their_content(tmp_path, table, monkeypatch):
    """A copy has new times, and perhaps another place; hours of work must not be lost by that."""
    how = Standardising(size=(16, 16, 16))
    monkeypatch.setattr(shards, "network_version", lambda backend: "one")

    def hashed(path, how):
        volume, facts = fake(path, how)
        return volume, {**facts, "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    for number, scan in enumerate(table["scan"]):
        Path(scan).write_text(f"voxels {number}")
    prepare(table, tmp_path / "c", how, standardise_one=hashed)
    before = Cache(tmp_path / "c")
    shutil.copytree(tmp_path / "raw", tmp_path / "copied")
    Path(table["scan"][7]).unlink()
    (tmp_path / "copied" / "scan07.nii").write_text("other voxels")
    copied = table.assign(scan=table["scan"].str.replace("raw", "copied"))
    noting = Noting("scan07.nii")
    prepare(copied, tmp_path / "c", how, standardise_one=noting)
    assert noting.seen == ["scan07.nii"]
    assert (Cache(tmp_path / "c").batch(range(7)) == before.batch(range(7))).all()
    monkeypatch.setattr(shards, "network_version", lambda backend: "another")
    with pytest.raises(CacheError, match="other scans or settings"):
        prepare(table.iloc[:7], tmp_path / "c", how, standardise_one=Noting())


def test_a_file_that_cannot_be_read_costs_itself_alone_at_every_run(tmp_path, table):
    (tmp_path / "raw" / "bad04.nii").unlink()
    (tmp_path / "raw" / "bad04.nii").mkdir()  # a folder that looks like a scan
    for _ in range(2):
        failures = prepare(table, tmp_path / "c", HOW, standardise_one=fake)
        assert failures["reason"].tolist() == ["'bad04.nii' is no scan."]


def test_only_files_of_a_known_size_are_read_to_be_compared(tmp_path, table, monkeypatch):
    def hashed(path, how):
        volume, facts = fake(path, how)
        return volume, {**facts, "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    read = []
    prepare(table.iloc[:3], tmp_path / "c", HOW, standardise_one=hashed)
    monkeypatch.setattr(shards, "file_sha256", lambda path: read.append(path.name) or "no hash")
    monkeypatch.setattr(shards, "_is_sound", lambda folder, shard: True)
    for number, scan in enumerate(table["scan"][3:], start=3):
        Path(scan).write_text("x" if number == 5 else "longer")
    prepare(table, tmp_path / "c", HOW, standardise_one=hashed)
    assert read == ["scan05.nii"]


def test_scans_stripped_by_another_network_are_not_mistaken_for_done(tmp_path, table, monkeypatch):
    """Half of a cache with one network's masks and half with another's would be a difference between the halves."""
    how = Standardising(size=(16, 16, 16))
    names = [f"scan{number:02d}.nii" for number in (0, 1, 2, 3, 5, 6, 7)]
    monkeypatch.setattr(shards, "network_version", lambda backend: f"one for {backend}")
    prepare(table, tmp_path / "c", how, standardise_one=fake)
    prepare(table, tmp_path / "c", how, standardise_one=Noting())
    monkeypatch.setattr(shards, "network_version", lambda backend: f"another for {backend}")
    prepare(table, tmp_path / "stored", HOW, standardise_one=Noting(*names))
    with pytest.raises(CacheError, match="and brain extraction"):
        prepare(table, tmp_path / "c", how, standardise_one=Noting())
    monkeypatch.setattr(shards, "network_version", lambda backend: f"a third for {backend}")
    prepare(table, tmp_path / "stored", HOW, standardise_one=Noting())  # scans as they are stored need no network


def test_edited_roles_and_labels_reach_a_finished_cache(tmp_path, table):
    """Otherwise patients that were moved into the hold-out would still be pretrained on (P-02)."""
    prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    fingerprint = Cache(tmp_path / "c").fingerprint
    prepare(table, tmp_path / "c", HOW, standardise_one=Noting())
    assert Cache(tmp_path / "c").fingerprint == fingerprint  # a run that was begun on it goes on
    table["role"] = "test"
    prepare(table, tmp_path / "c", HOW, standardise_one=Noting())  # no volume is made again
    assert (Cache(tmp_path / "c").table["role"] == "test").all()


def test_rows_that_come_and_go_leave_the_others_as_they_are(tmp_path, table):
    """The result is the cache that a fresh preparation of the edited manifest makes, byte for byte."""
    prepare(table.iloc[:7], tmp_path / "c", HOW, standardise_one=fake)
    edited = table.drop(index=1).reset_index(drop=True)  # one in the first shard is gone, one at the end is new
    noting = Noting("scan07.nii")
    prepare(edited, tmp_path / "c", HOW, standardise_one=noting)
    assert noting.seen == ["scan07.nii"]
    prepare(edited, tmp_path / "fresh", HOW, standardise_one=fake)
    assert contents(tmp_path / "c") == contents(tmp_path / "fresh")
    assert Cache(tmp_path / "c").batch(range(6))[:, 0, 0, 0, 0].tolist() == [0, 2, 3, 5, 6, 7]


def test_an_update_that_is_killed_leaves_the_old_cache_and_goes_on(tmp_path, table):
    prepare(table.iloc[:7], tmp_path / "c", HOW, standardise_one=fake)
    before = Cache(tmp_path / "c")
    edited = table.drop(index=0).reset_index(drop=True)

    def killed(path, how):
        if path.name == "scan07.nii":
            raise KeyboardInterrupt
        return fake(path, how)

    with pytest.raises(KeyboardInterrupt):
        prepare(edited, tmp_path / "c", HOW, standardise_one=killed)
    old = Cache(tmp_path / "c")  # every shard compared with its sha256
    assert old.fingerprint == before.fingerprint
    assert (old.batch(range(6)) == before.batch(range(6))).all()
    prepare(edited, tmp_path / "c", HOW, standardise_one=Noting("scan07.nii"))
    assert Cache(tmp_path / "c").batch(range(6))[:, 0, 0, 0, 0].tolist() == [1, 2, 3, 5, 6, 7]


def test_a_damaged_shard_is_not_copied_from(tmp_path, table):
    prepare(table.iloc[:3], tmp_path / "c", HOW, standardise_one=fake)
    (shard,) = (tmp_path / "c").glob("shard-*.npy")
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    noting = Noting("scan01.nii", "scan02.nii", "scan03.nii")
    prepare(table.iloc[1:4].reset_index(drop=True), tmp_path / "c", HOW, standardise_one=noting)
    assert noting.seen == ["scan01.nii", "scan02.nii", "scan03.nii"]
    assert Cache(tmp_path / "c").batch(range(3))[:, 0, 0, 0, 0].tolist() == [1, 2, 3]


def test_another_manifest_does_not_replace_a_cache(tmp_path, table):
    prepare(table.iloc[:4], tmp_path / "c", HOW, standardise_one=fake)
    before = contents(tmp_path / "c")
    with pytest.raises(CacheError, match="4 volumes of other scans or settings, and only 1"):
        prepare(table.iloc[3:].reset_index(drop=True), tmp_path / "c", HOW, standardise_one=fake)
    assert contents(tmp_path / "c") == before


def test_a_cache_that_does_not_say_what_it_was_made_from_is_refused_and_kept(tmp_path, table):
    prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    for path in (tmp_path / "c").glob("shard-*.json"):
        path.unlink()
    before = contents(tmp_path / "c")
    with pytest.raises(CacheError, match=r"without records of the scans .* delete it, or choose"):
        prepare(table, tmp_path / "c", HOW, standardise_one=fake)
    assert contents(tmp_path / "c") == before


def test_what_failed_is_tried_again(tmp_path, table):
    """As after the installation of what was missing; only what failed is."""
    assert len(prepare(table, tmp_path / "c", HOW, standardise_one=fake)) == 1
    repaired = []

    def good(path, how):
        repaired.append(path.name)
        return np.full((4, 4, 4), 4, np.uint8), {"image_sha256": "hash4", "warnings": ""}

    assert len(prepare(table, tmp_path / "c", HOW, standardise_one=good)) == 0
    assert repaired == ["bad04.nii"]
    assert Cache(tmp_path / "c").batch(range(8))[:, 0, 0, 0, 0].tolist() == list(range(8))
    assert not (tmp_path / "c" / "failures.csv").exists()


def test_two_processes_do_not_prepare_one_folder(tmp_path, table):
    def meanwhile(path, how):
        with pytest.raises(CacheError, match="Another process is preparing"):
            prepare(table, tmp_path / "c", HOW, standardise_one=fake)
        return fake(path, how)

    prepare(table, tmp_path / "c", HOW, standardise_one=meanwhile)


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A manifest of six scans and the cache that was made from it, with settings of its own."""
    monkeypatch.setattr(shards, "SCANS_PER_SHARD", 4)
    for number in range(7):
        (tmp_path / f"scan{number:02d}.nii").write_text("x")
    path = tmp_path / "m.csv"
    write(path, range(6))
    cache_of_manifest(path, tmp_path / "c", how=HOW, standardise_one=fake)
    return path


def write(path, numbers, role=(), age=()):
    """Lines for the numbered scans; those in ``role`` are of the role test, those in ``age`` are 40 years old."""
    lines = [
        f"scan{n:02d}.nii,p{n},d,T1,{'40' if n in age else ''},{'test' if n in role else 'pretrain'}" for n in numbers
    ]
    path.write_text("\n".join(["scan,patient,dataset,sequence,age_years,role", *lines]) + "\n")


@pytest.mark.parametrize(
    ("edit", "new"),
    [
        ({"numbers": range(7)}, ["scan06.nii"]),  # a row more
        ({"numbers": [0, 2, 3, 4, 5]}, []),  # a row less
        ({"numbers": range(6), "age": [2]}, []),
        ({"numbers": range(6), "role": [1, 5]}, []),
    ],
)
def test_an_edited_manifest_reaches_the_cache_that_was_made_from_it(tmp_path, manifest, capsys, edit, new):
    noting = Noting(*new)
    cache_of_manifest(manifest, tmp_path / "c", standardise_one=noting)
    assert noting.seen == []
    assert capsys.readouterr().err.count("was edited") == 0
    write(manifest, **edit)
    with pytest.raises(CacheError, match=r"was edited since .* first run: python -m Training prepare"):
        cache_of_manifest(manifest, tmp_path / "c", alone=False, standardise_one=noting)
    cache_of_manifest(manifest, tmp_path / "c", standardise_one=noting)
    assert noting.seen == new
    assert "was edited since" in capsys.readouterr().err
    cache = Cache(tmp_path / "c")
    numbers = list(edit["numbers"])
    assert cache.batch(range(len(cache)))[:, 0, 0, 0, 0].tolist() == numbers
    assert cache.table["patient"].tolist() == [f"p{n}" for n in numbers]
    assert (cache.table["role"] == "test").tolist() == [n in edit.get("role", ()) for n in numbers]
    assert (cache.table["age_years"] == 40).tolist() == [n in edit.get("age", ()) for n in numbers]
    assert settings_of(tmp_path / "c") == HOW  # not those that a new cache would get


def test_an_edited_manifest_keeps_other_settings_out(tmp_path, manifest):
    before = contents(tmp_path / "c")
    with pytest.raises(CacheError, match="other settings"):
        cache_of_manifest(manifest, tmp_path / "c", how=Standardising(size=(8, 8, 8)), standardise_one=Noting())
    arguments = ["--manifest", str(manifest), "--out", str(tmp_path / "c")]
    assert main([*arguments, "--size", "8", "8", "8"]) == 1
    assert contents(tmp_path / "c") == before


def test_a_leaking_edit_leaves_the_cache_as_it_was(tmp_path, manifest):
    before = contents(tmp_path / "c")
    manifest.write_text(manifest.read_text().replace("p1,d,T1,,pretrain", "p0,d,T1,,test"))
    with pytest.raises(ManifestError, match="two roles"):
        cache_of_manifest(manifest, tmp_path / "c", standardise_one=Noting())
    assert contents(tmp_path / "c") == before


def test_a_cache_of_no_manifest_is_left_alone(tmp_path, manifest):
    table = pd.DataFrame({"scan": ["a"], "patient": ["p"]})
    write_cache(tmp_path / "other", table, [np.zeros((4, 4, 4), np.float32)], preprocessing={"size": [4, 4, 4]})
    with pytest.raises(CacheError, match="not prepared from a manifest"):
        cache_of_manifest(manifest, tmp_path / "other", standardise_one=Noting())


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
    monkeypatch.setattr(shards, "SCANS_PER_SHARD", 2)
    for name in ("T1", "T2", "FLAIR"):
        shutil.copy(resource("SampleData", f"simulated_{name}.nii.gz"), tmp_path)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    lines = [f"simulated_{name}.nii.gz,p1,sim,{name},60" for name in ("T1", "T2", "FLAIR")]
    lines.append("broken.nii.gz,p2,sim,T1,50")
    (tmp_path / "m.csv").write_text("scan,patient,dataset,sequence,age\n" + "\n".join(lines) + "\n")
    arguments = ["--manifest", str(tmp_path / "m.csv"), "--out", str(tmp_path / "c"), "--steps", "stored"]
    assert main([*arguments, "--size", "16", "16", "16", "--workers", "2"]) == 1
    said = capsys.readouterr()
    assert "| all |  |  | 3 | 1 |" in said.out
    assert "left out: " in said.err
    assert said.err.count("is not read") == 1
    assert "prepare: The column 'age' is not read: this label is read from 'age_years'.\n" in said.err
    cache = Cache(tmp_path / "c")
    assert cache.table["sequence"].tolist() == ["T1", "T2", "FLAIR"]
    assert json.loads(next((tmp_path / "c").glob("shard-00001-*.json")).read_text())["failed"][0]["row"] == 3
    alone, _ = standardised_volume(tmp_path / "simulated_T2.nii.gz", HOW)
    assert (cache.batch([1])[0, 0].numpy() == alone).all()
    assert main(["--manifest", str(tmp_path / "none.csv"), "--out", str(tmp_path / "d")]) == 1


def test_other_voxels_behind_the_same_header_are_prepared_anew(tmp_path):
    """The header of a detached image says nothing of its voxels."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ones((4, 4, 4), np.float32))
    sitk.WriteImage(image, str(tmp_path / "scan00.mhd"))
    row = {"scan": str(tmp_path / "scan00.mhd"), "patient": "p", "dataset": "d", "sequence": "T1", "role": ""}
    table = pd.DataFrame([row]).assign(age_years=np.nan)
    seen = []

    def noting(path, how):
        seen.append(path.name)
        return fake(path, how)

    prepare(table, tmp_path / "one", HOW, standardise_one=noting)
    prepare(table, tmp_path / "one", HOW, standardise_one=noting)
    assert seen == ["scan00.mhd"]
    before = [job.key for job in shards.jobs_of(table, HOW)]
    (tmp_path / "scan00.raw").write_bytes(bytes(252) + b"1234")
    assert [job.key for job in shards.jobs_of(table, HOW)] != before
