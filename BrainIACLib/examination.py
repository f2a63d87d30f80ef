"""On request, for one answer: does it hold under small changes, and does its saliency map depend on the model?"""

from __future__ import annotations

import typing
from collections.abc import Mapping

import numpy as np

from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.preprocessing.intensity import image_with_array, model_input, ras_array
from BrainIACLib.trust.perturbations import SWEEPS

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.predictor import Predictor

SHIFT = 1  # voxels of the model's grid
SMALL_CHANGE = 0.05  # of a probability
SIMILAR_MAPS = 0.5  # rank correlation of a map with that of shuffled weights


def examine(
    predictor: "Predictor",
    task: str,
    scans: str | Mapping[str, str],
    label: str,
    *,
    model_id: str | None = None,
    job: Job = UNATTENDED,
) -> dict:
    """Spread under left-right flip and shifts by one voxel, and the stability curves of this case.

    Returns
    -------
    ``spread``: the number (probability of ``label``, or value) of each variant, mean and standard deviation;
    ``stability``: for each perturbation (level, number) pairs and the largest change; each with a sentence.
    """
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
    spread = {
        "variants": ["as it is", *VARIANTS],
        "numbers": numbers,
        "mean": float(np.mean(numbers)),
        "standard_deviation": float(np.std(numbers)),
    }
    spread["meaning"] = _in_words("a left-right flip and shifts by one voxel", numbers, numbers[0], view.unit)
    stability = {}
    arrays = [ras_array(image) for image in view.images]
    for name, (change, levels) in SWEEPS.items():
        curve, words = [], "Gibbs ringing" if name == "gibbs" else name
        for level in levels:
            changed = [
                model_input(image_with_array(change(array, level), image), view.encoder)
                for array, image in zip(arrays, view.images, strict=True)
            ]
            curve.append([level, *view.numbers(changed, label)])
            advance(words)
        values = [value for _, value in curve]
        stability[name] = {"curve": curve, "largest_change": float(np.abs(np.array(values) - numbers[0]).max())}
        stability[name]["meaning"] = _in_words(f"changes of {words}", values, numbers[0], view.unit)
    return {"spread": spread, "stability": stability}


VARIANTS = ("flipped left-right", *(f"shifted {axis}{sign}1" for axis in "xyz" for sign in "+-"))


def _variants(tensor: "torch.Tensor") -> "torch.Tensor":
    """(1, 1, X, Y, Z) -> (8, 1, X, Y, Z): as it is, flipped, shifted; the brain does not reach the border."""
    import torch

    shifted = [torch.roll(tensor, sign * SHIFT, axis) for axis in (2, 3, 4) for sign in (1, -1)]
    return torch.cat([tensor, tensor.flip(2), *shifted])


def _in_words(what: str, values: list[float], value: float, unit: str | None) -> str:
    change = float(np.abs(np.array(values) - value).max())
    if unit is not None:
        return f"Under {what} the answer moves by up to {change:.1f} {unit}."
    verdict = "holds" if change <= SMALL_CHANGE else f"moves by up to {change:.2f}"
    return f"Under {what} the probability ({value:.2f}) {verdict}."


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
) -> dict:
    """Whether the saliency map changes when the model's weights are shuffled (Adebayo and others, NeurIPS 2018; 2.3.8).

    Returns
    -------
    ``rank_correlation`` of the two maps inside the brain (Spearman; None of a constant map), and what it means.
    """
    from scipy.stats import spearmanr

    ours, shuffled = (
        predictor.saliency(task, scans, scan, label, samples, seed, model_id=model_id, randomised=randomised)
        for randomised in (False, True)
    )
    inside = ours.inputs != 0
    if any(np.ptp(found.heat[inside]) == 0 for found in (ours, shuffled)):  # a constant map has no ranks
        meaning = "One of the maps is the same everywhere: whether they depend on the weights cannot be told."
        return {"rank_correlation": None, "samples": samples, "meaning": meaning}
    similarity = float(spearmanr(ours.heat[inside], shuffled.heat[inside]).statistic)
    meaning = (
        "The map stays much the same when the model's weights are shuffled: it shows the scan's edges more than what "
        "the model has learned; do not read it as a reason."
        if similarity > SIMILAR_MAPS
        else "The map changes when the model's weights are shuffled, as it should."
    )
    return {"rank_correlation": similarity, "samples": samples, "meaning": meaning}
