"""The age of a person at a scan, from what DICOM says of it; nothing else about the person is read."""

from __future__ import annotations

import datetime

from BrainIACBridge.dicom_database import database, instanceUids

PATIENT_AGE = "0010,1010"
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def ageAt(birthDate, date):
    """Years between two DICOM dates, None if one of them is none."""
    born, scanned = _dateOf(birthDate), _dateOf(date)
    if born is None or scanned is None:
        return None
    years = (scanned - born).days / 365.25
    return round(years, 1) if years >= 0 else None


def _dateOf(text):
    if len(text or "") != 8 or not text.isdecimal():
        return None
    try:
        return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def yearsOf(text):
    """The DICOM age string "034Y", "018M", "003W" or "010D" in years, None if it is none."""
    text = (text or "").strip()
    if len(text) == 4 and text[:3].isdigit() and text[3] in YEARS:
        return round(int(text[:3]) * YEARS[text[3]], 1)
    return None


def ageInHeaders(node):
    """The age that the files of a volume state, in Slicer's DICOM database; None without one."""
    known, uids = database(), instanceUids(node)
    return yearsOf(known.instanceValue(uids[0], PATIENT_AGE)) if known is not None and uids else None
