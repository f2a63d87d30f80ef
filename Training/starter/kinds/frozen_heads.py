"""Can a small head on the frozen encoder name further kinds of scan, or tell them from the paper's four?

    python -m Training.starter.public_series --lists 0 1 --repositories FOLDER --out runs/public
    python -m Training.starter.kinds.frozen_heads --data ../shared/data --public runs/public

The paper's own way: the encoder of version 1.2 of ``sequence-starter`` stays as it is, and logistic regressions read
its embedding, or the mean and spread of its maps at every level, beside an intensity histogram and block averages. They
are fitted on simulated heads of all kinds, on real scans of all other sources, or on both. Every real scan is answered
by a fit that saw no scan of its source (a study, or the repository it lies in). Writes ``frozen_heads.md`` into
``--work``, which also keeps simulated heads, standardized scans and features.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.answers import probabilities_of
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import HeadContract, read_contract
from BrainIACLib.head_training import logistic
from BrainIACLib.models.resnet import ResNet
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import ALL_NAMES, OTHER, STANDARD_NAMES
from BrainIACLib.statistics.metrics import auc
from BrainIACLib.statistics.principal_space import space_of
from Training.command import run
from Training.starter import SIMULATED_ONLY
from Training.starter.evaluate import novelty_of_model
from Training.starter.kinds.real_scans import real_scans
from Training.starter.kinds.samples import UNNAMED
from Training.starter.kinds.train import generate
from Training.starter.kinds.training import Recipe
from Training.starter.samples import decode
from Training.starter.shards import shard_path

REPRESENTATIONS = ("histogram", "block averages", "embedding", "levels")
PENALTY = 0.03  # of the logistic regressions, in units of the mean squared length of a case; not tuned
BLOCKS = (4, 6, 5)
FOLDS = 10  # of sources
MOST_STEPS = 1000
KINDS = tuple(name for name in ALL_NAMES if name not in STANDARD_NAMES)
KEPT = (0.90, 0.98)  # of the sure and right answers to the four


@dataclass(frozen=True)
class Cases:
    """n images. ``of``: representation -> (n, d); ``labels``: (n,), "" where no name is right; ``sources``: (n,)."""

    files: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    voxel_mm: np.ndarray
    logits: np.ndarray
    of: dict[str, np.ndarray]

    @property
    def standard(self) -> np.ndarray:
        """(n,) bool: one of the four."""
        return np.isin(self.labels, STANDARD_NAMES)


@torch.inference_mode()
def numbers_of(encoder: ResNet, volumes: Tensor) -> dict[str, np.ndarray]:
    """Representation -> (B, d) of normalized volumes (B, 1, X, Y, Z); ``levels``: log(1 + mean), log(1 + deviation)."""
    maps = [encoder.act(encoder.bn1(encoder.conv1(volumes)))]
    for stage in (lambda x: encoder.layer1(encoder.maxpool(x)), encoder.layer2, encoder.layer3, encoder.layer4):
        maps.append(stage(maps[-1]))
    levels = [pooled.log1p() for level in maps for pooled in (level.mean((2, 3, 4)), level.std((2, 3, 4)))]
    inside = [volume[volume != 0] for volume in volumes]
    shares = [torch.histc(values, 32, -3, 3) / max(1, values.numel()) for values in inside]
    filled = (volumes != 0).float()
    found = {
        "histogram": torch.stack(shares).sqrt(),
        "block averages": torch.cat([F.adaptive_avg_pool3d(v, BLOCKS).flatten(1) for v in (volumes, filled)], 1),
        "embedding": maps[-1].mean((2, 3, 4)),
        "levels": torch.cat(levels, 1),
    }
    return {name: values.double().numpy() for name, values in found.items()}


def cases_of(
    model: InstalledModel, batches: Iterator[Tensor], files: list[str], labels: list[str], sources: list[str], mm: list
) -> Cases:
    """Everything about images that come in ``batches`` (B, 1, X, Y, Z), normalized."""
    net = load_model(model)
    parts = [numbers_of(net.encoder, batch) for batch in batches]
    of = {name: np.concatenate([part[name] for part in parts]) for name in REPRESENTATIONS}
    with torch.inference_mode():
        logits = net.head(torch.from_numpy(of["embedding"]).float()).numpy()
    return Cases(np.array(files), np.array(labels), np.array(sources), np.array(mm, float), logits, of)


def simulated_cases(model: InstalledModel, work: Path, seed: int, shards: int) -> Cases:
    """The simulated heads of one seed that have a name; the source is the shard."""
    labels, sources, volumes = [], [], []
    for shard in range(shards):
        path = shard_path(work, seed, shard)
        numbers = np.load(path.with_suffix(".labels.npy"))
        named = numbers < len(ALL_NAMES)
        labels += [ALL_NAMES[number] for number in numbers[named]]
        sources += [path.stem] * int(named.sum())
        volumes.append((np.load(path, mmap_mode="r"), np.flatnonzero(named)))
    batches = (
        decode(torch.from_numpy(stored[rows[start : start + 8]])[:, None])
        for stored, rows in volumes
        for start in range(0, len(rows), 8)
    )
    return cases_of(model, batches, sources, labels, sources, [0.0] * len(labels))


def outputs_without(values: np.ndarray, classes: np.ndarray, count: int, seen: np.ndarray) -> np.ndarray:
    """(F, n, count) outputs of F logistic regressions whose classes count the same.

    Values are standardized over all cases, without their labels.

    Parameters
    ----------
    values : (n, d). classes : (n,), numbers. seen : bool (n, F), which case each fit may see.
    """
    space = space_of(values)
    weights = np.zeros(seen.shape)
    for fit in range(seen.shape[1]):
        rows = seen[:, fit]
        weights[rows, fit] = logistic.balanced_weights(classes[rows], count)
    penalties = np.full(seen.shape[1], PENALTY * space.typical_square)
    slopes, intercepts = logistic.fit_logistic(
        space.coordinates, classes, count, weights, penalties, logistic.COARSE, MOST_STEPS
    )
    found = np.einsum("nr,frk->fnk", space.coordinates, slopes) + intercepts[:, None]
    return np.concatenate([-found, found], 2) / 2 if count == 2 else found


def source_left_out(
    real: Cases, simulated: Cases | None, name: str, labels: np.ndarray, also: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, classes) outputs for the real scans, each by a fit without all scans of its source, and the classes.

    Parameters
    ----------
    labels, also : (n,) of the real scans and (m,) of the simulated heads; "" takes no part in the fit.
    """
    classes, values, truth = np.unique(labels[labels != ""]), real.of[name], labels
    if simulated is not None:
        classes = np.unique(np.concatenate([classes, also[also != ""]]))
        values, truth = np.concatenate([values, simulated.of[name]]), np.concatenate([labels, also])
    names, index = np.unique(real.sources, return_inverse=True)
    fold = np.concatenate([np.arange(len(names))[index] % FOLDS, np.full(len(truth) - len(labels), -1)])
    seen = (fold[:, None] != np.arange(FOLDS)) & (truth != "")[:, None]
    numbers = np.searchsorted(classes, truth).clip(max=len(classes) - 1)
    outputs = outputs_without(values, numbers, len(classes), seen)
    return outputs[fold[: len(labels)], np.arange(len(labels))], classes


