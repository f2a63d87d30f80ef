"""Write the bundled anatomy network as a model folder: fp16 weights, the contract, and the record of the training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from BrainIACLib.contracts import ModelContract, contract_to_json
from BrainIACLib.models.anatomy import AnatomyEncoder
from Training.starter.anatomy.contract import anatomy_encoder_contract
from Training.starter.anatomy.refinement import Refinement
from Training.starter.anatomy.training import Recipe

ID, WEIGHTS = "structure-volumes", "encoder.safetensors"


def export(
    net: AnatomyEncoder, folder: Path, recipe: Recipe, refinement: Refinement | None, facts: dict[str, Any]
) -> ModelContract:
    """Write ``encoder.safetensors``, ``contract.json`` and ``training.json`` to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}, folder / WEIGHTS)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    persons = {*facts.get("real_scans_with_volumes", ()), *facts.get("real_scans_with_label_maps", ())}
    real, maps = len(persons), len(facts["label_maps"])
    several = len(facts.get("real_scans_of_several_sequences", ()))
    contract = ModelContract(
        id=ID,
        title="Volumes of brain structures",
        version="1.0.0" if refinement is None else "2.0.0",
        licence="CC BY-SA 3.0 (trained on IXI scans: share alike)" if real else "Apache-2.0",
        citation="BrainIAC for 3D Slicer, anatomy network; label maps: Billot et al. 2023, SynthSeg; scans: IXI, "
        "brain-development.org; their volumes: NiChart DLMUSE."
        + (" Four sequences each: RSNA-ASNR-MICCAI-BraTS-2021, doi 10.7937/jc8x-9874." if several else ""),
        training_data=f"Images simulated from {maps} SynthSeg training label maps (Apache-2.0)"
        + (
            f"; {real} T1 scans of IXI (CC BY-SA 3.0) with volumes measured by DLMUSE; four sequences "
            f"each of {several} persons with a tumor (BraTS 2021, CC BY 4.0)."
            if real
            else "; no real scan."
        ),
        intended_use="Research: volumes of brain structures, and an embedding that is made of them. Not for diagnosis.",
        encoder=anatomy_encoder_contract(digest, recipe.width),
        head=None,
    )
    (folder / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    record = {
        "recipe": dataclasses.asdict(recipe),
        "refinement": refinement and dataclasses.asdict(refinement),
        **facts,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return contract
