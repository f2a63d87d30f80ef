r"""The bundled anatomy network, from nothing to the model folder: draw heads, train, export.

    python -m Training.starter.anatomy --data ../shared/data --refine --out Resources/Models/structure-volumes

The same command with the same ``--work`` goes on where it stopped. ``--draw-only`` draws the heads ahead of a training
that runs at the same time. ``--refine`` adds the second stage (``refinement``); ``--start-from`` takes the first one
from an encoder that was exported before:

    python -m Training.starter.anatomy --data ../shared/data --refine --start-from FILE --out runs/refined

``--preset small`` takes seconds and makes a network of no use, for tests.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from BrainIACLib.models.anatomy import AnatomyEncoder
from Training.command import run
from Training.starter.anatomy.export import export
from Training.starter.anatomy.heads import HeadStore
from Training.starter.anatomy.labelled import with_structures
from Training.starter.anatomy.real_scans import MeasuredScan, labelled_scans, measured_scans
from Training.starter.anatomy.refinement import SMALL_REFINEMENT, Refinement, Scans, settle_lesions, train_refinement
from Training.starter.anatomy.training import SMALL, RealScans, Recipe, train
from Training.starter.anatomy.views import PairedScans, paired_scans
from Training.synthesis.label_maps import label_map_files, label_map_name

HELD_OUT = ("synthseg_training_seg_05", "synthseg_training_seg_11", "synthseg_training_seg_16")
PRESETS = {"full": (Recipe(), Refinement()), "small": (SMALL, SMALL_REFINEMENT)}


def main(argv: list[str] | None = None) -> int:
    """The command; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv and labelmaps/")
    parser.add_argument("--simulated-only", action="store_true", help="train on no real scan")
    parser.add_argument("--refine", action="store_true", help="add the second stage: every contrast, small nuclei")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="weights of the first stage, safetensors")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/anatomy"), help="heads and checkpoints (10 GB)")
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw-only", action="store_true", help="draw the heads of the last stage, train nothing")
    arguments = parser.parse_args(argv)
    recipe, refinement = PRESETS[arguments.preset]
    torch.set_num_threads(arguments.threads)
    started = time.monotonic()
    paths = [path for path in label_map_files(arguments.data / "labelmaps") if label_map_name(path) not in HELD_OUT]
    maps = [with_structures(path, arguments.work / "labelmaps") for path in paths]
    heads = HeadStore(arguments.work / "heads", recipe.seed, maps)
    new_heads = HeadStore(arguments.work / "heads", refinement.seed, maps)
    if arguments.draw_only:
        drawn, count = (new_heads, refinement.heads) if arguments.refine else (heads, recipe.heads)
        for number in range(count):
            drawn.get(number)
        return 0
    measured: list[MeasuredScan] = []
    labelled = []
    if not arguments.simulated_only:
        measured = measured_scans(arguments.data, arguments.work / "standardised")
        labelled = labelled_scans(arguments.data)
    if arguments.start_from:
        net = AnatomyEncoder(recipe.width)
        net.load_state_dict({name: value.float() for name, value in load_file(arguments.start_from).items()})
        net.eval()
    else:
        net = train(recipe, heads, arguments.work / "last.pt", RealScans(measured, labelled))
    paired: list[PairedScans] = []
    lowered = 0.0
    if arguments.refine:
        teacher = teacher_shares(net, measured)
        paired = [] if arguments.simulated_only else paired_scans(arguments.data, net)
        scans = Scans(measured, labelled, paired, teacher)
        net = train_refinement(refinement, net, new_heads, arguments.work / "refined.pt", scans)
        lowered = settle_lesions(net, scans) if measured else 0.0
    facts = {
        "label_maps": {label_map.name: label_map.sha256 for label_map in maps},
        "held_out": HELD_OUT,
        "real_scans_with_volumes": sorted(scan.person for scan in measured),
        "real_scans_with_label_maps": sorted(scan.person for scan in labelled),
        "real_scans_of_several_sequences": sorted(scan.person for scan in paired),
        "lesion_bias_lowered_by": lowered,
        "first_stage_sha256": arguments.start_from and hashlib.sha256(arguments.start_from.read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "wall_seconds_of_the_last_start": round(time.monotonic() - started),
    }
    export(net, arguments.out, recipe, refinement if arguments.refine else None, facts)
    return 0


@torch.inference_mode()
def teacher_shares(net: AnatomyEncoder, scans: list[MeasuredScan]) -> dict[str, torch.Tensor]:
    """Person -> uint8 (structures, X, Y, Z): what a network sees in the plain T1 scans, 255 a whole voxel."""
    return {
        scan.person: net.shares(scan.image.float()[None, None])[0].mul(255).round().to(torch.uint8) for scan in scans
    }


if __name__ == "__main__":
    raise SystemExit(run("anatomy", main))
