"""Where a prediction came from: guided backpropagation with SmoothGrad, on the task's own output (PROTOCOL 2.3, U-13).

Guided backpropagation (Springenberg et al. 2015, "Striving for simplicity") lets a gradient through a ReLU only where
the ReLU's input *and* the incoming gradient are positive. SmoothGrad (Smilkov et al. 2017) combines the gradients of
noisy copies of the input. MONAI finds ReLUs by attribute *name* and on its own ResNets finds none, silently (D-11);
here they are found by type and counted, and a network that has none, or other activations too, is refused.

Guided maps look sharp because they recover edges of the input, and can change little when the weights change (Adebayo
et al. 2018, "Sanity checks for saliency maps"): ``randomised_copy`` is there to look at that.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from BrainIACLib.errors import ModelError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.models.inference import prepare_for_inference
from BrainIACLib.models.input_gradients import keep_little

BATCH_MEMORY = 512 << 20  # bytes that the outputs of all layers may take for one batch of noise samples
MASK_PIECE = 1 << 20  # voxels times channels
# Operations, as torch records them, for which guided backpropagation is not defined or that were not made guided.
OTHER_ACTIVATIONS = {f"{name}Backward0" for name in ("Relu", "Gelu", "Silu", "LeakyRelu", "Elu", "PreluKernel")}


@dataclass(frozen=True)
class Saliency:
    """``map``: (X, Y, Z) as the input, >= 0, in output units per input unit; ``parameters``: how it was made."""

    map: Tensor
    parameters: Mapping[str, object]


def guided_smoothgrad(
    model: nn.Module,
    inputs: Tensor,
    target: Callable[[Tensor], Tensor],
    *,
    samples: int = 10,
    noise: float = 0.15,
    seed: int = 0,
    guided: bool = True,
    batch_size: int | None = None,
    job: Job = UNATTENDED,
) -> Saliency:
    """Root mean square, over noisy copies of the input, of the guided gradient of ``target`` at each voxel.

    The model is never modified: a copy that shares its weights is, in evaluation mode. Gradients are enabled here, so
    a surrounding ``torch.no_grad()`` or ``torch.inference_mode()`` does not matter. For one scan of several, pass a
    module in which the embeddings of the others are constants.

    Parameters
    ----------
    model : (B, 1, X, Y, Z) -> outputs; encoder and head together, so that the head's ReLUs are guided too.
    inputs : (1, 1, X, Y, Z), on the model's device.
    target : outputs -> (B,), the number to explain: a class logit, the binary logit, a regression output.
    samples, noise, seed : Gaussian noise of standard deviation ``noise * (inputs.max() - inputs.min())``, drawn sample
        by sample on the CPU, so that the map depends neither on the batch size nor on the device.
    guided : False gives plain SmoothGrad, recorded under that name.
    batch_size : samples per pass; None takes one, and from then on as many as fit into ``BATCH_MEMORY`` by the size of
        the layers' outputs for that one. Compact networks gain most: torch's CPU convolution is several times slower on
        a single small volume than on two. Halved whenever the device runs out of memory.
    job : asked before every batch whether to stop, told after it the fraction that is done.

    Raises
    ------
    ModelError : guided, and the network has no ReLU module, or other activations than such modules; too little memory
        for one sample; a map that is not finite.
    Cancelled : as the job was.
    """
    if inputs.ndim != 5 or inputs.shape[:2] != (1, 1):
        raise ValueError(f"inputs must be (1, 1, X, Y, Z), not {tuple(inputs.shape)}")
    if samples < 1 or noise < 0 or (batch_size is not None and batch_size < 1):
        raise ValueError("samples and batch_size must be at least 1, noise at least 0")
    with torch.inference_mode(False), torch.enable_grad():
        inputs = inputs.detach().clone()
        net = prepare_for_inference(model, share_weights=True)
        relus = []
        if guided:
            relus = _guide_relus(net)
            keep_little(net)
        deviation = noise * (inputs.max() - inputs.min()).item()
        generator = torch.Generator().manual_seed(seed)
        limit = batch_size or 1
        squares = torch.zeros_like(inputs[0, 0])
        done = 0
        while done < samples:
            job.check()
            batches = math.ceil((samples - done) / limit)
            size = math.ceil((samples - done) / batches)  # of equal batches, since a last one of one sample is slow
            state = generator.get_state()
            draws = torch.cat([torch.randn(inputs.shape, generator=generator) for _ in range(size)])
            with _OutputBytes(net) as outputs:
                gradients = _gradients_if_memory_allows(net, inputs + deviation * draws.to(inputs), target, guided)
            if gradients is None:
                generator.set_state(state)
                limit = size // 2
                continue
            if batch_size is None and done == 0:
                limit = max(1, BATCH_MEMORY // max(1, outputs.total))
            for gradient in gradients[:, 0]:
                squares.addcmul_(gradient, gradient)
            done += size
            job.progress("saliency", done / samples)
        heat = (squares / samples).sqrt()
    if not heat.isfinite().all():
        raise ModelError("The saliency map is not finite: the model's output cannot be differentiated at this scan.")
    parameters = {
        "method": "guided backpropagation with SmoothGrad" if guided else "SmoothGrad",
        "samples": samples,
        "noise": noise,
        "noise_standard_deviation": deviation,
        "seed": seed,
        "aggregation": "root mean square over samples",
        "guided_relu_modules": sum(relu.called for relu in relus),
    }
    return Saliency(heat, parameters)


_Net = TypeVar("_Net", bound=nn.Module)


def randomised_copy(model: _Net, seed: int = 0) -> _Net:
    """A copy with the entries of every parameter tensor shuffled, for the sanity check of Adebayo et al. (2.3.8).

    A map that explains the model must change when its weights do; shuffling keeps their distribution.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = {}
    with torch.inference_mode(False):
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            values = parameter.detach().flatten()[order].reshape(parameter.shape)
            shuffled[id(parameter)] = nn.Parameter(values, requires_grad=parameter.requires_grad)
        return copy.deepcopy(model, shuffled)


