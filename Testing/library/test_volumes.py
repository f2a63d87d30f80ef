"""Volumes of structures: sums of shares against hand counts, sides, the label map on an oblique grid, the command."""

import csv
import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from in_process import InProcess
from safetensors.torch import save

from BrainIACLib.cli import main
from BrainIACLib.contracts import EncoderContract, ModelContract, contract_to_json, read_contract
from BrainIACLib.models.anatomy import EMBEDDING_NAMES, SMALLEST_ML, VOXEL_ML, AnatomyEncoder, embedding_of
from BrainIACLib.models.encoders import encoder
from BrainIACLib.models.unet import UNet
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.reports.volume_files import table_of
from BrainIACLib.scans import Scan
from BrainIACLib.structures import INDEX, MEASURED, STRUCTURES
from BrainIACLib.volumes.label_map import fine_structures
from BrainIACLib.volumes.measurement import MODEL, VolumeMeter
from BrainIACLib.volumes.percentiles import AgeNorms, Curve

SIZE = (80, 96, 80)


def shares_of(parts: dict[str, tuple[slice, slice, slice]]) -> torch.Tensor:
    """(1, structures, *SIZE): each part whole, all else background; later parts lie over earlier ones."""
    structure = torch.zeros(SIZE, dtype=torch.long)
    for name, box in parts.items():
        structure[box] = INDEX[name]
    return torch.nn.functional.one_hot(structure, len(STRUCTURES)).movedim(-1, 0)[None].float()


BRAIN = {
    "white_matter": (slice(20, 60), slice(20, 80), slice(10, 60)),
    "hippocampus": (slice(25, 30), slice(40, 50), slice(20, 24)),  # the patient's left
    "lateral_ventricles": (slice(36, 44), slice(45, 55), slice(30, 40)),
}


def test_the_embedding_holds_the_logarithms_of_counted_volumes():
    embedding = dict(zip(EMBEDDING_NAMES, embedding_of(shares_of(BRAIN))[0].tolist(), strict=True))
    whole = 40 * 60 * 50 * VOXEL_ML
    assert embedding["log intracranial volume"] == pytest.approx(np.log(whole / 1000), abs=1e-5)
    for name, voxels in (("hippocampus", 5 * 10 * 4), ("lateral_ventricles", 8 * 10 * 10), ("cortex", 0)):
        expected = np.log((voxels * VOXEL_ML + SMALLEST_ML) / whole)
        assert embedding[f"log {name} of the intracranial volume"] == pytest.approx(expected, abs=1e-4)


def test_a_voxel_has_the_volume_of_the_template_grid():
    assert np.prod(icbm152().image.GetSize()) / 1000 == pytest.approx(np.prod(SIZE) * VOXEL_ML, rel=1e-9)


def test_the_embedding_does_not_tell_left_from_right():
    shares = shares_of(BRAIN)
    assert torch.allclose(embedding_of(shares), embedding_of(shares.flip(2)), atol=1e-6)


