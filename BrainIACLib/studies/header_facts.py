"""What the header of an MR image says about how it was acquired: standard attributes, classic and enhanced.

Nothing here identifies a person. The description of the series, which does at times, is turned into the few words
that are known and is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from BrainIACLib.scans.dicom_values import first_value, frames_of, number_of
from BrainIACLib.studies.b_values import PRIVATE_TAGS, b_value_of, epi_factor_of, has_direction

if TYPE_CHECKING:
    from pydicom import Dataset

_KEYWORDS = [
    "AcquisitionContrast",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "AngioFlag",
    "ArterialSpinLabelingContrast",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "ComplexImageComponent",
    "ContentTime",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "ContrastBolusVolume",
    "DiffusionDirectionality",
    "DiffusionGradientOrientation",
    "EchoPlanarPulseSequence",
    "EchoPulseSequence",
    "EchoTrainLength",
    "EffectiveEchoTime",
    "FlipAngle",
    "FrameOfReferenceUID",
    "FrameType",
    "InversionRecovery",
    "InversionTime",
    "InversionTimes",
    "MRAcquisitionType",
    "MagneticFieldStrength",
    "Manufacturer",
    "NumberOfTemporalPositions",
    "PatientPosition",
    "ProtocolName",
    "PulseSequenceName",
    "RepetitionTime",
    "ScanOptions",
    "ScanningSequence",
    "SequenceName",
    "SequenceVariant",
    "SeriesDescription",
    "SeriesNumber",
    "SeriesTime",
    "Spoiling",
    "SteadyStatePulseSequence",
    "TimeOfFlightContrast",
    "VolumetricProperties",
]
DESCRIPTIONS = ("SeriesDescription", "ProtocolName")
TAGS: list[str | tuple[int, int]] = [*_KEYWORDS, *PRIVATE_TAGS]
_NO_AGENT = ("", "0", "N", "NA", "N/A", "NO", "NONE", "NIL", "WITHOUT", "OHNE", "SANS", "-")
_KNOWN_WORDS = {  # words of descriptions, looked for as whole words; evidence only where the attributes are silent
    "after contrast": r"post|postcontrast|gd|gad|gado|ce|c\+|\+c|km|contrast|gadolinium|dotarem|gadovist|magnevist",
    "before contrast": r"pre|precontrast|native|nativ|c-|non-?contrast|without contrast",
    "angiography": r"tof|mra|mrv|angio|venogram|arteries|veno",
    "susceptibility": r"swi|swan|t2\*|t2star|swip|hemo|haemo|venbold",
    "arterial spin labeling": r"(?:[23]d)?-?p?c?asl|cbf",
    "functional": r"bold|fmri|rest\d*|resting",
    "perfusion": r"perf|perfusion|dsc|dce|pwi",
    "field map": r"field ?map(?:ping|s)?|gre field|gre fm|fmap|(?:3d)?b0 ?maps?",
    "localizer": r"loc|localizer|localiser|scout|survey|3-?plane|3-?pl|aahead_?scout|calibration|asset|smartbrain",
    "not a head": r"spine|c-?spine|l-?spine|lumbar|cervical|thoracic|knee|shoulder|abdomen|pelvis|liver|prostate|heart",
}


@dataclass(frozen=True)
class HeaderFacts:
    """One image. Times in ms, angles in degrees, b-values in s/mm²; None or empty: the header does not say it."""

    modality: str
    image_type: tuple[str, ...]
    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    scanning_sequence: frozenset[str] = frozenset()  # SE, IR, GR, EP, RM
    sequence_variant: frozenset[str] = frozenset()  # SK, MTC, SS, TRSS, SP, MP, OSP, TOF, NONE
    scan_options: frozenset[str] = frozenset()
    sequence_name: str = ""  # of the vendor: "epfid2d1_64"
    echo_train: float | None = None
    acquisition: str = ""  # "2D" or "3D"
    contrast_agent: bool | None = None
    b_value: float | None = None
    directional: bool = False
    in_diffusion_series: bool = False  # other images of its series have b-values above zero
    time_of_flight: bool = False
    spin_labelled: bool = False
    phase: bool = False  # a phase, real or imaginary image
    stated_contrast: str = ""  # AcquisitionContrast: DIFFUSION, FLAIR, PERFUSION, PROTON_DENSITY, STIR, T1, T2, T2_STAR
    temporal_positions: int = 1
    field_strength: float | None = None
    manufacturer: str = ""
    body_part: str = ""
    burned_in: bool = False
    words: frozenset[str] = frozenset()  # of the descriptions: keys of a fixed list
    time: str = ""  # of acquisition, as text that sorts
    frame_of_reference: str = ""


def facts_of(dataset: Dataset) -> list[HeaderFacts]:
    """The facts of each frame of a file, in order."""
    return [_facts(places, dataset) for places in frames_of(dataset)]


def _facts(places: Sequence[Dataset], header: Dataset) -> HeaderFacts:
    places = list(places)
    kinds = _words(first_value(places, "FrameType")) or _words(first_value(places, "ImageType"))
    sequences = set(_words(first_value(places, "ScanningSequence"))) | _enhanced_sequence(places)
    variants = set(_words(first_value(places, "SequenceVariant"))) | _enhanced_variant(places)
    component = str(first_value(places, "ComplexImageComponent") or "MAGNITUDE").upper()
    inversion = number_of(places, "InversionTime", None) or number_of(places, "InversionTimes", None)
    return HeaderFacts(
        modality=str(header.get("Modality") or ""),
        image_type=kinds,
        repetition_time=_positive(number_of(places, "RepetitionTime", None)),
        echo_time=_positive(number_of(places, "EffectiveEchoTime", None) or number_of(places, "EchoTime", None)),
        inversion_time=_positive(inversion),
        flip_angle=_positive(number_of(places, "FlipAngle", None)),
        scanning_sequence=frozenset(sequences),
        sequence_variant=frozenset(variants),
        scan_options=frozenset(_words(first_value(places, "ScanOptions"))),
        sequence_name=_sequence_name(places),
        echo_train=number_of(places, "EchoTrainLength", None),
        acquisition=str(first_value(places, "MRAcquisitionType") or "").upper(),
        contrast_agent=_contrast_agent(places),
        b_value=b_value_of(places),
        directional=has_direction(places),
        time_of_flight="TOF" in variants
        or first_value(places, "AngioFlag") == "Y"
        or str(first_value(places, "TimeOfFlightContrast") or "").upper() == "YES",
        spin_labelled=bool(first_value(places, "ArterialSpinLabelingContrast")) or "ASL" in kinds,
        phase=component in ("PHASE", "REAL", "IMAGINARY")
        or bool({"P", "PHASE", "R", "REAL", "I", "IMAGINARY", "PHASE MAP", "PHASE_MAP"} & set(kinds[2:])),
        stated_contrast=_stated_contrast(places),
        temporal_positions=int(number_of(places, "NumberOfTemporalPositions", 1.0) or 1),
        field_strength=_positive(number_of(places, "MagneticFieldStrength", None)),
        manufacturer=_manufacturer(str(first_value(places, "Manufacturer") or "")),
        body_part=str(first_value(places, "BodyPartExamined") or "").upper().strip(),
        burned_in=str(first_value(places, "BurnedInAnnotation") or "").upper() == "YES",
        words=known_words(str(header.get(keyword) or "") for keyword in DESCRIPTIONS),
        time=_time(places),
        frame_of_reference=str(first_value(places, "FrameOfReferenceUID") or ""),
    )


def _sequence_name(places: list[Dataset]) -> str:
    """Of a classic header, else of an enhanced one; Siemens puts a star before it."""
    name = first_value(places, "SequenceName") or first_value(places, "PulseSequenceName") or ""
    return str(name).strip(" *").casefold()


def _words(value: str | Iterable[object] | None) -> tuple[str, ...]:
    """A multi-valued code string in capitals."""
    if value is None:
        return ()
    parts = value.split("\\") if isinstance(value, str) else value
    return tuple(str(part).strip().upper() for part in parts if str(part).strip())


def _enhanced_sequence(places: list[Dataset]) -> set[str]:
    """Scanning sequence of an enhanced header in the words of a classic one (PS3.3 C.8.13.4)."""
    kinds = {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}
    found = set(kinds.get(str(first_value(places, "EchoPulseSequence") or "").upper(), set()))
    if str(first_value(places, "InversionRecovery") or "").upper() == "YES":
        found.add("IR")
    if str(first_value(places, "EchoPlanarPulseSequence") or "").upper() == "YES" or epi_factor_of(places) > 1:
        found.add("EP")
    return found


def _enhanced_variant(places: list[Dataset]) -> set[str]:
    found = set()
    if str(first_value(places, "Spoiling") or "").upper() in ("RF", "GRADIENT", "RF_AND_GRADIENT"):
        found.add("SP")
    if str(first_value(places, "SteadyStatePulseSequence") or "").upper() not in ("", "NONE"):
        found.add("SS")
    return found


def _contrast_agent(places: list[Dataset]) -> bool | None:
    """Whether a contrast agent is recorded; None where no attribute says anything."""
    if any(place.get("ContrastBolusAgentSequence") for place in places):
        return True
    agent = next((place.get("ContrastBolusAgent") for place in places if "ContrastBolusAgent" in place), None)
    if agent is not None and str(agent).strip():
        return str(agent).strip().upper() not in _NO_AGENT
    volume = number_of(places, "ContrastBolusVolume", None)
    return None if volume is None and agent is None else bool(volume)


def _stated_contrast(places: list[Dataset]) -> str:
    stated = str(first_value(places, "AcquisitionContrast") or "").upper()
    return "" if stated in ("UNKNOWN", "MIXED", "OTHER") else stated


def known_words(descriptions: Iterable[str]) -> frozenset[str]:
    """Which of the known words are in texts that people typed."""
    spaced = re.sub(r"[_,;:/()\[\]]+", " ", " ".join(descriptions).casefold())
    return frozenset(
        name for name, words in _KNOWN_WORDS.items() if re.search(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])", spaced)
    )


def _manufacturer(text: str) -> str:
    known = ("Siemens", "GE", "Philips", "Canon", "Toshiba", "Hitachi", "UIH", "Bruker", "Fujifilm")
    words = re.split(r"[\W_]+", text.casefold())
    return next((name for name in known if name.casefold() in words), "other" if text.strip() else "")


def _time(places: list[Dataset]) -> str:
    stamp = str(first_value(places, "AcquisitionDateTime") or "")[8:]
    return stamp or str(first_value(places, "AcquisitionTime") or first_value(places, "SeriesTime") or "")


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None
