"""Rigid registration of an extracted brain to the template brain (P-07, U-08, D-15).

First a cheap search at 8 mm: mutual information of a few thousand points, counted by hand, over all 24 ways in which
axes can be labeled without a mirror, turns, shifts and sizes. Then Mattes mutual information at 4 and at 2 mm
(SimpleITK). Both fit a scale too, because few brains have the size of the template and a rigid fit of brains of unequal
size has a blunt optimum (repeatability 1 mm against 0.2 mm here); the scale is recorded and dropped, the rigid part
about the center of the brain is kept. The points lie in the brain and in a margin around it, and only where the scan
has data: the outline helps, whatever the contrast, and slabs register as well as whole brains. Where a pose is known
that should nearly fit, as of another scan in the same frame of reference, the search is left out; if the fit leaves
that pose or is poor, the search is made after all.
Equal inputs and seeds give bit-identical transforms.
"""

from BrainIACLib.preprocessing.registration.motion import AXIS_TURNS, Motion, turn_about
from BrainIACLib.preprocessing.registration.template_registration import Registration, register_to_template

__all__ = ["AXIS_TURNS", "Motion", "Registration", "register_to_template", "turn_about"]