def from_simulated(simulated: Cases, others: tuple[Cases, ...], name: str, also: np.ndarray):
    """The classes of the simulated heads, and for each of ``others`` (n, classes) outputs of one fit on those heads."""
    classes = np.unique(also[also != ""])
    values = np.concatenate([simulated.of[name], *(cases.of[name] for cases in others)])
    numbers = np.zeros(len(values), int)
    numbers[: len(also)] = np.searchsorted(classes, also).clip(max=len(classes) - 1)
    seen = np.zeros((len(values), 1), bool)
    seen[: len(also), 0] = also != ""
    outputs = outputs_without(values, numbers, len(classes), seen)[0]
    ends = np.cumsum([len(also), *(len(cases.files) for cases in others)])
    return classes, [outputs[start:end] for start, end in pairwise(ends)]


def macro_f1(truth: np.ndarray, said: np.ndarray) -> tuple[float, str]:
    """Mean over the labels of ``truth`` of 2 tp / (2 tp + fp + fn), and each with its count."""
    scores = {}
    for name in np.unique(truth):
        hits = ((truth == name) & (said == name)).sum()
        scores[name] = 2 * hits / ((truth == name).sum() + (said == name).sum())
    words = ", ".join(f"{name} {score:.2f} of {(truth == name).sum()}" for name, score in scores.items())
    return float(np.mean(list(scores.values()))), words


