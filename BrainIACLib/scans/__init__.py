"""Scans in and out: one reader for all formats, what counts as a usable brain MRI, and writing that cannot go half."""

from BrainIACLib.publishing import write_bytes, write_text  # for callers that have not moved
from BrainIACLib.scans.reading import list_series, read_scan
from BrainIACLib.scans.scan import Scan, SeriesSummary
from BrainIACLib.scans.writing import write_image, write_transform

__all__ = [
    "Scan",
    "SeriesSummary",
    "list_series",
    "read_scan",
    "write_bytes",
    "write_image",
    "write_text",
    "write_transform",
]