class _GuidedGradient(torch.autograd.Function):
    """ReLU forward; backward passes a gradient only where it and the ReLU's input are positive (2.3.2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        out = x.relu_() if inplace else x.relu()
        ctx.save_for_backward(out > 0)  # exactly where the input was; a quarter of its memory
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (positive,) = ctx.saved_tensors
        passed = gradient.clamp(min=0)
        # In pieces: torch multiplies by a copy of the mask as float32, and a small one stays in the processor's cache.
        dimension = min(2, passed.ndim - 1)  # planes of the volume; channels stay together
        size = max(1, MASK_PIECE * passed.shape[dimension] // passed.numel())
        for part, mask in zip(passed.split(size, dimension), positive.split(size, dimension), strict=True):
            part.mul_(mask)
        return passed, None


class _GuidedReLU(nn.ReLU):
    called = False

    def forward(self, x: Tensor) -> Tensor:
        self.called = True
        return _GuidedGradient.apply(x, self.inplace)  # type: ignore[no-untyped-call]


def _guide_relus(net: nn.Module) -> list[_GuidedReLU]:
    """Turn every ReLU of our own copy of the network into a guided one, in place."""
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise ModelError(
            "Guided backpropagation needs ReLU activations and this network has none; ask for plain SmoothGrad instead."
        )
    for relu in relus:
        relu.__class__ = _GuidedReLU
    return [relu for relu in relus if isinstance(relu, _GuidedReLU)]


class _OutputBytes:
    """Adds up the sizes of the outputs of all layers while it is entered: an upper estimate of what a pass keeps."""

    def __init__(self, net: nn.Module):
        self.total = 0
        self._layers = [module for module in net.modules() if not list(module.children())]

    def __enter__(self) -> _OutputBytes:
        self._hooks = [layer.register_forward_hook(self._add) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _add(self, _layer: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
        if isinstance(output, Tensor):
            self.total += output.nbytes


def _gradients_if_memory_allows(
    net: nn.Module, batch: Tensor, target: Callable[..., Any], guided: bool
) -> Tensor | None:
    """(B, 1, X, Y, Z) gradients, or None if the device has too little memory for a batch of this size."""
    try:
        return _input_gradients(net, batch, target, guided)
    except RuntimeError as error:  # torch.OutOfMemoryError is one; Apple's back end raises a plain one
        if "out of memory" not in str(error):
            raise
        if len(batch) == 1:
            raise ModelError(
                "The device has too little memory for a saliency map; close other programs or choose the CPU."
            ) from error
        return None


def _input_gradients(net: nn.Module, batch: Tensor, target: Callable[..., Any], guided: bool) -> Tensor:
    batch.requires_grad_()
    scores = target(net(batch.clone()))  # a copy, since a network may begin with an in-place operation
    if scores.shape != batch.shape[:1]:
        raise ValueError(f"target must give one number per sample, ({len(batch)},), not {tuple(scores.shape)}")
    if guided and not _every_relu_is_guided(scores):
        raise ModelError(
            "Guided backpropagation needs a network whose activations are all ReLU modules, and this one uses others "
            "or calls ReLU as a function; ask for plain SmoothGrad instead."
        )
    (gradients,) = torch.autograd.grad(scores.sum(), batch)
    return gradients


def _every_relu_is_guided(scores: Tensor) -> bool:
    """Walk the recorded operations: at least one guided ReLU, and no other activation (a ViT's GELU, say)."""
    seen, waiting = set(), [scores.grad_fn]
    while waiting:
        operation = waiting.pop()
        if operation is not None and operation not in seen:
            seen.add(operation)
            waiting += [source for source, _ in operation.next_functions]
    names = {operation.name() for operation in seen}
    return "_GuidedGradientBackward" in names and not names & OTHER_ACTIVATIONS
