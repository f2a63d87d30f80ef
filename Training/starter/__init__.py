"""The recipe of the bundled model ``sequence-starter``: samples, training, calibration, export, evaluation."""
