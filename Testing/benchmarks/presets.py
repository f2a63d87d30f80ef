"""What the preset changes in an embedding: ``python -m Testing.benchmarks.presets --data ../shared/data``.

Each scan is embedded twice, taken as stored (``official``: as upstream's code feeds its models, U-08 to U-11) and after
our own preprocessing (``standard``). Only scans that are already skull-stripped are compared, since upstream's code
expects them so. A Markdown table: the median cosine of one scan under both presets, the least, and, for scale, the
median cosine of two different scans under one preset. Encoders: the trained one that is bundled, and the official ones
of ``--models-dir``; without it, ResNet50 (v1) and ViT-B (v2) at random initialization.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np

from BrainIACLib.checkpoints.importing import import_checkpoint
from BrainIACLib.checkpoints.installed import InstalledModel, installed_models
from BrainIACLib.checkpoints.store import model_folders
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PRESETS, PreprocessingOptions
from BrainIACLib.scans import read_scan
from Testing.benchmarks.checkpoints import released_v1, released_v2

SCANS = (  # upstream's own samples first; SRI24 and native space, three studies
    "scans/BrainIAC_subpixar009_T1w.nii.gz",
    "scans/BraTS-GLI-00001-000_T1.nii.gz",
    "scans/BraTS-GLI-00001-000_T2.nii.gz",
    "scans/BraTS-GLI-00001-000_FLAIR.nii.gz",
    "scans/BraTS-GLI-00001-000_T1CE.nii.gz",
    "age/ds002748_sub-01_T1w.nii.gz",
    "age/ds002748_sub-30_T1w.nii.gz",
    "age/ds002748_sub-60_T1w.nii.gz",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real scans (MANIFEST.csv)")
    parser.add_argument("--models-dir", type=Path, help="folder of imported official models")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = options.models_dir or Path(temporary) / "store"
        if options.models_dir is None:
            import_checkpoint(released_v1(Path(temporary)), "age", store)
            import_checkpoint(released_v2(Path(temporary)), "embedding", store)
        models = installed_models(model_folders(store))
        embeddings = {preset: embed(models, store, options.data, preset) for preset in PRESETS}
    print(f"{len(SCANS)} scans.\n")
    print("| encoder | same scan, both presets: median, least | different scans, one preset: median |")
    print("|---|---|---|")
    for model in models:
        one, other = (embeddings[preset][model.contract.id] for preset in PRESETS)
        same = [cosine(*pair) for pair in zip(one, other, strict=True)]
        different = [cosine(*pair) for rows in (one, other) for pair in itertools.combinations(rows, 2)]
        weights = "trained" if options.models_dir or model.bundled else "random weights"
        print(
            f"| {model.contract.title} ({weights}) | {np.median(same):.4f}, {min(same):.4f} "
            f"| {np.median(different):.4f} |"
        )


def embed(models: list[InstalledModel], store: Path, data: Path, preset: str) -> dict[str, list[np.ndarray]]:
    """The embeddings of all scans, by model."""
    found: dict[str, list[np.ndarray]] = {model.contract.id: [] for model in models}
    predictor = Predictor("cpu", model_folders(store))
    for file in SCANS:
        predictor.set_study({"scan": read_scan(data / file)}, PreprocessingOptions(preset=preset))
        for model_id, rows in found.items():
            rows.append(np.array(predictor.embed("scan", model_id)[0]))
    return found


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two vectors (N,)."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


if __name__ == "__main__":
    main()
