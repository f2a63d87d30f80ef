"""Steady-state MR signal equations (Bernstein, King, Zhou 2004, "Handbook of MRI Pulse Sequences"). Times in ms.

All functions act elementwise on arrays of tissue properties and return the magnitude relative to full proton density.
"""

from __future__ import annotations

import numpy as np

RELAXIVITY_R1 = 4.5  # of gadolinium chelates, 1/s per mmol/l
RELAXIVITY_R2 = 5.5


def spin_echo(density, t1, t2, repetition_time: float, echo_time: float):
    """PD (1 - exp(-TR/T1)) exp(-TE/T2)."""
    return density * (1 - np.exp(-repetition_time / t1)) * np.exp(-echo_time / t2)


def inversion_recovery(density, t1, t2, repetition_time: float, inversion_time: float, echo_time: float):
    """PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2): spin-echo readout after an inversion, magnitude."""
    recovery = 1 - 2 * np.exp(-inversion_time / t1) + np.exp(-repetition_time / t1)
    return density * np.abs(recovery) * np.exp(-echo_time / t2)


def null_inversion_time(t1: float, repetition_time: float) -> float:
    """The TI at which ``inversion_recovery`` is zero: T1 (ln 2 - ln(1 + exp(-TR/T1)))."""
    return t1 * (np.log(2) - np.log1p(np.exp(-repetition_time / t1)))


def mprage(
    density, t1, repetition_time: float, inversion_time: float, flip_degrees: float, echo_spacing: float, pulses: int
):
    """Magnetization-prepared rapid gradient echo in its steady state, at the center of the readout train.

    Inversion, recovery until TI - pulses/2 * spacing, ``pulses`` excitations (each m -> m cos(a) E + 1 - E with
    E = exp(-spacing/T1)), recovery for the rest of TR. As flip -> 0 it approaches
    PD sin(a) |1 - 2 exp(-TI/T1) / (1 + exp(-TR/T1))|.
    """
    flip = np.deg2rad(flip_degrees)
    first_delay = inversion_time - pulses / 2 * echo_spacing
    last_delay = repetition_time - first_delay - pulses * echo_spacing
    decay = np.exp(-echo_spacing / t1)
    saturated = (1 - decay) / (1 - np.cos(flip) * decay)  # where the train drives the magnetization

    def train(m, count):
        return saturated + (m - saturated) * (np.cos(flip) * decay) ** count

    def recover(m, delay):
        return 1 + (m - 1) * np.exp(-delay / t1)

    # One cycle maps the magnetization before the inversion linearly onto itself; two probes give the fixed point.
    zero, one = (recover(train(recover(-m, first_delay), pulses), last_delay) for m in (0.0, 1.0))
    before = zero / (1 - (one - zero))
    return density * np.sin(flip) * np.abs(train(recover(-before, first_delay), pulses / 2))


def spoiled_gradient_echo(density, t1, t2_star, repetition_time: float, echo_time: float, flip_degrees: float):
    """Ernst's equation: PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE/T2*), E1 = exp(-TR/T1)."""
    flip = np.deg2rad(flip_degrees)
    e1 = np.exp(-repetition_time / t1)
    return density * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-echo_time / t2_star)


def with_contrast_agent(t1, t2, concentration):
    """T1 and T2 in ms after uptake of ``concentration`` mmol/l: relaxation rates add."""
    return 1 / (1 / t1 + RELAXIVITY_R1 * concentration / 1000), 1 / (1 / t2 + RELAXIVITY_R2 * concentration / 1000)
