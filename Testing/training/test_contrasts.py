"""Each sequence shows its tissues in the order that makes it that sequence."""

import numpy as np
import pytest

from Training.synthesis.sequences import OTHER, SEQUENCES, draw_contrast
from Training.synthesis.tissue_parameters import CLASS, NAMES, draw_tissues

DRAWS = 60


def signals(sequence: str, maturity: float = 1.0) -> list[dict[str, float]]:
    drawn = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        tissues = draw_tissues(rng, field_tesla=float(rng.choice([1.5, 3.0])), maturity=maturity)
        drawn.append(dict(zip(NAMES, draw_contrast(sequence, tissues, rng).signal.tolist(), strict=True)))
    return drawn


def share(drawn: list[dict[str, float]], holds) -> float:
    return float(np.mean([holds(signal) for signal in drawn]))


def test_t1_orders_white_grey_csf():
    drawn = signals("T1")
    assert share(drawn, lambda s: s["white_matter"] > s["cortex"] > s["ventricular_csf"]) > 0.85


def test_t2_orders_csf_grey_white():
    assert share(signals("T2"), lambda s: s["ventricular_csf"] > s["cortex"] > s["white_matter"]) > 0.9


def test_flair_has_dark_csf_and_bright_lesions():
    drawn = signals("FLAIR")
    assert share(drawn, lambda s: s["ventricular_csf"] < 0.6 * s["white_matter"]) > 0.95
    assert share(drawn, lambda s: s["oedema"] > s["white_matter"]) > 0.9


def test_enhancement_is_always_visible():
    """A T1CE without visible enhancement would be a wrong label."""
    for plain, enhanced in zip(signals("T1"), signals("T1CE"), strict=True):
        assert enhanced["vein"] > 1.1 * enhanced["white_matter"]
        assert enhanced["vein"] > plain["vein"]
    rims = [signal["tumour_rim"] / signal["white_matter"] for signal in signals("T1CE")]
    assert np.median(rims) > 1.4


def test_proton_density_keeps_csf_bright():
    assert share(signals("PD"), lambda s: s["ventricular_csf"] > 0.6 * s["white_matter"]) > 0.9


def test_newborn_inverts_white_and_grey_matter():
    assert share(signals("T2", maturity=0.05), lambda s: s["white_matter"] > s["cortex"]) > 0.8
    assert share(signals("T1", maturity=0.05), lambda s: s["white_matter"] < s["cortex"]) > 0.8


@pytest.mark.parametrize("sequence", SEQUENCES + OTHER)
def test_contrasts_are_finite_and_repeatable(sequence: str):
    first, second = (
        draw_contrast(sequence, draw_tissues(np.random.default_rng(5)), np.random.default_rng(6)) for _ in range(2)
    )
    assert np.isfinite(first.signal).all()
    assert np.array_equal(first.signal, second.signal)
    assert first.parameters == second.parameters


def test_unknown_sequence_is_refused():
    with pytest.raises(ValueError, match="unknown sequence 'T3'"):
        draw_contrast("T3", draw_tissues(np.random.default_rng(0)), np.random.default_rng(0))


def test_every_tissue_is_in_the_table_once():
    assert len(CLASS) == len(NAMES) == len(set(NAMES))
