r"""The bundled anatomy network, from nothing to the model folder: draw heads, train, export.

    python -m Training.starter.anatomy --data ../shared/data --out Resources/Models/structure-volumes

The same command with the same ``--work`` goes on where it stopped. ``--draw-only`` draws the heads ahead of a training
that runs at the same time. ``--preset small`` takes seconds and makes a network of no use, for tests.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from Training.starter.anatomy.export import export
from Training.starter.anatomy.heads import HeadStore
from Training.starter.anatomy.labelled import with_structures
from Training.starter.anatomy.real_scans import labelled_scans, measured_scans
from Training.starter.anatomy.training import SMALL, RealScans, Recipe, train
from Training.synthesis.label_maps import label_map_files, label_map_name

HELD_OUT = ("synthseg_training_seg_05", "synthseg_training_seg_11", "synthseg_training_seg_16")
PRESETS = {"full": Recipe(), "small": SMALL}


def main(argv: list[str] | None = None) -> int:
    """The command; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv and labelmaps/")
    parser.add_argument("--simulated-only", action="store_true", help="train on no real scan")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/anatomy"), help="heads and checkpoint (10 GB)")
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw-only", action="store_true", help="draw the heads, train nothing")
    arguments = parser.parse_args(argv)
    recipe = PRESETS[arguments.preset]
    torch.set_num_threads(arguments.threads)
    started = time.monotonic()
    paths = [path for path in label_map_files(arguments.data / "labelmaps") if label_map_name(path) not in HELD_OUT]
    maps = [with_structures(path, arguments.work / "labelmaps") for path in paths]
    heads = HeadStore(arguments.work / "heads", recipe.seed, maps)
    if arguments.draw_only:
        for number in range(recipe.heads):
            heads.get(number)
        return 0
    real = RealScans([], [])
    if not arguments.simulated_only:
        measured = measured_scans(arguments.data, arguments.work / "standardised")
        real = RealScans(measured, labelled_scans(arguments.data))
    net = train(recipe, heads, arguments.work / "last.pt", real)
    facts = {
        "label_maps": {label_map.name: label_map.sha256 for label_map in maps},
        "held_out": HELD_OUT,
        "real_scans_with_volumes": sorted(scan.person for scan in real.measured),
        "real_scans_with_label_maps": sorted(scan.person for scan in real.labelled),
        "torch": torch.__version__,
        "wall_seconds_of_the_last_start": round(time.monotonic() - started),
    }
    export(net, arguments.out, recipe, facts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
