"""Measured volumes as files: the table, and the label map on the scan's own grid."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from BrainIACLib.publishing import publishing_set
from BrainIACLib.scans import write_image
from BrainIACLib.volumes.measurement import Measurement

TABLE, LABELS = "volumes.csv", "structures.nii.gz"


def table_of(found: Measurement) -> str:
    """The measurement as CSV text: one row a structure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["structure", "ml", "left_ml", "right_ml", "share_of_intracranial", "percentile_for_age"])
    writer.writerow(["intracranial", f"{found.intracranial_ml:.2f}", "", "", "1", ""])
    for volume in found.volumes:
        sides = ["" if side is None else f"{side:.2f}" for side in (volume.left_ml, volume.right_ml)]
        rank = "" if volume.percentile is None else f"{volume.percentile:.1f}"
        writer.writerow([volume.structure, f"{volume.ml:.2f}", *sides, f"{volume.share:.5f}", rank])
    return text.getvalue()


def write_volumes(found: Measurement, folder: Path) -> Path:
    """Write ``TABLE`` and ``LABELS`` into a folder, both or none; returns the path of the table.

    Raises
    ------
    BrainIACError : the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with publishing_set(folder, (TABLE, LABELS)) as staging:
        (staging / TABLE).write_text(table_of(found), encoding="utf-8")
        write_image(found.labels, staging / LABELS)
    return folder / TABLE
