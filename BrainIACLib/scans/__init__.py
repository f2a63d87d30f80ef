"""Scans in and out: one reader for all formats, what counts as a usable brain MRI, and writing that cannot go half."""

from BrainIACLib.scans.reading import list_series, read_scan
from BrainIACLib.scans.scan import Scan, SeriesSummary, image_identity
from BrainIACLib.scans.writing import write_image, write_transform

__all__ = [
    "Scan",
    "SeriesSummary",
    "image_identity",
    "list_series",
    "read_scan",
    "write_image",
    "write_transform",
]
