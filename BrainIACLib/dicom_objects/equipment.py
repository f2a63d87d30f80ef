"""Who made the objects, and identifiers that are the same when the same result is made again.

A node that is killed and starts over makes the same objects under the same UIDs, so an archive keeps one of each.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydicom.uid import UID

import BrainIACLib

MANUFACTURER, MODEL_NAME = "BrainIAC (open source)", "BrainIAC"
FIRST_SERIES_NUMBER = 9700


def uid_of(*parts: str) -> UID:
    """A UID under 2.25 (PS3.5 B.2) that depends on ``parts`` alone."""
    digest = hashlib.sha256("\n".join(("BrainIAC", *parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def equipment() -> dict[str, Any]:
    """The arguments that highdicom wants of every device."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": BrainIACLib.__version__,
        "device_serial_number": "none",
    }
