"""The decoder of the segmentation file: MONAI's numbers, where the mask lies, and the command."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from checkpoint_files import NARROW, monai_unetr, v2_backbone, v2_segmentation
from in_process import InProcess

from BrainIACLib.checkpoints.conversion_process import convert
from BrainIACLib.checkpoints.installed import InstalledModel, load_mask_net
from BrainIACLib.checkpoints.recognition import recognise
from BrainIACLib.cli import main
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.masks import MaskMaker, find_mask_model
from BrainIACLib.models.unetr import Unetr, UnetrDecoder
from BrainIACLib.models.vit import ViT
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.preprocessing.template import icbm152

SIZE = (96, 96, 96)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> InstalledModel:
    """A narrow segmentation file, converted as an import does."""
    store = tmp_path_factory.mktemp("store")
    torch.manual_seed(0)
    torch.save(v2_segmentation().content, store / "segmentation.ckpt")
    out = store / "models" / "masks"
    out.mkdir(parents=True)
    convert(store / "segmentation.ckpt", "embedding", "2026-01-01T00:00:00+00:00", out)
    return InstalledModel(out, read_contract(out))


def test_encoder_and_decoder_give_the_numbers_of_monai():
    torch.manual_seed(1)
    theirs = monai_unetr().eval()
    state = theirs.state_dict()
    encoder, decoder = ViT(NARROW), UnetrDecoder(int(768 * NARROW))
    encoder.load_state_dict(
        {key[4:]: value for key, value in state.items() if key.startswith("vit.") and "norm_cross_attn" not in key}
    )
    decoder.load_state_dict({key: value for key, value in state.items() if not key.startswith("vit.")})
    image = torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = theirs(image)
        assert expected.std() > 0.1
        torch.testing.assert_close(Unetr(encoder, decoder).eval()(image), expected, rtol=1e-4, atol=1e-4)


def test_an_import_keeps_the_decoder_under_a_contract_of_its_own(model):
    mask = model.contract.mask
    assert (mask.label, mask.slots, mask.threshold) == ("tumor", ("FLAIR",), 0.5)
    assert mask.weights in model.contract.files()
    assert not any("unetr.decoder" in key or "unetr.out" in key for key in model.contract.source.dropped_keys)
    assert any("documents only" in text for text in model.contract.unverified)
    assert "tumor, of a FLAIR scan" in (model.folder / "card.md").read_text(encoding="utf-8")


def test_a_decoder_that_does_not_fit_is_refused():
    shapes = {key: tuple(value.shape) for key, value in v2_segmentation().state.items()}
    shapes["model.unetr.decoder3.transp_conv.conv.weight"] = (64, 32, 3, 3, 3)
    with pytest.raises(ModelError, match=r"decoder3\.transp_conv\.conv\.weight: expected"):
        recognise(shapes)
    plain = {key: tuple(value.shape) for key, value in v2_backbone().state.items()}
    assert not recognise(plain).decoder_keys


def study() -> Standardised:
    """A scan whose grid is turned and shifted against the template's."""
    template = icbm152().image
    transform = sitk.Euler3DTransform()
    transform.SetRotation(0.0, 0.0, np.deg2rad(20))
    transform.SetTranslation((5.0, -3.0, 2.0))
    native = sitk.Image(110, 130, 110, sitk.sitkFloat32)
    native.SetSpacing((2.0, 2.0, 2.0))
    native.SetOrigin((-105.0, -125.0, -80.0))
    return Standardised(
        native, template, sitk.Cast(template > 0, sitk.sitkUInt8), sitk.Cast(native < 1, sitk.sitkUInt8), transform, ()
    )


def test_the_mask_lies_where_the_transform_says_and_has_its_volume(model, monkeypatch):
    maker = MaskMaker(folders=[model.folder.parent])
    logits = torch.full((1, 1, *SIZE), -9.0)
    logits[0, 0, 30:40, 50:60, 40:50] = 9.0  # on the encoder's grid, in RAS order
    monkeypatch.setattr(maker, "_net", lambda inputs: logits)
    prepared = study()
    found = maker.mask(prepared)
    spacing = np.array([197, 233, 189]) / 96
    assert found.ml == pytest.approx(1000 * float(np.prod(spacing)) / 1000, rel=0.1)
    z, y, x = (float(v) for v in np.argwhere(sitk.GetArrayFromImage(found.image)).mean(0))
    middle = np.array(prepared.native.TransformContinuousIndexToPhysicalPoint((x, y, z)))
    ras = np.array([-98.5, -134.5, -72.5]) + spacing * np.array([35, 55, 45])
    expected = np.array(prepared.transform.TransformPoint((-ras[0], -ras[1], ras[2])))
    assert middle == pytest.approx(expected, abs=1.0)
    assert found.label == "tumor"


def test_the_net_that_is_loaded_is_the_one_that_was_converted(model):
    net = load_mask_net(model)
    assert isinstance(net, Unetr)
    (model.folder.parent / "other").mkdir()
    with pytest.raises(ModelError, match="No model 'nobody' that makes a mask"):
        find_mask_model([model.folder.parent], "nobody")
    assert find_mask_model([model.folder.parent]).contract.id == model.contract.id


def test_the_command_says_where_to_get_a_model_that_makes_masks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("BrainIACLib.cli.answering.Client", lambda models: InProcess(tmp_path, models))
    image = tmp_path / "scan.nii.gz"
    image.write_bytes(b"no image")
    assert main(["segment", "--json", str(image)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "error" in json.loads(line)
