"""When not to believe an answer: calibration, prediction sets, novelty, perturbations, plain-words warnings."""
