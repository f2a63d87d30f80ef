"""The facts of a NIfTI file from the files beside it, as dcm2niix and BIDS write them: JSON, times in seconds, and for
diffusion the b-values of its volumes, of which the first is read here. Either file may be missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from BrainIACLib.scans.formats import IMAGE_SUFFIXES, suffix
from BrainIACLib.studies.header_facts import DESCRIPTIONS, HeaderFacts, known_words
from BrainIACLib.studies.header_rules import LEAST_WEIGHTING

LONGEST = 1_000_000  # bytes


def files_beside(file: Path) -> tuple[Path, Path]:
    """Where the JSON and the b-values of the image ``file`` lie, if there are any."""
    stem = file.name[: len(file.name) - len(suffix(file))]
    return file.with_name(f"{stem}.json"), file.with_name(f"{stem}.bval")


def state_beside(file: Path) -> str:
    """What changes whenever a file changes that ``facts_beside`` reads: sizes and times; empty where there is none."""
    if suffix(file) not in IMAGE_SUFFIXES:
        return ""
    states = []
    for beside in files_beside(file):
        with contextlib.suppress(OSError):
            state = beside.stat()
            states.append(f"{beside.suffix}|{state.st_size}|{state.st_mtime_ns}")
    return "|".join(states)


def facts_beside(file: Path) -> HeaderFacts | None:
    """What the files beside ``file`` say; None where there are none or they cannot be read."""
    sidecar, b_values = files_beside(file)
    found, values = _object_of(sidecar), _numbers_of(b_values)
    if found is None and not values:
        return None
    facts = facts_in(found or {})
    if not values:
        return facts
    weighted = any(value >= LEAST_WEIGHTING for value in values)
    return dataclasses.replace(facts, b_value=values[0], in_diffusion_series=weighted)


def _object_of(file: Path) -> dict[str, Any] | None:
    try:
        if file.stat().st_size > LONGEST:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _numbers_of(file: Path) -> list[float]:
    try:
        return [float(text) for text in file.read_text(encoding="ascii")[:LONGEST].split()]
    except (OSError, ValueError):
        return []


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
