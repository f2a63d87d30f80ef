"""Whose scans, and of which day: by the subject hierarchy and the UIDs that DICOM gave it."""

from __future__ import annotations

import dataclasses
import hashlib

import slicer
from slicer.i18n import tr as _

ITEM = "item "  # begins the key of what no UID tells; the number is another one when the scene is opened again


@dataclasses.dataclass(frozen=True)
class StudyIdentity:
    """Whose scans, and of which day. Scans that say neither make up one study; equal keys are the same study.

    ``patient`` and ``date`` are for the panel alone: they enter no file and no log.
    """

    key: tuple = ("", "")
    patient: str = ""
    date: str = ""
    birthDate: str = ""

    @property
    def title(self):
        """For the panel."""
        return ", ".join(part for part in (self.patient, self.day) if part) or _("Scans without patient or date")

    @property
    def mark(self):
        """Stands for patient and date where they are kept with the scene, and tells nobody who it is."""
        named = (self.patient, self.date)
        lasting = tuple(name if part.startswith(ITEM) else part for part, name in zip(self.key, named, strict=True))
        return hashlib.sha256(repr(lasting).encode()).hexdigest()[:12] if any(self.key) else ""

    @property
    def isOnePerson(self):
        """Whether a UID says who it is: names that were given by hand may be those of several people."""
        return bool(self.key[0]) and not self.key[0].startswith(ITEM)

    @property
    def day(self):
        """20260131 as 2026-01-31; other texts as they are."""
        date = self.date
        return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


def identityOf(node):
    """Whose scan, of which day: from the levels of the subject hierarchy above it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    study = hierarchy.GetItemAncestorAtLevel(item, "Study") if item else 0
    if not patient and not study:
        return StudyIdentity()
    date = hierarchy.GetItemAttribute(study, "DICOM.StudyDate") if study else ""
    return StudyIdentity(
        key=(_known(hierarchy, patient), date or _known(hierarchy, study)),
        patient=hierarchy.GetItemName(patient) if patient else "",
        date=date or (hierarchy.GetItemName(study) if study else ""),
        birthDate=(hierarchy.GetItemAttribute(patient, "DICOM.PatientBirthDate") if patient else "") or "",
    )


def mixedInWords():
    """The warning of an answer or a report about scans of several identities."""
    return _("Scans of different patients or dates were taken together, as you asked; check that this is meant.")


def _known(hierarchy, item):
    """By its UID from DICOM, so that what was loaded twice is one; else by itself."""
    if not item:
        return ""
    return hierarchy.GetItemUID(item, "DICOM") or f"{ITEM}{item}"
