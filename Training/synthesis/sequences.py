"""From one subject's tissues to the brightness of each tissue under a randomly drawn protocol.

``draw_contrast`` is the one entry: it names the sequence, draws its parameters and returns one signal per tissue,
scaled so that the brighter of white matter and cortex is 1. ``OTHER`` are the contrasts that are none of the four.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from BrainIACLib.sequences import STANDARD_NAMES
from Training.synthesis import signal_equations as equations
from Training.synthesis.tissue_parameters import CLASS, NAMES, Tissues

SEQUENCES = STANDARD_NAMES
OTHER = ("PD", "T2*", "DWI-b0", "DWI-trace", "ADC", "perfusion", "MRA", "CT", "unnatural")
ECHO_PLANAR = ("DWI-b0", "DWI-trace", "ADC", "perfusion")
_VESSELS = [CLASS["artery"], CLASS["vein"], CLASS["small_vessel"]]


@dataclass(frozen=True)
class Contrast:
    """A drawn protocol: what it is, its parameters, and the signal of every tissue in ``NAMES`` (float32)."""

    sequence: str
    parameters: dict[str, float | str]
    signal: np.ndarray
    echo_planar: bool = False  # distorted, with signal loss near air


def draw_contrast(sequence: str, tissues: Tissues, rng: np.random.Generator) -> Contrast:
    """A protocol for ``sequence`` (one of ``SEQUENCES`` or ``OTHER``) and what each tissue shows under it."""
    if sequence in ("T1", "T1CE"):
        parameters, signal = _t1_weighted(tissues, rng, enhanced=sequence == "T1CE")
    elif sequence == "T2":
        parameters, signal = _t2_weighted(tissues, rng)
    elif sequence == "FLAIR":
        parameters, signal = _flair(tissues, rng)
    elif sequence in OTHER:
        parameters, signal = _OTHER_CONTRASTS[sequence](tissues, rng)
    else:
        raise ValueError(f"unknown sequence '{sequence}'; known: {', '.join(SEQUENCES + OTHER)}")
    signal = signal / max(abs(signal[CLASS["white_matter"]]), abs(signal[CLASS["cortex"]]), 1e-6)
    return Contrast(sequence, parameters, signal.astype(np.float32), echo_planar=sequence in ECHO_PLANAR)


def _t1_weighted(tissues: Tissues, rng: np.random.Generator, enhanced: bool):
    t1, t2, t2_star, density = tissues.t1, tissues.t2, tissues.t2_star, tissues.proton_density
    if enhanced:
        t1, t2 = equations.with_contrast_agent(t1, t2, tissues.uptake)
    kind = rng.choice(["spin echo", "MPRAGE", "SPGR", "T1-FLAIR"], p=[0.32, 0.36, 0.20, 0.12])
    if kind == "spin echo":
        parameters = {"TR": rng.uniform(380, 850), "TE": rng.uniform(7, 20)}
        signal = equations.spin_echo(density, t1, t2, parameters["TR"], parameters["TE"])
    elif kind == "MPRAGE":
        spacing, pulses = rng.uniform(6, 8.5), int(rng.integers(80, 176))
        inversion = max(rng.uniform(750, 1150), spacing * pulses / 2)
        repetition = max(rng.uniform(1600, 2600), inversion + spacing * pulses / 2)
        parameters = {"TR": repetition, "TI": inversion, "flip": rng.uniform(7, 13)}
        parameters |= {"echo_spacing": spacing, "pulses": pulses}
        signal = equations.mprage(density, t1, *parameters.values())
    elif kind == "SPGR":
        parameters = {"TR": rng.uniform(6, 35), "TE": rng.uniform(1.5, 6), "flip": 0.0}
        ernst = np.degrees(np.arccos(np.exp(-parameters["TR"] / 900)))
        parameters["flip"] = ernst * rng.uniform(1.7, 3.5)  # well above the Ernst angle: T1 weighting
        signal = equations.spoiled_gradient_echo(density, t1, t2_star, *parameters.values())
    else:
        parameters = {"TR": rng.uniform(1800, 2800), "TI": rng.uniform(700, 1000), "TE": rng.uniform(8, 20)}
        signal = equations.inversion_recovery(density, t1, t2, *parameters.values())
    gradient_echo = kind in ("MPRAGE", "SPGR")
    if gradient_echo:  # inflow brightens arteries, or spoiling darkens them
        signal[CLASS["artery"]] *= rng.uniform(0.4, 2.6) if not enhanced else rng.uniform(0.8, 1.6)
        signal[_VESSELS[1:]] *= rng.uniform(0.5, 1.2) if not enhanced else rng.uniform(0.6, 1.0)
    else:
        signal[CLASS["artery"]] *= rng.uniform(0.1, 0.7)  # flow void
        signal[_VESSELS[1:]] *= rng.uniform(0.3, 1.0) if not enhanced else rng.uniform(0.75, 1.0)
    _suppress_fat(signal, rng, 0.5 if enhanced else 0.2)
    return {"kind": str(kind), **parameters}, signal


def _t2_weighted(tissues: Tissues, rng: np.random.Generator):
    echo_time = rng.uniform(70, 125) if rng.random() < 0.8 else rng.uniform(125, 200)
    parameters = {"TR": rng.uniform(2400, 9000), "TE": echo_time}
    signal = equations.spin_echo(tissues.proton_density, tissues.t1, tissues.t2, *parameters.values())
    signal[CLASS["fat"]] *= rng.uniform(1.0, 1.8)  # refocusing trains keep fat bright
    signal[CLASS["marrow"]] *= rng.uniform(0.8, 1.4)
    _flow_voids(signal, rng)
    _suppress_fat(signal, rng, 0.35)
    return parameters, signal


def _flair(tissues: Tissues, rng: np.random.Generator):
    repetition = rng.uniform(4800, 11500)
    csf = float(np.mean(tissues.t1[[CLASS["ventricular_csf"], CLASS["sulcal_csf"]]]))
    parameters = {
        "TR": repetition,
        "TI": float(equations.null_inversion_time(csf, repetition)) * rng.uniform(0.93, 1.07),
        "TE": rng.uniform(80, 150) if rng.random() < 0.8 else rng.uniform(150, 330),
    }
    t2 = tissues.t2
    if parameters["TE"] > 150:  # 3D trains with variable flip angles: the nominal TE overstates the T2 weighting
        parameters["kind"] = "3D"
        signal = equations.inversion_recovery(
            tissues.proton_density, tissues.t1, t2, repetition, parameters["TI"], parameters["TE"] * 0.45
        )
    else:
        signal = equations.inversion_recovery(tissues.proton_density, tissues.t1, t2, *parameters.values())
    leak = signal[CLASS["white_matter"]] * rng.exponential(0.08)  # inflow of CSF that was not inverted
    signal[CLASS["ventricular_csf"]] += min(leak, 0.4 * signal[CLASS["white_matter"]]) * rng.uniform(0, 1)
    signal[CLASS["sulcal_csf"]] += min(leak, 0.4 * signal[CLASS["white_matter"]])
    _flow_voids(signal, rng)
    signal[CLASS["fat"]] *= rng.uniform(1.0, 1.8)
    _suppress_fat(signal, rng, 0.6)
    return parameters, signal


def _proton_density(tissues: Tissues, rng: np.random.Generator):
    parameters = {"TR": rng.uniform(2200, 6000), "TE": rng.uniform(8, 30)}
    signal = equations.spin_echo(tissues.proton_density, tissues.t1, tissues.t2, *parameters.values())
    _flow_voids(signal, rng)
    _suppress_fat(signal, rng, 0.3)
    return parameters, signal


def _susceptibility(tissues: Tissues, rng: np.random.Generator):
    parameters = {"TR": rng.uniform(28, 700), "TE": rng.uniform(18, 42), "flip": 0.0}
    parameters["flip"] = np.degrees(np.arccos(np.exp(-parameters["TR"] / 900))) * rng.uniform(0.5, 1.1)
    signal = equations.spoiled_gradient_echo(tissues.proton_density, tissues.t1, tissues.t2_star, *parameters.values())
    signal[CLASS["vein"]] *= rng.uniform(0.1, 0.6)
    signal[CLASS["small_vessel"]] *= rng.uniform(0.1, 0.7)
    signal[CLASS["artery"]] *= rng.uniform(0.5, 3)
    _suppress_fat(signal, rng, 0.3)
    return parameters, signal


def _diffusion_b0(tissues: Tissues, rng: np.random.Generator):
    parameters = {"TR": rng.uniform(3000, 12000), "TE": rng.uniform(55, 110)}
    signal = equations.spin_echo(tissues.proton_density, tissues.t1, tissues.t2, *parameters.values())
    _suppress_fat(signal, rng, 1.0)
    signal[_VESSELS] *= rng.uniform(0.3, 1)
    return parameters, signal


def _diffusion_trace(tissues: Tissues, rng: np.random.Generator):
    parameters, signal = _diffusion_b0(tissues, rng)
    parameters["b"] = rng.uniform(700, 1500) if rng.random() < 0.8 else rng.uniform(1500, 3000)
    return parameters, signal * np.exp(-parameters["b"] / 1000 * tissues.diffusion)


def _apparent_diffusion(tissues: Tissues, rng: np.random.Generator):
    signal = tissues.diffusion.copy()
    signal[[CLASS["cortical_bone"], CLASS["fat"], CLASS["marrow"]]] *= rng.uniform(0, 1)
    return {}, signal


def _perfusion(tissues: Tissues, rng: np.random.Generator):
    """A volume of a functional, a dynamic susceptibility or a spin labeling series, or a map of blood flow."""
    kind = str(rng.choice(["gradient echo", "spin labeling", "flow map"], p=[0.7, 0.18, 0.12]))
    if kind == "flow map":  # gray matter two to four times white matter (Calamante et al. 1999), none in CSF
        signal = np.full(len(NAMES), 0.05)
        gray, white = 1.0, rng.uniform(0.25, 0.5)
        for name in ("cortex", "cerebellar_cortex", "caudate", "putamen", "thalamus", "hippocampus", "pallidum"):
            signal[CLASS[name]] = gray * np.exp(rng.normal(0, 0.12))
        for name in ("white_matter", "cerebellar_white_matter", "brainstem"):
            signal[CLASS[name]] = white * np.exp(rng.normal(0, 0.12))
        signal[[CLASS[name] for name in ("tumour_rim", "tumour_solid")]] = rng.uniform(0.3, 2)
        signal[_VESSELS] = rng.uniform(0.5, 2.5, 3)
        return {"kind": kind}, signal
    if kind == "gradient echo":
        parameters = {"TR": rng.uniform(700, 3200), "TE": rng.uniform(18, 50), "flip": rng.uniform(45, 90)}
    else:
        parameters = {"TR": rng.uniform(2500, 5000), "TE": rng.uniform(9, 25), "flip": 90.0}
    signal = equations.spoiled_gradient_echo(tissues.proton_density, tissues.t1, tissues.t2_star, *parameters.values())
    _suppress_fat(signal, rng, 1.0)
    signal[CLASS["vein"]] *= rng.uniform(0.3, 1)
    return {"kind": kind, **parameters}, signal


def _computed_tomography(tissues: Tissues, rng: np.random.Generator):
    low, width = (-1000, 3000) if rng.random() < 0.5 else (rng.uniform(-30, 0), rng.uniform(80, 160))
    signal = np.clip(tissues.hounsfield, low, low + width) - low
    return {"window_low": float(low), "window_width": float(width)}, signal


def _angiography(tissues: Tissues, rng: np.random.Generator):
    parameters = {"TR": rng.uniform(18, 30), "TE": rng.uniform(3, 7), "flip": rng.uniform(15, 25)}
    signal = equations.spoiled_gradient_echo(tissues.proton_density, tissues.t1, tissues.t2_star, *parameters.values())
    if rng.random() < 0.25:  # after contrast agent, or by phase: still tissue is nearly dark, veins show too
        signal *= rng.uniform(0.1, 0.5)
        signal[_VESSELS] *= np.array([rng.uniform(8, 30), rng.uniform(4, 30), rng.uniform(4, 20)])
    else:
        signal[_VESSELS] *= np.array([rng.uniform(4, 9), rng.uniform(0.5, 2), rng.uniform(1, 4)])
        _suppress_fat(signal, rng, 0.3)
    return parameters, signal


def _unnatural(tissues: Tissues, rng: np.random.Generator):
    """Random brightness per tissue in an order of CSF, gray and white matter that none of the four sequences has."""
    del tissues
    signal = rng.uniform(0.05, 1, len(NAMES))
    signal[CLASS["air"]] = 0 if rng.random() < 0.7 else rng.uniform(0, 1)
    white, grey, csf = rng.permutation([0.15, 0.55, 1.0]) + rng.uniform(-0.12, 0.12, 3)
    while csf < min(white, grey) or csf > grey > white:  # T1-like, FLAIR-like and T2-like orders
        white, grey, csf = rng.permutation([0.15, 0.55, 1.0]) + rng.uniform(-0.12, 0.12, 3)
    for value, names in (
        (white, ("white_matter", "cerebellar_white_matter", "brainstem")),
        (grey, ("cortex", "cerebellar_cortex", "hippocampus", "caudate", "putamen", "thalamus")),
        (csf, ("ventricular_csf", "sulcal_csf")),
    ):
        signal[[CLASS[name] for name in names]] = value * np.exp(rng.normal(0, 0.06, len(names)))
    return {}, signal


_OTHER_CONTRASTS = {
    "PD": _proton_density,
    "T2*": _susceptibility,
    "DWI-b0": _diffusion_b0,
    "DWI-trace": _diffusion_trace,
    "ADC": _apparent_diffusion,
    "perfusion": _perfusion,
    "MRA": _angiography,
    "CT": _computed_tomography,
    "unnatural": _unnatural,
}


def _flow_voids(signal: np.ndarray, rng: np.random.Generator) -> None:
    signal[CLASS["artery"]] *= rng.uniform(0.05, 0.4)
    signal[CLASS["vein"]] *= rng.uniform(0.1, 0.9)
    signal[CLASS["small_vessel"]] *= rng.uniform(0.1, 0.9)


def _suppress_fat(signal: np.ndarray, rng: np.random.Generator, probability: float) -> None:
    if rng.random() < probability:
        signal[[CLASS["fat"], CLASS["marrow"]]] *= rng.uniform(0.05, 0.4)
