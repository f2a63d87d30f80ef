"""The exported bundle is loaded by MONAI's own tools and gives our outputs (F-23)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser, load, run

from BrainIACLib.checkpoints.installed import find_model, load_model
from BrainIACLib.errors import ModelError
from BrainIACLib.head_training import monai_bundle
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
    with torch.inference_mode():
        assert torch.allclose(traced(inputs), net(inputs), atol=1e-4)
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
    assert np.allclose(printed[0], ours.numpy(), atol=1e-4)
    with pytest.raises(ModelError, match="exists already"):
        monai_bundle.export_monai_bundle(model, out)
