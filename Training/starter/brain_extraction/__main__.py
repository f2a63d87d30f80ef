r"""A brain extraction to bundle: prepare the label maps, train, measure on unseen heads, export.

    python -m Training.starter.brain_extraction --labelmaps ../shared/data/labelmaps --out FOLDER \
        --start-from Resources/Models/brain-extraction/unet.safetensors

Without ``--start-from`` it trains from nothing. How the shipped weights came about stands on their card.

One process draws the heads while another trains; ``--work`` keeps the prepared label maps and the last checkpoint,
from which the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from Training.command import run
from Training.starter.brain_extraction.border import with_border_distance
from Training.starter.brain_extraction.export import export
from Training.starter.brain_extraction.scenes import draw_samples
from Training.starter.brain_extraction.training import Recipe, overlap, train
from Training.synthesis.label_maps import label_map_files

RATE_FROM_NOTHING = 2e-3
HELD_OUT = ("synthseg_training_seg_05", "synthseg_training_seg_11", "synthseg_training_seg_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelmaps", type=Path, required=True, help="folder of SynthSeg's training label maps")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/brain_extraction"), help="cache and checkpoint (1 GB)")
    parser.add_argument("--start-from", type=Path, help="unet.safetensors of an earlier version, to go on from it")
    parser.add_argument("--iterations", type=int, default=Recipe.iterations)
    arguments = parser.parse_args()
    rate = RATE_FROM_NOTHING if arguments.start_from is None else Recipe.learning_rate
    recipe = Recipe(iterations=arguments.iterations, learning_rate=rate)
    started = time.monotonic()
    maps = [with_border_distance(path, arguments.work / "labelmaps") for path in label_map_files(arguments.labelmaps)]
    training = [label_map for label_map in maps if label_map.name not in HELD_OUT]
    held_out = [label_map for label_map in maps if label_map.name in HELD_OUT]
    unseen = [
        sample
        for number in range(24)
        for sample in draw_samples(held_out[number % len(held_out)], 4, (recipe.validation_seed, number))
    ]
    start = None
    if arguments.start_from is not None:
        start = {name: tensor.float() for name, tensor in load_file(arguments.start_from).items()}
    net = train(recipe, training, unseen[::4], arguments.work / "last.pt", start)
    net = net.half().float()  # measure the weights that are shipped
    overlaps = np.array([overlap(net, sample) for sample in unseen])
    facts = {
        "started_from_sha256": start and hashlib.sha256(arguments.start_from.read_bytes()).hexdigest(),
        "label_maps": {label_map.name: label_map.sha256 for label_map in maps},
        "held_out": HELD_OUT,
        "unseen_renderings": len(unseen),
        "dice_median_10th_percentile_worst": [round(float(np.percentile(overlaps, q)), 4) for q in (50, 10, 0)],
        "wall_seconds": round(time.monotonic() - started),
    }
    print(facts)
    export(net, arguments.out, recipe, facts)


if __name__ == "__main__":
    raise SystemExit(run("brain_extraction", main))
