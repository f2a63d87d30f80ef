"""Whose study it is: kept apart from everything that is shown, and the age at the scan, which may be.

The pseudonym is the beginning of a hash of the StudyInstanceUID: the same study always gets the same one, and whoever
has the study can find it again; nobody can read a name from it.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

TAGS = [
    "AccessionNumber",
    "AcquisitionDate",
    "PatientAge",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "SeriesDate",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
]
OLDEST = 130  # years
_DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


@dataclass(frozen=True)
class Identity:
    """One study of one person. Nothing but ``pseudonym``, ``age_years`` and ``sex`` may leave it unasked."""

    study_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    study_date: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    sex: str = ""
    age_years: float | None = None

    @property
    def pseudonym(self) -> str:
        """``study-`` and 12 hexadecimal digits; ``study`` where there is no StudyInstanceUID."""
        return f"study-{hashlib.sha256(self.study_uid.encode()).hexdigest()[:12]}" if self.study_uid else "study"

    @property
    def person(self) -> tuple[str, str]:
        """Equal for two studies of one person."""
        return self.patient_id, self.patient_name.upper()


def identity_of(header: Dataset) -> Identity:
    """Of one header; missing or malformed fields are empty."""

    def text(keyword: str) -> str:
        return str(header.get(keyword) or "").strip()

    return Identity(
        study_uid=text("StudyInstanceUID"),
        patient_id=text("PatientID"),
        patient_name=text("PatientName"),
        birth_date=text("PatientBirthDate"),
        study_date=text("StudyDate"),
        accession_number=text("AccessionNumber"),
        sex=text("PatientSex")[:1].upper() if text("PatientSex")[:1].upper() in ("F", "M", "O") else "",
        age_years=_age(text("PatientBirthDate"), _scan_date(header), text("PatientAge")),
    )


def _scan_date(header: Dataset) -> str:
    dates = (str(header.get(keyword) or "").strip() for keyword in ("AcquisitionDate", "SeriesDate", "StudyDate"))
    return next((date for date in dates if date), "")


def _age(born: str, scanned: str, stated: str) -> float | None:
    """Years at the scan: from the dates, else as stated ("045Y", "018M"); None where neither makes sense.

    >>> _age("20090701", "20130308", "003Y")
    3.69
    >>> _age("", "", "018M")
    1.5
    """
    birth, scan = _date(born), _date(scanned)
    if birth is not None and scan is not None:
        years = (scan - birth).days / 365.25
        if 0 <= years <= OLDEST:
            return round(years, 2)
    found = re.fullmatch(r"(\d{1,3})\s*([DWMY])", stated.upper())
    if found is None:
        return None
    years = int(found[1]) * _DAYS_PER_UNIT[found[2]] / 365.25
    return round(years, 2) if years <= OLDEST else None


def _date(text: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text.replace("-", "").replace(".", ""), "%Y%m%d").date()
    except ValueError:
        return None
