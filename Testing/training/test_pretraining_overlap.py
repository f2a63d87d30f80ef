"""An encoder is not tested on who or what it was pretrained on, although the two come from different caches (C-09)."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from BrainIACLib.checkpoints.importing import TRAINED_ON, import_folder
from BrainIACLib.errors import TrainingError
from BrainIACLib.exports.model_folder import export_folder
from BrainIACLib.models.encoders import encoder
from Training.data.cache import Cache, write_cache
from Training.data.fingerprints import fingerprints_of, read_fingerprints, seen_before, write_fingerprints
from Training.data.splits import persons
from Training.data.standardising import Standardising
from Training.downstream.finetune import main
from Training.ssl.config import Network, Pretraining
from Training.ssl.export import export_encoder

SIZE = (16, 16, 16)
CONFIG = Pretraining(name="tiny", network=Network(architecture="resnet10", width=1 / 16))


def scans(prefix, patients=10, **columns):
    """Two scans of each patient, T1 and T2, each with an image of its own; roles are left to the training."""
    rows = [
        {"scan": f"{prefix}{n}_{name}", "patient": f"{prefix}{n}", "dataset": prefix, "session": "", "sequence": name}
        for n in range(patients)
        for name in ("T1", "T2")
    ]
    table = pd.DataFrame(rows).assign(role="", same_person_as="", **columns)
    numbers = {name: np.nan for name in ("age_years", "idh", "survival_months", "event")}
    return table.assign(image_sha256=[f"{scan} voxels" for scan in table["scan"]], **numbers)


def cached(folder, table):
    rng = np.random.default_rng(0)
    volumes = (rng.random(SIZE, dtype=np.float32) * (0.4 if name == "T1" else 1) for name in table["sequence"])
    write_cache(folder, table, volumes, preprocessing=dataclasses.asdict(Standardising(size=SIZE, steps="stored")))
    return Cache(folder)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The model folder of an encoder that saw all but the last patient of a first cache."""
    cache = cached(tmp_path_factory.mktemp("first") / "c", scans("a"))
    folder = tmp_path_factory.mktemp("run") / "last"
    rows = list(range(18))
    export_encoder(encoder("resnet10", 1 / 16, "gap"), folder, CONFIG, cache, 1, rows, fingerprints_of(cache, rows))
    return folder


def finetuned(tmp_path, table, model, mode="probe", **more):
    """Exit status and the record of a probe on a second cache whose patient b3 is to test it."""
    table["role"] = ["test" if name in more.get("test", ("b3",)) else "train" for name in table["patient"]]
    cached(tmp_path / "second", table)
    arguments = ["--task", "sequence", "--init", "brainiac", "--mode", mode, "--probe-recipe", "ci"]
    arguments += ["--cache", str(tmp_path / "second"), "--brainiac", str(model), "--runs", str(tmp_path / "runs")]
    status = main(arguments)
    config = tmp_path / "runs" / f"sequence-BrainIAC-100-seed0-{mode}" / "config.json"
    return status, json.loads(config.read_text()) if config.is_file() else None


def test_another_cohort_is_compared_and_says_so(tmp_path, pretrained):
    status, config = finetuned(tmp_path, scans("b"), pretrained)
    assert status == 0
    assert config["overlap_with_pretraining"].startswith("compared by patients and images: none")


def renamed(table, old, new):
    return table.assign(patient=table["patient"].replace(old, new))


def shared_image(table):
    """Of the patient b3's second scan alone, under another file name."""
    return table.assign(image_sha256=table["image_sha256"].replace("b3_T2 voxels", "a2_T1 voxels"))


@pytest.mark.parametrize(
    ("edit", "test", "told"),
    [
        (lambda t: renamed(t, "b3", "a2"), ("a2",), "on 1 of the patients and on 0 of the images"),
        (lambda t: t.assign(same_person_as=t["patient"].map({"b3": "a2"}).fillna("")), ("b3",), "on 1 of the patients"),
        (shared_image, ("b3",), "on 0 of the patients and on 1 of the images"),
    ],
)
def test_a_shared_patient_or_image_is_refused(tmp_path, pretrained, capsys, edit, test, told):
    status, config = finetuned(tmp_path, edit(scans("b")), pretrained, test=test)
    assert (status, config) == (1, None)
    said = capsys.readouterr().out
    assert told in said
    assert "role pretrain or train" in said


