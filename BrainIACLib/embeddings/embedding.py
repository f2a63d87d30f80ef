"""Embed scans with one call: files, or the rows of a manifest, into a table that later calls go on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.embeddings.cohort import cases_of_files, read_cohort
from BrainIACLib.embeddings.store import Embedded, embed_cohort
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions


def embed(
    scans: Sequence[Path | str] | Path | str,
    out: Path | str,
    predictor: Predictor | None = None,
    options: PreprocessingOptions | None = None,
    job: Job = UNATTENDED,
) -> Embedded:
    """Embed scans and write the table to ``out`` (CSV, NPZ or Parquet, by its suffix).

    A scan is computed once: what lies at ``out`` already is used as far as image, preprocessing and encoder are the
    same. ``BrainIACLib.embeddings.store.embed_cohort`` takes more options.

    Parameters
    ----------
    scans : files, DICOM folders or zips; or one manifest (CSV with the column ``scan``, best ``patient``, labels).
    predictor : embeds, with its device and its models; one that chooses both by default.

    Returns
    -------
    ``table`` (None if no scan could be embedded), ``computed``, ``reused``, and ``failures``: scan -> reason.

    Raises
    ------
    BrainIACError : the table cannot be written, or would lose rows; the manifest cannot be read.
    """
    if isinstance(scans, (str, Path)):
        cases = read_cohort(Path(scans))
    else:
        cases = cases_of_files([Path(scan) for scan in scans])
    return embed_cohort(cases, Path(out), predictor or Predictor(), options=options, job=job)
