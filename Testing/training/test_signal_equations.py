"""The signal equations against values worked out by hand and against a step-by-step simulation."""

import numpy as np
import pytest

from Training.synthesis import signal_equations as equations


def test_spin_echo_limits():
    # Fully recovered and at once: the proton density. One T2 later: 1/e of it. TR = T1 ln 2: half recovered.
    assert equations.spin_echo(0.7, 800.0, 80.0, 1e9, 0.0) == pytest.approx(0.7)
    assert equations.spin_echo(1.0, 800.0, 80.0, 1e9, 80.0) == pytest.approx(np.exp(-1))
    assert equations.spin_echo(1.0, 800.0, 80.0, 800 * np.log(2), 0.0) == pytest.approx(0.5)


def test_inversion_recovery_nulls_at_ln2_for_long_repetition():
    t1 = 4200.0
    assert equations.null_inversion_time(t1, 1e9) == pytest.approx(t1 * np.log(2))
    assert equations.null_inversion_time(t1, 9000.0) == pytest.approx(2445.3, abs=0.1)  # 4200 (0.69315 - 0.11093)


@pytest.mark.parametrize("repetition", [5000.0, 9000.0, 12000.0])
def test_flair_nulls_csf_and_keeps_tissue(repetition: float):
    inversion = equations.null_inversion_time(4200.0, repetition)
    csf = equations.inversion_recovery(1.0, 4200.0, 1300.0, repetition, inversion, 100.0)
    white_matter = equations.inversion_recovery(0.7, 830.0, 75.0, repetition, inversion, 100.0)
    assert csf < 1e-12
    assert white_matter > 0.05


def test_ernst_angle_is_the_brightest_flip():
    repetition, t1 = 20.0, 900.0
    flips = np.linspace(1, 60, 5901)
    signal = [equations.spoiled_gradient_echo(1.0, t1, 1e9, repetition, 0.0, flip) for flip in flips]
    assert flips[int(np.argmax(signal))] == pytest.approx(np.degrees(np.arccos(np.exp(-repetition / t1))), abs=0.02)


def test_mprage_agrees_with_a_loop_over_pulses():
    repetition, inversion, flip, spacing, pulses, t1 = 2300.0, 900.0, 9.0, 7.0, 160, 1380.0
    first = inversion - pulses / 2 * spacing
    m = 1.0
    for _ in range(50):  # cycles until steady state
        m = 1 + (-m - 1) * np.exp(-first / t1)
        for pulse in range(pulses):
            if pulse == pulses // 2:
                centre = abs(m) * np.sin(np.deg2rad(flip))
            m = 1 + (m * np.cos(np.deg2rad(flip)) - 1) * np.exp(-spacing / t1)
        m = 1 + (m - 1) * np.exp(-(repetition - first - pulses * spacing) / t1)
    assert equations.mprage(1.0, t1, repetition, inversion, flip, spacing, pulses) == pytest.approx(centre, rel=1e-9)


def test_contrast_agent_shortens_t1_and_brightens_t1_weighting():
    t1, t2 = equations.with_contrast_agent(1500.0, 120.0, 1.0)
    assert t1 == pytest.approx(1000 / (1000 / 1500 + 4.5))  # relaxation rates add
    assert t2 < 120.0
    plain = equations.spin_echo(0.85, 1500.0, 120.0, 500.0, 10.0)
    assert equations.spin_echo(0.85, t1, t2, 500.0, 10.0) > 2 * plain
