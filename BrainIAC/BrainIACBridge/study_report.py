"""The report of the study that is analyzed: what ``brainiac study`` writes, from the scans of the scene."""

from __future__ import annotations

import shutil
from pathlib import Path

import SimpleITK as sitk

from BrainIACBridge.dicom_database import filesOf
from BrainIACBridge.optional_packages import HIGHDICOM
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

    def isFromDicom(self):
        """Whether every scan came from the DICOM database and shows its files: then DICOM objects can be written."""
        nodes = self._nodes()
        return bool(nodes) and all(map(filesOf, nodes))

    def request(self, folder, options, device, samples):
        """For ``folder``; with DICOM objects where ``isFromDicom`` and the package for them is there.

        Raises
        ------
        BrainIACError : no scan can be handed over.
        """
        self._worker.start()
        inbox = self._worker.folder / "report"
        shutil.rmtree(inbox, ignore_errors=True)
        inbox.mkdir()
        nodes = self._nodes()
        if not nodes:
            raise BrainIACError("No scan of the study can be analyzed.")
        years, _typed = self._study.age()
        files = [filesOf(node) for node in nodes]
        common = {
            "out": Path(folder), "samples": samples, "age_years": years, "options": options, "device": device
        }  # fmt: skip
        if all(files):
            for number, ofScan in enumerate(files):
                (inbox / str(number)).mkdir()
                for index, file in enumerate(ofScan):
                    shutil.copy(file, inbox / str(number) / f"{index:05}.dcm")
            return AnalyzeStudy(paths=(inbox,), dicom=HIGHDICOM.isInstalled(), **common)
        paths = []
        for number, node in enumerate(nodes, start=1):
            paths.append(inbox / f"scan_{number}.mha")
            sitk.WriteImage(self._volumes.image(node), str(paths[-1]))
        filled, _missing = self._study.fillSlots(tuple(sequence.name for sequence in STANDARD))
        use = {slot: f"n{nodes.index(node) + 1}" for slot, node in filled.items()}
        return AnalyzeStudy(paths=tuple(paths), use=use, **common)

    def _nodes(self):
        return [node for node in self._study.included() if not self._study.problem(node)]
