"""The kind of a scan from its header: rules on how the image was acquired, in the order in which they are asked.

Weightings follow from the physics: a spin echo is T1-weighted where TR and TE are short, proton-density-weighted where
only TE is, T2-weighted where both are long; a gradient echo is T1-weighted where the flip angle is well above the Ernst
angle; an inversion pulse that nulls water makes a FLAIR (Bernstein, King, Zhou: Handbook of MRI Pulse Sequences, 2004).
The words of a description are asked last and only where no attribute answers; the answer then says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from BrainIACLib import sequences
from BrainIACLib.sequences import OTHER, Sequence
from BrainIACLib.studies.header_facts import HeaderFacts

LONG_TR = 1500.0  # ms, spin echo
SHORT_TE, LONG_TE = 40.0, 60.0  # ms, spin echo
SHORT_TE_3D = 50.0  # a 3D train of variable flip angles states a TE that is longer than its contrast
T2_STAR_TE = 12.0  # ms, gradient echo
LONGEST_EPI_TE = 50.0  # ms, of a gradient echo: functional images; a spin echo with diffusion gradients needs more
BALANCED_TR = 30.0  # ms; a balanced steady state needs less
FIELD_MAPS = ("fm2d", "fm3d")  # Siemens' names of their sequences
WATER_NULLED_TI = (1400.0, 3200.0)  # ms, 1.5 T to 7 T
FAT_NULLED_TI = (80.0, 300.0)
WHITE_MATTER_T1 = 900.0  # ms, between 1.5 T (about 650) and 3 T (about 1,000)
T1_WEIGHTING = 1.05  # flip angle over the Ernst angle
MANY_REPEATS = 10  # time points of a dynamic series
LEAST_WEIGHTING = 50.0  # s/mm²; lower b-values are called b0, as on scanners that cannot make 0

SCREENS = ("SCREEN SAVE", "SCREENSHOT", "MONTAGE", "REPORT", "COLLAGE")
PARAMETER_MAPS = {
    "FA": "fractional anisotropy",
    "TENSOR": "diffusion tensor",
    "EADC": "exponential ADC",
    "T1 MAP": "T1 map",
    "T2 MAP": "T2 map",
    "T2_STAR MAP": "T2* map",
    "R2 MAP": "R2 map",
    "R2_STAR MAP": "R2* map",
    "B0 MAP": "field map",
    "FIELD_MAP": "field map",
    "RELCBF": "perfusion map",
    "RELCBV": "perfusion map",
    "RCBF": "perfusion map",
    "RCBV": "perfusion map",
    "CBF": "perfusion map",
    "CBV": "perfusion map",
    "MTT": "perfusion map",
    "TTP": "perfusion map",
    "TMAX": "perfusion map",
    "T_TEST": "functional map",
    "GSP": "perfusion map",
}


@dataclass(frozen=True)
class HeaderClass:
    """The kind of one scan as its header has it.

    Attributes
    ----------
    name : of ``sequences.ALL_NAMES``, or ``"other"`` for what has no name there; empty where the header does not tell.
    reason : the attributes that decided, with their values.
    by_words : decided by the description alone, which is typed by people and misleads at times.
    enhanced : acquired after contrast agent, as far as the header says; None where it says nothing.
    """

    name: str
    reason: str
    by_words: bool = False
    enhanced: bool | None = None


def class_of(facts: HeaderFacts) -> HeaderClass:
    """The kind that the header of one image tells of.

    >>> fast_t1 = HeaderFacts("MR", ("ORIGINAL", "PRIMARY", "M"), repetition_time=2300.0, echo_time=2.98,
    ...                       inversion_time=900.0, flip_angle=9.0, scanning_sequence=frozenset({"GR", "IR"}))
    >>> class_of(fast_t1).name
    'T1'
    """
    for rule in (
        _by_modality, _by_image_type, _by_diffusion, _by_dynamics, _by_field_map, _by_angiography, _by_statement,
        _by_times,
    ):  # fmt: skip
        found = rule(facts)
        if found is not None:
            return _with_contrast(found, facts)
    return HeaderClass("", "the header gives no repetition or echo time")


def _is(kind: Sequence, reason: str, by_words: bool = False) -> HeaderClass:
    return HeaderClass(kind.name, reason, by_words)


def _by_modality(facts: HeaderFacts) -> HeaderClass | None:
    if facts.modality == "CT":
        return _is(sequences.CT, "modality CT")
    if facts.modality not in ("MR", ""):
        return HeaderClass(OTHER, f"modality {facts.modality}")
    return None


def _by_image_type(facts: HeaderFacts) -> HeaderClass | None:
    kinds = set(facts.image_type)
    if "ADC" in kinds:
        return _is(sequences.ADC, "ImageType ADC")
    for name, meaning in PARAMETER_MAPS.items():
        if name in kinds:
            return HeaderClass(OTHER, f"{meaning}, ImageType {name}")
    if kinds & {"TRACEW", "TRACE", "ISOTROPIC"}:
        return _is(sequences.DWI_TRACE, "ImageType TRACEW")
    if kinds & {"SWI", "SWAN", "MNIP"} or "MINIMUM_IP" in kinds:
        return _is(sequences.T2_STAR, "ImageType SWI")
    if facts.phase:
        return HeaderClass(OTHER, "a phase, real or imaginary image")
    if facts.sequence_name.startswith(FIELD_MAPS):
        return HeaderClass(OTHER, f"a field map, SequenceName {facts.sequence_name}")
    return None


def _by_diffusion(facts: HeaderFacts) -> HeaderClass | None:
    """A b-value above zero is diffusion; zero is only where the sequence is one, because GE writes it everywhere."""
    stated = "DIFFUSION" in facts.image_type or facts.stated_contrast == "DIFFUSION" or facts.in_diffusion_series
    if facts.b_value is not None and facts.b_value >= LEAST_WEIGHTING:
        along = "along one direction" if facts.directional else "mean of the directions"
        return _is(sequences.DWI_TRACE, f"b-value {facts.b_value:g} s/mm², {along}")
    if stated and facts.b_value is not None:
        return _is(sequences.DWI_B0, f"b-value {facts.b_value:g} s/mm²")
    if facts.in_diffusion_series:
        return _is(sequences.DWI_B0, "no b-value, in a series with others above zero")
    if stated:
        return _is(sequences.DWI_TRACE, "ImageType or AcquisitionContrast DIFFUSION, without a b-value")
    return None


def _by_dynamics(facts: HeaderFacts) -> HeaderClass | None:
    kinds = set(facts.image_type)
    if facts.spin_labelled or facts.stated_contrast == "PERFUSION" or kinds & {"PERFUSION", "FMRI", "ASL"}:
        return _is(sequences.PERFUSION, "perfusion or functional by its ImageType or AcquisitionContrast")
    if facts.temporal_positions >= MANY_REPEATS:
        return _is(sequences.PERFUSION, f"{facts.temporal_positions} time points")
    words = sorted(facts.words & {"functional", "perfusion", "arterial spin labeling"})
    if "EP" in facts.scanning_sequence:
        if words:
            return _is(sequences.PERFUSION, f"echo planar; the description says {', '.join(words)}", True)
        if _is_gradient_echo_planar(facts):
            count = "one time point" if facts.temporal_positions == 1 else f"{facts.temporal_positions} time points"
            return _is(sequences.T2_STAR, f"echo-planar gradient echo, {count}")
        b_value = "no b-value" if facts.b_value is None else f"b-value {facts.b_value:g} s/mm²"
        return _is(sequences.DWI_B0, f"echo-planar spin echo, {b_value}")
    if "arterial spin labeling" in words:
        return _is(sequences.PERFUSION, "the description says arterial spin labeling", True)
    return None


def _is_gradient_echo_planar(facts: HeaderFacts) -> bool:
    """Siemens writes EP for both kinds of echo; then the name of the sequence or the echo time tells them apart."""
    if facts.scanning_sequence & {"GR", "SE"}:
        return "GR" in facts.scanning_sequence
    short = facts.echo_time is not None and facts.echo_time < LONGEST_EPI_TE and facts.b_value is None
    return "epfid" in facts.sequence_name or (short and "epse" not in facts.sequence_name)


def _by_field_map(facts: HeaderFacts) -> HeaderClass | None:
    """The magnitude images of a field map have the times of a T1; only a description tells of those of GE."""
    if "field map" in facts.words and not facts.scanning_sequence & {"SE", "EP"}:
        return HeaderClass(OTHER, "the description says field map", by_words=True)
    return None


def _by_angiography(facts: HeaderFacts) -> HeaderClass | None:
    if facts.time_of_flight:
        return _is(sequences.ANGIOGRAPHY, "time of flight or angiography by its attributes")
    if "MAXIMUM_IP" in facts.image_type and "angiography" in facts.words:
        return _is(sequences.ANGIOGRAPHY, "a maximum projection; the description says angiography", True)
    short = facts.repetition_time is not None and facts.repetition_time < 60
    if "angiography" in facts.words and "GR" in facts.scanning_sequence and short:
        return _is(sequences.ANGIOGRAPHY, "a fast gradient echo; the description says angiography", True)
    return None


def _by_statement(facts: HeaderFacts) -> HeaderClass | None:
    """AcquisitionContrast, which enhanced headers and Philips give."""
    kinds = {
        "T1": sequences.T1,
        "T2": sequences.T2,
        "FLAIR": sequences.FLAIR,
        "PROTON_DENSITY": sequences.PD,
        "T2_STAR": sequences.T2_STAR,
        "FLUID_ATTENUATED": sequences.FLAIR,
        "SUSCEPTIBILITY": sequences.T2_STAR,
    }
    if facts.stated_contrast in kinds:
        by_times = _by_times(facts)
        kind = kinds[facts.stated_contrast]
        if kind is sequences.T2 and by_times is not None and by_times.name == sequences.FLAIR.name:
            return by_times  # Philips states T2 of a FLAIR, which it is as well
        return _is(kind, f"AcquisitionContrast {facts.stated_contrast}")
    if facts.stated_contrast in ("STIR", "TAGGING", "MULTIPLE_ECHO"):
        return HeaderClass(OTHER, f"AcquisitionContrast {facts.stated_contrast}")
    return None


@dataclass(frozen=True)
class _Times:
    """In ms, of a header that says both."""

    repetition: float
    echo: float

    def __str__(self) -> str:
        return f"TR {self.repetition:g} ms, TE {self.echo:g} ms"


def _by_times(facts: HeaderFacts) -> HeaderClass | None:
    if facts.echo_time is None or facts.repetition_time is None:
        return None
    times = _Times(facts.repetition_time, facts.echo_time)
    if facts.scanning_sequence == {"RM"} and facts.inversion_time is None:
        return HeaderClass("", f"a research sequence, {times}: the header does not say what kind of echo")
    inverted = "IR" in facts.scanning_sequence or facts.inversion_time is not None
    if "GR" in facts.scanning_sequence and "SE" not in facts.scanning_sequence:
        return _gradient_echo(facts, times, inverted)
    if inverted:
        return _inversion_recovery(facts, times)
    return _spin_echo(facts, times, f"spin echo, {times}")


def _inversion_recovery(facts: HeaderFacts, times: _Times) -> HeaderClass:
    """A spin echo after an inversion: what is nulled decides."""
    inversion = facts.inversion_time
    if inversion is None:  # some headers say IR and not when
        if times.echo >= LONG_TE and times.repetition >= 4000:
            return _is(sequences.FLAIR, f"inversion recovery with long times, {times}, no TI")
        return _spin_echo(facts, times, f"inversion recovery, {times}, no TI")
    said = f"inversion recovery, {times}, TI {inversion:g} ms"
    low, high = WATER_NULLED_TI
    if low <= inversion <= high and times.echo >= LONG_TE:
        return _is(sequences.FLAIR, f"{said}: water is nulled")
    if FAT_NULLED_TI[0] <= inversion <= FAT_NULLED_TI[1] and times.repetition >= LONG_TR:
        return HeaderClass(OTHER, f"{said}: fat is nulled (STIR)")
    if times.echo < LONG_TE and inversion < times.repetition:
        return _is(sequences.T1, said)
    return _spin_echo(facts, times, said)


def _spin_echo(facts: HeaderFacts, times: _Times, said: str) -> HeaderClass:
    short_te = SHORT_TE_3D if facts.acquisition == "3D" else SHORT_TE
    if times.repetition < LONG_TR:
        if times.echo < short_te:
            return _is(sequences.T1, f"{said}: both short")
        return _is(sequences.T2, f"{said}: long TE")
    if times.echo >= LONG_TE:
        return _is(sequences.T2, f"{said}: both long")
    if times.echo < SHORT_TE:
        return _is(sequences.PD, f"{said}: long TR, short TE")
    return HeaderClass("", f"{said}: between proton density and T2")


def _gradient_echo(facts: HeaderFacts, times: _Times, inverted: bool) -> HeaderClass:
    said = f"gradient echo, {times}"
    if facts.flip_angle is not None:
        said += f", flip angle {facts.flip_angle:g}°"
    if times.echo >= T2_STAR_TE and times.repetition < 5000 and not inverted:
        return _is(sequences.T2_STAR, f"{said}: long TE")
    if inverted or "MP" in facts.sequence_variant:
        prepared = f", TI {facts.inversion_time:g} ms" if facts.inversion_time else ""
        low, high = WATER_NULLED_TI
        if facts.inversion_time and low <= facts.inversion_time <= high and times.echo >= LONG_TE:
            return _is(sequences.FLAIR, f"{said}{prepared}: water is nulled")
        return _is(sequences.T1, f"{said}{prepared}: magnetization prepared")
    steady = "SS" in facts.sequence_variant and not facts.sequence_variant & {"SP", "OSP"}
    if steady and (facts.flip_angle or 0) >= 30 and times.repetition < BALANCED_TR:
        return HeaderClass(OTHER, f"{said}: balanced steady state")
    if facts.flip_angle is None:
        return HeaderClass("", f"{said}, no flip angle")
    ernst = math.degrees(math.acos(math.exp(-times.repetition / WHITE_MATTER_T1)))
    if facts.flip_angle >= T1_WEIGHTING * ernst:
        return _is(sequences.T1, f"{said}: above the Ernst angle")
    if facts.flip_angle < 0.8 * ernst:
        return _is(sequences.PD, f"{said}: below the Ernst angle")
    return HeaderClass("", f"{said}: near the Ernst angle")


def _with_contrast(found: HeaderClass, facts: HeaderFacts) -> HeaderClass:
    """T1 becomes T1CE where a contrast agent is recorded, or the description says so and nothing speaks against it."""
    said_after = "after contrast" in facts.words and "before contrast" not in facts.words
    enhanced = facts.contrast_agent if facts.contrast_agent is not None else (True if said_after else None)
    if facts.contrast_agent and "before contrast" in facts.words and "after contrast" not in facts.words:
        enhanced = None  # some sites record the agent of the visit in every series
    if found.name != sequences.T1.name or not enhanced:
        return HeaderClass(found.name, found.reason, found.by_words, enhanced)
    if facts.contrast_agent:
        return HeaderClass(sequences.T1CE.name, f"{found.reason}; contrast agent recorded", found.by_words, True)
    return HeaderClass(sequences.T1CE.name, f"{found.reason}; the description says after contrast", True, True)
