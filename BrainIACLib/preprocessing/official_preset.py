"""The preset ``official``: a scan as upstream's code feeds it to its models, to reproduce its numbers (U-08 to U-11).

The released scripts read a file that was preprocessed before, resize its whole array in the order in which it is
stored, and normalize; resize and normalization stand in the model's contract. Their own preprocessing before that
(registration with unseeded samples, U-08) cannot be repeated, so it is no part of the preset: the scan must come as
upstream's sample files do, bias-corrected, registered and brain-extracted.
"""

from __future__ import annotations

import SimpleITK as sitk

from BrainIACLib.preprocessing.standardised import Standardised, StepRecord


def take_as_stored(image: sitk.Image) -> Standardised:
    """No bias correction, extraction, registration or resampling: template grid and native grid are the same."""
    image = sitk.Cast(image, sitk.sitkFloat32)
    mask = sitk.Cast(image != 0, sitk.sitkUInt8)
    step = StepRecord("official preset", {"preprocessing": "none, as stored"}, 0.0, {}, ())
    return Standardised(image, image, mask, mask, sitk.Euler3DTransform(), (step,))
