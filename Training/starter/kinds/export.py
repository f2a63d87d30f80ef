"""Write the trained net as a model folder: weights, contract, card and recipe."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

from BrainIACLib.contracts import HeadContract, ModelContract
from BrainIACLib.models.heads import EncoderWithHead
from BrainIACLib.sequences import STANDARD_OR_OTHER
from Training.starter.export import VALID_RANGE, encoder_contract, facts_of_the_net, write_documents, write_weights
from Training.starter.kinds.training import Recipe

if typing.TYPE_CHECKING:
    from Training.starter.kinds.calibration import Calibration


def export_model(
    net: EncoderWithHead,
    out: Path,
    recipe: Recipe,
    calibration: "Calibration",
    facts: dict[str, dict | list | int],
) -> ModelContract:
    """Write the folder ``out``; ``facts`` (label maps, validation accuracy) go into ``recipe.json`` and the card."""
    digests = write_weights(net, out)
    contract = ModelContract(
        id="sequence-starter",
        title="MRI sequence (starter model)",
        version="1.3.0",
        licence="Apache-2.0",
        citation="BrainIAC for 3D Slicer, starter model; label maps: Billot et al. 2023, SynthSeg.",
        training_data="Simulated MR images from 13 SynthSeg training label maps (Apache-2.0), and open scans (CC0, "
        "CC BY, MIT, BSD: BraTS 2021, UPENN-GBM, Ljubljana MS, OpenNeuro, test data of public software; see the card).",
        intended_use="Research: name the sequence of a brain MRI and embed it. Not for diagnosis.",
        encoder=encoder_contract(recipe.width, digests["encoder"]),
        head=HeadContract(
            task="sequence",
            head_type="linear",
            outputs=len(STANDARD_OR_OTHER),
            link="softmax",
            labels=STANDARD_OR_OTHER,
            unit=None,
            slots=("any",),
            missing_policy="refuse",
            temperature=calibration.temperature,
            confidence_gate=calibration.gate,
            valid_range=VALID_RANGE.replace("Trained on simulated images only", "Trained on simulated and open scans"),
            polarity_verified=True,
            weights="head.safetensors",
            sha256=digests["head"],
        ),
    )
    card = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    card = card.format(
        **facts_of_the_net(net, recipe.width, facts),
        temperature=calibration.temperature,
        gate=calibration.gate,
        simulated_steps=recipe.simulated.steps,
        mixed_steps=recipe.mixed.steps,
        kept=f"{recipe.kept:.0%}",
        real_scans=facts["real_scans"],
        batch_size=recipe.batch_size,
        accuracy=", ".join(f"{name} {value:.3f}" for name, value in calibration.accuracy.items()),
    )
    recipe_facts = {"recipe": dataclasses.asdict(recipe), "calibration": dataclasses.asdict(calibration), **facts}
    write_documents(contract, card, recipe_facts, out)
    return contract
