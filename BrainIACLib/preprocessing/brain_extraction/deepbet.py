"""deepbet (Fisch et al. 2024, doi 10.1016/j.compbiomed.2024.108845): a box at 128 cubed, then a mask at 256 cubed.

The package's weights without its code, which works on files only and installs a window toolkit for its own GUI.
"""

from __future__ import annotations

import functools
import typing
import warnings

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask
from BrainIACLib.preprocessing.brain_extraction.package import Package, more_likely_than_not
from BrainIACLib.preprocessing.resampling import with_spacing

if typing.TYPE_CHECKING:
    import torch

PACKAGE = Package("deepbet", extra="deepbet", module="deepbet")


def find(request: MaskRequest) -> RawMask:
    """Works on a copy of 1 mm; PreprocessingError where it sees no brain."""
    import torch
    import torch.nn.functional as F

    oriented = sitk.DICOMOrient(request.image, "RAS")
    work = with_spacing(oriented, tuple(max(1.0, spacing) for spacing in oriented.GetSpacing()), sitk.sitkLinear)
    array = sitk.GetArrayViewFromImage(work).transpose(2, 1, 0)
    volume = torch.from_numpy(np.ascontiguousarray(array)).to(request.device)
    box_net, net = _networks(request.device)
    with torch.inference_mode():
        small = F.interpolate(volume[None, None], (128, 128, 128), mode="nearest-exact")
        low, high = small.quantile(0.005), small.quantile(0.995)

        def scaled(values: torch.Tensor) -> torch.Tensor:
            values = ((values - low) / (high - low)).clamp(0, 1)
            return 0.226 * (values - values.mean()) / values.std() + 0.449

        rough = box_net(scaled(small))[0, 1] > 0.5
        request.report(0.3)
        box = _box_with_margin(rough.cpu().numpy(), volume.shape)
        inside = F.interpolate(volume[box][None, None], (256, 256, 256), mode="nearest-exact")
        found = torch.zeros_like(volume)
        found[box] = F.interpolate(net(scaled(inside))[:, 1:2], found[box].shape, mode="nearest-exact")[0, 0]
    mask = more_likely_than_not(found.cpu().numpy().transpose(2, 1, 0), work, request.image)
    return RawMask(mask, {"network": f"deepbet {PACKAGE.version()}", "device": request.device})


def _box_with_margin(rough: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box of the largest piece of a rough mask, scaled to ``shape`` and widened by a tenth on each side."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(rough.astype(np.uint8))))
    largest = sitk.GetArrayViewFromImage(pieces) == 1
    box = []
    for axis, full in enumerate(shape):
        inside = np.flatnonzero(largest.mean(tuple(other for other in range(3) if other != axis)) > 0.02)
        if inside.size == 0:
            raise PreprocessingError(
                "No brain was found in this scan with 'deepbet'; check that it shows a head, or hand in a brain mask."
            )
        first, last = inside[0] * full / rough.shape[axis], (inside[-1] + 1) * full / rough.shape[axis]
        margin = 0.1 * (last - first)
        box.append(slice(max(0, round(first - margin)), min(full, round(last + margin))))
    return tuple(box)


@functools.cache
def _networks(device: str) -> list[torch.nn.Module]:
    import torch

    folder = PACKAGE.folder().parent / "data" / "models"
    with warnings.catch_warnings():  # torch wants TorchScript to be exported anew; the package ships nothing else
        warnings.simplefilter("ignore", DeprecationWarning)
        return [torch.jit.load(folder / name, map_location=device).eval() for name in ("bbox_model.pt", "model.pt")]
