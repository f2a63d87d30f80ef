"""Which scans a cohort has and what is known of each: a table that a person made, a BIDS data set, or a folder.

One reader for every command that takes a cohort, so that separators, names of columns, byte order marks and repeated
rows mean the same to all of them, and what is wrong is said with its lines before anything starts.
"""

from BrainIACLib.manifests.bids import bids_scans, is_bids
from BrainIACLib.manifests.csv_files import read_rows
from BrainIACLib.manifests.rows import (
    Row,
    absolute_places,
    check_rows,
    collecting_later,
    read_manifest,
    refuse_problems,
)

__all__ = [
    "Row",
    "absolute_places",
    "bids_scans",
    "check_rows",
    "collecting_later",
    "is_bids",
    "read_manifest",
    "read_rows",
    "refuse_problems",
]
