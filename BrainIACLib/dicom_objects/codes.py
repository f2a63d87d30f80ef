"""The coded concepts of the objects: standard ones (SCT, DCM, UCUM) where they exist, else of our own scheme."""

from __future__ import annotations

import hashlib

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

OWN_SCHEME = "99BRAINIAC"
YEARS, MONTHS, MILLILITERS, NO_UNITS = codes.UCUM.Year, codes.UCUM.Month, Code("ml", "UCUM", "ml"), codes.UCUM.NoUnits
BRAIN = codes.SCT.Brain
VOLUME = codes.SCT.Volume
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical structure")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
MRI_OF_BRAIN = Code("816077007", "SCT", "Magnetic resonance imaging of brain")
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
PROBABILITY = Code("PROBABILITY", OWN_SCHEME, "Probability of the answer")
BRAIN_AGE = Code("BRAIN_AGE", OWN_SCHEME, "Brain age")
AGE_GAP = Code("BRAIN_AGE_GAP", OWN_SCHEME, "Brain age minus age at the scan")
SALIENCY = Code("SALIENCY", OWN_SCHEME, "Saliency of an answer")
STRONG_SALIENCY = Code("STRONG_SALIENCY", OWN_SCHEME, "Region of strong saliency")
INTENDED_USE = Code("INTENDED_USE", OWN_SCHEME, "Intended use")
RESEARCH_ONLY = Code("RESEARCH_ONLY", OWN_SCHEME, "Research use only, not for diagnosis or treatment")
COMMENT = codes.DCM.Comment
_UNITS = {"years": YEARS, "months": MONTHS, "mm3": codes.UCUM.CubicMillimeter, "ml": MILLILITERS}
LONGEST_VALUE, LONGEST_MEANING = 16, 64  # of a code, PS3.5 6.2 (SH, LO)


def unit_code(unit: str | None) -> Code:
    """The unit of a value in UCUM; "no units" for what has none there."""
    return _UNITS.get(unit or "", NO_UNITS)


def own_code(meaning: str) -> Code:
    """A word of a model (a task, a label) in our scheme: the same word always gets the same code."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in meaning.upper())
    value = plain if len(plain) <= LONGEST_VALUE else hashlib.sha256(meaning.encode()).hexdigest()[:LONGEST_VALUE]
    return Code(value, OWN_SCHEME, meaning[:LONGEST_MEANING])
