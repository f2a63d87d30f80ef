"""Temperature and gate, from simulated heads of held-out label maps and from real scans of studies left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.models.heads import EncoderWithHead
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.trust.temperature import fit_temperature
from Training.starter.export import encoder_contract
from Training.starter.kinds.real_scans import NEVER_LEARNED, RealScan, fold_of
from Training.starter.kinds.samples import DRAWN, LABELS
from Training.starter.kinds.training import Recipe
from Training.starter.shards import ShardReader
from Training.starter.training import logits_of

GATES = np.arange(0.50, 0.951, 0.01)
MOST_WRONG = 0.02  # of the simulated answers above the gate


@dataclass(frozen=True)
class Judged:
    """Logits (n, labels) and labels (n,): of held-out simulated heads by the shipped net, and of real scans by the net
    that did not see their study. The label of a real image that has no name is the number of labels: no answer to it
    is right."""

    simulated: Tensor
    simulated_labels: Tensor
    real: Tensor
    real_labels: Tensor


@dataclass(frozen=True)
class Calibration:
    """``accuracy``: of each label on the held-out simulated heads. ``passing``: the share of the right answers to
    left-out scans of the four sequences that the gate lets through; ``wrong``: how many wrong ones."""

    temperature: float
    gate: float
    accuracy: dict[str, float]
    passing: float
    wrong: int


def real_logits(net: EncoderWithHead, scans: list[RealScan], recipe: Recipe) -> Tensor:
    """(n, labels), scan by scan."""
    contract = encoder_contract(recipe.width)
    with torch.inference_mode():
        return torch.cat([net(normalise(scan.image.float()[None, None], contract)) for scan in scans])


def judged(
    final: EncoderWithHead, folds: dict[str, EncoderWithHead], scans: list[RealScan], validation: ShardReader
) -> Judged:
    """Everything that temperature and gate are chosen by. Simulated heads that nobody could be sure of are left out."""
    volumes, labels, _, sureness = validation.all()
    clear = (sureness >= 0.95) & (labels < len(LABELS))
    nets = folds | {NEVER_LEARNED: final}
    real = torch.stack([real_logits(nets[fold_of(scan.study)], [scan], Recipe())[0] for scan in scans])
    names = torch.tensor([DRAWN.index(scan.label) for scan in scans])
    return Judged(logits_of(final, volumes[clear]), labels[clear], real, names)


def calibrated(answers: Judged) -> Calibration:
    """One temperature for both, real scans counting as much as simulated ones; then the lowest gate that holds back
    every wrong answer about a left-out scan and all but ``MOST_WRONG`` about simulated heads."""
    named = answers.real_labels < len(LABELS)
    repeats = max(1, round(len(answers.simulated) / int(named.sum())))
    logits = torch.cat([answers.simulated, answers.real[named].repeat(repeats, 1)])
    labels = torch.cat([answers.simulated_labels, answers.real_labels[named].repeat(repeats)])
    temperature = round(fit_temperature(logits.numpy(), labels.numpy()), 3)
    confidence, right = _answers(answers.real, answers.real_labels, temperature)
    sim_confidence, sim_right = _answers(answers.simulated, answers.simulated_labels, temperature)
    gate = next(
        (
            round(float(gate), 2)
            for gate in GATES
            if not (~right & (confidence >= gate)).any()
            and (~sim_right[sim_confidence >= gate]).float().mean() <= MOST_WRONG
        ),
        float(GATES[-1]),
    )
    four = torch.tensor([DRAWN[label] in STANDARD_NAMES for label in answers.real_labels.tolist()])
    answer = answers.simulated.argmax(1)
    return Calibration(
        temperature=temperature,
        gate=gate,
        accuracy={
            name: round(float((answer[answers.simulated_labels == i] == i).float().mean()), 4)
            for i, name in enumerate(LABELS)
        },
        passing=float((confidence[four & right] >= gate).float().mean()),
        wrong=int((~right & (confidence >= gate)).sum()),
    )


def _answers(logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    confidence, answer = (logits / temperature).softmax(1).max(1)
    return confidence, answer == labels
