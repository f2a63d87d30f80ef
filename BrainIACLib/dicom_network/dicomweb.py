"""A study from a DICOM server into a private folder, and objects onto it (DICOMweb: QIDO, WADO, STOW; PS3.18).

A user name and password for the server are taken from the person's ``.netrc``, never from the command line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.private_folder import temporary_folder

if TYPE_CHECKING:
    from dicomweb_client.api import DICOMwebClient
    from pydicom import Dataset

SECONDS = 60.0  # without an answer
ATTEMPTS = 3  # of a request that a busy or restarting server does not take; a person waits before the screen
FIRST_WAIT_MS = 1000  # before the second attempt; it doubles
NOT_IMAGES = ("SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "DOC", "AU", "ECG", "PLAN", "REG", "SEG")
OBJECTS_AT_ONCE = 1  # in one message of STOW; maps are of some megabytes


@dataclass(frozen=True)
class Retrieved:
    """The folder with the files, and sentences on what could not be had."""

    folder: Path
    notes: tuple[str, ...]


@contextlib.contextmanager
def retrieved(url: str, study_uid: str, job: Job = UNATTENDED) -> Iterator[Retrieved]:
    """The images of a study as numbered files in a folder that is removed at the end.

    A series that the server does not give, or that it stops in, becomes a note.

    Raises
    ------
    BrainIACError : the server cannot be reached, knows no such study, or gives none of its series.
    """
    client = _client(url)
    with _explained(url):
        rows = client.search_for_series(study_uid)
    wanted = [row for row in rows if _value(row, "00080060") not in NOT_IMAGES]
    if not wanted:
        raise BrainIACError(f"The server '{url}' has no images of such a study; check the StudyInstanceUID.")
    with temporary_folder() as folder:
        count, failed, reason = 0, 0, ""
        for number, row in enumerate(wanted):
            job.report(f"series {number + 1} of {len(wanted)}", number / len(wanted))
            try:
                with _explained(url):
                    datasets = client.retrieve_series(study_uid, _value(row, "0020000E"))
            except BrainIACError as error:
                failed, reason = failed + 1, str(error)
                continue
            for dataset in datasets:
                _write(dataset, folder / f"{count:06d}.dcm")
                count += 1
        if not count:
            raise BrainIACError(
                reason or f"The server '{url}' gives no images of this study; check that the study is complete there."
            )
        notes = (f"{failed} of {len(wanted)} series could not be had from the server; ask it again.",) if failed else ()
        yield Retrieved(folder, notes)


def _write(dataset: Dataset, file: Path) -> None:
    try:
        dataset.save_as(file, enforce_file_format=True)
    except OSError as error:
        raise BrainIACError(
            f"The study does not fit into the folder for temporary files ({error.strerror or error}); free some space, "
            "or name another folder in the environment variable TMPDIR."
        ) from None


def store(url: str, files: Sequence[Path], job: Job = UNATTENDED) -> int:
    """Store DICOM files on the server; returns how many it has taken.

    Raises
    ------
    BrainIACError : the server cannot be reached or refuses an object; those before it are stored.
    """
    import pydicom

    client = _client(url)
    for number, file in enumerate(files):
        job.report("storing", number / len(files))
        with _explained(url):
            answer = client.store_instances([pydicom.dcmread(file)])
        if answer.get("FailedSOPSequence"):
            raise BrainIACError(
                f"The server '{url}' took {number} of {len(files)} objects and refused the next one; see the "
                "server's log, then run the command again."
            )
    return len(files)


def _client(url: str) -> DICOMwebClient:
    try:
        from dicomweb_client.api import DICOMwebClient
        from dicomweb_client.session_utils import create_session
    except ImportError:
        raise BrainIACError(
            "A DICOM server needs the package dicomweb-client, which is not installed; install it with "
            "'pip install dicomweb-client'."
        ) from None
    session = create_session()
    session.request = _with_timeout(session.request)  # type: ignore[method-assign]  # on this session alone
    try:
        client = DICOMwebClient(url=url.rstrip("/"), session=session)
        client.set_http_retry_params(max_attempts=ATTEMPTS, wait_exponential_multiplier=FIRST_WAIT_MS // 2)
        return client
    except ValueError as error:
        raise BrainIACError(
            f"'{url}' is not the address of a DICOM server ({error}); give it like this: http://host:8042/dicom-web."
        ) from None


def _with_timeout(request: Any) -> Any:
    def limited(*arguments: Any, **options: Any) -> Any:
        return request(*arguments, **{"timeout": SECONDS, **options})

    return limited


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """What goes wrong on the network in one sentence, without what the server said of the person."""
    import requests

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "unknown"
        raise BrainIACError(
            f"The server '{url}' answers with status {status}; check the address and the study."
        ) from None
    except requests.RequestException as error:
        raise BrainIACError(
            f"The server '{url}' does not answer ({type(error).__name__}); check the address and the network."
        ) from None
    except (ValueError, KeyError) as error:
        raise BrainIACError(
            f"The server '{url}' answers with something that is no DICOM ({type(error).__name__}); check the address."
        ) from None


def _value(row: dict[str, Any], tag: str) -> str:
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0])
