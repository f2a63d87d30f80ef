"""Embed many scans into a table, each once: stopped runs go on where they were, nothing stale is taken over.

While a run lasts, every finished scan is a line of a journal beside the table (``.NAME.partial``), so that a kill or a
power cut costs the scans that wait for the encoder (see ``encoder_batches``), on a CPU one; at the end the table is
written whole and the journal removed. One run at a time writes a table. A scan is known by its voxels and grid; rows
and journals of versions that knew it by its file's bytes have other keys, and are computed again.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.embeddings.cohort import COMPUTED, Case
from BrainIACLib.embeddings.encoder_batches import EncoderBatches
from BrainIACLib.embeddings.files import check_format, read_table, write_table
from BrainIACLib.embeddings.image_measures import MEASURES, measures_of
from BrainIACLib.embeddings.key import preprocessing_sha256
from BrainIACLib.embeddings.table import EmbeddingTable, table_of
from BrainIACLib.errors import BrainIACError, Cancelled, in_a_sentence, is_for_the_caller
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.publishing import Journal, locked
from BrainIACLib.scans import Scan, read_scan

Key = tuple[str, str, str]  # sha256 of the image, of the preprocessing, of the encoder


@dataclass(frozen=True)
class Known:
    """What was computed of one image: its embedding, the warnings, and the texts of ``MEASURES`` (empty if unknown)."""

    vector: np.ndarray
    warnings: str
    measures: Mapping[str, str]


@dataclass(frozen=True)
class Embedded:
    """``table`` is None if no scan could be embedded; ``failures``: scan -> reason."""

    table: EmbeddingTable | None
    computed: int
    reused: int
    failures: Mapping[str, str]


def embed_cohort(
    cases: Sequence[Case],
    out: Path,
    predictor: Predictor,
    *,
    model_id: str | None = None,
    options: PreprocessingOptions | None = None,
    mask: sitk.Image | None = None,
    series_uid: str | None = None,
    frame: int | None = None,
    replace: bool = False,
    read: Callable[[Path], Scan] | None = None,
    done: Callable[[Case, str | None], None] | None = None,
    job: Job = UNATTENDED,
) -> Embedded:
    """Embed every case and write the table to ``out``; scans that cannot be embedded are left out and named.

    Parameters
    ----------
    out : a table that lies there already is used as far as its rows fit, then replaced.
    replace : also where that takes rows or columns out of it that the cases do not have.
    series_uid, frame : which to read of files that hold several, as in ``read_scan``.
    read : another way to read a scan.
    done : called after each case with None or the reason of its failure.
    job : told the step and its fraction, within one scan.

    Raises
    ------
    BrainIACError : the table cannot be written, or no such encoder; before any work: what lies at ``out`` would lose
        rows or columns, or is no embedding table; after it: a scan that ``out`` holds cannot be read any more.
    Cancelled : as asked; what was finished is kept for the next run.
    """
    check_format(out)
    if not out.parent.is_dir():
        raise BrainIACError(f"The folder '{out.parent}' does not exist; make it, or choose another place.")
    busy = f"Another process is embedding into '{out}'; wait for it, or choose another place."
    with locked(out.with_name(f".{out.name}.lock"), busy):
        if out.exists() and not replace:
            _check_nothing_lost(out, cases)
        options = options or PreprocessingOptions()
        contract = find_encoder(predictor.models_folder, model_id).contract
        recipe = preprocessing_sha256(options, contract.encoder, mask)
        read = read or partial(read_scan, series_uid=series_uid, frame=frame)
        journal = _Journal(out)
        known = {**_rows_of(out), **journal.rows}
        batches = EncoderBatches(lambda inputs: predictor.embed_inputs(inputs, model_id), predictor.device)
        prepared: dict[Key, tuple[str, Mapping[str, str]]] = {}  # warnings and measures of what waits in a batch
        there: list[tuple[Case, Key, tuple[str, ...]]] = []  # with the warnings of the file
        told, computed = 0, 0  # of ``there``
        failures: dict[str, str] = {}

        def fail(case: Case, error: Exception) -> None:
            if is_for_the_caller(error, predictor.device):
                raise error
            failures[case.facts["scan"]] = in_a_sentence(error)
            if done is not None:
                done(case, failures[case.facts["scan"]])

        def embed_waiting() -> None:
            nonlocal told, computed
            failed: dict[Key, Exception] = {}
            for key, outcome in batches.embedded().items():
                if isinstance(outcome, Exception):
                    failed[key] = outcome
                    continue
                one = Known(outcome, *prepared[key])
                journal.add(key, one)
                known[key] = one
                computed += 1
            prepared.clear()
            waited, there[told:] = there[told:], [row for row in there[told:] if row[1] not in failed]
            told = len(there)
            for case, key, _ in waited:
                if key in failed:
                    fail(case, failed[key])
                elif done is not None and key in known:
                    done(case, None)

        try:
            for case in cases:
                try:
                    job.check()
                    scan = read(case.path)
                    key = (scan.identity, recipe, contract.encoder.sha256)
                    if key not in known and key not in batches:
                        standardised = predictor.set_study({"scan": scan}, options, job, mask=mask)["scan"]
                        said = " ".join(predictor.study.warnings_of("scan")), measures_of(standardised)
                        volume = predictor.encoder_input("scan", model_id)
                        prepared[key] = said
                        batches.add(key, volume)
                except Cancelled:
                    raise Cancelled("Stopped as asked; the scans embedded so far are kept for the next run.") from None
                except Exception as error:
                    fail(case, error)
                    continue
                there.append((case, key, scan.warnings))
                if batches.is_full or not prepared:
                    embed_waiting()
            embed_waiting()
        except BaseException:  # a device without memory, a full disk, Ctrl-C: what is prepared is minutes of work
            with contextlib.suppress(Exception):
                embed_waiting()
            raise
        rows = [
            {
                **case.facts,
                **dict(zip(("sha256", "preprocessing_sha256", "encoder_sha256"), key, strict=True)),
                **{"model": contract.id, "preset": options.preset, **known[key].measures},
                "warnings": _warnings(warnings, known[key]),
            }
            for case, key, warnings in there
        ]
        vectors = [known[key].vector for _, key, _ in there]
        if failures and out.exists() and not replace:
            _check_nothing_failed(out, failures)
        table = table_of(rows, vectors) if rows else None
        if table is not None:
            write_table(table, out)
            journal.remove()
        return Embedded(table, computed, len(rows) - computed, failures)


def _warnings(of_file: Sequence[str], found: Known) -> str:
    """Those of this file, and those of the image, which may have been computed from another file of the same image."""
    own = [warning for warning in of_file if warning not in found.warnings]
    return " ".join([*own, found.warnings]).strip()


def _check_nothing_lost(out: Path, cases: Sequence[Case]) -> None:
    """A row is hours of work in a large cohort, and a file that is no table is never overwritten unasked."""
    try:
        columns = read_table(out).columns
    except BrainIACError:
        raise BrainIACError(
            f"'{out}' is there already and is no embedding table of this version; choose another place, or overwrite "
            "it.",
            "--replace",
        ) from None
    asked = {case.facts["scan"] for case in cases}
    scans = columns["scan"].tolist()
    lost = [scan for scan in scans if scan not in asked]
    if lost:
        raise BrainIACError(
            f"{len(lost)} of the {len(scans)} scans in '{out}' are not among those to embed (such as '{lost[0]}'); "
            "choose another place, or drop them.",
            "--replace",
        )
    told = {name for case in cases for name, text in case.facts.items() if text}
    for name, texts in columns.items():
        if name not in COMPUTED and name not in told and any(texts):
            raise BrainIACError(
                f"'{out}' has the column '{name}', which the scans to embed do not have; add it to the manifest, "
                "choose another place, or drop it.",
                "--replace",
            )


def _check_nothing_failed(out: Path, failures: Mapping[str, str]) -> None:
    """The disk that is not there today, or a file that was damaged, must not cost the row of another day."""
    lost = [scan for scan in read_table(out).columns["scan"].tolist() if scan in failures]
    if lost:
        raise BrainIACError(
            f"{len(lost)} scans that '{out}' holds could not be embedded this time ({failures[lost[0]]}) Nothing was "
            "replaced, and the others are kept for the next run; mend them, or drop them.",
            "--replace",
        )


def _rows_of(path: Path) -> dict[Key, Known]:
    """What a table holds; nothing if there is none, or none that can be read: it is computed again then."""
    try:
        table = read_table(path)
    except BrainIACError:
        return {}
    names = ("sha256", "preprocessing_sha256", "encoder_sha256")
    keys = zip(*(table.columns[name].tolist() for name in names), strict=True)
    there = [name for name in MEASURES if name in table.columns]  # tables of earlier versions have none
    measures = [{name: str(table.columns[name][row]) for name in there} for row in range(len(table))]
    values = map(Known, table.embeddings, table.columns["warnings"].tolist(), measures)
    return dict(zip(keys, values, strict=True))


class _Journal:
    """The scans that an unfinished run has embedded."""

    def __init__(self, out: Path):
        self._journal = Journal(out.with_name(f".{out.name}.partial"))
        self.rows: dict[Key, Known] = {}
        for row in self._journal.rows():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                vector = np.frombuffer(base64.b64decode(row["embedding"], validate=True), "<f4")
                first, second, third = row["key"]
                self.rows[first, second, third] = Known(vector, row["warnings"], row["measures"])

    def add(self, key: Key, known: Known) -> None:
        """Raises BrainIACError if the disk is full or the folder cannot be written."""
        text = base64.b64encode(known.vector.astype("<f4").tobytes()).decode()
        self._journal.add({"key": key, "warnings": known.warnings, "measures": dict(known.measures), "embedding": text})

    def remove(self) -> None:
        """The table holds all of it."""
        self._journal.remove()
