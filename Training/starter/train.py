"""Reproduce the first stage of the bundled model ``sequence-starter``, its version 1.2: simulated images alone.

    python -m Training.starter.train --labelmaps ../shared/data/labelmaps --out Training/starter/simulated

One process draws the samples while another trains. ``--work`` keeps the samples and a checkpoint of each cycle: the
same command with the same ``--work`` goes on with what is there.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
from pathlib import Path

import torch

from BrainIACLib.errors import TrainingError
from BrainIACLib.trust.temperature import fit_temperature
from Training.command import run
from Training.starter.export import encoder_contract, export_model
from Training.starter.samples import HEADS_PER_SHARD, LABELS, draw_samples
from Training.starter.shards import ShardReader, write_shards
from Training.starter.training import Recipe, choose_gate, logits_of, new_net, train
from Training.synthesis.label_maps import label_map_files, load_label_map

HELD_OUT = ("synthseg_training_seg_05", "synthseg_training_seg_11", "synthseg_training_seg_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelmaps", type=Path, required=True, help="folder of SynthSeg's training label maps")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/starter"), help="samples and checkpoints (about 6 GB)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the training process")
    arguments = parser.parse_args()
    recipe = Recipe()
    label_map_files(arguments.labelmaps)  # refuses a wrong folder now, not in the process that draws

    painter = multiprocessing.get_context("spawn").Process(
        target=_generate, args=(arguments.labelmaps, arguments.work, recipe), daemon=True
    )
    painter.start()

    def check() -> None:
        if not painter.is_alive() and painter.exitcode != 0:
            raise TrainingError("The process that draws the samples has stopped; its error stands above.")

    validation = ShardReader(arguments.work, recipe.validation_seed, LABELS, check)
    validation.grow(recipe.validation_shards)
    net = new_net(recipe)
    reader = ShardReader(arguments.work, recipe.seed, LABELS, check)
    for cycle in range(len(recipe.cycles)):
        trained = arguments.work / f"cycle{cycle + 1}.pt"
        if not trained.is_file():
            last = arguments.work / "last.pt"
            train(net, recipe, cycle, reader, last, arguments.threads)
            os.replace(last, trained)
        net.load_state_dict(torch.load(trained, weights_only=True)["average"])
    net = net.eval().half().float()  # calibrate the weights that are shipped
    volumes, labels, details, _ = validation.all()
    logits = logits_of(net, volumes)
    _print_errors(logits, labels, details)
    temperature = round(fit_temperature(logits.numpy(), labels.numpy()), 3)
    gate = choose_gate(logits, labels, temperature)
    answers = logits.argmax(1)
    accuracy = {name: round(float((answers[labels == i] == i).float().mean()), 4) for i, name in enumerate(LABELS)}
    print(f"held-out synthetic heads: accuracy {accuracy}, temperature {temperature}, gate {gate}")
    maps = [load_label_map(path, arguments.work / "labelmaps") for path in label_map_files(arguments.labelmaps)]
    facts = {
        "label_maps": {label_map.name: label_map.sha256 for label_map in maps},
        "held_out": HELD_OUT,
        "validation_accuracy": accuracy,
    }
    export_model(net, arguments.out, recipe, temperature, gate, facts)
    painter.join()


def _print_errors(logits: torch.Tensor, labels: torch.Tensor, details: list[str]) -> None:
    for answer, label, detail in zip(logits.argmax(1).tolist(), labels.tolist(), details, strict=True):
        if answer != label:
            print(f"held-out head: {LABELS[label]} called {LABELS[answer]}: {detail}")


def _generate(labelmaps: Path, work: Path, recipe: Recipe) -> None:
    torch.set_num_threads(1)
    maps = [load_label_map(path, work / "labelmaps") for path in label_map_files(labelmaps)]
    contract = encoder_contract(recipe.width)
    held_out = [label_map for label_map in maps if label_map.name in HELD_OUT]
    training = [label_map for label_map in maps if label_map.name not in HELD_OUT]
    for seed, shards, chosen in (
        (recipe.validation_seed, recipe.validation_shards, held_out),
        (recipe.seed, recipe.shards, training),
    ):
        draw = functools.partial(draw_samples, seed, label_maps=chosen, contract=contract)
        write_shards(work, seed, range(shards), HEADS_PER_SHARD, draw, LABELS)


if __name__ == "__main__":
    raise SystemExit(run("train", main))
