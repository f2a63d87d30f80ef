"""The report of the study that is analyzed: what ``brainiac study`` writes, from the scans of the scene."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import SimpleITK as sitk
import slicer

from BrainIACLib.errors import BrainIACError
from BrainIACLib.sequences import STANDARD
from BrainIACLib.worker.requests import AnalyzeStudy


class StudyReport:
    """Makes the request for a report.

    Parameters
    ----------
    worker : a ``WorkerProcess``.
    volumes : a ``VolumeNodes``.
    study : the ``Study``.
    """

    def __init__(self, worker, volumes, study):
        self._worker, self._volumes, self._study = worker, volumes, study

    def request(self, folder, options, device, samples):
        """For ``folder``; with DICOM objects where every scan came from the DICOM database and shows its files.

        Raises
        ------
        BrainIACError : no scan can be handed over.
        """
        self._worker.start()
        inbox = self._worker.folder / "report"
        shutil.rmtree(inbox, ignore_errors=True)
        inbox.mkdir()
        nodes = [node for node in self._study.included() if not self._study.problem(node)]
        if not nodes:
            raise BrainIACError("No scan of the study can be analyzed.")
        years, _typed = self._study.age()
        files = [dicomFilesOf(node) for node in nodes]
        common = {
            "out": Path(folder), "samples": samples, "age_years": years, "options": options, "device": device
        }  # fmt: skip
        if all(files):
            for number, ofScan in enumerate(files):
                (inbox / str(number)).mkdir()
                for index, file in enumerate(ofScan):
                    shutil.copy(file, inbox / str(number) / f"{index:05}.dcm")
            return AnalyzeStudy(paths=(inbox,), dicom=canWriteObjects(), **common)
        paths = []
        for number, node in enumerate(nodes, start=1):
            paths.append(inbox / f"scan_{number}.mha")
            sitk.WriteImage(self._volumes.image(node), str(paths[-1]))
        filled, _missing = self._study.fillSlots(tuple(sequence.name for sequence in STANDARD))
        use = {slot: f"n{nodes.index(node) + 1}" for slot, node in filled.items()}
        return AnalyzeStudy(paths=tuple(paths), use=use, **common)


def canWriteObjects():
    """Whether the package for DICOM objects is in Slicer's Python; Set up does not install it."""
    return importlib.util.find_spec("highdicom") is not None


def dicomFilesOf(node):
    """The files of a volume in Slicer's DICOM database; [] if there are none, or if the volume is under a transform."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not uids or node.GetParentTransformNode() is not None:
        return []
    files = [database.fileForInstance(uid) for uid in uids]
    return files if all(file and Path(file).is_file() for file in files) else []
