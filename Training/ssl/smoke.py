"""``python -m Training smoke``: the whole chain, small, on synthetic brains: prepare, pretrain, export, import, embed.

It needs no data and no GPU. It shows that the parts fit together and that the embedding is of use for something; it is
no measure of what pretraining brings.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk
import torch

from Training.data import prepare
from Training.ssl import pretrain
from Training.ssl.log import read_log
from Training.ssl.synthetic_heads import draw_person

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "pretrain" / "smoke.yaml"


def main(argv: list[str]) -> int:
    """Run the chain; 0 if every link held."""
    parser = argparse.ArgumentParser(prog="python -m Training smoke", description=__doc__.splitlines()[0])
    parser.add_argument("--labelmaps", type=Path, help="folder of SynthSeg's label maps; else the bundled atlas")
    parser.add_argument("--persons", type=int, default=12, help="four scans each")
    parser.add_argument("--size", type=int, default=48, help="edge of the volumes in voxels")
    parser.add_argument("--out", type=Path, help="keep everything in this folder; default: a temporary one")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        return _chain(options.out or Path(temporary), options)


def _chain(folder: Path, options: argparse.Namespace) -> int:
    started = time.monotonic()
    from BrainIACLib import cli

    torch.set_num_threads(min(torch.get_num_threads(), 2))
    scans = write_cohort(folder / "scans", options.persons, options.size, options.labelmaps)
    size = [str(options.size)] * 3
    cache, run, models = folder / "cache", folder / "run", folder / "models"
    links = {
        "prepare": lambda: prepare.main(
            ["--manifest", str(scans), "--out", str(cache), "--steps", "stored", "--workers", "1", "--size", *size]
        ),
        "pretrain": lambda: pretrain.main(["--config", str(CONFIG), "--cache", str(cache), "--out", str(run)]),
        "import": lambda: cli.main(["models", "import", str(run / "last"), "--models-dir", str(models), "--yes"]),
        "embed": lambda: cli.main(
            [
                *("embed", str(scans.parent / "person-00_T1.nii.gz"), "--preset", "official"),
                *("--models-dir", str(models), "--model", _installed(models), "--out", str(folder / "embedding.csv")),
            ]
        ),
    }
    for name, link in links.items():
        before = time.monotonic()
        status = link()
        if status == 130:
            raise KeyboardInterrupt  # which the link caught and put into words
        if status != 0:
            print(f"smoke: '{name}' failed.", file=sys.stderr)
            return 1
        print(f"smoke: {name} took {time.monotonic() - before:.0f} s")
    with (folder / "embedding.csv").open(newline="") as file:
        columns = len(next(csv.reader(file)))
    last = read_log(run / "log.csv")[-1]
    print(
        f"smoke: loss {last['loss']}, k-NN {last['knn']}, probe {last['probe']}; embedding table of {columns} columns"
    )
    print(f"smoke: all links held, {time.monotonic() - started:.0f} s in all. Research use only.")
    return 0


def write_cohort(folder: Path, persons: int, size: int, labelmaps: Path | None) -> Path:
    """NIfTI scans of synthetic persons and their manifest; the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["scan,patient,dataset,sequence,role"]
    for person in range(persons):
        for sequence, volume in draw_person((size,) * 3, person, labelmaps, folder / "labelmaps"):
            image = sitk.GetImageFromArray(volume.numpy().transpose(2, 1, 0))
            image.SetSpacing([197 / size, 233 / size, 189 / size])
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS
            name = f"person-{person:02d}_{sequence}.nii.gz"
            sitk.WriteImage(image, str(folder / name))
            lines.append(f"{name},person-{person:02d},synthetic,{sequence},pretrain")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def _installed(models: Path) -> str:
    return next(models.glob("*/contract.json")).parent.name
