"""The exported bundle is loaded by MONAI's own tools and gives our outputs (F-23)."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser, load, run

from BrainIACLib.answers import measurement, probabilities_of
from BrainIACLib.checkpoints.installed import find_model, load_model
from BrainIACLib.errors import ModelError
from BrainIACLib.exports import monai_bundle
from BrainIACLib.models.heads import EncoderWithHead, LinearHead
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.official_preset import take_as_stored
from BrainIACLib.resources import resource


def test_monai_loads_and_runs_the_bundle(tmp_path, monkeypatch, capsys):
    model = find_model("sequence", [resource("Models")])
    out = monai_bundle.export_monai_bundle(model, tmp_path / "sequence-starter", [resource("Models")])
    net = load_model(model)
    inputs = torch.randn(2, 1, *model.contract.encoder.input_size, generator=torch.Generator().manual_seed(0))
    parser = ConfigParser()
    parser.read_meta(str(out / "configs" / "metadata.json"))
    described = parser.get("_meta_::network_data_format::outputs::pred")
    assert list(described["channel_def"].values()) == list(model.contract.head.labels)
    traced, _, _ = load(name="sequence-starter", bundle_dir=str(tmp_path), source="github", load_ts_module=True)
    head = model.contract.head
    with torch.inference_mode():
        expected = [list(probabilities_of(head, row).values()) for row in net(inputs)]
        assert np.allclose(traced(inputs), expected, atol=1e-5)
    assert described["value_range"] == [0, 1]
    assert json.loads((out / "configs" / "metadata.json").read_text())["name"] == "sequence-starter"

    image = sitk.GetImageFromArray(np.random.default_rng(0).uniform(0, 9, (63, 78, 66)).astype(np.float32))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    monkeypatch.setattr(monai_bundle, "standardise", take_as_stored)  # so that no test waits for preprocessing
    run(
        config_file=str(out / "configs" / "inference.json"), bundle_root=str(out), scans=[str(tmp_path / "scan.nii.gz")]
    )
    printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    with torch.inference_mode():
        ours = net(model_input(sitk.ReadImage(str(tmp_path / "scan.nii.gz")), model.contract.encoder))[0]
    assert np.allclose(printed[0], list(probabilities_of(head, ours).values()), atol=1e-4)
    with pytest.raises(ModelError, match="exists already"):
        monai_bundle.export_monai_bundle(model, out)


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({"link": "softmax", "labels": ("a", "b", "c"), "outputs": 3, "temperature": 2.5}, 3),
        ({"link": "sigmoid", "labels": ("a", "b"), "outputs": 1, "temperature": 0.4}, 2),
        ({"link": "cloglog", "labels": ("no event", "event"), "outputs": 1}, 2),
        ({"link": "identity", "labels": None, "outputs": 1, "unit": "months", "slots": ("T1CE", "FLAIR")}, 1),
    ],
)
def test_the_network_of_a_bundle_answers_as_the_library_does(changes, classes):
    """Every link, a unit that is converted, and several scans of one study."""
    units = {"display_unit": "years", "conversion": 1 / 12} if changes["link"] == "identity" else {}
    bundled = find_model("sequence", [resource("Models")]).contract.head
    plain = {"slots": ("any",), "temperature": None, "threshold": None, "confidence_gate": None}
    head = dataclasses.replace(bundled, **{**plain, "conformal": None, "conformal_coverage": None, **changes, **units})
    net = EncoderWithHead(torch.nn.Flatten(), LinearHead(8, head.outputs)).eval()
    scans = torch.randn(2, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0)) * 5
    with torch.inference_mode():
        answers = monai_bundle.answering(net, head)(scans)
        if head.link == "identity":
            expected = [[measurement(head, net.head(net.encoder(scans).mean(dim=0))).value]]
        else:
            expected = [list(probabilities_of(head, row).values()) for row in net(scans)]
    assert answers.shape == (len(expected), classes)
    assert np.allclose(answers, expected, atol=1e-6)
