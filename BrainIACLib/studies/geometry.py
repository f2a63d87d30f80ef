"""Whether the scans of a study fit together: one frame of reference, one pose, one size of brain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.studies.document import Finding

MOVED_DEGREES, MOVED_MM = 10.0, 15.0  # within one frame of reference a patient moves by a few
OTHER_VOLUME = 0.25  # difference of two brain volumes over their mean that different extractions do not explain


def geometry_findings(scans: Mapping[str, Standardised], frames: Mapping[str, str]) -> list[Finding]:
    """What does not fit between the first scan and each other one.

    Parameters
    ----------
    scans : key -> prepared scan. frames : key -> frame of reference UID, empty where there is none.
    """
    findings = []
    keys = list(scans)
    for key in keys[1:]:
        findings += _compared(keys[0], key, scans, frames)
    uids = {frames[key] for key in keys if frames.get(key)}
    if len(uids) > 1:
        text = (
            f"The scans have {len(uids)} frames of reference, so they were not acquired in one session on the table; "
            "positions are compared after registration only."
        )
        findings.append(Finding(text, tuple(keys), "note"))
    return findings


def _compared(first: str, other: str, scans: Mapping[str, Standardised], frames: Mapping[str, str]) -> list[Finding]:
    findings = []
    volumes = [brain_volume_ml(scans[key]) for key in (first, other)]
    difference = abs(volumes[0] - volumes[1]) / max(float(np.mean(volumes)), 1.0)
    if difference > OTHER_VOLUME:
        text = (
            f"The brain is {volumes[0]:.0f} ml in series {first} and {volumes[1]:.0f} ml in series {other}: one of "
            "them is cut off, badly extracted, or of another person."
        )
        findings.append(Finding(text, (first, other)))
    if frames.get(first) and frames.get(first) == frames.get(other):
        degrees, millimetres = pose_difference(scans[first], scans[other])
        if degrees > MOVED_DEGREES or millimetres > MOVED_MM:
            text = (
                f"Series {other} lies {millimetres:.0f} mm and {degrees:.0f}° from series {first} in one frame of "
                "reference: the person moved, a registration failed, or the positions are wrong."
            )
            findings.append(Finding(text, (first, other)))
    return findings


def brain_volume_ml(scan: Standardised) -> float:
    """Volume of the brain mask on the template grid, whose transform is rigid."""
    return float(sitk.GetArrayViewFromImage(scan.mask).sum()) * float(np.prod(scan.mask.GetSpacing())) / 1000


def pose_difference(first: Standardised, other: Standardised) -> tuple[float, float]:
    """Turn in degrees, and distance in mm of the template's center, between two scans in one frame of reference."""
    turns = [np.reshape(scan.transform.GetMatrix(), (3, 3)) for scan in (first, other)]
    center = np.array(first.image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in first.image.GetSize()]))
    places = [np.array(scan.transform.TransformPoint(center.tolist())) for scan in (first, other)]
    cosine = (np.trace(turns[0].T @ turns[1]) - 1) / 2
    degrees = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return degrees, float(np.linalg.norm(places[0] - places[1]))
