r"""The bundled volumes on real scans: against DLMUSE, under other contrasts, and after changes that should not matter.

    python -m Training.starter.anatomy.evaluate --data ../shared/data --work runs/probes

Correlations and Dice are of IXI persons that the network was not trained on (``real_scans.is_trained_on``). Of other
studies ``views.SEQUENCE_STUDY`` alone was trained on; it has a table of its own. Writes ``volumes.csv`` (a row a scan)
and ``evaluation.md``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from BrainIACLib.checkpoints.installed import find_encoder, load_model
from BrainIACLib.contracts import EncoderContract
from BrainIACLib.models.anatomy import SMALLEST_ML, VOXEL_ML, AnatomyEncoder
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.scans import read_scan
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.structures import GREY_MATTER, STRUCTURES, VENTRICLES, WHITE_MATTER
from BrainIACLib.volumes.measurement import MODEL, SMALLEST_CERTAINTY
from Training.command import run
from Training.starter.anatomy.real_scans import LABELLED_HELD_OUT, is_trained_on, ixi_scans, labelled_scans
from Training.starter.anatomy.reference import COLUMNS, dlmuse_volumes, person_of
from Training.starter.anatomy.views import SEQUENCE_STUDY
from Training.starter.features import features_of
from Training.starter.harmless_changes import HARMLESS, changed
from Training.starter.open_scans import OpenScan, prepared

TARGETS = {"ventricles": 0.9, "hippocampus": 0.9, "gray matter": 0.9, "white matter": 0.9}
WITHIN = 0.05  # of the same head under other sequences
CHANGED = 3  # scans that are changed and standardized again


class Meter:
    """Volumes in ml by structure and sum, of a standardized image."""

    def __init__(self):
        model = find_encoder(model_id=MODEL)
        self.contract: EncoderContract = model.contract.encoder
        self.net: AnatomyEncoder = load_model(model).encoder

    @torch.inference_mode()
    def shares(self, image: sitk.Image) -> torch.Tensor:
        """(structures, X, Y, Z)."""
        return self.net.shares(model_input(image, self.contract))[0]

    def volumes(self, image: sitk.Image) -> dict[str, float]:
        """Structure or sum -> ml."""
        ml = (self.shares(image).sum((1, 2, 3)) * VOXEL_ML).numpy()
        return with_sums(ml[1:], float(ml[1:].sum()))


def with_sums(ml: np.ndarray, intracranial: float) -> dict[str, float]:
    """Structure or sum -> ml, from (structures - 1,) ml."""
    found = {structure.name: float(value) for structure, value in zip(STRUCTURES[1:], ml, strict=True)}
    for name, parts in (("gray matter", GREY_MATTER), ("white matter", WHITE_MATTER), ("ventricles", VENTRICLES)):
        found[name] = sum(found[part] for part in parts)
    return {**found, "intracranial": intracranial}


def volumes_in(embedding: np.ndarray) -> dict[str, float]:
    """Structure or sum -> ml, from the embedding that ``models.anatomy.embedding_of`` made."""
    whole = float(np.exp(embedding[0])) * 1000
    return with_sums(np.exp(embedding[1 : len(STRUCTURES)]) * whole - SMALLEST_ML, whole)


def against_dlmuse(rows: list[tuple[OpenScan, dict]], data: Path) -> list[str]:
    """A table of correlations; persons trained on and not."""
    reference = dlmuse_volumes(data)
    known = [(person_of(scan.file), volumes) for scan, volumes in rows if scan.study == "IXI"]
    known = [(person, volumes) for person, volumes in known if person in reference]
    unseen = np.array([not is_trained_on(person) for person, _ in known])
    lines = [
        f"IXI persons that the network was not trained on: {unseen.sum()}; trained on by their volumes: "
        f"{(~unseen).sum()}. r of ml, and of shares of the intracranial volume; median ratio to DLMUSE.",
        "",
        "| structure | r, unseen | r of shares, unseen | ratio, unseen | r, trained on | target |",
        "|---|---|---|---|---|---|",
    ]
    whole = np.array([[volumes["intracranial"], reference[person]["intracranial"]] for person, volumes in known]).T
    for name in COLUMNS:
        ours, theirs = np.array([[volumes[name], reference[person][name]] for person, volumes in known]).T
        r = np.corrcoef(ours[unseen], theirs[unseen])[0, 1]
        shares = "-"
        if name != "intracranial":
            shares = f"{np.corrcoef((ours / whole[0])[unseen], (theirs / whole[1])[unseen])[0, 1]:.3f}"
        target = TARGETS.get(name)
        shown = f"**{r:.3f}**" if target is not None and r < target else f"{r:.3f}"
        ratio, seen = np.median((ours / theirs)[unseen]), np.corrcoef(ours[~unseen], theirs[~unseen])[0, 1]
        lines.append(f"| {name} | {shown} | {shares} | {ratio:.2f} | {seen:.3f} | {'' if target is None else target} |")
    return lines


def dice_table(meter: Meter, data: Path) -> list[str]:
    """Dice of the largest share with DLMUSE's, on the network's grid, of two persons that were not trained on."""
    lines = ["| structure | " + " | ".join(LABELLED_HELD_OUT) + " |", "|---" * (1 + len(LABELLED_HELD_OUT)) + "|"]
    columns = []
    for scan in labelled_scans(data, LABELLED_HELD_OUT):
        with torch.inference_mode():
            found = meter.net.shares(scan.image.float()[None, None])[0].argmax(0)
        truth = scan.shares.argmax(0)
        columns.append(
            [
                2 * float(((found == i) & (truth == i)).sum()) / max(float((found == i).sum() + (truth == i).sum()), 1)
                for i in range(1, len(STRUCTURES))
            ]
        )
    for index, structure in enumerate(STRUCTURES[1:]):
        if structure.name != "lesion":
            lines.append(f"| {structure.name} | " + " | ".join(f"{column[index]:.2f}" for column in columns) + " |")
    return lines


def across_contrasts(rows: list[tuple[OpenScan, dict]]) -> list[str]:
    """The same head as T1, T2, FLAIR and T1CE: the difference from its T1, as a share of it."""
    heads: dict[str, dict[str, dict]] = {}
    for scan, volumes in rows:
        if "multiseq/" in scan.file or scan.study == "UPENN-GBM":
            heads.setdefault(scan.subject, {})[scan.sequence] = volumes
    heads = {name: found for name, found in heads.items() if "T1" in found and len(found) == 4}
    names = (
        "intracranial",
        "ventricles",
        "hippocampus",
        "gray matter",
        "white matter",
        "cerebellar_cortex",
        "brainstem",
    )
    lines = [
        f"{len(heads)} heads with tumors or MS lesions; median of |volume - that of T1| / that of T1; target 5 %.",
        "",
        "| structure | T2 | FLAIR | T1CE |",
        "|---|---|---|---|",
    ]
    for name in names:
        cells = []
        for sequence in ("T2", "FLAIR", "T1CE"):
            off = [abs(found[sequence][name] / found["T1"][name] - 1) for found in heads.values()]
            cells.append(f"{np.median(off):.1%}" if np.median(off) <= WITHIN else f"**{np.median(off):.1%}**")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def repeatability(meter: Meter, data: Path) -> list[str]:
    """Largest change of a volume over a few scans, for each change that should not matter."""
    names = ("intracranial", "ventricles", "hippocampus", "gray matter", "white matter")
    lines = ["| change | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    scans = [scan for scan in ixi_scans(data) if not is_trained_on(person_of(scan.file))][:CHANGED]
    images = [sitk.Cast(read_scan(scan.path).image, sitk.sitkFloat32) for scan in scans]
    before = [meter.volumes(standardise(image).image) for image in images]
    for kind in HARMLESS:
        after = [meter.volumes(standardise(changed(image, kind)).image) for image in images]
        off = [max(abs(b[name] / a[name] - 1) for a, b in zip(before, after, strict=True)) for name in names]
        lines.append(f"| {kind} | " + " | ".join(f"{x:.1%}" if x <= WITHIN else f"**{x:.1%}**" for x in off) + " |")
    return lines


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/probes"), help="standardized scans and the report")
    arguments = parser.parse_args(argv)
    meter = Meter()
    features = features_of(arguments.data, arguments.work)
    embeddings = features.of["anatomy"]
    rows = [(scan, volumes_in(row)) for scan, row in zip(features.scans, embeddings, strict=True)]
    mask_ml = [prepared(scan, arguments.work / "standardised").mask_ml for scan in features.scans]
    with (arguments.work / "volumes.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "study", "sequence", "brain_mask", *rows[0][1]])
        for (scan, volumes), mask in zip(rows, mask_ml, strict=True):
            writer.writerow(
                [scan.file, scan.study, scan.sequence, round(mask, 1), *(round(v, 2) for v in volumes.values())]
            )
    plain = np.array([scan.sequence == "T1" and scan.study != "ds000228" for scan, _ in rows])
    whole = np.array([volumes["intracranial"] for _, volumes in rows])
    agreed = np.corrcoef(whole[plain], np.array(mask_ml)[plain])[0, 1]
    certainty = features.of["certainty"][:, 0]
    sequence = features.column("sequence")
    sure = [
        f"| {name} | {(sequence == name).sum()} | "
        + " | ".join(f"{x:.2f}" for x in np.percentile(certainty[sequence == name], [0, 5, 50]))
        + " |"
        for name in STANDARD_NAMES
    ]
    parts = [
        "# Volumes on real scans",
        "Made by `python -m Training.starter.anatomy.evaluate --data ../shared/data`. Misses in bold.",
        "## Against DLMUSE's volumes",
        *["\n".join(against_dlmuse(rows, arguments.data))],
        "## Against DLMUSE's label maps, Dice",
        "\n".join(dice_table(meter, arguments.data)),
        "## The same head under other sequences",
        "\n".join(across_contrasts([row for row in rows if row[0].study != SEQUENCE_STUDY])),
        f"And of {SEQUENCE_STUDY}, whose sequences were trained on:",
        "\n".join(across_contrasts([row for row in rows if row[0].study == SEQUENCE_STUDY])),
        "## After changes that should not matter",
        f"Largest change of {CHANGED} IXI scans that were not trained on; target 5 %.",
        "\n".join(repeatability(meter, arguments.data)),
        "## Certainty",
        f"Below {SMALLEST_CERTAINTY:.2f} the library warns.",
        "\n".join(["| sequence | scans | least | 5 % below | median |", "|---|---|---|---|---|", *sure]),
        "## Intracranial volume and brain mask",
        f"r = {agreed:.3f} over {plain.sum()} T1 scans; median ratio {np.median((whole / mask_ml)[plain]):.3f}.",
    ]
    text = "\n\n".join(parts) + "\n"
    (arguments.work / "evaluation.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(run("anatomy.evaluate", main))
