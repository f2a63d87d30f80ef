"""Write a trained net as a model folder: two fp16 safetensors files, the contract and a model card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

from BrainIACLib.contracts import EncoderContract, HeadContract, ModelContract, contract_to_json
from BrainIACLib.models.heads import EncoderWithHead
from Training.starter.image_formation import INPUT_SIZE
from Training.starter.samples import CLIP_PERCENTILES, LABELS
from Training.starter.training import Recipe

TEMPLATE = "icbm152_2009a_sym_t1_brain"
VALID_RANGE = (
    "One brain MRI of any age, best brain-extracted and registered to the template; whole heads are accepted. "
    "Trained on simulated images only; below two years of age and after failed brain extraction it is less reliable. "
    "Other contrasts than T1, T2, FLAIR and T1CE should be answered by 'other' or fall below the confidence gate."
)


def encoder_contract(width: float, sha256: str = "0" * 64) -> EncoderContract:
    """How the starter's input is made; training and inference share it."""
    return EncoderContract(
        architecture="resnet18",
        width=width,
        embedding="gap",
        embedding_size=int(512 * width),
        input_size=INPUT_SIZE,
        resize_mode="area-inside",
        normalisation="nonzero-zscore",
        clip_percentiles=CLIP_PERCENTILES,
        template=TEMPLATE,
        skull_stripped="preferred",
        weights="encoder.safetensors",
        sha256=sha256,
    )


def export_model(
    net: EncoderWithHead,
    out: Path,
    recipe: Recipe,
    temperature: float,
    gate: float,
    facts: dict[str, dict | list | int],
) -> ModelContract:
    """Write the folder ``out``; ``facts`` (label maps, validation accuracy) go into ``recipe.json`` and the card."""
    digests = write_weights(net, out)
    contract = ModelContract(
        id="sequence-starter",
        title="MRI sequence (starter model)",
        version="1.2.0",
        licence="Apache-2.0",
        citation="BrainIAC for 3D Slicer, starter model; label maps: Billot et al. 2023, SynthSeg.",
        training_data="Simulated MR images from 13 SynthSeg training label maps (Apache-2.0); no real scan.",
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
            temperature=temperature,
            confidence_gate=gate,
            valid_range=VALID_RANGE,
            polarity_verified=True,
            weights="head.safetensors",
            sha256=digests["head"],
        ),
    )
    card = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    card = card.format(
        **facts_of_the_net(net, recipe.width, facts),
        temperature=temperature,
        gate=gate,
        steps=sum(steps for steps, _ in recipe.cycles),
        batch_size=recipe.batch_size,
        accuracy=", ".join(f"{name} {value:.3f}" for name, value in facts["validation_accuracy"].items()),
    )
    write_documents(contract, card, {"recipe": dataclasses.asdict(recipe), **facts}, out)
    return contract


def write_weights(net: EncoderWithHead, out: Path) -> dict[str, str]:
    """Encoder and head as half precision in the folder ``out``; the sha256 of each."""
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
    return digests


def facts_of_the_net(net: EncoderWithHead, width: float, facts: dict[str, dict | list | int]) -> dict[str, object]:
    """What every card says of the net and its label maps."""
    return {
        "width": width,
        "parameters": f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} million",
        "input_size": " x ".join(map(str, INPUT_SIZE)),
        "clip": " and ".join(map(str, CLIP_PERCENTILES)),
        "training_maps": len(facts["label_maps"]) - len(facts["held_out"]),
        "held_out_maps": len(facts["held_out"]),
    }


def write_documents(contract: ModelContract, card: str, recipe: dict[str, object], out: Path) -> None:
    """``contract.json``, ``card.md`` and ``recipe.json``."""
    (out / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    (out / "card.md").write_text(card, encoding="utf-8")
    text = json.dumps({"torch": torch.__version__, **recipe}, indent=2)
    (out / "recipe.json").write_text(text + "\n", encoding="utf-8")