def test_a_shared_patient_may_be_trained_on(tmp_path, pretrained):
    assert finetuned(tmp_path, renamed(scans("b"), "b5", "a2"), pretrained)[0] == 0


def test_who_was_in_the_cache_but_not_pretrained_on_may_test(tmp_path, pretrained):
    assert finetuned(tmp_path, renamed(scans("b"), "b3", "a9"), pretrained, test=("a9",))[0] == 0


def test_one_cache_without_roles_is_no_way_around_it(tmp_path, pretrained, capsys):
    """Everybody was pretrained on, so that no hold-out that is drawn afterwards is one."""
    table = scans("a")
    cached(tmp_path / "c", table)
    arguments = ["--task", "sequence", "--init", "brainiac", "--mode", "probe", "--probe-recipe", "ci"]
    arguments += ["--cache", str(tmp_path / "c"), "--brainiac", str(pretrained), "--runs", str(tmp_path / "runs")]
    assert main(arguments) == 1
    assert "was pretrained on" in capsys.readouterr().out


def test_the_list_goes_along_with_an_import_and_not_with_an_export(tmp_path, pretrained):
    model = import_folder(pretrained, tmp_path / "models").model
    status, config = finetuned(tmp_path, renamed(scans("b"), "b3", "a2"), model.folder, test=("a2",))
    assert (status, config) == (1, None)
    assert not (export_folder(model, tmp_path / "given", [tmp_path / "models"]) / TRAINED_ON).exists()


def test_weights_without_a_list_are_not_called_compared(tmp_path, pretrained):
    model = import_folder(pretrained, tmp_path / "models").model
    (model.folder / TRAINED_ON).unlink()
    status, config = finetuned(tmp_path, scans("b"), model.folder)
    assert status == 0
    assert config["overlap_with_pretraining"].startswith("not compared")


def test_images_that_nobody_hashed_are_not_called_compared(tmp_path, pretrained):
    status, config = finetuned(tmp_path, scans("b").drop(columns="image_sha256"), pretrained)
    assert status == 0
    assert "patients only" in config["overlap_with_pretraining"]


def test_a_damaged_list_is_named(tmp_path, pretrained):
    (tmp_path / TRAINED_ON).write_bytes((pretrained / TRAINED_ON).read_bytes()[:50])
    with pytest.raises(TrainingError, match=r"trained-on\.npz' cannot be read"):
        read_fingerprints(tmp_path)


def test_no_name_is_in_the_file_and_it_is_small(tmp_path):
    table = scans("a", patients=1000)
    cache = cached(tmp_path / "c", table.assign(sequence="T1"))
    found = fingerprints_of(cache, list(range(2000)))
    write_fingerprints(found, tmp_path)
    content = (tmp_path / TRAINED_ON).read_bytes()
    assert b"a12" not in content
    assert len(content) < 8 * 3000 + 1000
    again = read_fingerprints(tmp_path)
    assert (len(again.patients), len(again.images)) == (1000, 2000)
    other = dataclasses.replace(found, key=bytes(32))  # another key knows nobody: hashes cannot be looked up elsewhere
    assert seen_before(other, table, np.arange(2000)).patients == ()
    assert len(seen_before(again, table, np.arange(2000)).patients) == 1000


def test_an_empty_second_name_is_nobody(tmp_path):
    first, second = scans("a"), scans("b")
    found = fingerprints_of(cached(tmp_path / "c", first), list(range(20)))
    assert seen_before(found, second, np.arange(20)).patients == ()


def test_who_shares_an_image_is_one_person_for_every_split():
    """C-09: without a role nobody is refused, but a drawn hold-out must not have the same image on both sides."""
    table = scans("b", patients=3)
    table.loc[5, "image_sha256"] = table.loc[0, "image_sha256"]
    names = persons(table)
    assert names[0] == names[1] == names[4] == names[5]
    assert names[0] != names[2]
    assert persons(table, by_image=False).nunique() == 3
