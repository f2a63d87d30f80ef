"""DICOM folders: which series there are, one of them as a volume, and whether a volume still shows its files."""

from __future__ import annotations

from typing import Any

from BrainIACLib.errors import ScanError
from BrainIACLib.job import Job
from BrainIACLib.scans import list_series, read_scan, write_image
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.requests import CompareImages, ListSeries, LoadSeries
from BrainIACLib.worker.scan_files import same_image
from BrainIACLib.worker.session import Session


@answer.register
def series_of(request: ListSeries, session: Session, job: Job) -> dict[str, Any]:
    """The series of a folder, in words."""
    found = list_series(request.folder)
    return {
        "series": [
            {"uid": one.uid, "volume": one.size is not None, "text": str(one).removeprefix(f"{one.uid}: ")}
            for one in found
        ]
    }


@answer.register
def load(request: LoadSeries, session: Session, job: Job) -> dict[str, Any]:
    """One series as a file that the client can open."""
    scan = read_scan(request.folder, series_uid=request.series)
    path = session.new_file("scan.mha")
    write_image(scan.image, path)
    return {"scan": str(path), "name": scan.name, "warnings": list(scan.warnings)}


@answer.register
def compare(request: CompareImages, session: Session, job: Job) -> dict[str, Any]:
    """Readers round differently where they apply a slope to what is stored."""
    try:
        first, second = read_scan(request.first).image, read_scan(request.second).image
    except ScanError:
        return {"same": False}
    return {"same": same_image(first, second, tolerance=1e-5)}
