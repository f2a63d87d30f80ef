"""What is known of a study after its analysis, as plain data: the JSON document of ``brainiac study`` and its schema.

``docs/study.schema.json`` is the published schema, made by ``json_schema``; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from BrainIACLib import RESEARCH_USE_ONLY, typed_json
from BrainIACLib.trust.age_gap import AgeGap

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """A sentence to show, and the series that it is about. ``level``: "warning" or "note"."""

    text: str
    series: tuple[str, ...] = ()
    level: str = "warning"


@dataclass(frozen=True)
class SeriesRow:
    """One series or volume of one. Sizes in voxels and mm; ``name`` is what it is taken for, empty if unknown.

    ``relation`` of header and image: agree, disagree, unsure, header only, image only, neither.
    """

    key: str
    name: str
    relation: str
    header_class: str
    header_reason: str
    header_by_words: bool
    image_class: str
    image_confidence: float | None
    set_aside: str
    used_as: tuple[str, ...]
    derived: bool
    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    repeats: int
    files: int
    warnings: tuple[str, ...]
    seconds: float
    description: str = ""  # typed by people; empty unless the identity was asked for


@dataclass(frozen=True)
class Slot:
    """Which series fills a slot, why, and why the others of its kind do not (key -> reason)."""

    slot: str
    series: str
    why: str
    others: Mapping[str, str]
    by_person: bool


@dataclass(frozen=True)
class Interval:
    """A prediction interval in the unit of its answer."""

    low: float
    high: float
    coverage: float
    meaning: str


@dataclass(frozen=True)
class Answer:
    """One answer of one model: ``Prediction`` with the series that it was made from and its saliency maps."""

    task: str
    model: str
    label: str
    headline: str
    confidence: float | None
    probabilities: Mapping[str, float]
    value: float | None
    unit: str | None
    interval: Interval | None
    age_gap: AgeGap | None
    series: Mapping[str, str]  # slot -> key
    warnings: tuple[str, ...]
    valid_range: str
    saliency: Mapping[str, Mapping[str, Any]]  # slot -> how the map was made
    trust: Mapping[str, Any]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Person:
    """Of whom it is, only where that was asked for."""

    name: str
    id: str
    birth_date: str
    study_date: str
    accession_number: str


@dataclass(frozen=True)
class StudyDocument:
    """All of it. ``not_answered``: task -> why; ``seconds``: step -> wall time."""

    schema_version: int
    study: str  # pseudonym
    created: str  # UTC, ISO 8601
    age_years: float | None
    sex: str
    findings: tuple[Finding, ...]
    answers: tuple[Answer, ...]
    not_answered: Mapping[str, str]
    slots: tuple[Slot, ...]
    series: tuple[SeriesRow, ...]
    versions: Mapping[str, str]
    options: Mapping[str, Any]
    seconds: Mapping[str, float]
    label: str = ""  # what the caller calls these files
    person: Person | None = None
    notice: str = RESEARCH_USE_ONLY

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, for ``json.dumps``."""
        plain: dict[str, Any] = typed_json.encoded(self)
        return plain


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the document."""
    schema = typed_json.schema_of(StudyDocument, "BrainIAC study")
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return schema
