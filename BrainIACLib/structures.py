"""The structures whose volumes are measured: one list, in the order of the network's outputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """``left`` and ``right``: its numbers in label maps, those of FreeSurfer's color table; equal in the midline."""

    name: str
    left: int
    right: int
    title: str


BACKGROUND = Structure("background", 0, 0, "outside the intracranial space")
STRUCTURES = (
    BACKGROUND,
    Structure("lateral_ventricles", 4, 43, "lateral ventricles"),
    Structure("third_ventricle", 14, 14, "third ventricle"),
    Structure("fourth_ventricle", 15, 15, "fourth ventricle"),
    Structure("sulcal_csf", 24, 24, "sulcal fluid"),
    Structure("cortex", 3, 42, "cerebral cortex"),
    Structure("white_matter", 2, 41, "cerebral white matter"),
    Structure("lesion", 25, 57, "unclear white matter"),
    Structure("thalamus", 10, 49, "thalamus"),
    Structure("caudate", 11, 50, "caudate"),
    Structure("putamen", 12, 51, "putamen"),
    Structure("pallidum", 13, 52, "pallidum"),
    Structure("hippocampus", 17, 53, "hippocampus"),
    Structure("amygdala", 18, 54, "amygdala"),
    Structure("cerebellar_cortex", 8, 47, "cerebellar cortex"),
    Structure("cerebellar_white_matter", 7, 46, "cerebellar white matter"),
    Structure("brainstem", 16, 16, "brainstem"),
)
INDEX = {structure.name: index for index, structure in enumerate(STRUCTURES)}

MEASURED = tuple(structure for structure in STRUCTURES[1:] if structure.name != "lesion")
"""What is given. The network has lesions as a class, from simulated ones, but does not find real ones (five gliomas
showed 1 to 13 ml): they count as white matter."""
NOT_COMPARED = ("sulcal_csf", "cortex")
"""Defined in another way by DLMUSE."""
LOOSE = ("white_matter", "caudate", "putamen", "hippocampus", "amygdala", "brainstem", *NOT_COMPARED)
"""Not to be relied on: their shares of the intracranial volume follow DLMUSE's with r below 0.5 in persons that were
not trained on (``evaluation.md`` of ``structure-volumes``; ml may agree by head size alone), or were not compared."""

GREY_MATTER = ("cortex", "thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "cerebellar_cortex")
WHITE_MATTER = ("white_matter", "cerebellar_white_matter", "brainstem")
VENTRICLES = ("lateral_ventricles", "third_ventricle", "fourth_ventricle")
"""Sums that tables give beside the single structures."""
