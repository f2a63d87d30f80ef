r"""Percentiles for age of the bundled volumes: curves of the IXI persons, and how far they hold for another study.

    python -m Training.starter.age_norms --data ../shared/data --work runs/probes --install Resources/Models

Reads the embeddings of ``Training.starter.probes``. Of healthy adults of one study, the logarithm of each structure's
share is a parabola of age with a constant spread. A structure gets a curve only if persons of another study lie on it:
their mean z-score within ``FARTHEST`` of 0 and their spread below ``WIDEST``; what fails is named. A scanner's own
offset would otherwise be read as a person's atrophy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.models.anatomy import SMALLEST_ML
from BrainIACLib.structures import STRUCTURES
from BrainIACLib.volumes.measurement import SUMS
from BrainIACLib.volumes.percentiles import DECADE, FILE, LEAST_SHARE, MIDDLE_AGE
from Training.starter.probes import ANATOMY_MODEL, Features, features_of

FITTED, JUDGED = "IXI", "ds002748"
FARTHEST, WIDEST = 0.5, 1.5  # SDs
SOURCE, LICENCE = "IXI (brain-development.org), one 3 T scanner", "CC BY-SA 3.0"
NOT_NORMED = ("background", "lesion")


def shares_in(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """Structure or sum -> (n,) shares of the intracranial volume, from embeddings (n, d)."""
    whole = np.exp(embeddings[:, 0]) * 1000
    found = {
        structure.name: (np.exp(embeddings[:, index]) * whole - SMALLEST_ML).clip(0) / whole
        for index, structure in enumerate(STRUCTURES)
        if index
    }
    return found | {name: sum(found[part] for part in parts) for name, parts in SUMS.items()}


def curve(share: np.ndarray, age: np.ndarray) -> dict:
    """The parabola of log share and the spread around it (least squares, three parameters)."""
    logarithm = np.log(share.clip(LEAST_SHARE))
    powers = np.stack([((age - MIDDLE_AGE) / DECADE) ** power for power in range(3)], 1)
    coefficients = np.linalg.lstsq(powers, logarithm, rcond=None)[0]
    deviation = np.sqrt(((logarithm - powers @ coefficients) ** 2).sum() / (len(age) - 3))
    return {"coefficients": [round(float(c), 5) for c in coefficients], "deviation": round(float(deviation), 5)}


def z_scores(found: dict, share: np.ndarray, age: np.ndarray) -> np.ndarray:
    """(n,) SDs above the curve."""
    usual = sum(c * ((age - MIDDLE_AGE) / DECADE) ** power for power, c in enumerate(found["coefficients"]))
    return (np.log(share.clip(LEAST_SHARE)) - usual) / found["deviation"]


def norms_of(features: Features) -> tuple[dict, list[str]]:
    """The content of the file, and a table of how the other study lies on each curve."""
    seen, keep = set(), []
    for scan in features.scans:
        usable = scan.sequence == "T1" and scan.age is not None and scan.age >= 18 and scan.subject not in seen
        keep.append(usable and scan.study in (FITTED, JUDGED))
        if keep[-1]:
            seen.add(scan.subject)
    chosen = features.rows(np.array(keep))
    study, age = chosen.column("study"), chosen.column("age").astype(float)
    mine, theirs = study == FITTED, study == JUDGED
    lines = [
        f"{mine.sum()} persons of {FITTED} fitted; {theirs.sum()} of {JUDGED} judge: mean and SD of their z-scores.",
        "",
        "| structure | mean | SD | percentiles are given |",
        "|---|---|---|---|",
    ]
    curves = {}
    for name, share in shares_in(chosen.of["anatomy"]).items():
        if name in NOT_NORMED:
            continue
        found = curve(share[mine], age[mine])
        z = z_scores(found, share[theirs], age[theirs])
        holds = abs(z.mean()) <= FARTHEST and z.std() <= WIDEST
        lines.append(f"| {name} | {z.mean():+.2f} | {z.std():.2f} | {'yes' if holds else 'no'} |")
        if holds:
            curves[name] = found
    content = {
        "source": SOURCE,
        "licence": LICENCE,
        "persons": int(mine.sum()),
        "ages": [float(age[mine].min()), float(age[mine].max())],
        "encoder_sha256": find_encoder(model_id=ANATOMY_MODEL).contract.encoder.sha256,
        "curves": curves,
    }
    return content, lines


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/probes"), help="embeddings and the table")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="write the curves beside the network there")
    arguments = parser.parse_args(argv)
    content, lines = norms_of(features_of(arguments.data, arguments.work))
    print("\n".join(lines))
    if arguments.install:
        target = arguments.install / ANATOMY_MODEL
        (target / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        heading = "# Percentiles for age\n\nMade by `python -m Training.starter.age_norms --data ../shared/data`.\n\n"
        (target / "percentiles.md").write_text(heading + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"installed: {target / FILE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
