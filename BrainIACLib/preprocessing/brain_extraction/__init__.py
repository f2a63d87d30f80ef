"""Brain extraction in native space with interchangeable back ends (P-08, U-08).

A back end turns a scan into a raw mask on the scan's grid; ``extract_brain`` chooses it, cleans the mask, judges it,
and never returns an empty one. The back ends stand in ``registry``.

Networks run on working copies of 2.5 mm (bundled), 1 mm (deepbet) and 1.5 mm (HD-BET), so that memory does not grow
with the scan. How far they agree is measured by ``python -m Testing.benchmarks.brain_extraction``.
"""

from BrainIACLib.preprocessing.brain_extraction.backend import Backend, Finds, MaskRequest, RawMask
from BrainIACLib.preprocessing.brain_extraction.extraction import BrainMask, extract_brain
from BrainIACLib.preprocessing.brain_extraction.registry import (
    AUTO,
    AUTO_HELP,
    AUTO_TITLE,
    BACKENDS,
    choices,
    chosen_backend,
    in_panel,
    network_of_auto,
    network_version,
)
from BrainIACLib.preprocessing.brain_extraction.stripped import is_stripped

__all__ = [
    "AUTO",
    "AUTO_HELP",
    "AUTO_TITLE",
    "BACKENDS",
    "Backend",
    "BrainMask",
    "Finds",
    "MaskRequest",
    "RawMask",
    "choices",
    "chosen_backend",
    "extract_brain",
    "in_panel",
    "is_stripped",
    "network_of_auto",
    "network_version",
]
