"""The facts of a NIfTI file from the files beside it, as dcm2niix and BIDS write them: JSON, times in seconds, and for
diffusion the b-values of its volumes, of which the first is read here.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from BrainIACLib.scans.formats import suffix
from BrainIACLib.studies.header_facts import DESCRIPTIONS, HeaderFacts, known_words
from BrainIACLib.studies.header_rules import LEAST_WEIGHTING

LONGEST = 1_000_000  # bytes


def facts_beside(file: Path) -> HeaderFacts | None:
    """What the sidecar of ``file`` says; None where there is none or it cannot be read."""
    stem = file.name[: len(file.name) - len(suffix(file))]
    sidecar = file.with_name(f"{stem}.json")
    try:
        if sidecar.stat().st_size > LONGEST:
            return None
        found = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    return _with_b_values(facts_in(found), file.with_name(f"{stem}.bval"))


def _with_b_values(facts: HeaderFacts, file: Path) -> HeaderFacts:
    try:
        values = [float(text) for text in file.read_text(encoding="ascii")[:LONGEST].split()]
    except (OSError, ValueError):
        return facts
    if not values:
        return facts
    weighted = any(value >= LEAST_WEIGHTING for value in values)
    return dataclasses.replace(facts, b_value=values[0], in_diffusion_series=weighted)


def facts_in(found: dict[str, Any]) -> HeaderFacts:
    """Of what a sidecar holds."""

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
        sequence_name=str(found.get("SequenceName") or "").strip(" *").casefold(),
        acquisition=str(found.get("MRAcquisitionType") or "").upper(),
        contrast_agent=None if agent is None else str(agent).strip().upper() not in ("", "NONE", "NO"),
        words=known_words(str(found.get(name) or "") for name in DESCRIPTIONS)
        | ({"functional"} if found.get("TaskName") else set()),
        field_strength=found.get("MagneticFieldStrength")
        if isinstance(found.get("MagneticFieldStrength"), (int, float))
        else None,
    )
