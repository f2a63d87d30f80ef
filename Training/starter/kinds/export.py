"""Write a trained net of thirteen names as a model folder: weights, contract, card and recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from pathlib import Path

import torch
from safetensors.torch import save

from BrainIACLib.contracts import HeadContract, ModelContract, contract_to_json
from BrainIACLib.models.heads import EncoderWithHead
from Training.starter.export import encoder_contract
from Training.starter.kinds.samples import LABELS
from Training.starter.kinds.training import Recipe
from Training.starter.samples import CLIP_PERCENTILES, INPUT_SIZE

if typing.TYPE_CHECKING:
    from Training.starter.kinds.calibration import Calibration

VALID_RANGE = (
    "One scan of a head of any age, best brain-extracted and registered to the template; whole heads are accepted. "
    "Below two years of age and after failed brain extraction it is less reliable. A diffusion b0 or functional image "
    "can look like a T2, a trace image like a FLAIR: their names are hints. Contrasts that it has no name for should "
    "fall below the confidence gate."
)


def export_model(
    net: EncoderWithHead,
    out: Path,
    recipe: Recipe,
    calibration: "Calibration",
    facts: dict[str, dict | list | int],
) -> ModelContract:
    """Write the folder ``out``; ``facts`` (label maps, validation accuracy) go into ``recipe.json`` and the card."""
    out.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, part in (("encoder", net.encoder), ("head", net.head)):
        tensors = {
            key: value.half().contiguous() if value.is_floating_point() else value
            for key, value in part.state_dict().items()
        }
        content = save(tensors)
        (out / f"{name}.safetensors").write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    contract = ModelContract(
        id="sequence-starter",
        title="MRI sequence (starter model)",
        version="2.0.0",
        licence="Apache-2.0",
        citation="BrainIAC for 3D Slicer, starter model; label maps: Billot et al. 2023, SynthSeg.",
        training_data="Simulated MR images from 13 SynthSeg training label maps (Apache-2.0), and open scans (CC0, "
        "CC BY, MIT, BSD: BraTS 2021, UPENN-GBM, Ljubljana MS, OpenNeuro, test data of public software; see the card).",
        intended_use="Research: name the sequence of a brain MRI and embed it. Not for diagnosis.",
        encoder=encoder_contract(recipe.width, digests["encoder"]),
        head=HeadContract(
            task="sequence",
            head_type="linear",
            outputs=len(LABELS),
            link="softmax",
            labels=LABELS,
            unit=None,
            slots=("any",),
            missing_policy="refuse",
            temperature=calibration.temperature,
            confidence_gate=calibration.gate,
            valid_range=VALID_RANGE,
            polarity_verified=True,
            weights="head.safetensors",
            sha256=digests["head"],
        ),
    )
    (out / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    card = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    card = card.format(
        width=recipe.width,
        parameters=f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} million",
        input_size=" x ".join(map(str, INPUT_SIZE)),
        clip=" and ".join(map(str, CLIP_PERCENTILES)),
        temperature=calibration.temperature,
        gate=calibration.gate,
        training_maps=len(facts["label_maps"]) - len(facts["held_out"]),
        held_out_maps=len(facts["held_out"]),
        simulated_steps=recipe.simulated.steps,
        named_steps=recipe.named.steps,
        mixed_steps=recipe.mixed.steps + recipe.longer.steps,
        kept=f"{recipe.kept:.0%}",
        real_scans=facts["real_scans"],
        batch_size=recipe.batch_size,
        accuracy=", ".join(f"{name} {value:.3f}" for name, value in calibration.accuracy.items()),
    )
    (out / "card.md").write_text(card, encoding="utf-8")
    recipe_facts = {
        "recipe": dataclasses.asdict(recipe),
        "calibration": dataclasses.asdict(calibration),
        "torch": torch.__version__,
        **facts,
    }
    (out / "recipe.json").write_text(json.dumps(recipe_facts, indent=2) + "\n", encoding="utf-8")
    return contract
