"""The bundled sequence model on the open scans: accuracy, calibration, bad inputs, novelty.

    python -m Training.starter.evaluate --data ../shared/data --out runs/starter-evaluation

Every scan goes through the library's own pipeline with brain extraction ``auto``, whole heads with it switched off too.
Writes ``answers.csv`` (one row per scan and mode) and ``report.md``. What the network is given is kept in ``inputs/``
and used again as long as scan, preprocessing and input format are the same, whatever the weights.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from BrainIACLib.answers import probabilities_of
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.embeddings.key import preprocessing_sha256
from BrainIACLib.errors import BrainIACError, StatisticsError
from BrainIACLib.preprocessing.brain_extraction import network_of_auto
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.resources import resource
from BrainIACLib.scans import read_scan
from BrainIACLib.statistics.bootstrap import bootstrap
from BrainIACLib.statistics.calibration import calibration_error
from BrainIACLib.statistics.metrics import auc, balanced_accuracy
from BrainIACLib.trust.echo_planar import in_plane_mm
from BrainIACLib.trust.novelty import Novelty, read_novelty
from Training.command import run
from Training.starter.novelty_report import SEQUENCES, novelty_section, oddness

MODES = ("auto", "none")


@dataclass(frozen=True)
class Answer:
    """What the model said to one scan. ``truth`` is a sequence, or "" where none of the four is right.

    ``odd``: why it is no real scan of one of the four sequences (``novelty_report.oddness``), "" if it is one;
    ``novelty``: its score, None where the scan was refused or the model has no statistics.
    """

    file: str
    subject: str
    whole_head: bool
    mode: str
    truth: str
    odd: str
    probabilities: dict[str, float]  # empty when the scan was refused
    refusal: str
    novelty: float | None = None

    @property
    def label(self) -> str:
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def confidence(self) -> float:
        return max(self.probabilities.values())


def answers(
    data: Path, model: InstalledModel, folders: list[str], cache: Path, modes: Sequence[str] = MODES
) -> Iterator[Answer]:
    """The model's answers to the inputs of MANIFEST.csv in ``folders``; model inputs are kept in ``cache``.

    ``modes``: of the brain extraction.
    """
    net, novelty = load_model(model), novelty_of_model(model)
    head, encoder = model.contract.head, model.contract.encoder
    options = {mode: PreprocessingOptions(brain_extraction=mode) for mode in modes}
    recipes = {mode: preprocessing_sha256(asked, encoder) for mode, asked in options.items()}
    network = network_of_auto().name
    with (data / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].split("/")[0] in folders]
    for row in rows:
        if (odd := oddness(row)) is None:
            continue
        truth = row["sequence"] if row["sequence"] in SEQUENCES else ""
        for mode in modes:
            if mode == "none" and row["skull_stripped"] == "yes":
                continue  # without a skull there is nothing to switch off
            facts = (row["file"], row["subject"], row["skull_stripped"] != "yes", mode, truth, odd)
            # a file's name is no key: one person's scan may lie in two folders
            stored = cache / f"{row['sha256'][:20]}-{recipes[mode][:20]}-{network}.input.pt"
            try:
                if not stored.is_file():
                    cache.mkdir(parents=True, exist_ok=True)
                    scan = read_scan(data / row["file"])
                    tensor = model_input(standardise(scan.image, options[mode]).image, encoder)
                    torch.save({"input": tensor, "in_plane_mm": in_plane_mm(scan.image)}, stored)
            except BrainIACError as error:
                yield Answer(*facts, {}, str(error).replace(str(data / row["file"]), row["file"]))
                continue
            known = torch.load(stored, weights_only=True)
            with torch.inference_mode():
                embedding = net.encoder(known["input"])
                probabilities = probabilities_of(head, net.head(embedding)[0], known["in_plane_mm"])
            score = None if novelty is None else float(novelty.scores(embedding.numpy())[0])
            yield Answer(*facts, probabilities, "", score)


def novelty_of_model(model: InstalledModel) -> Novelty | None:
    """The statistics of the training embeddings beside a model; None if its contract names none."""
    head = model.contract.head
    if head.ood_stats is None:
        return None
    return read_novelty(model.folder / head.ood_stats, head.ood_sha256, model.contract.encoder.embedding_size)


def accuracy_of(chosen: list[Answer]) -> str:
    """Balanced accuracy with its 95 % interval, or why it has none; subjects are drawn, not scans."""
    truth, label = [answer.truth for answer in chosen], [answer.label for answer in chosen]
    subjects = np.unique([answer.subject for answer in chosen], return_inverse=True)[1]
    value = f"{balanced_accuracy(truth, label):.3f}"
    try:
        found = bootstrap(balanced_accuracy, truth, label, groups=subjects)
    except StatisticsError:  # most resamples lack a sequence that one subject alone has
        return f"{value} (too few scans of a sequence for an interval)"
    return f"{value} (bootstrap by subject {found.low:.3f} to {found.high:.3f})"


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    z, share = 1.96, right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return float(middle - half), float(middle + half)


def enhancement_auc(chosen: list[Answer]) -> float:
    """Area under the curve of T1CE against T1 by P(T1CE) / (P(T1) + P(T1CE)); NaN without both."""
    pairs = [answer for answer in chosen if answer.truth in ("T1", "T1CE")]
    truth = [answer.truth == "T1CE" for answer in pairs]
    if len(set(truth)) < 2:
        return float("nan")
    scores = []
    for answer in pairs:
        plain, enhanced = answer.probabilities["T1"], answer.probabilities["T1CE"]
        scores.append(enhanced / max(plain + enhanced, 1e-12))
    return float(auc(truth, scores))


def section(title: str, chosen: list[Answer], labels: tuple[str, ...], gate: float) -> str:
    """One block of the report: figures, confusion matrix, errors."""
    refused = [answer for answer in chosen if answer.refusal]
    chosen = [answer for answer in chosen if not answer.refusal]
    if not chosen:
        return f"## {title}\n\nno scan\n"
    right = sum(answer.label == answer.truth for answer in chosen)
    sureness = calibration_error([a.label == a.truth for a in chosen], [a.confidence for a in chosen])
    wilson = wilson_interval(right, len(chosen))
    sure = [answer for answer in chosen if answer.confidence >= gate]
    lines = [
        f"## {title}",
        "",
        f"{len(chosen)} scans of {len({answer.subject for answer in chosen})} subjects; {len(refused)} refused.",
        "",
        f"- balanced accuracy {accuracy_of(chosen)}",
        f"- accuracy {right}/{len(chosen)} (Wilson {wilson[0]:.3f} to {wilson[1]:.3f})",
        f"- T1 against T1CE: AUC {enhancement_auc(chosen):.3f}",
        f"- expected calibration error {sureness:.3f}",
        f"- at confidence >= {gate:.2f}: {sum(a.label == a.truth for a in sure)} of {len(sure)} right",
        "",
        "| truth | " + " | ".join(labels) + " |",
        "|---" * (len(labels) + 1) + "|",
    ]
    for truth in SEQUENCES:
        counts = [sum(a.truth == truth and a.label == label for a in chosen) for label in labels]
        lines.append(f"| {truth} | " + " | ".join(map(str, counts)) + " |")
    lines += ["", "Errors and refusals:", ""]
    lines += [f"- `{a.file}`: {a.truth} called {a.label} ({a.confidence:.2f})" for a in chosen if a.label != a.truth]
    lines += [f"- `{a.file}`: {a.refusal}" for a in refused]
    return "\n".join(lines) + "\n"


def report(collected: list[Answer], labels: tuple[str, ...], gate: float, warn_above: float | None) -> str:
    """The whole report as Markdown. ``warn_above``: the novelty score to warn from; None without statistics."""
    known = [a for a in collected if not a.odd]
    parts = [
        section("Brain extraction auto, all scans", [a for a in known if a.mode == "auto"], labels, gate),
        section(
            "Brain extraction auto, whole heads", [a for a in known if a.mode == "auto" and a.whole_head], labels, gate
        ),
        section(
            "Brain extraction off, whole heads", [a for a in known if a.mode == "none" and a.whole_head], labels, gate
        ),
    ]
    if warn_above is not None:
        parts.append(novelty_section([a for a in collected if a.mode == "auto"], warn_above))
    lines = [
        "## Odd inputs",
        "",
        "| file | why odd | mode | answer | confidence | confident sequence | distance | warned of it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for a in collected:
        if not a.odd:
            continue
        if a.refusal:
            lines.append(f"| `{a.file}` | {a.odd} | {a.mode} | refused: {a.refusal} | | no | | |")
            continue
        confident = "YES" if a.label in SEQUENCES and a.confidence >= gate else "no"
        known_distance = a.novelty is not None and warn_above is not None
        distance = f"{a.novelty:.2f} | {'yes' if a.novelty > warn_above else 'no'}" if known_distance else "- | -"
        lines.append(f"| `{a.file}` | {a.odd} | {a.mode} | {a.label} | {a.confidence:.2f} | {confident} | {distance} |")
    return "\n".join([*parts, *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--model", type=Path, default=resource("Models", "sequence-starter"), help="model folder")
    parser.add_argument("--out", type=Path, default=Path("runs/starter-evaluation"), help="folder for the report")
    parser.add_argument("--folders", nargs="+", default=["scans", "multiseq", "age", "dicom", "bad", "atlas"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="of the brain extraction")
    arguments = parser.parse_args()
    model = InstalledModel(arguments.model, read_contract(arguments.model))
    arguments.out.mkdir(parents=True, exist_ok=True)
    collected = list(answers(arguments.data, model, arguments.folders, arguments.out / "inputs", arguments.modes))
    labels, gate = model.contract.head.labels, model.contract.head.confidence_gate or 0.0
    with (arguments.out / "answers.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "subject", "whole_head", "mode", "truth", "odd", *labels, "novelty", "refusal"])
        for a in collected:
            numbers = [f"{a.probabilities[label]:.4f}" if a.probabilities else "" for label in labels]
            distance = "" if a.novelty is None else f"{a.novelty:.4f}"
            writer.writerow([a.file, a.subject, a.whole_head, a.mode, a.truth, a.odd, *numbers, distance, a.refusal])
    novelty = novelty_of_model(model)
    text = report(collected, labels, gate, None if novelty is None else novelty.warn_above)
    (arguments.out / "report.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    raise SystemExit(run("evaluate", main))
