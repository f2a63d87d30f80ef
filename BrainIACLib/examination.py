"""On request, for one answer: does it hold under small changes, and does its saliency map depend on the model?"""

from __future__ import annotations

import typing
from collections.abc import Mapping

import numpy as np

from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.preprocessing.intensity import image_with_array, model_input, ras_array
from BrainIACLib.trust.findings import SanityCheck, Spread, Stability
from BrainIACLib.trust.perturbations import SWEEPS

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.predictor import Predictor

SHIFT = 1  # voxels of the model's grid


def examine(
    predictor: "Predictor",
    task: str,
    scans: str | Mapping[str, str],
    label: str,
    *,
    model_id: str | None = None,
    job: Job = UNATTENDED,
) -> tuple[Spread, tuple[Stability, ...]]:
    """Spread under left-right flip and shifts by one voxel, and the stability curves of this case."""
    view = predictor.view(task, scans, model_id)
    steps = 1 + sum(len(levels) for _, levels in SWEEPS.values())
    done = 0

    def advance(step: str) -> None:
        nonlocal done
        done += 1
        job.report(step, done / steps)

    inputs = [model_input(image, view.encoder) for image in view.images]
    numbers = view.numbers([_variants(tensor) for tensor in inputs], label)
    advance("small shifts and flip")
    spread = Spread(("as it is", *VARIANTS), tuple(numbers), view.unit)
    stability = []
    arrays = [ras_array(image) for image in view.images]
    for name, (change, levels) in SWEEPS.items():
        curve, words = [], "Gibbs ringing" if name == "gibbs" else name
        for level in levels:
            changed = [
                model_input(image_with_array(change(array, level), image), view.encoder)
                for array, image in zip(arrays, view.images, strict=True)
            ]
            curve.append((level, view.numbers(changed, label)[0]))
            advance(words)
        stability.append(Stability(name, tuple(curve), numbers[0], view.unit))
    return spread, tuple(stability)


VARIANTS = ("flipped left-right", *(f"shifted {axis}{sign}1" for axis in "xyz" for sign in "+-"))


def _variants(tensor: "torch.Tensor") -> "torch.Tensor":
    """(1, 1, X, Y, Z) -> (8, 1, X, Y, Z): as it is, flipped, shifted; the brain does not reach the border."""
    import torch

    shifted = [torch.roll(tensor, sign * SHIFT, axis) for axis in (2, 3, 4) for sign in (1, -1)]
    return torch.cat([tensor, tensor.flip(2), *shifted])


def sanity_check(
    predictor: "Predictor",
    task: str,
    scans: str | Mapping[str, str],
    scan: str,
    label: str,
    *,
    model_id: str | None = None,
    samples: int = 5,
    seed: int = 0,
) -> SanityCheck:
    """Whether the saliency map changes when the model's weights are shuffled (Adebayo and others, NeurIPS 2018; 2.3.8).

    The rank correlation is that of the two maps inside the brain.
    """
    from scipy.stats import spearmanr

    ours, shuffled = (
        predictor.saliency(task, scans, scan, label, samples, seed, model_id=model_id, randomised=randomised)
        for randomised in (False, True)
    )
    inside = ours.inputs != 0
    if any(np.ptp(found.heat[inside]) == 0 for found in (ours, shuffled)):  # a constant map has no ranks
        return SanityCheck(None, samples)
    return SanityCheck(float(spearmanr(ours.heat[inside], shuffled.heat[inside]).statistic), samples)
