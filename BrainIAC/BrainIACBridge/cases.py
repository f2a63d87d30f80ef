"""The scans that a head learns from: volumes of the scene or files, each with a patient and labels."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path

import slicer
import slicer.util

from BrainIACLib.embeddings.cohort import read_cohort
from BrainIACLib.errors import BrainIACError
from BrainIACLib.scans.formats import is_dicom, suffix

MARK = "BrainIAC.Case"  # attribute of a volume: which case it is
TYPED = "label"  # the column of labels that are typed into the panel
NO_LABELS = ("scan", "patient", "session", "sequence")


@dataclasses.dataclass
class Case:
    """One scan: a file, or a volume of the scene; ``facts`` are texts as in a manifest (scan, patient, labels).

    ``mark`` stands on the volume as well and finds it again; IDs change when a scene is added to another one.
    """

    facts: dict
    path: str = ""
    mark: str = ""

    def node(self):
        """The volume in the scene, None without one."""
        if not self.mark:
            return None
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((node for node in volumes if node.GetAttribute(MARK) == self.mark), None)

    def setNode(self, node):
        """This volume is the scan of the case."""
        self.mark = self.mark or uuid.uuid4().hex[:12]
        node.SetAttribute(MARK, self.mark)


class Cases:
    """The list of scans; each has another name under ``facts["scan"]``."""

    def __init__(self):
        self.all = []

    def addVolumes(self, nodes, sequenceOf):
        """Volumes of the scene that are not in the list yet. Returns how many.

        Parameters
        ----------
        sequenceOf : gives the sequence of a node, "" if unknown.
        """
        known = [case.node() for case in self.all]
        new = [node for node in nodes if node not in known]
        for node in new:
            facts = {"scan": node.GetName(), "patient": "", "sequence": sequenceOf(node), TYPED: ""}
            case = Case(facts)
            case.setNode(node)
            self._add(case)
        return len(new)

    def addCsv(self, path):
        """The rows of a manifest. Returns how many. Raises BrainIACError, and adds nothing, if one row is wrong."""
        return self._addFiles([Case({TYPED: "", **case.facts}, str(case.path)) for case in read_cohort(Path(path))])

    def addFolder(self, folder):
        """Every scan file in a folder, and every subfolder with DICOM files. Returns how many.

        Raises
        ------
        BrainIACError : there are none.
        """
        entries = sorted(Path(folder).iterdir())
        paths = [path for path in entries if (path.is_file() and suffix(path)) or (path.is_dir() and _hasDicom(path))]
        if not paths:
            raise BrainIACError(f"'{folder}' holds no NIfTI, NRRD or MetaImage files and no folders of DICOM files.")
        names = [path.name[: len(path.name) - len(suffix(path))] for path in paths]
        return self._addFiles(
            [
                Case({"scan": str(path), "patient": name, "sequence": "", TYPED: ""}, str(path))
                for path, name in zip(paths, names, strict=True)
            ]
        )

    def remove(self, rows):
        """Take rows out of the list."""
        self.all = [case for row, case in enumerate(self.all) if row not in rows]

    def named(self, scan):
        """The case of that name, or None."""
        return next((case for case in self.all if case.facts["scan"] == scan), None)

    def labelColumns(self):
        """The columns that can be learned, the typed one first."""
        return list(
            dict.fromkeys([TYPED, *(name for case in self.all for name in case.facts if name not in NO_LABELS)])
        )

    def nodesGone(self):
        """Drop volumes that are no longer in the scene."""
        self.all = [case for case in self.all if case.path or case.node() is not None]

    def toJson(self):
        """For the scene."""
        return json.dumps([dataclasses.asdict(case) for case in self.all])

    def fromJson(self, text):
        """From the scene."""
        self.all = [Case(**case) for case in json.loads(text or "[]")]

    def _addFiles(self, cases):
        known = {case.path for case in self.all if case.path}
        new = [case for case in cases if case.path not in known]
        for case in new:
            self._add(case)
        return len(new)

    def _add(self, case):
        name, number = case.facts["scan"], 1
        while self.named(case.facts["scan"]) is not None:
            number += 1
            case.facts["scan"] = f"{name} ({number})"
        self.all.append(case)


def _hasDicom(folder):
    return any(is_dicom(path) for path in sorted(folder.rglob("*"))[:50] if path.is_file())
