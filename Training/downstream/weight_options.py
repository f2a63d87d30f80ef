"""Options of the commands that train cells for weights which only their makers give out."""

from __future__ import annotations

import argparse
from pathlib import Path

from Training.downstream.initialisation import load_initialisation
from Training.runs.cell import BRAINSEGFOUNDER, PAPER


def add_weight_options(parser: argparse.ArgumentParser) -> None:
    """``--brainiac``, ``--medicalnet`` and ``--brainsegfounder``."""
    add = parser.add_argument
    add("--brainiac", type=Path, help="model folder: imported official weights or an own pretraining")
    add("--medicalnet", type=Path, help="MedicalNet's file, or the model folder made from it")
    add("--brainsegfounder", type=Path, help="BrainSegFounder's file of its first stage; see its license first")


def weight_sources(options: argparse.Namespace) -> dict[str, Path | None]:
    """Initialization -> what was given for it. Raises ModelError for a file of others that cannot be used."""
    others = {PAPER[1]: options.medicalnet, BRAINSEGFOUNDER: options.brainsegfounder}
    for name, source in others.items():
        if source is not None:
            load_initialisation(name, source, None)  # now, rather than after hours of other runs
    return {PAPER[0]: options.brainiac, **others}
