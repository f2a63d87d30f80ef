"""What each fold's net says to the studies that it did not see, beside version 1.2 and an intensity histogram.

    python -m Training.starter.kinds.studies_left_out --data ../shared/data --start SEQUENCE-STARTER-1.2 --model FOLDER

Reads what the training left in ``--work``; writes ``studies.md`` there. Version 1.2 saw no real scan, but its
recipe was adjusted to errors on the same scans; the histogram is a multinomial regression on 32 bins, fitted on the
other folds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.head_training.linear_head import fit_linear_head
from BrainIACLib.head_training.targets import Target
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import STANDARD_NAMES, STANDARD_OR_OTHER
from BrainIACLib.statistics.bootstrap import bootstrap
from BrainIACLib.statistics.metrics import balanced_accuracy
from Training.starter.export import encoder_contract
from Training.starter.kinds.calibration import real_logits
from Training.starter.kinds.real_scans import FOLDS, NEVER_LEARNED, RealScan, fold_of, real_scans
from Training.starter.kinds.samples import LABELS
from Training.starter.kinds.train import started_from
from Training.starter.kinds.training import Recipe, blended, new_net


@dataclass(frozen=True)
class Said:
    """Answers to the scans, in their order; ``confidence`` of ours, calibrated."""

    ours: np.ndarray
    confidence: np.ndarray
    earlier: np.ndarray
    histogram: np.ndarray


def histograms(scans: list[RealScan], recipe: Recipe) -> np.ndarray:
    """(n, 32) shares of the normalized values between -3 and 3."""
    contract, rows = encoder_contract(recipe.width), []
    for scan in scans:
        volume = normalise(scan.image.float()[None, None], contract)
        inside = volume[volume != 0]
        rows.append((torch.histc(inside, 32, -3, 3) / max(1, inside.numel())).numpy())
    return np.stack(rows).astype(np.float64)


def by_histogram(values: np.ndarray, scans: list[RealScan]) -> np.ndarray:
    """What a linear head on the histograms of all other folds says to the four sequences of each fold."""
    truth, fold = np.array([scan.label for scan in scans]), np.array([fold_of(scan.study) for scan in scans])
    groups = np.unique([scan.subject for scan in scans], return_inverse=True)[1]
    found = np.full(len(scans), "", dtype=object)
    for name in (*FOLDS, NEVER_LEARNED):
        out = fold == name
        classes = tuple(np.unique(truth[~out]))
        target = Target("sequence", "classification", np.searchsorted(classes, truth[~out]), classes)
        head = fit_linear_head(values[~out], target, groups[~out], np.random.default_rng(0))
        found[out] = np.array(classes)[head.outputs(values[out]).argmax(1)]
    return found


def macro_f1(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean over the labels that occur in ``truth`` of 2 tp / (2 tp + fp + fn)."""
    scores = []
    for name in np.unique(truth):
        hit = ((truth == name) & (said == name)).sum()
        scores.append(2 * hit / ((truth == name).sum() + (said == name).sum()))
    return float(np.mean(scores))


def report(scans: list[RealScan], said: Said, gate: float) -> str:
    """As Markdown."""
    truth, fold = np.array([s.label for s in scans]), np.array([fold_of(s.study) for s in scans])
    mode = np.array([scan.mode for scan in scans])
    four = np.isin(truth, STANDARD_NAMES)
    subjects = np.unique([scan.subject for scan in scans], return_inverse=True)[1]
    lines = [
        "# Sequence 2.0 on studies that were left out",
        "",
        "| scans | n | 2.0, study left out | 1.2 | histogram |",
        "|---|---|---|---|---|",
    ]

    def row(title: str, chosen: np.ndarray) -> None:
        if not chosen.any():
            return
        cells = []
        for answers in (said.ours, said.earlier, said.histogram):
            found = bootstrap(
                balanced_accuracy, truth[chosen].tolist(), answers[chosen].tolist(), groups=subjects[chosen]
            )
            cells.append(f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
        lines.append(f"| {title} | {chosen.sum()} | " + " | ".join(cells) + " |")

    row("the four, brain extraction auto, balanced accuracy", four & (mode == "auto"))
    row("the four, extraction off, whole heads", four & (mode == "none"))
    for name in (*FOLDS, NEVER_LEARNED):
        row(f"the four, auto: {name}", four & (mode == "auto") & (fold == name))
    auto = mode == "auto"
    lines.append(
        f"| all kinds, auto: macro F1 over {len(np.unique(truth[auto]))} kinds | {auto.sum()} | "
        f"{macro_f1(truth[auto], said.ours[auto]):.3f} | | {macro_f1(truth[auto], said.histogram[auto]):.3f} |"
    )
    for label in STANDARD_NAMES:
        chosen = auto & (truth == label)
        shares = [f"{(answers[chosen] == label).mean():.3f}" for answers in (said.ours, said.earlier, said.histogram)]
        lines.append(f"| recall of {label}, auto | {chosen.sum()} | " + " | ".join(shares) + " |")
    sure, right = said.confidence >= gate, said.ours == truth
    passing, of_all = (sure & right & four).sum(), (right & four).sum()
    lines += [
        "",
        f"Above the gate of {gate:.2f}: {passing} of {of_all} right answers about the four "
        f"({passing / max(1, of_all):.0%}), {(sure & ~right).sum()} wrong ones. Temperature and gate were chosen on "
        "these same answers, so that no wrong one passes: this describes the choice and tests nothing.",
        "",
        "Wrong answers:",
        "",
    ]
    lines += [
        f"- `{scan.file}` ({scan.mode}): {scan.label} called {ours} ({confidence:.2f}); 1.2: {earlier}"
        for scan, ours, confidence, earlier, ok in zip(
            scans, said.ours, said.confidence, said.earlier, right, strict=True
        )
        if not ok
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--public", type=Path, help="what public_series wrote of lists 0 and 1")
    parser.add_argument("--start", type=Path, required=True, help="model folder of version 1.2")
    parser.add_argument("--model", type=Path, required=True, help="model folder of version 2.0: temperature and gate")
    parser.add_argument("--work", type=Path, default=Path("runs/kinds"), help="where the training worked")
    parser.add_argument("--cache", type=Path, help="standardized scans (default: in the work folder)")
    arguments = parser.parse_args()
    recipe = Recipe()
    scans = real_scans(arguments.data, arguments.cache or arguments.work / "standardised", arguments.public)
    logits = torch.zeros(len(scans), len(LABELS))
    start = started_from(arguments.start, recipe)
    for name, weights in {**{name: f"without {name}" for name in FOLDS}, NEVER_LEARNED: "all"}.items():
        net = new_net(recipe)
        net.load_state_dict(torch.load(arguments.work / f"{weights}.pt", weights_only=True))
        net = blended(net, start, recipe.kept)
        chosen = [i for i, scan in enumerate(scans) if fold_of(scan.study) == name]
        logits[chosen] = real_logits(net.eval().half().float(), [scans[i] for i in chosen], recipe)
    head = read_contract(arguments.model).head
    probabilities = (logits / (head.temperature or 1.0)).softmax(1)
    earlier = load_model(InstalledModel(arguments.start, read_contract(arguments.start)))
    said = Said(
        ours=np.array(LABELS)[probabilities.argmax(1)],
        confidence=probabilities.amax(1).numpy(),
        earlier=np.array(STANDARD_OR_OTHER)[real_logits(earlier, scans, recipe).argmax(1)],
        histogram=by_histogram(histograms(scans, recipe), scans).astype(str),
    )
    text = report(scans, said, head.confidence_gate or 0.0)
    (arguments.work / "studies.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
