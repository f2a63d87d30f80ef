"""Give a sequence model its trust statistics, from simulated images only.

    python -m Training.starter.trust --work runs/starter --model Training/starter/simulated

Reads the shards that ``Training.starter.train`` drew, embeds a share of them, and writes beside the model: the
statistics of the training embeddings of the four sequences (``ood.safetensors``), and into the contract the conformal
quantile of the held-out simulated heads, with the coverage measured on shards of them that set neither the quantile nor
the weights (their one temperature was fitted on all). Weights, temperature and gate stay as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import contract_to_json, read_contract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing import write_text
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.statistics.conformal import classification_scores
from BrainIACLib.trust.conformal import conformal_of
from BrainIACLib.trust.novelty import novelty_of, write_novelty
from Training.command import run
from Training.starter import SIMULATED_ONLY
from Training.starter.samples import LABELS, decode
from Training.starter.shards import shard_path
from Training.starter.training import Recipe

OOD = "ood.safetensors"
SEQUENCES = [LABELS.index(name) for name in STANDARD_NAMES]
FOLDS = 5


def add_trust(
    model_folder: Path,
    work: Path,
    seeds: tuple[int, int],
    shards: tuple[int, int],
    training_sets: tuple[str, ...] = ("simulated images",),
    coverage: float = 0.9,
) -> dict[str, float]:
    """Write the statistics and the new contract; returns the figures that went into them.

    Parameters
    ----------
    work : folder of the shards; their labels are numbers in the order of the model's, and what is beyond its last one,
        "other", counts as that.
    seeds, shards : of the training images and of those held out; how many shards of each to embed.
    """
    contract = read_contract(model_folder)
    net = load_model(InstalledModel(model_folder, contract))
    embeddings, labels, groups = _embedded(net, work, seeds[0], shards[0])
    known = np.isin(labels, SEQUENCES)
    novelty = novelty_of(embeddings[known], groups[known])
    sha256 = write_novelty(novelty, model_folder / OOD)
    held_out, truth, heads = _embedded(net, work, seeds[1], shards[1])
    truth = truth.clip(max=contract.head.outputs - 1)
    with torch.inference_mode():
        logits = net.head(torch.from_numpy(held_out).float()) / (contract.head.temperature or 1.0)
        probabilities = logits.double().softmax(dim=1).numpy()
    conformal = conformal_of(classification_scores(probabilities.clip(0, 1), truth), heads % FOLDS, coverage)
    head = dataclasses.replace(
        contract.head,
        ood_stats=OOD,
        ood_sha256=sha256,
        conformal=conformal.quantile,
        conformal_coverage=conformal.coverage,
        conformal_measured=conformal.measured,
        training_sets=training_sets,
    )
    write_text(contract_to_json(dataclasses.replace(contract, head=head)), model_folder / "contract.json")
    beyond = novelty.scores(held_out[np.isin(truth, SEQUENCES)]) > novelty.warn_above
    return {
        "cases": int(known.sum()),
        "warn_above": novelty.warn_above,
        "held_out_sequences_warned_of": float(beyond.mean()),
        "held_out_others_warned_of": float(
            (novelty.scores(held_out[~np.isin(truth, SEQUENCES)]) > novelty.warn_above).mean()
        ),
        "conformal_quantile": conformal.quantile,
        "conformal_measured": conformal.measured,
    }


def _embedded(net, work: Path, seed: int, shards: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, size) embeddings, (n,) labels and (n,) numbers of the shards."""
    parts, labels, groups = [], [], []
    for shard in range(shards):
        path = shard_path(work, seed, shard)
        if not path.is_file():
            raise BrainIACError(f"The shard '{path}' is missing; run Training.starter.train with this --work first.")
        volumes = torch.from_numpy(np.load(path))[:, None]
        with torch.inference_mode():
            for batch in volumes.split(8):
                parts.append(net.encoder(decode(batch)).numpy())
        labels.append(np.load(path.with_suffix(".labels.npy")))
        groups.append(np.full(len(volumes), shard))
    return np.concatenate(parts).astype(np.float64), np.concatenate(labels), np.concatenate(groups)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/starter"), help="where Training.starter.train worked")
    parser.add_argument("--model", type=Path, default=SIMULATED_ONLY, help="model folder")
    parser.add_argument("--shards", type=int, default=20, help="training shards to embed (20)")
    arguments = parser.parse_args(argv)
    recipe = Recipe()
    seeds, shards = (recipe.seed, recipe.validation_seed), (arguments.shards, recipe.validation_shards)
    figures = add_trust(arguments.model, arguments.work, seeds, shards)
    for name, figure in figures.items():
        print(f"{name}: {figure:.4g}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run("trust", main))
