"""A model as a MONAI bundle: its network as TorchScript, the whole model folder, and what ``monai.bundle`` reads.

    python -m monai.bundle run --config_file DIR/configs/inference.json --bundle_root DIR --scans "['scan.nii.gz']"

The network alone (input on the model's grid to answers) needs MONAI only: temperature and link are inside, so that it
gives the calibrated probabilities, or the number in the unit shown, that this library gives. Reading and standardizing
a scan needs this library, since rigid registration and brain extraction are no MONAI transforms.
"""

from __future__ import annotations

import json
import typing
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import BrainIACLib
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.checkpoints.installed import Folders, InstalledModel, load_model
from BrainIACLib.contracts import HeadContract, ModelContract, read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.exports.model_folder import write_whole_model
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.publishing import publish_folder, staging_folder
from BrainIACLib.scans import read_scan

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.models.heads import EncoderWithHead

CHECKED_MONAI = "1.6.1"


def answering(model: "EncoderWithHead", head: HeadContract) -> "torch.nn.Module":
    """Inputs (scans, 1, X, Y, Z) to answers: probabilities (., classes), or the number (., 1) in the unit shown.

    A head of one scan answers each scan; a head of several slots answers once, for the mean of the embeddings.
    """
    import torch

    from BrainIACLib.models.heads import linked

    class Answering(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, scans: torch.Tensor) -> torch.Tensor:
            embeddings = self.model.encoder(scans)
            if len(head.slots) > 1:
                embeddings = embeddings.mean(dim=0, keepdim=True)
            answers = linked(self.model.head(embeddings), head.link, head.temperature)
            return answers * (head.conversion or 1.0) if head.link == "identity" else answers

    return Answering().eval()


class ScanToInput:
    """A path to what the network takes, (1, X, Y, Z): the first step of the bundle's inference."""

    def __init__(self, model_folder: str):
        self._encoder = read_contract(Path(model_folder)).encoder

    def __call__(self, path: str) -> "torch.Tensor":
        return model_input(standardise(read_scan(Path(path)).image).image, self._encoder)[0]


def export_monai_bundle(model: InstalledModel, out: Path, folders: Folders = None) -> Path:
    """Write the bundle into the new folder ``out``; it appears whole or not at all.

    Raises
    ------
    ModelError : ``out`` exists or cannot be written, the model has no head, or its encoder is not installed.
    """
    import torch

    contract = model.contract
    if contract.head is None:
        raise ModelError(f"'{contract.id}' has no head, so there is no answer to put into a bundle.")
    if out.exists():
        raise ModelError(f"'{out}' exists already; choose another name.")
    try:
        with staging_folder(out.parent) as staging:
            for name in ("configs", "docs", "models/brainiac"):
                (staging / name).mkdir(parents=True)
            write_whole_model(model, staging / "models" / "brainiac", folders)
            metadata = _metadata(contract, contract.head)
            net = answering(load_model(model, folders), contract.head)
            example = torch.zeros(len(contract.head.slots), 1, *contract.encoder.input_size)
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # TorchScript is old, and what MONAI's bundles hold
                traced = torch.jit.trace(net, example, check_trace=False)
                described = {"metadata.json": json.dumps(metadata)}  # where monai.bundle.load looks for it
                torch.jit.save(traced, str(staging / "models" / "model.ts"), _extra_files=described)
            _write(staging / "configs" / "metadata.json", metadata)
            _write(staging / "configs" / "inference.json", INFERENCE | _outputs(contract.head))
            card = model.folder / "card.md"
            text = card.read_text(encoding="utf-8") if card.is_file() else f"# {contract.title}\n"
            (staging / "docs" / "README.md").write_text(text, encoding="utf-8")
            publish_folder(staging, out)
    except OSError as error:
        raise ModelError(f"'{out}' cannot be written ({error.strerror}); choose another place.") from None
    return out


INFERENCE = {
    "bundle_root": ".",
    "scans": [],
    "device": "cpu",
    "network_def": {
        "_target_": "torch.jit.load",
        "f": "$@bundle_root + '/models/model.ts'",
        "map_location": "@device",
    },
    "preprocessing": {
        "_target_": "BrainIACLib.exports.monai_bundle.ScanToInput",
        "model_folder": "$@bundle_root + '/models/brainiac'",
    },
    "run": ["$print(@outputs)"],
}


def _outputs(head: HeadContract) -> dict[str, str]:
    """One answer a scan; of several slots one for all scans together, in the order of ``head.slots``."""
    if len(head.slots) == 1:
        return {"outputs": "$[@network_def(@preprocessing(scan)[None].to(@device))[0].tolist() for scan in @scans]"}
    together = "__import__('torch').stack([@preprocessing(scan) for scan in @scans]).to(@device)"
    return {"outputs": f"$[@network_def({together})[0].tolist()]"}


def _metadata(contract: ModelContract, head: HeadContract) -> dict[str, Any]:
    encoder = contract.encoder
    channels = {str(i): label for i, label in enumerate(head.display_labels or (head.display_unit or head.unit,))}
    scans = f"One batch is one study: {', '.join(head.slots)}, in this order. " if len(head.slots) > 1 else ""
    coarse = (
        "Of scans with coarse voxels brainiac gives a share of an answer to the diffusion, functional and field-map "
        "images that look alike; this network cannot. "
        if head.task == SEQUENCE_TASK
        else ""
    )
    return {
        "version": contract.version,
        "changelog": {contract.version: "exported"},
        "monai_version": CHECKED_MONAI,
        "pytorch_version": _installed("torch"),
        "numpy_version": np.__version__,
        "required_packages_version": {"brainiac-slicer": BrainIACLib.__version__},
        "name": contract.id,
        "task": head.task,
        "description": f"{contract.title}. {head.valid_range} {scans}{coarse}Research use only; not for diagnosis.",
        "authors": "see the model card",
        "copyright": contract.licence,
        "data_source": contract.training_data,
        "data_type": "nifti, nrrd, dicom",
        "intended_use": contract.intended_use,
        "eval_metrics": list(head.metrics),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": 1,
                    "spatial_shape": list(encoder.input_size),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {"0": f"brain on the template, {encoder.resize_mode}, {encoder.normalisation}"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities" if head.labels else "image",
                    "format": "classes" if head.labels else "regression",
                    "num_channels": len(channels),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [0, 1] if head.labels else [],
                    "is_patch_data": False,
                    "channel_def": channels,
                }
            },
        },
    }


def _installed(package: str) -> str:
    from importlib import metadata

    return metadata.version(package)


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
