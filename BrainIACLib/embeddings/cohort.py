"""Which scans to embed: a manifest in CSV, or files that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.embeddings.image_measures import MEASURES
from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests import read_manifest

COMPUTED = ("sha256", "preprocessing_sha256", "model", "encoder_sha256", "preset", "warnings", *MEASURES)


@dataclass(frozen=True)
class Case:
    """One scan to embed: where it lies, and what the table is to say of it (``scan``, ``patient``, labels, ...)."""

    path: Path
    facts: dict[str, str]


def cases_of_files(paths: Sequence[Path]) -> list[Case]:
    """Scans without a manifest: nothing is known of them. Of a name that is no UTF-8 the codes of its bytes stand."""
    return [Case(path, {"scan": str(path).encode("utf-8", "backslashreplace").decode("utf-8")}) for path in paths]


def read_cohort(manifest: Path) -> list[Case]:
    """The rows of a manifest (see ``BrainIACLib.manifests.rows``). A scan that is not there fails when its turn comes.

    Raises
    ------
    ManifestError : the file cannot be read, has no column ``scan``, columns that mean something else, or rows that
        contradict each other.
    """
    rows = read_manifest(manifest)
    names = list(rows[0].facts)
    reserved = sorted(set(names) & set(COMPUTED)) + [name for name in names if name[:1] == "e" and name[1:].isdigit()]
    if reserved:
        raise ManifestError(
            f"The manifest '{manifest}' has columns with names that mean something else: {reserved}; rename them."
        )
    return [Case(row.path, row.facts) for row in rows]
