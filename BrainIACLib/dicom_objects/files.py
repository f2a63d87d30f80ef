"""The objects of a study as the bytes of files; this module needs no highdicom before it is asked for them."""

from __future__ import annotations

import io

from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.studies.analysis import AnalyzedStudy


def check_highdicom() -> None:
    """Raises BrainIACError where the extra ``dicom`` is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise BrainIACError(
            "DICOM objects need the package highdicom, which is not installed; install it with "
            "'pip install highdicom', or ask for none."
        ) from None


def object_files(study: AnalyzedStudy, job: Job = UNATTENDED) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """File name -> content, and sentences on what could not be made; a study without a used DICOM series has none.

    Raises
    ------
    BrainIACError : highdicom is not installed.
    """
    check_highdicom()
    from BrainIACLib.dicom_objects.making import make_objects

    try:
        made = make_objects(study, job)
    except BrainIACError as error:
        return {}, (str(error),)
    contents = {}
    for name, dataset in made.objects.items():
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        contents[name] = stream.getvalue()
    return contents, made.notes
