"""The bundled brain extraction: one pass of a small network that knows heads of any contrast.

The network was trained on synthetic heads only (``Training/starter/brain_extraction``). It sees the scan on a grid of
its own, 2.5 mm along the scan's axes, and returns the signed distance to the border of the brain in mm, positive
inside. The distance is brought back onto the scan's grid and cut there, so the border lies between voxels of the
coarse grid and can be moved without another network.
"""

from __future__ import annotations

import functools
import json
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import ModelError, PreprocessingError
from BrainIACLib.file_hash import read_unchanged
from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask
from BrainIACLib.preprocessing.orientation import image_as_stored, oriented_axes, oriented_view
from BrainIACLib.resources import resource

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.models.unet import UNet

FOLDER, FILE = ("Models", "brain-extraction"), "brain_extraction.json"
MARGIN_MM = 15.0  # of air kept around the head
SMALLEST_EXTENT_MM = 25.0
DEEPEST_MM = 8.0  # a brain is at least this deep somewhere, even in a slab
BELIEVABLE_SHARPNESS = 0.7  # of a true distance, whose gradient is 1


@dataclass(frozen=True)
class BrainExtractionContract:
    """What the network takes and gives, read from ``brain_extraction.json`` beside its weights.

    ``output`` times ``mm_per_output`` is the signed distance in mm, meaningful within +-``clip_mm``.
    """

    id: str
    version: str
    licence: str
    training_data: str
    widths: tuple[int, ...]
    spacing_mm: float
    mm_per_output: float
    clip_mm: float
    border_mm: float  # the level of the distance at which the mask is cut; positive is tighter
    weights: str
    sha256: str


def read_brain_extraction_contract(folder: Path) -> BrainExtractionContract:
    """Read and check ``folder/brain_extraction.json``.

    Raises
    ------
    ModelError : no such file, not JSON, or fields that are missing, unknown or of a wrong type.
    """
    path = Path(folder) / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        contract = BrainExtractionContract(**{**document, "widths": tuple(document["widths"])})
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no brain extraction: {FILE} is missing; install BrainIAC again.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{path}' is no valid description of a brain extraction ({error}).") from None
    numbers = (contract.spacing_mm, contract.mm_per_output, contract.clip_mm, contract.border_mm)
    texts = (contract.id, contract.version, contract.licence, contract.training_data, contract.weights, contract.sha256)
    whole = all(isinstance(width, int) and width > 0 for width in contract.widths)
    if not (whole and all(isinstance(n, (int, float)) for n in numbers) and all(isinstance(t, str) for t in texts)):
        raise ModelError(f"'{path}' is no valid description of a brain extraction (a field has a wrong type).")
    return contract


