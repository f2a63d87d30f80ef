"""The report as files, published together: the document last, so that it says that the set is complete."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.foreign_text import spreadsheet_row
from BrainIACLib.publishing import publishing_set
from BrainIACLib.studies.analysis import AnalyzedStudy
from BrainIACLib.studies.document import SeriesRow, StudyDocument
from BrainIACLib.studies.report.page import report_page

PAGE, TABLE, DOCUMENT = "report.html", "series.csv", "study.json"
FILES = {
    PAGE: "the report; one file, opens without network",
    TABLE: "one row a series: classes, choice, reasons",
    DOCUMENT: "everything as JSON (docs/study.schema.json)",
}
COLUMNS = (
    "series", "taken_for", "relation", "header_class", "header_reason", "image_class", "image_confidence", "used_as",
    "set_aside", "derived", "size", "spacing_mm", "repeats", "files", "warnings",
)  # fmt: skip


def write_report(study: AnalyzedStudy, out: Path, more: dict[str, bytes] | None = None, replace: bool = False) -> Path:
    """Write ``FILES``, and ``more`` (name -> content), into ``out``; returns the path of the page.

    Parameters
    ----------
    replace : the report of another study, instead of refusing.

    Raises
    ------
    BrainIACError : ``out`` holds the report of another study, or cannot be written; nothing changes then.
    """
    more = more or {}
    with publishing_set(out, [*more, *FILES]) as staging:
        if not replace:
            refuse_another(study.document.study, out)
        for name, content in more.items():
            (staging / name).write_bytes(content)
        (staging / PAGE).write_text(report_page(study), encoding="utf-8")
        (staging / TABLE).write_text(series_table(study.document), encoding="utf-8", newline="")
        (staging / DOCUMENT).write_text(json.dumps(study.document.to_json(), indent=2) + "\n", encoding="utf-8")
    return out / PAGE


def series_table(document: StudyDocument) -> str:
    """One row a series, comma-separated."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(spreadsheet_row(_cells(row)) for row in document.series)
    return stream.getvalue()


def _cells(row: SeriesRow) -> list[object]:
    return [
        row.key, row.name, row.relation, row.header_class, row.header_reason, row.image_class, row.image_confidence,
        " ".join(row.used_as), row.set_aside, row.derived, "x".join(map(str, row.size)),
        "x".join(map(str, row.spacing_mm)), row.repeats, row.files, " ".join(row.warnings),
    ]  # fmt: skip


def refuse_another(study: str, out: Path) -> None:
    """Raises BrainIACError where ``out`` holds the report of another study than that of this pseudonym."""
    try:
        known = json.loads((out / DOCUMENT).read_text(encoding="utf-8"))["study"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError):
        raise BrainIACError(
            f"The folder '{out}' holds a {DOCUMENT} that is not BrainIAC's or cannot be read; choose another folder."
        ) from None
    if known != study:
        raise BrainIACError(f"The folder '{out}' holds the report of '{known}'; choose another folder.")
