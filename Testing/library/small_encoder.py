"""An encoder of 2 MB at random initialization, as an installed model: embeddings in a hundredth of a second."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from BrainIACLib.contracts import EncoderContract, ModelContract, contract_to_json
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.models.encoders import encoder

SIZE = 64


def install_small_encoder(store: Path, seed: int = 0) -> ModelContract:
    """Write the model folder ``small`` into the store; embeddings of ``SIZE`` numbers."""
    folder = store / "small"
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = encoder("resnet10", SIZE / 512, "gap")
    save_file(net.state_dict(), folder / "encoder.safetensors")
    contract = ModelContract(
        id="small",
        title="small encoder",
        version="1",
        licence="none",
        citation="none",
        training_data="none",
        intended_use="tests",
        encoder=EncoderContract(
            architecture="resnet10",
            width=SIZE / 512,
            embedding="gap",
            embedding_size=SIZE,
            input_size=(32, 32, 32),
            resize_mode="area",
            normalisation="nonzero-zscore",
            clip_percentiles=None,
            template="none",
            skull_stripped="preferred",
            weights="encoder.safetensors",
            sha256=file_sha256(folder / "encoder.safetensors"),
        ),
        head=None,
    )
    (folder / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    return contract
