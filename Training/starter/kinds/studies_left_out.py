r"""What each fold's net says to the studies that it did not see, beside version 1.2 and an intensity histogram.

    python -m Training.starter.kinds.studies_left_out --data ../shared/data --public runs/public

Reads what the training left in ``--work``; writes ``studies.md`` there. Each scan is shown as it is, and three times as
another scanner might show it (``scanned_anew``: posed, cut, blurred, shaded, with lesions painted in). Version 1.2 saw
no real scan, but its recipe was adjusted to errors on some of these; the histogram is a multinomial regression on 32
bins, fitted on the other folds. Persons are drawn for the intervals, with all their scans.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.answers import probabilities_of
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import EncoderContract, HeadContract, read_contract
from BrainIACLib.head_training.linear_head import fit_linear_head
from BrainIACLib.head_training.targets import Target
from BrainIACLib.models.heads import EncoderWithHead
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.resources import resource
from BrainIACLib.sequences import ALL_NAMES, OTHER, STANDARD_NAMES
from BrainIACLib.statistics.bootstrap import bootstrap, bootstrap_difference
from BrainIACLib.statistics.metrics import balanced_accuracy
from BrainIACLib.trust.echo_planar import allow_for_echo_planar
from Training.command import run
from Training.starter import SIMULATED_ONLY
from Training.starter.export import encoder_contract
from Training.starter.kinds.frozen_heads import macro_f1
from Training.starter.kinds.real_scans import FOLDS, NEVER_LEARNED, RealScan, fold_of, real_scans, scanned_anew
from Training.starter.kinds.train import LAST_STAGES, left_out_nets, started_from, thirteen_names
from Training.starter.kinds.training import Recipe

SEED = 7  # of what is shown anew
ANEW = 3
FEWEST_VOXELS = 500


@dataclass(frozen=True)
class Shown:
    """n images. ``truth``: (n,) one of the four or "other"; ``anew``: (n,) shown as another scanner might."""

    volumes: Tensor
    truth: np.ndarray
    fold: np.ndarray
    subjects: np.ndarray
    anew: np.ndarray
    voxel_mm: np.ndarray


@dataclass(frozen=True)
class Said:
    """Answers (n,) of one model with their confidence, in the order of what was shown."""

    label: np.ndarray
    confidence: np.ndarray
    gate: float

    @property
    def sure(self) -> np.ndarray:
        """(n,) bool: at or above the gate."""
        return self.confidence >= self.gate


def shown(scans: list[RealScan], contract: EncoderContract) -> Shown:
    """Each scan, and ``ANEW`` times as another scanner might show it."""
    rng, generator = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    volumes, rows = [], []
    for number, scan in enumerate(scans):
        for time in range(1 + ANEW):
            image = scan.image.float()
            image = scanned_anew(image, scan.label, rng, generator) if time else image
            if (image != 0).sum() >= FEWEST_VOXELS:
                volumes.append(normalise(image[None, None], contract)[0].half())
                rows.append((number, time > 0))
    chosen = [scans[number] for number, _ in rows]
    return Shown(
        volumes=torch.stack(volumes),
        truth=np.array([scan.label if scan.label in STANDARD_NAMES else OTHER for scan in chosen]),
        fold=np.array([fold_of(scan.study) for scan in chosen]),
        subjects=np.unique([scan.subject for scan in chosen], return_inverse=True)[1],
        anew=np.array([anew for _, anew in rows]),
        voxel_mm=np.array([scan.voxel_mm for scan in chosen]),
    )


@torch.inference_mode()
def said_by(nets: dict[str, EncoderWithHead], head: HeadContract, images: Shown) -> Said:
    """What the library would answer with the net of each fold and the temperature of ``head``."""
    labels, confidence = [], []
    for volume, fold, mm in zip(images.volumes, images.fold, images.voxel_mm, strict=True):
        found = probabilities_of(head, nets[fold](volume[None].float())[0], float(mm))
        labels.append(max(found, key=found.__getitem__))
        confidence.append(max(found.values()))
    return Said(np.array(labels), np.array(confidence), head.confidence_gate or 0.0)


def by_histogram(images: Shown) -> Said:
    """What a linear head on 32 shares of the values between -3 and 3 says, fitted on all other folds as they are."""
    values = np.stack([_histogram(volume.float()) for volume in images.volumes])
    label, confidence = np.full(len(values), "", dtype=object), np.zeros(len(values))
    for name in (*FOLDS, NEVER_LEARNED):
        out = images.fold == name
        fitted = ~out & ~images.anew
        classes = tuple(np.unique(images.truth[fitted]))
        target = Target("sequence", "classification", np.searchsorted(classes, images.truth[fitted]), classes)
        head = fit_linear_head(values[fitted], target, images.subjects[fitted], np.random.default_rng(0))
        outputs = torch.from_numpy(head.outputs(values[out])).softmax(1).numpy()
        label[out], confidence[out] = np.array(classes)[outputs.argmax(1)], outputs.max(1)
    return Said(label.astype(str), confidence, 0.9)


def _histogram(volume: Tensor) -> np.ndarray:
    inside = volume[volume != 0]
    return (torch.histc(inside, 32, -3, 3) / max(1, inside.numel())).double().numpy()


@torch.inference_mode()
def named(nets: dict[str, EncoderWithHead], scans: list[RealScan], contract: EncoderContract) -> str:
    """How often the nets that know thirteen names give that of an image beside the four, as Markdown."""
    asked = [scan for scan in scans if scan.label in ALL_NAMES and scan.label not in STANDARD_NAMES]
    truth, said = np.array([scan.label for scan in asked]), []
    for scan in asked:
        logits = nets[fold_of(scan.study)](normalise(scan.image.float()[None, None], contract))[0]
        found = allow_for_echo_planar(dict(zip(ALL_NAMES, logits.softmax(0).tolist(), strict=True)), scan.voxel_mm)
        said.append(max(found, key=found.__getitem__))
    score, words = macro_f1(truth, np.array(said))
    right = int((truth == np.array(said)).sum())
    return (
        f"Names beside the four, before they are merged: {right} of {len(asked)} right, macro F1 {score:.2f} ({words})."
    )


def report(images: Shown, models: dict[str, Said]) -> str:
    """As Markdown; the first two models are compared."""
    names = list(models)
    lines = ["# Studies that were left out", "", "| | n, persons | " + " | ".join(names) + " |"]
    lines.append("|---" * (2 + len(names)) + "|")
    four = images.truth != OTHER

    def row(title: str, chosen: np.ndarray, cells: list[str]) -> None:
        persons = len(np.unique(images.subjects[chosen]))
        lines.append(f"| {title} | {chosen.sum()}, {persons} | " + " | ".join(cells) + " |")

    for how, chosen in (("as they are", ~images.anew), ("shown anew", images.anew)):
        asked = four & chosen
        cells = []
        for said in models.values():
            truth, answers = images.truth[asked].tolist(), said.label[asked].tolist()
            found = bootstrap(balanced_accuracy, truth, answers, groups=images.subjects[asked])
            cells.append(f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
        row(f"the four, {how}: balanced accuracy", asked, cells)
        right = {name: (said.label == images.truth) & asked for name, said in models.items()}
        row("right", asked, [str(one.sum()) for one in right.values()])
        sure = {name: said.sure for name, said in models.items()}
        row("right and above the gate", asked, [f"{(right[name] & sure[name]).sum()}" for name in names])
        row("wrong and above the gate", asked, [f"{(asked & ~right[name] & sure[name]).sum()}" for name in names])
        for label in STANDARD_NAMES:
            own = asked & (images.truth == label)
            row(f"right: {label}", own, [str((right[name] & own).sum()) for name in names])
        for fold in (*FOLDS, NEVER_LEARNED):
            own = asked & (images.fold == fold)
            if own.any():
                row(f"right: {fold}", own, [str((right[name] & own).sum()) for name in names])
        rest = ~four & chosen
        called = {name: np.isin(said.label, STANDARD_NAMES) & rest for name, said in models.items()}
        row(f"none of the four, {how}: called one of them", rest, [str(one.sum()) for one in called.values()])
        row("the same, above the gate", rest, [str((called[name] & sure[name]).sum()) for name in names])
    first, second = names[:2]
    for how, chosen in (("as they are", four & ~images.anew), ("shown anew", four & images.anew)):
        columns = ([images.truth[chosen].tolist(), models[name].label[chosen].tolist()] for name in names[:2])
        found = bootstrap_difference(balanced_accuracy, *columns, groups=images.subjects[chosen])
        lines += ["", f"{first} less {second}, {how}: {found.interval:.3f}, p {found.p:.3f}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--public", type=Path, help="what public_series wrote of lists 0 and 1")
    parser.add_argument("--model", type=Path, default=resource("Models", "sequence-starter"), help="temperature, gate")
    parser.add_argument("--work", type=Path, default=Path("runs/kinds"), help="where the training worked")
    parser.add_argument("--cache", type=Path, help="standardized scans (default: in the work folder)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe()
    scans = real_scans(arguments.data, arguments.cache or arguments.work / "standardised", arguments.public)
    images = shown(scans, encoder_contract(recipe.width))
    earlier, model = (InstalledModel(folder, read_contract(folder)) for folder in (SIMULATED_ONLY, arguments.model))
    old = load_model(earlier)
    models = {
        "1.3, study left out": said_by(left_out_nets(recipe, arguments.work), model.contract.head, images),
        "1.2": said_by(dict.fromkeys((*FOLDS, NEVER_LEARNED), old), earlier.contract.head, images),
        "histogram": by_histogram(images),
    }
    start = started_from(recipe)
    thirteen = {
        fold: thirteen_names(recipe, arguments.work / f"{name}.pt", start) for fold, name in LAST_STAGES.items()
    }
    text = report(images, models) + "\n" + named(thirteen, scans, encoder_contract(recipe.width)) + "\n"
    (arguments.work / "studies.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    raise SystemExit(run("studies_left_out", main))
