"""Temperature and gate, from simulated heads of held-out label maps and from real scans of studies left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.models.heads import EncoderWithHead
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import ALL_NAMES, NOT_A_HEAD, OTHER, STANDARD_NAMES, STANDARD_OR_OTHER
from BrainIACLib.trust.echo_planar import allow_for_echo_planar
from BrainIACLib.trust.temperature import fit_temperature
from Training.starter.export import encoder_contract
from Training.starter.kinds.real_scans import NEVER_LEARNED, RealScan, fold_of
from Training.starter.kinds.training import Recipe
from Training.starter.shards import ShardReader
from Training.starter.training import logits_of

GATES = np.arange(0.50, 0.951, 0.01)
MOST_WRONG = 0.03  # of the simulated answers above the gate


@dataclass(frozen=True)
class Judged:
    """Logits (n, 5) and labels (n,): of held-out simulated heads by the shipped net, and of real scans by the net that
    did not see their study. ``voxel_mm``: (n,) of the real scans, in the plane; ``head``: (n,), whether they are scans
    of a head at all."""

    simulated: Tensor
    simulated_labels: Tensor
    real: Tensor
    real_labels: Tensor
    voxel_mm: Tensor
    head: Tensor


@dataclass(frozen=True)
class Calibration:
    """``accuracy``: of each label on the held-out simulated heads. ``passing``: the share of the right answers to
    left-out scans of the four sequences that the gate lets through; ``wrong``: how many wrong ones about heads;
    ``odd``: how many answers to real images that are no scan of a head or have no name."""

    temperature: float
    gate: float
    accuracy: dict[str, float]
    passing: float
    wrong: int
    odd: int


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
    clear, labels = sureness >= 0.95, labels.clamp(max=STANDARD_OR_OTHER.index(OTHER))
    nets = folds | {NEVER_LEARNED: final}
    real = torch.stack([real_logits(nets[fold_of(scan.study)], [scan], Recipe())[0] for scan in scans])
    names = torch.tensor(
        [STANDARD_OR_OTHER.index(scan.label if scan.label in STANDARD_NAMES else OTHER) for scan in scans]
    )
    head = torch.tensor([scan.label in ALL_NAMES and scan.label != NOT_A_HEAD.name for scan in scans])
    voxel_mm = torch.tensor([scan.voxel_mm for scan in scans])
    return Judged(logits_of(final, volumes[clear]), labels[clear], real, names, voxel_mm, head)


def calibrated(answers: Judged) -> Calibration:
    """One temperature for both, real scans counting as much as simulated ones; then the lowest gate that holds back
    every wrong answer about a left-out scan of a head and all but ``MOST_WRONG`` about simulated heads. Real scans are
    answered as the library does it, with its doubt of coarse voxels."""
    repeats = max(1, round(len(answers.simulated) / len(answers.real)))
    logits = torch.cat([answers.simulated, answers.real.repeat(repeats, 1)])
    labels = torch.cat([answers.simulated_labels, answers.real_labels.repeat(repeats)])
    temperature = round(fit_temperature(logits.numpy(), labels.numpy()), 3)
    confidence, right = _answers(answers.real, answers.real_labels, temperature, answers.voxel_mm)
    sim_confidence, sim_right = _answers(answers.simulated, answers.simulated_labels, temperature)
    wrong = ~right & answers.head
    gate = next(
        (
            round(float(gate), 2)
            for gate in GATES
            if not (wrong & (confidence >= gate)).any()
            and (~sim_right[sim_confidence >= gate]).float().mean() <= MOST_WRONG
        ),
        float(GATES[-1]),
    )
    four = answers.real_labels < STANDARD_OR_OTHER.index(OTHER)
    answer = answers.simulated.argmax(1)
    return Calibration(
        temperature=temperature,
        gate=gate,
        accuracy={
            name: round(float((answer[answers.simulated_labels == i] == i).float().mean()), 4)
            for i, name in enumerate(STANDARD_OR_OTHER)
        },
        passing=float((confidence[four & right] >= gate).float().mean()),
        wrong=int((wrong & (confidence >= gate)).sum()),
        odd=int((~right & ~wrong & (confidence >= gate)).sum()),
    )


def _answers(
    logits: Tensor, labels: Tensor, temperature: float, voxel_mm: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(n,) confidence and whether the answer is right."""
    probabilities = (logits / temperature).softmax(1)
    if voxel_mm is not None:
        rows = zip(probabilities.tolist(), voxel_mm.tolist(), strict=True)
        allowed = [allow_for_echo_planar(dict(zip(STANDARD_OR_OTHER, row, strict=True)), mm) for row, mm in rows]
        probabilities = torch.tensor([list(row.values()) for row in allowed])
    confidence, answer = probabilities.max(1)
    return confidence, answer == labels
