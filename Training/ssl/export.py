"""From a run to a foundation model: a folder that ``brainiac models import`` takes (contract, safetensors, card).

The projector stays behind (C-14). The card keeps the run's real recipe, step and data (U-06).
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path

import torch
import yaml
from safetensors.torch import save
from torch import nn

import BrainIACLib
from BrainIACLib.checkpoints.importing import CARD, TRAINED_ON
from BrainIACLib.checkpoints.model_card import model_card
from BrainIACLib.contracts import ModelContract, SourceContract, contract_to_json
from BrainIACLib.errors import TrainingError
from BrainIACLib.models.encoders import empty_encoder
from BrainIACLib.publishing import replace_folder, staging_folder
from Training.data.cache import Cache
from Training.data.fingerprints import Fingerprints, write_fingerprints
from Training.data.standardising import standardising_of
from Training.ssl.config import Network, Pretraining, as_plain

FINGERPRINTS = (
    "Keyed hashes of the ids of the patients and of the images that the encoder was trained on, so that a later test "
    "can be compared with them. They hold no name; but who knows an id, or has an image, can ask whether it is among "
    "them. `brainiac models import` keeps the file, `brainiac models export` leaves it out; delete it before passing "
    "this folder on as it is, if that must not be."
)
CITATION = (
    "BrainIAC for 3D Slicer; method: Tak et al., A generalizable foundation model for analysis of human brain MRI, "
    "Nature Neuroscience 2026, doi 10.1038/s41593-026-02202-6; Chen et al. 2020, SimCLR"
)


def export_encoder(
    encoder: nn.Module,
    folder: Path,
    config: Pretraining,
    cache: Cache,
    step: int,
    trained_on: list[int],
    fingerprints: Fingerprints,
) -> ModelContract:
    """Write the model folder; an older one of that name is replaced once the new one is complete.

    Parameters
    ----------
    trained_on : rows of the cache, and ``fingerprints`` : of their patients and images.

    Raises
    ------
    TrainingError : weights that are not finite, or files that cannot be written; an older folder is then still there.
    """
    refuse_broken_weights(encoder, step)
    weights = save({key: value.detach().cpu().contiguous().clone() for key, value in encoder.state_dict().items()})
    contract = _contract(config, cache, step, trained_on, weights)
    recipe = yaml.safe_dump({"step": step, **as_plain(config)}, sort_keys=False)
    card = f"{model_card(contract)}\n## Recipe\n\n```yaml\n{recipe}```\n\n## {TRAINED_ON}\n\n{FINGERPRINTS}\n"
    try:
        with staging_folder(folder.parent) as incoming:
            (incoming / "encoder.safetensors").write_bytes(weights)
            (incoming / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
            (incoming / CARD).write_text(card, encoding="utf-8")
            write_fingerprints(fingerprints, incoming)
            replace_folder(incoming, folder)
    except OSError as error:
        raise TrainingError(
            f"'{folder}' cannot be written ({error.strerror}); a model that was there before is kept. Close what has "
            "it open, free some space or choose another --out, and run the command again."
        ) from None
    return contract


def refuse_broken_weights(net: nn.Module, step: int) -> None:
    """Raise TrainingError where weights are NaN or infinite: to save them would end the run for good."""
    for key, value in net.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise TrainingError(
                f"The weights '{key}' are no longer finite at step {step}; what was saved before is kept. Lower "
                "optimisation.learning_rate, or look for damaged volumes."
            )


def _contract(config: Pretraining, cache: Cache, step: int, trained_on: list[int], weights: bytes) -> ModelContract:
    sha256 = hashlib.sha256(weights).hexdigest()
    network = config.network
    rows = cache.table.iloc[trained_on]
    datasets = ", ".join(sorted(rows["dataset"].unique())) if "dataset" in rows else "unnamed"
    encoder = standardising_of(cache.preprocessing).encoder_contract(
        architecture=network.architecture,
        width=network.width,
        embedding=network.embedding,
        embedding_size=_embedding_size(network),
        weights="encoder.safetensors",
        sha256=sha256,
        orientation_matters=config.views.flip_probability == 0,
    )
    return ModelContract(
        id=f"{config.name}-{sha256[:8]}",
        title=f"{config.name}, SimCLR pretraining ({network.architecture}, width {network.width:g}), step {step}",
        version=BrainIACLib.__version__,
        licence="as the person who trained it says",
        citation=CITATION,
        training_data=f"{len(rows)} scans of {rows['patient'].nunique()} patients: {datasets}",
        intended_use="Research only: embeddings of brain MRI for heads to be trained on. Not for diagnosis.",
        encoder=encoder,
        head=None,
        source=SourceContract(
            name=f"step-{step}.safetensors",
            sha256=sha256,
            layout="encoder of a pretraining run of this project (Training/ssl), without its projector",
            dropped_keys=("projector.*",),
            allowed_missing_keys=(),
            terms_accepted=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
    )


def _embedding_size(network: Network) -> int:
    return empty_encoder(network.architecture, network.width, network.embedding).embedding_size
