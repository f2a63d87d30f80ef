"""From an extracted brain to the template: search, refinement, and what to warn of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk

from BrainIACLib.preprocessing.registration.levels import BrainLevels, overlap_of, template_levels
from BrainIACLib.preprocessing.registration.motion import Motion, degrees_of
from BrainIACLib.preprocessing.registration.refinement import POOR_OVERLAP, best_pose, pose_near, refined
from BrainIACLib.preprocessing.registration.search import Report, search_brain, search_head
from BrainIACLib.preprocessing.template import icbm152

UPSIDE_DOWN = 60.0  # degrees: no patient lies like this; the header names the axes wrongly


@dataclass(frozen=True)
class Registration:
    """``transform`` maps points of the template to points of the scan (mm, LPS): what a resampler needs.

    ``quality`` is the Dice overlap (0 to 1) of both brains where the scan has data, sizes made equal.
    """

    transform: sitk.Euler3DTransform
    quality: float
    warnings: tuple[str, ...]
    parameters: dict[str, Any]


def register_to_template(
    image: sitk.Image,
    mask: sitk.Image,
    seed: int = 0,
    whole_head: bool = False,
    report: Report | None = None,
    near: sitk.Euler3DTransform | None = None,
) -> Registration:
    """The rigid transform of an extracted brain, in any pose and contrast, to the template.

    Parameters
    ----------
    image, mask : the scan and its brain (uint8), on one grid.
    seed : of the sample points.
    whole_head : the mask holds a whole head, of which the brain is only a part (brain extraction switched off); then
        the header's labeling of the axes is trusted, and no overlap can be measured.
    report : gets the fraction done; may raise to stop.
    near : a transform (template to scan) that should nearly fit; not used with ``whole_head``.

    Raises
    ------
    PreprocessingError : the brain is too thin to be placed.
    """
    report = report or (lambda fraction: None)
    template = icbm152()
    scan = BrainLevels(sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), sitk.Cast(mask, sitk.sitkUInt8)), mask)
    goal = template_levels(template)
    known = None if near is None or whole_head else pose_near(scan, goal, Motion.of(near).inverse(), seed)
    if known is not None:
        pose = known
        motion, scale, overlap = pose.motion.inverse(), pose.scale, overlap_of(scan, goal, pose)
    elif whole_head:
        # the template's brain looks for its like in the head; the roles are changed back at the end
        pose = refined(goal, scan, search_head(goal, scan, report), 2.0, seed)
        motion, scale, overlap = pose.motion, 1 / pose.scale, None
    else:
        pose = best_pose(scan, goal, search_brain(scan, goal, report), seed)
        report(0.6)
        pose = refined(scan, goal, pose, 2.0, seed)
        motion, scale, overlap = pose.motion.inverse(), pose.scale, overlap_of(scan, goal, pose)
    report(1.0)
    warnings = []
    if overlap is None:
        warnings.append("Without brain extraction the registration to the template is rough and cannot be judged.")
    elif overlap < POOR_OVERLAP:
        warnings.append(
            f"The registration to the template has probably failed (overlap {overlap:.2f}): look at the picture before "
            "using the result."
        )
    turned = degrees_of(motion.matrix)
    if turned > UPSIDE_DOWN:
        warnings.append(
            f"The brain lies turned by {turned:.0f} degrees against what the file says: the axes seem "
            "to be named wrongly, so check left and right."
        )
    if pose.ambiguous:
        warnings.append("Two quite different orientations of this brain fit the template nearly equally well.")
    parameters = {
        "template": template.name,
        "template_sha256": template.sha256,
        "metric": "Mattes mutual information at 4 and 2 mm; the rigid part of a similarity",
        "scale_to_template": round(scale, 3),
        "started_from": "a search" if known is None else "a scan in the same frame of reference",
        "seed": seed,
    }
    quality = 0.0 if overlap is None else overlap
    return Registration(motion.transform(goal.centroid), quality, tuple(warnings), parameters)
