r"""Reproduce the bundled model ``sequence-starter`` from its version 1.2: train, judge by left-out studies, export.

    python -m Training.starter.kinds.train --data ../shared/data --public runs/public \
        --out Resources/Models/sequence-starter

One process draws the simulated heads while another trains: first on them alone, from the weights of version 1.2, then
with the open scans in the mix, once with all (exported) and once without each fold of studies (judged). It learns
thirteen names, of which the last step leaves the four and "other" (``merging``). ``--work`` keeps the samples, the
standardized scans, every stage and the answers: the same command goes on with what is there.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from BrainIACLib.errors import BrainIACError, TrainingError
from BrainIACLib.models.heads import EncoderWithHead, LinearHead
from BrainIACLib.sequences import STANDARD_OR_OTHER
from Training.command import run
from Training.starter import SIMULATED_ONLY
from Training.starter.export import encoder_contract
from Training.starter.kinds.calibration import calibrated, judged
from Training.starter.kinds.export import export_model
from Training.starter.kinds.merging import merged
from Training.starter.kinds.real_scans import FOLDS, NEVER_LEARNED, RealDraws, RealScan, fold_of, real_scans
from Training.starter.kinds.samples import DRAWN, HEADS_PER_SHARD, draw_samples
from Training.starter.kinds.training import Recipe, Stage, blended, drawn, new_net, train, widened
from Training.starter.shards import ShardReader, write_shards
from Training.starter.trust import add_trust
from Training.synthesis.label_maps import label_map_files, load_label_map

LAST_STAGES = {name: f"without {name}" for name in FOLDS} | {NEVER_LEARNED: "all"}
"""Which stage did not see the studies of a fold."""
MERGING = 1000  # seeds the draws of the last step, as the number of a stage does
TRUSTED = 48  # training shards whose embeddings tell what is new
HELD_OUT = ("synthseg_training_seg_05", "synthseg_training_seg_11", "synthseg_training_seg_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv and labelmaps")
    parser.add_argument("--public", type=Path, help="what public_series wrote of lists 0 and 1")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/kinds"), help="samples, scans and checkpoints (4 GB)")
    parser.add_argument("--cache", type=Path, help="standardized scans (default: in the work folder)")
    arguments = parser.parse_args()
    recipe, work = Recipe(), arguments.work
    torch.set_num_threads(1)
    start = started_from(recipe)
    _files(arguments.data)  # refuses a wrong folder now, not in the process that draws

    painter = multiprocessing.get_context("spawn").Process(
        target=generate, args=(arguments.data / "labelmaps", work, recipe), daemon=True
    )
    painter.start()

    def check() -> None:
        if not painter.is_alive() and painter.exitcode != 0:
            raise TrainingError("The process that draws the samples has stopped; its error stands above.")

    scans = real_scans(arguments.data, arguments.cache or work / "standardised", arguments.public)
    final, folds = stages(recipe, scans, start, work, check)
    validation = ShardReader(work, recipe.validation_seed, DRAWN, check)
    validation.grow(recipe.validation_shards)
    answers = judged(final, folds, scans, validation)
    learned = [scan for scan in scans if fold_of(scan.study) != NEVER_LEARNED]
    facts = {
        "label_maps": {
            label_map.name: label_map.sha256
            for label_map in (load_label_map(path, work / "labelmaps") for path in _files(arguments.data))
        },
        "held_out": HELD_OUT,
        "real_scans": len({scan.file for scan in learned}),
    }
    export_model(final, arguments.out, recipe, calibrated(answers), facts)
    seeds, shards = (recipe.seed, recipe.validation_seed), (TRUSTED, recipe.validation_shards)
    add_trust(arguments.out, work, seeds, shards, ("simulated images", "open scans"))
    painter.join()


def started_from(recipe: Recipe) -> EncoderWithHead:
    """The net with the weights of version 1.2, whose files must be those of the recipe."""
    parts = []
    for name, sha256 in (("encoder", recipe.start_encoder), ("head", recipe.start_head)):
        content = (SIMULATED_ONLY / f"{name}.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BrainIACError(f"'{SIMULATED_ONLY}' holds another {name} than version 1.2 of the sequence model.")
        parts.append(load(content))
    return widened(new_net(recipe), *parts)


def stages(
    recipe: Recipe, scans: list[RealScan], start: EncoderWithHead, work: Path, check: Callable[[], None]
) -> tuple[EncoderWithHead, dict[str, EncoderWithHead]]:
    """The net after simulated heads and then all scans, and one net per fold that did not see its studies."""
    contract = encoder_contract(recipe.width)
    reader = ShardReader(work, recipe.seed, DRAWN, check)

    def learned_from(left_out: str) -> RealDraws:
        return RealDraws([scan for scan in scans if fold_of(scan.study) not in (left_out, NEVER_LEARNED)], contract)

    def stage(name: str, net: EncoderWithHead, what: Stage, number: int, left_out: str = "") -> EncoderWithHead:
        done = work / f"{name}.pt"
        if not done.is_file():
            real = learned_from(left_out) if what.real_share else None
            trained = train(net, recipe, what, number, reader, real, work / f"{name}.last", _growing(recipe, number))
            torch.save(trained.state_dict(), done)
        net = new_net(recipe)
        net.load_state_dict(torch.load(done, weights_only=True))
        return net.eval()

    base = stage("simulated", _copy(start, recipe), recipe.simulated, 0)

    def mixed(name: str, number: int, left_out: str = "") -> EncoderWithHead:
        stage(name, _copy(base, recipe), recipe.mixed, number, left_out)
        net = thirteen_names(recipe, work / f"{name}.pt", start)
        done = work / f"{name}, merged.pt"
        if not done.is_file():
            torch.save(merged(net, embeddings(net, recipe, reader, learned_from(left_out))).state_dict(), done)
        return _merged_net(recipe, done)

    final = mixed("all", 2)
    return final, {name: mixed(f"without {name}", 3 + i, name) for i, name in enumerate(FOLDS)}


def thirteen_names(recipe: Recipe, path: Path, start: EncoderWithHead) -> EncoderWithHead:
    """The net of a finished last stage, mixed with the first weights, before its names are merged."""
    net = new_net(recipe)
    net.load_state_dict(torch.load(path, weights_only=True))
    return blended(net, start, recipe.kept).eval()


def left_out_nets(recipe: Recipe, work: Path) -> dict[str, EncoderWithHead]:
    """Fold -> the net that did not see its studies, of a finished training in ``work``."""
    return {fold: _merged_net(recipe, work / f"{stage}, merged.pt") for fold, stage in LAST_STAGES.items()}


def _merged_net(recipe: Recipe, path: Path) -> EncoderWithHead:
    """As it is exported, and so judged: with weights of half precision."""
    encoder = new_net(recipe).encoder
    net = EncoderWithHead(encoder, LinearHead(encoder.embedding_size, len(STANDARD_OR_OTHER)))
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval().half().float()


@torch.no_grad()
def embeddings(net: EncoderWithHead, recipe: Recipe, reader: ShardReader, real: RealDraws) -> Tensor:
    """(n, size) of ``recipe.merging`` batches as the last stage sees them."""
    reader.grow(recipe.shards)
    batches = []
    for step in range(recipe.merging):
        rng = np.random.default_rng((recipe.seed, MERGING, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        volumes, _, _ = drawn(recipe, recipe.mixed, reader, real, rng, generator)
        batches.append(net.encoder(volumes))
    return torch.cat(batches)


def _copy(net: EncoderWithHead, recipe: Recipe) -> EncoderWithHead:
    copy = new_net(recipe)
    copy.load_state_dict(net.state_dict())
    return copy


def _growing(recipe: Recipe, number: int) -> Callable[[float], int]:
    """Training and drawing overlap: the first stage begins with a part of the shards."""
    if number:
        return lambda share: recipe.shards
    return lambda share: min(recipe.shards, int(recipe.shards * (recipe.at_start + share)) + 1)


def _files(data: Path) -> list[Path]:
    return label_map_files(data / "labelmaps")


def generate(labelmaps: Path, work: Path, recipe: Recipe) -> None:
    """Draw the simulated heads that are not there yet; the held-out label maps go into the validation shards."""
    if hasattr(os, "nice"):  # training goes first
        os.nice(10)
    torch.set_num_threads(1)
    maps = [load_label_map(path, work / "labelmaps") for path in label_map_files(labelmaps)]
    contract = encoder_contract(recipe.width)
    held_out = [label_map for label_map in maps if label_map.name in HELD_OUT]
    training = [label_map for label_map in maps if label_map.name not in HELD_OUT]
    for seed, shards, chosen in (
        (recipe.seed, recipe.shards, training),
        (recipe.validation_seed, recipe.validation_shards, held_out),
    ):
        draw = functools.partial(draw_samples, seed, label_maps=chosen, contract=contract)
        write_shards(work, seed, range(shards), HEADS_PER_SHARD, draw, DRAWN)


if __name__ == "__main__":
    raise SystemExit(run("kinds.train", main))
