"""The template that every scan is registered to: the ICBM152 2009a symmetric adult T1 brain, 1 mm (U-09)."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import SimpleITK as sitk

from BrainIACLib.resources import resource


@dataclass(frozen=True, eq=False)
class Template:
    """A brain without skull on the grid that standardized images live on, and what it is called in records."""

    name: str
    sha256: str
    image: sitk.Image  # float32, 197x233x189 at 1 mm, RAS, zero outside the brain
    mask: sitk.Image  # uint8, the brain with its ventricles


@functools.cache
def icbm152() -> Template:
    """The bundled adult template; read once."""
    path = resource("Atlas", "icbm152_2009a_sym_t1_brain.nii.gz")
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    mask = sitk.BinaryFillhole(sitk.Cast(image > 0, sitk.sitkUInt8))
    return Template(
        name="ICBM152 2009a symmetric T1 brain, 1 mm",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        image=image,
        mask=mask,
    )
