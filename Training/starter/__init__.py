"""The recipe of the bundled model ``sequence-starter``: samples, training, calibration, export, evaluation."""

from pathlib import Path

SIMULATED_ONLY = Path(__file__).parent / "simulated"
"""Model folder of version 1.2 of the sequence model, which learned from simulated images alone: where the training of
the bundled version starts, and what experiments compare, as the bundled one learned from scans that they test with."""
