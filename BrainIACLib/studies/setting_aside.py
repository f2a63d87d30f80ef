"""Which series are not analyzed, by their headers alone: the reason in a few words, or none."""

from __future__ import annotations

from BrainIACLib.scans.dicom_arrangement import SAME_ORIENTATION
from BrainIACLib.scans.dicom_series import MODALITIES
from BrainIACLib.scans.dicom_slices import Series
from BrainIACLib.scans.usability import FEWEST_SLICES, FEWEST_VOXELS_IN_PLANE
from BrainIACLib.studies.header_facts import HeaderFacts
from BrainIACLib.studies.header_rules import PARAMETER_MAPS, SCREENS

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DOCUMENTS = {
    "1.2.840.10008.5.1.4.1.1.104.": "a document",
    "1.2.840.10008.5.1.4.1.1.88.": "a report",
    "1.2.840.10008.5.1.4.1.1.77.1.": "a photograph or video",
    "1.2.840.10008.5.1.4.1.1.66": "raw data or a registration",
    "1.2.840.10008.5.1.4.1.1.4.2": "spectroscopy",
    "1.2.840.10008.5.1.4.1.1.9.": "a waveform",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
}
_OTHER_BODY_PARTS = frozenset(
    "CSPINE LSPINE TSPINE SPINE SSPINE NECK CHEST ABDOMEN PELVIS LIVER PROSTATE BREAST HEART KNEE SHOULDER HIP ANKLE "
    "FOOT HAND WRIST ELBOW LEG THIGH CALF ARM WHOLEBODY".split()
)
_PROJECTIONS = ("PROJECTION IMAGE", "MIP", "MAX_IP", "MAXIMUM_IP", "MINIMUM_IP", "MNIP", "SUBTRACT", "SUBTRACTION")
MOST_LOCALIZER_SLICES = 60


def reason_to_set_aside(series: Series, facts: HeaderFacts | None) -> str:
    """Why ``series`` cannot or should not be analyzed; empty for a candidate."""
    if series.modality not in ("MR", None):
        return f"{series.modality}: {MODALITIES.get(series.modality, 'not magnetic resonance')}"
    document = next((meaning for prefix, meaning in _DOCUMENTS.items() if series.sop_class.startswith(prefix)), "")
    if document:
        return document
    if series.sop_class.startswith(_SECONDARY_CAPTURE):
        return "a screenshot (secondary capture)"
    if not series.slices or facts is None:
        return "no image"
    kinds = set(facts.image_type)
    if kinds & set(SCREENS) or facts.burned_in:
        return "a screenshot of the scanner"
    if series.samples > 1:
        return "a color picture"
    if kinds & {"LOCALIZER", "SCOUT"}:
        return "a localizer"
    if "localizer" in facts.words and len(series.slices) <= MOST_LOCALIZER_SLICES:
        return "a localizer by its description"
    if not all(piece.is_placed for piece in series.slices):
        return "images without a position in space"
    several = _directions(series)
    if several > 1:
        small = len(series.slices) <= MOST_LOCALIZER_SLICES
        return f"slices in {several} directions: {'a localizer' if small else 'several scans, or a projection'}"
    if kinds & set(PARAMETER_MAPS):
        return f"derived: {next(PARAMETER_MAPS[kind] for kind in facts.image_type if kind in PARAMETER_MAPS)}"
    if kinds & set(_PROJECTIONS):
        return "derived: a projection or subtraction"
    if facts.phase:
        return "a phase, real or imaginary image"
    return _not_a_head(facts) or _too_small(series)


def is_derived(facts: HeaderFacts) -> bool:
    """Computed from other images, by the first value of ImageType."""
    return bool(facts.image_type) and facts.image_type[0] == "DERIVED"


def _not_a_head(facts: HeaderFacts) -> str:
    if facts.body_part in _OTHER_BODY_PARTS:
        return f"not a head by its header (BodyPartExamined {facts.body_part})"
    return "not a head by its description" if "not a head" in facts.words and not facts.body_part else ""


def _too_small(series: Series) -> str:
    if "MOSAIC" in series.slices[0].image_type:  # all slices in one picture, which dcm2niix takes apart
        return ""
    columns, rows = series.slices[0].size
    places = len({round(piece.height, 1) for piece in series.slices})
    if places == 1:
        return "a single slice (2D)"
    if places < FEWEST_SLICES or min(columns, rows) < FEWEST_VOXELS_IN_PLANE:
        return f"a fragment: {columns} x {rows} voxels, {places} slices"
    return ""


def _directions(series: Series) -> int:
    """How many different slice directions there are, counted up to three."""
    known: list[tuple[float, ...]] = []
    for piece in series.slices:
        direction = tuple(piece.axes.ravel().tolist())
        if not any(max(abs(a - b) for a, b in zip(one, direction, strict=True)) < SAME_ORIENTATION for one in known):
            known.append(direction)
        if len(known) == 3:
            break
    return len(known)
