"""From the standardized image to an encoder's input tensor, and from a map on the model grid back to an image.

Protocol: U-10 (v1: area resize of the whole array, then min-max; v2: trilinear, then non-zero z-score), U-11.
Arrays are (X, Y, Z). In RAS order index 0 grows to the patient's right, 1 to anterior, 2 to superior; a contract can
ask for another order, or for the one in which the scan is stored.
"""

from __future__ import annotations

import typing

import numpy as np
import SimpleITK as sitk

from BrainIACLib.contracts import AS_STORED, EncoderContract
from BrainIACLib.preprocessing.orientation import oriented_view

if typing.TYPE_CHECKING:
    import torch


def ras_array(image: sitk.Image) -> np.ndarray:
    """The voxels as a float32 array (X, Y, Z) in RAS order; axes are permuted and flipped as needed.

    The direction closest to RAS is taken (SimpleITK's orientation filter); oblique images keep their obliqueness.
    """
    return _array(image, "RAS")


def _oriented(image: sitk.Image, orientation: str) -> sitk.Image:
    return image if orientation == AS_STORED else sitk.DICOMOrient(image, orientation)


def _array(image: sitk.Image, orientation: str) -> np.ndarray:
    if orientation == AS_STORED:
        view = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    else:
        view = oriented_view(image, orientation)
    return np.array(view, np.float32, order="C")


def model_input(image: sitk.Image, contract: EncoderContract) -> "torch.Tensor":
    """The encoder's input (1, 1, X, Y, Z) from a standardized image: orient, resize, clip, normalize."""
    import torch

    array = torch.from_numpy(_array(image, contract.orientation))[None, None]
    return normalise(resize(array, contract.input_size, contract.resize_mode), contract)


def image_with_array(array: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """An array as ``ras_array`` gives it, as an image on the same grid as ``reference`` (in RAS order)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.CopyInformation(_oriented(reference, "RAS"))
    return image


def resize(volumes: "torch.Tensor", size: tuple[int, int, int], mode: str) -> "torch.Tensor":
    """(B, 1, X, Y, Z) -> (B, 1, *size).

    ``area`` is adaptive average pooling. ``area-inside`` averages over the non-zero voxels only and is zero where less
    than half of a voxel is filled, so that the brain's rim does not darken towards the empty outside. ``trilinear`` is
    plain interpolation without aligned corners and without antialiasing, as MONAI's ``Resized`` does (U-10).
    """
    import torch.nn.functional as F

    if mode == "area":
        return F.interpolate(volumes, size=size, mode="area")
    if mode == "area-inside":
        means, filled = (F.interpolate(v, size=size, mode="area") for v in (volumes, (volumes != 0).to(volumes.dtype)))
        return (means / filled).where(filled >= 0.5, 0.0)
    return F.interpolate(volumes, size=size, mode="trilinear", align_corners=False)


def normalise(volumes: "torch.Tensor", contract: EncoderContract) -> "torch.Tensor":
    """Clip and normalize each volume of (B, 1, X, Y, Z) by itself; a constant volume becomes zeros, never NaN."""
    import torch

    return torch.stack([_normalise_one(volume, contract) for volume in volumes])


def _normalise_one(volume: "torch.Tensor", contract: EncoderContract) -> "torch.Tensor":
    inside = volume != 0
    if not inside.any():
        return volume.clone()
    if contract.clip_percentiles is not None:
        ordered = volume[inside].sort().values
        low, high = (ordered[round(p / 100 * (len(ordered) - 1))] for p in contract.clip_percentiles)
        volume = volume.clamp(low, high).where(inside, volume.new_zeros(()))
    if contract.normalisation == "minmax":
        low, high = volume.min(), volume.max()
        return (volume - low) / (high - low) if high > low else volume.new_zeros(volume.shape)
    values = volume[inside]
    deviation = values.std(correction=0)
    if deviation == 0:
        return volume.new_zeros(volume.shape)
    return ((volume - values.mean()) / deviation).where(inside, volume.new_zeros(()))


def image_on_model_grid(array: np.ndarray, reference: sitk.Image, orientation: str = "RAS") -> sitk.Image:
    """A map (X, Y, Z) in ``orientation`` on the resized grid as an image of exactly the extent of ``reference``.

    Whole numbers below 256 (uint8) stay such, all else becomes float32.

    ``resize`` maps the outer voxel faces of the template grid onto those of the model grid, so spacing scales by the
    ratio of sizes and the first voxel center moves by half the difference of the spacings.
    """
    oriented = _oriented(reference, orientation)
    size = np.array(oriented.GetSize(), float)
    spacing = np.array(oriented.GetSpacing()) * size / np.array(array.shape)
    direction = np.array(oriented.GetDirection()).reshape(3, 3)
    shift = direction @ ((spacing - np.array(oriented.GetSpacing())) / 2)
    kept = array if array.dtype == np.uint8 else np.asarray(array, np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(kept.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((np.array(oriented.GetOrigin()) + shift).tolist())
    image.SetDirection(oriented.GetDirection())
    return image