def test_several_outputs_keep_the_weights_of_one():
    """The brain extraction's network is the same class with one output: its keys and shapes must not move."""
    assert UNet((8, 16)).state_dict()["distance.weight"].shape == (8, 8, 1, 1, 1)
    assert UNet((8, 16), 3)(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_the_encoder_is_made_by_its_name_and_gives_as_many_numbers_as_it_says():
    net = encoder("anatomy_unet", 1 / 3, "volumes").eval()
    assert isinstance(net, AnatomyEncoder)
    with torch.inference_mode():
        assert net(torch.randn(1, 1, *SIZE)).shape == (1, len(EMBEDDING_NAMES))


@pytest.fixture
def meter(tmp_path, monkeypatch) -> VolumeMeter:
    """A meter whose network answers ``BRAIN`` to every scan."""
    net = AnatomyEncoder(1 / 3)
    folder = tmp_path / MODEL
    folder.mkdir()
    (folder / "encoder.safetensors").write_bytes(save(net.state_dict()))
    digest = hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest()
    encoder_contract = EncoderContract(
        architecture="anatomy_unet",
        width=1 / 3,
        embedding="volumes",
        embedding_size=len(EMBEDDING_NAMES),
        input_size=SIZE,
        resize_mode="area-inside",
        normalisation="nonzero-zscore",
        clip_percentiles=(0.5, 99.5),
        template="icbm152_2009a_sym_t1_brain",
        skull_stripped="preferred",
        weights="encoder.safetensors",
        sha256=digest,
    )
    contract = ModelContract(MODEL, "toy", "1", "Apache-2.0", "none", "none", "none", encoder_contract, None)
    (folder / "contract.json").write_text(contract_to_json(contract))
    meter = VolumeMeter(folders=[tmp_path])
    monkeypatch.setattr(meter._encoder, "shares", lambda inputs: shares_of(BRAIN))
    return meter


def oblique_study() -> Standardised:
    """A scan whose grid is turned by 20 degrees and shifted against the template's."""
    template = icbm152().image
    transform = sitk.Euler3DTransform()
    transform.SetRotation(0.0, 0.0, np.deg2rad(20))
    transform.SetTranslation((5.0, -3.0, 2.0))
    native = sitk.Image(150, 180, 150, sitk.sitkFloat32)
    native.SetSpacing((1.4, 1.4, 1.4))
    native.SetOrigin((-105.0, -105.0, -80.0))
    mask = sitk.Cast(template > 0, sitk.sitkUInt8)
    return Standardised(native, template, mask, sitk.Cast(native > 1, sitk.sitkUInt8), transform, ())


def test_volumes_sides_and_label_map_agree_with_the_shares(meter):
    found = meter.measure(oblique_study())
    by_name = {volume.structure: volume for volume in found.volumes}
    hippocampus, ventricles = by_name["hippocampus"], by_name["lateral_ventricles"]
    assert hippocampus.ml == pytest.approx(200 * VOXEL_ML, rel=1e-5)
    assert (hippocampus.left_ml, hippocampus.right_ml) == pytest.approx((hippocampus.ml, 0.0), abs=1e-6)
    assert ventricles.left_ml == pytest.approx(ventricles.right_ml)
    assert sum(by_name[structure.name].share for structure in MEASURED) == pytest.approx(1, abs=1e-5)
    labels = sitk.GetArrayFromImage(found.labels)
    voxel_ml = 1.4**3 / 1000
    assert (labels == 17).sum() * voxel_ml == pytest.approx(hippocampus.ml, rel=0.1)
    assert (labels == 53).sum() == 0
    assert found.labels.GetSize() == (150, 180, 150)


def test_the_structures_between_voxels_are_those_of_plain_interpolation():
    """The plain version interpolates every share everywhere."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(len(STRUCTURES), 12, 14, 10, generator=generator)
    smooth = torch.nn.functional.avg_pool3d(rough[None], 5, 1, 2)[0]
    for shares in (rough, (40 * smooth).softmax(0), shares_of(BRAIN)[0, :, 16:64, 16:64, 8:40]):
        plain = torch.nn.functional.interpolate(shares[None], scale_factor=2, mode="trilinear")[0].argmax(0).numpy()
        np.testing.assert_array_equal(fine_structures(shares), plain)


def test_the_label_map_lies_where_the_transform_says(meter):
    study = oblique_study()
    labels = sitk.GetArrayFromImage(meter.measure(study).labels)
    z, y, x = (float(v) for v in np.argwhere(labels == 17).mean(0))
    found = np.array(study.native.TransformContinuousIndexToPhysicalPoint((x, y, z)))
    spacing = np.array([197 / 80, 233 / 96, 189 / 80])
    corner = np.array([-98.5, -134.5, -72.5])
    ras = corner + spacing * (np.array([27.5, 45.0, 22.0]))  # the middle of the box, outer faces counted
    expected = np.array(study.transform.TransformPoint((-ras[0], -ras[1], ras[2])))
    assert found == pytest.approx(expected, abs=0.8)


def foreign_contract(folder: Path, **changes) -> None:
    """A model called "foreign" beside the one of ``meter``: the same weights, another input."""
    ours = read_contract(folder / MODEL)
    encoder = dataclasses.replace(ours.encoder, **changes)
    shutil.copytree(folder / MODEL, folder / "foreign", dirs_exist_ok=True)
    text = contract_to_json(dataclasses.replace(ours, id="foreign", encoder=encoder))
    (folder / "foreign" / "contract.json").write_text(text)


def test_two_contracts_of_one_weights_file_get_each_its_own_input(meter, tmp_path, monkeypatch):
    """Their order changes no number, and volumes are those of the bundled contract whatever was asked before."""
    monkeypatch.setattr(AnatomyEncoder, "shares", shares_that_grow_with_the_input)
    one_sided = sitk.GetArrayFromImage(icbm152().image)
    one_sided[:, :, :60] *= 0.5
    image = sitk.GetImageFromArray(one_sided)
    image.CopyInformation(icbm152().image)
    study = dataclasses.replace(oblique_study(), image=image)
    scan = Scan(study.native, "s", Path("s.nii"), "NIfTI", None, "0" * 64, ())

    def predictor() -> Predictor:
        found = Predictor("cpu", [tmp_path])
        found.set_prepared({"scan": scan}, {"scan": study}, PreprocessingOptions())
        return found

    def embeddings(*ids):
        asked = predictor()
        return {name: asked.embed("scan", model_id=name)[0] for name in ids}

    for change in (
        {"clip_percentiles": None, "normalisation": "minmax"},
        {"input_size": (64, 64, 64), "resize_mode": "trilinear"},
    ):
        foreign_contract(tmp_path, **change)
        answers = embeddings("foreign", MODEL)
        assert answers == embeddings(MODEL, "foreign"), change
        assert answers["foreign"] != answers[MODEL], change
    foreign_contract(tmp_path, orientation="LAS")
    alone, after = predictor().volumes("scan"), predictor()
    after.embed("scan", model_id="foreign")
    assert after.volumes("scan").volumes == alone.volumes
    assert any(volume.left_ml not in (None, volume.right_ml) for volume in alone.volumes)


def shares_that_grow_with_the_input(encoder, inputs) -> torch.Tensor:
    """Cheap shares that depend on each voxel, instead of a pass of the network."""
    brain = torch.sigmoid(inputs[:, 0])
    shares = torch.zeros(len(inputs), len(STRUCTURES), *inputs.shape[2:])
    shares[:, INDEX["cortex"]], shares[:, 0] = brain, 1 - brain
    return shares


def test_the_shares_of_a_scan_that_stays_are_kept(meter, tmp_path, monkeypatch):
    passes = []
    monkeypatch.setattr(AnatomyEncoder, "shares", lambda self, x: passes.append(x) or shares_of(BRAIN))
    study = oblique_study()
    monkeypatch.setattr("BrainIACLib.prepared_study.standardise", lambda *unused, **also: study)
    first, second = (Scan(study.native + shift, "s", Path("s.nii"), "NIfTI", None, "0" * 64, ()) for shift in (0, 1))
    predictor = Predictor("cpu", [tmp_path])
    predictor.set_study({"a": first})
    predictor.volumes("a")
    predictor.set_study({"a": first, "b": second})
    predictor.volumes("a")
    assert len(passes) == 1
    predictor.set_study({"a": second})
    predictor.volumes("a")
    assert len(passes) == 2


def test_an_unusual_size_is_warned_of(meter):
    found = meter.measure(oblique_study())
    assert 900 < found.intracranial_ml < 2000  # the toy is as large as an adult
    assert not [text for text in found.warnings if "unusual" in text]


def test_the_table_has_a_row_for_each_structure(meter):
    rows = list(csv.DictReader(table_of(meter.measure(oblique_study())).splitlines()))
    assert [row["structure"] for row in rows[:3]] == ["intracranial", "lateral_ventricles", "third_ventricle"]
    assert float(rows[0]["ml"]) == pytest.approx(40 * 60 * 50 * VOXEL_ML, abs=0.01)


def test_an_age_ranks_each_share_that_has_a_curve(meter):
    meter._norms = AgeNorms("a cohort", "CC0", 90, (20.0, 80.0), "", {"hippocampus": Curve((-6.0, 0.0, 0.0), 0.5)})
    study = oblique_study()
    assert {volume.percentile for volume in meter.measure(study).volumes} == {None}
    found = meter.measure(study, age=50)
    ranks = {volume.structure: volume.percentile for volume in found.volumes}
    assert {name for name, rank in ranks.items() if rank is not None} == {"hippocampus"}
    assert 0 < ranks["hippocampus"] < 100
    assert "90 healthy adults" in found.percentiles
    (row,) = [row for row in csv.DictReader(table_of(found).splitlines()) if row["structure"] == "hippocampus"]
    assert float(row["percentile_for_age"]) == pytest.approx(ranks["hippocampus"], abs=0.05)
    old = meter.measure(study, age=90)
    assert any("from 20 to 80 years, not for 90" in text for text in old.warnings)


def test_the_command_names_a_file_that_cannot_be_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("BrainIACLib.cli.answering.Client", lambda models: InProcess(tmp_path, models))
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no image")
    assert main(["volumes", "--json", str(bad)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == {"file", "files", "error"}
