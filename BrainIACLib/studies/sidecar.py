"""The facts of a NIfTI file from the JSON file beside it, as dcm2niix and BIDS write it (times in seconds there)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from BrainIACLib.scans.formats import suffix
from BrainIACLib.studies.header_facts import HeaderFacts

LONGEST = 1_000_000  # bytes


def facts_beside(file: Path) -> HeaderFacts | None:
    """What the sidecar of ``file`` says; None where there is none or it cannot be read."""
    sidecar = file.with_name(f"{file.name[: len(file.name) - len(suffix(file))]}.json")
    try:
        if sidecar.stat().st_size > LONGEST:
            return None
        found = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _facts(found) if isinstance(found, dict) else None


def _facts(found: dict[str, Any]) -> HeaderFacts:
    def milliseconds(name: str) -> float | None:
        value = found.get(name)
        return 1000.0 * value if isinstance(value, (int, float)) and value > 0 else None

    def words(name: str) -> tuple[str, ...]:
        value = found.get(name) or ()
        parts = value.replace("_", "\\").split("\\") if isinstance(value, str) else value
        return tuple(str(part).upper() for part in parts)

    flip, agent = found.get("FlipAngle"), found.get("ContrastBolusIngredient")
    return HeaderFacts(
        modality=str(found.get("Modality") or "MR"),
        image_type=words("ImageType"),
        repetition_time=milliseconds("RepetitionTime"),
        echo_time=milliseconds("EchoTime"),
        inversion_time=milliseconds("InversionTime"),
        flip_angle=float(flip) if isinstance(flip, (int, float)) and flip > 0 else None,
        scanning_sequence=frozenset(words("ScanningSequence")),
        sequence_variant=frozenset(words("SequenceVariant")),
        scan_options=frozenset(words("ScanOptions")),
        acquisition=str(found.get("MRAcquisitionType") or "").upper(),
        contrast_agent=None if agent is None else str(agent).strip().upper() not in ("", "NONE", "NO"),
        field_strength=found.get("MagneticFieldStrength")
        if isinstance(found.get("MagneticFieldStrength"), (int, float))
        else None,
    )