def gate_section(real: Cases, simulated: Cases, head: HeadContract, distances: np.ndarray) -> list[str]:
    """Telling the four from the rest: version 1.2 with its voxel rule, its distance, and the heads."""
    answers = [
        probabilities_of(head, torch.from_numpy(row), mm) for row, mm in zip(real.logits, real.voxel_mm, strict=True)
    ]
    said = np.array([max(answer, key=answer.get) for answer in answers])
    sure = np.array([max(answer.values()) for answer in answers]) >= (head.confidence_gate or 0)
    likely = np.array([max(answer[name] for name in STANDARD_NAMES) for answer in answers])
    right = sure & real.standard & (said == real.labels)
    wrong = sure & ~real.standard & (said != OTHER)
    lines = [
        f"Real scans: {real.standard.sum()} of the four, {right.sum()} of them sure and right; "
        f"{(~real.standard).sum()} others from {len(np.unique(real.sources[~real.standard]))} sources, "
        f"{wrong.sum()} of them surely called one of the four.",
        "",
        f"| score | fitted on | AUROC | sure wrong left, {KEPT[0]:.0%} of right kept | {KEPT[1]:.0%} kept |",
        "|---|---|---|---|---|",
    ]

    def row(title: str, fit: str, score: np.ndarray) -> None:
        left = [f"{(score[wrong] >= np.quantile(score[right], 1 - kept)).sum()} of {wrong.sum()}" for kept in KEPT]
        lines.append(f"| {title} | {fit} | {auc(real.standard.tolist(), score.tolist()):.3f} | {' | '.join(left)} |")

    row("1.2: largest probability of the four", "", likely)
    row("1.2: distance", "", -distances)
    four = np.where(real.standard, "yes", "no")
    also = np.where(simulated.standard, "yes", "no")
    for name in REPRESENTATIONS:
        for title, part in (("real", None), ("real and simulated", simulated)):
            outputs, classes = source_left_out(real, part, name, four, also if part else also[:0])
            row(name, title, outputs[:, list(classes).index("yes")])
    return lines


def names_section(real: Cases, simulated: Cases, held_out: Cases) -> list[str]:
    """Naming what is none of the four, for scans of which that is known."""
    kinds = np.where(np.isin(real.labels, KINDS), real.labels, "")
    also = np.where(np.isin(simulated.labels, KINDS), simulated.labels, "")
    named, drawn = kinds != "", np.isin(held_out.labels, KINDS)
    lines = [
        f"{named.sum()} real scans of {len(np.unique(kinds[named]))} kinds; {drawn.sum()} simulated ones of held-out "
        "label maps.",
        "",
        "| numbers | fitted on | macro F1, simulated | macro F1, real | by kind, real |",
        "|---|---|---|---|---|",
    ]
    for name in REPRESENTATIONS:
        classes, (of_drawn, of_real) = from_simulated(simulated, (held_out, real), name, also)
        score, words = macro_f1(kinds[named], classes[of_real[named].argmax(1)])
        drawn_score = macro_f1(held_out.labels[drawn], classes[of_drawn[drawn].argmax(1)])[0]
        lines.append(f"| {name} | simulated | {drawn_score:.2f} | {score:.2f} | {words} |")
        for title, part in (("real", None), ("real and simulated", simulated)):
            outputs, classes = source_left_out(real, part, name, kinds, also if part else also[:0])
            score, words = macro_f1(kinds[named], classes[outputs[named].argmax(1)])
            lines.append(f"| {name} | {title} | | {score:.2f} | {words} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv and labelmaps")
    parser.add_argument("--public", type=Path, help="what public_series wrote of lists 0 and 1")
    parser.add_argument("--work", type=Path, default=Path("runs/kinds"), help="simulated heads and features (1 GB)")
    parser.add_argument("--cache", type=Path, help="standardized scans (default: in the work folder)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe, work = Recipe(), arguments.work
    cache = arguments.cache or work / "standardised"
    model = InstalledModel(SIMULATED_ONLY, read_contract(SIMULATED_ONLY))
    generate(arguments.data / "labelmaps", work, recipe)
    simulated = simulated_cases(model, work, recipe.seed, recipe.shards)
    held_out = simulated_cases(model, work, recipe.validation_seed, recipe.validation_shards)
    scans = real_scans(arguments.data, cache, arguments.public)
    real = cases_of(
        model,
        (normalise(scan.image.float()[None, None], model.contract.encoder) for scan in scans),
        [scan.file for scan in scans],
        [scan.label if scan.label != UNNAMED else "" for scan in scans],
        [scan.study for scan in scans],
        [scan.voxel_mm for scan in scans],
    )
    distances = novelty_of_model(model).scores(real.of["embedding"])
    text = "\n".join(
        [
            *("# Small heads on the frozen encoder", "", "## One of the four, or none", ""),
            *gate_section(real, simulated, model.contract.head, distances),
            *("", "## Names for the others", ""),
            *names_section(real, simulated, held_out),
        ]
    )
    (work / "frozen_heads.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    raise SystemExit(run("frozen_heads", main))