def normalised(volume: "torch.Tensor") -> "torch.Tensor":
    """Brightness on a common scale: the darkest voxels at 0, the brighter part of the head at about 1, glare cut at 2.

    A constant volume becomes zeros. Shape is kept; any shape.
    """
    import torch

    values = volume.flatten()
    low = values.kthvalue(max(1, values.numel() // 100)).values
    shifted = values - low
    head = shifted[shifted > shifted.mean()]
    if head.numel() == 0:
        return torch.zeros_like(volume)
    high = head.kthvalue(max(1, int(0.9 * head.numel()))).values
    return ((volume - low) / high.clamp_min(1e-12)).clamp(0, 2)


@dataclass(frozen=True)
class BrainDistance:
    """``distance`` is float32 on the grid of the scan: mm to the border of the brain, positive inside.

    ``sharpness`` is the median length of its gradient at the border: 1 for a sure network, less where it wavers.
    """

    distance: sitk.Image
    sharpness: float
    contract: BrainExtractionContract


def is_installed() -> bool:
    """Whether the network's weights lie among the bundled models."""
    return (resource(*FOLDER) / FILE).is_file()


def version() -> str:
    """What tells these weights from any others; ModelError as ``read_brain_extraction_contract``."""
    contract = read_brain_extraction_contract(resource(*FOLDER))
    return f"{contract.version} {contract.sha256} {contract.border_mm}"


def find(request: MaskRequest, border_mm: float | None = None) -> RawMask:
    """The brain by one pass of the network.

    Parameters
    ----------
    border_mm : where the distance is cut; positive is tighter, negative looser; the contract's level if not given.

    Raises
    ------
    PreprocessingError : the scan is constant, too thin, or shows no brain.
    ModelError : the bundled network is missing or damaged.
    """
    request.report(0.0)
    found = brain_distance(request.image, request.device)
    request.report(0.9)
    border = found.contract.border_mm if border_mm is None else float(border_mm)
    parameters = {
        "network": f"{found.contract.id} {found.contract.version}",
        "sha256": found.contract.sha256,
        "border_mm": border,
        "device": request.device,
        "sharpness": round(found.sharpness, 3),
    }
    unsure = found.sharpness < BELIEVABLE_SHARPNESS
    warnings = ("The network is not sure where the brain ends: look at the mask before using it.",) if unsure else ()
    return RawMask(found.distance > border, parameters, warnings)


def brain_distance(image: sitk.Image, device: str = "cpu") -> BrainDistance:
    """One pass of the network, brought back onto the scan's grid. Errors: as ``find``."""
    import torch

    contract, net = _network(device)
    voxels = oriented_view(image, "RAS")
    spacing = tuple(image.GetSpacing()[axis] for axis in oriented_axes(image, "RAS"))
    extent = np.array(spacing) * voxels.shape
    if extent.min() < SMALLEST_EXTENT_MM:
        raise PreprocessingError(
            f"The scan is only {extent.min():.0f} mm thick, too thin to tell where the brain ends; "
            "take a scan of the whole head, or hand in a brain mask."
        )
    array = np.ascontiguousarray(voxels, dtype=np.float32)
    scan = torch.from_numpy(np.nan_to_num(array, posinf=0, neginf=0)).to(device)
    step = contract.spacing_mm
    size = tuple(int(np.ceil(length / step)) for length in extent)
    with torch.inference_mode():
        if bool(scan.min() == scan.max()):
            raise PreprocessingError("The scan has the same value everywhere, so no brain can be found in it.")
        coarse = normalised(resampled(scan, spacing, size, (step,) * 3))
        box = _head_box(coarse.cpu().numpy(), round(MARGIN_MM / step))
        head = normalised(coarse[box])
        distance = torch.full(size, -contract.clip_mm, device=device)
        distance[box] = _network_distance(net, head, contract)
        if float(distance.max()) < DEEPEST_MM:
            raise _no_brain()
        sharpness = _sharpness(distance.cpu().numpy(), step)
        fine = resampled(distance, (step,) * 3, voxels.shape, spacing).cpu().numpy()
    return BrainDistance(image_as_stored(fine, image, "RAS"), sharpness, contract)


@functools.lru_cache(maxsize=2)
def _network(device: str) -> tuple[BrainExtractionContract, UNet]:
    import torch
    from safetensors.torch import load

    from BrainIACLib.models.unet import UNet

    folder = resource(*FOLDER)
    contract = read_brain_extraction_contract(folder)
    data = read_unchanged(folder / contract.weights, contract.sha256, "install BrainIAC again")
    net = UNet(contract.widths)
    net.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
    net.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stub forgets it
    return contract, net.eval()


def _network_distance(net: UNet, head: torch.Tensor, contract: BrainExtractionContract) -> torch.Tensor:
    """mm, (X, Y, Z) as ``head``, which is padded with zeros (air) to sizes that the network can halve.

    At least two voxels remain at the lowest resolution: group normalization cannot do with one.
    """
    import torch
    import torch.nn.functional as F

    missing = [max(-n % net.multiple, 2 * net.multiple - n) for n in head.shape]
    sides = [(n // 2, n - n // 2) for n in missing]
    padded = F.pad(head, [side for pair in reversed(sides) for side in pair])[None, None]
    output = net(padded.contiguous(memory_format=torch.channels_last_3d))[0, 0]
    for axis, (before, _) in enumerate(sides):
        output = output.narrow(axis, before, head.shape[axis])
    return (output * contract.mm_per_output).clamp(-contract.clip_mm, contract.clip_mm)


def resampled(
    volume: torch.Tensor, spacing: tuple[float, ...], size: tuple[int, ...], new_spacing: tuple[float, ...]
) -> torch.Tensor:
    """(X, Y, Z) on another grid with the same axes and middle: linear, averaging where the new voxels are larger.

    Each axis is a product with a small matrix, whose rows are triangles as wide as the larger of the two voxels.
    """
    import torch

    for axis in range(3):
        n, m, ratio = volume.shape[axis], size[axis], new_spacing[axis] / spacing[axis]
        centres = (torch.arange(m, dtype=torch.float64) - (m - 1) / 2) * ratio + (n - 1) / 2
        distance = (centres.clamp(0, n - 1)[:, None] - torch.arange(n, dtype=torch.float64)).abs()
        weights = (1 - distance / max(1.0, ratio)).clamp_min(0)
        weights = (weights / weights.sum(1, keepdim=True)).to(volume)
        volume = torch.tensordot(weights, volume, ([1], [axis])).movedim(0, axis)
    return volume


def _head_box(coarse: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The box of the largest bright piece of a normalized volume, grown by ``margin`` voxels."""
    bright = sitk.BinaryMorphologicalOpening(sitk.GetImageFromArray((coarse > 0.2).astype(np.uint8)), (1, 1, 1))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(bright)) == 1
    where = np.nonzero(sitk.GetArrayViewFromImage(largest))
    if where[0].size == 0:
        return (slice(None),) * 3
    return tuple(slice(max(0, int(i.min()) - margin), int(i.max()) + 1 + margin) for i in where)


def _sharpness(distance: np.ndarray, spacing: float) -> float:
    slope = np.sqrt(sum(g**2 for g in np.gradient(distance, spacing)))
    return float(np.median(slope[np.abs(distance) < spacing]))


def _no_brain() -> PreprocessingError:
    return PreprocessingError(
        "No brain was found in this scan with 'bundled'; check that it shows a head, or hand in a brain mask."
    )
