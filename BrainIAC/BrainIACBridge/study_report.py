"""The report of the study that is analyzed: what ``brainiac study`` writes, from the scans of the scene."""

from __future__ import annotations

import shutil
from pathlib import Path

import SimpleITK as sitk
from slicer.i18n import tr as _

from BrainIACBridge.dicom_database import filesOf, seriesNumberOf
from BrainIACBridge.flow import Ask
from BrainIACBridge.optional_packages import HIGHDICOM
from BrainIACLib.errors import BrainIACError
from BrainIACLib.sequences import STANDARD
from BrainIACLib.worker.requests import AnalyzeStudy, CompareImages

DICOM = "dicom"  # folder of the files of the scans


class StudyReport:
    """Asks for a report.

    Parameters
    ----------
    worker : a ``WorkerProcess``.
    volumes : a ``VolumeNodes``.
    study : the ``Study``.
    """

    def __init__(self, worker, volumes, study):
        self._worker, self._volumes, self._study = worker, volumes, study

    def isFromDicom(self):
        """Whether every scan came from the DICOM database: then DICOM objects can be written."""
        nodes = self._nodes()
        return bool(nodes) and all(map(filesOf, nodes))

    def flow(self, folder, options, device, samples):
        """Flow: the worker's value of a report into ``folder``.

        DICOM objects are part of it where every scan came from the DICOM database and still shows its files, and the
        package for them is there; else the scans go as they are shown.

        Raises
        ------
        BrainIACError : no scan can be handed over.
        """
        self._worker.start()
        inbox = self._worker.folder / "report"
        shutil.rmtree(inbox, ignore_errors=True)
        inbox.mkdir()
        nodes = [node for node in self._nodes() if self._handOver(node, inbox)]
        if not nodes:
            raise BrainIACError(_("No scan of the study can be analyzed."))
        years, _typed = self._study.age()
        common = {
            "out": Path(folder), "samples": samples, "age_years": years, "options": options, "device": device
        }  # fmt: skip
        unchanged = self.isFromDicom() and (yield from self._areUnchanged(nodes, inbox))
        if unchanged:
            dicom = HIGHDICOM.isInstalled()
            request = AnalyzeStudy(paths=(inbox / DICOM,), use=self._numbers(nodes), dicom=dicom, **common)
        else:
            use = {slot: str(nodes.index(node) + 1) for slot, node in self._filled().items() if node in nodes}
            request = AnalyzeStudy(paths=tuple(_imageOf(inbox, node) for node in nodes), use=use, **common)
        return (yield Ask(request))

    def _handOver(self, node, inbox):
        """Write what a volume shows; False, and the reason in its row, where that cannot be."""
        try:
            sitk.WriteImage(self._volumes.image(node), str(_imageOf(inbox, node)))
        except BrainIACError as error:
            self._study.setProblem(node, str(error))
            return False
        return True

    def _areUnchanged(self, nodes, inbox):
        """Flow: copies of the files of each scan, and whether all scans still show theirs."""
        for node in nodes:
            folder = inbox / DICOM / node.GetID()
            folder.mkdir(parents=True)
            for index, file in enumerate(filesOf(node)):
                shutil.copy(file, folder / f"{index:05}.dcm")
            answer = yield Ask(CompareImages(folder, _imageOf(inbox, node)))
            if not answer["same"]:
                return False
        return True

    def _numbers(self, nodes):
        """slot -> series number, for scans that the person named or chose; none where numbers are not unique."""
        known = {node: seriesNumberOf(node) for node in nodes}
        chosen = {slot: node for slot, node in self._filled().items() if self._study.isChosenByPerson(node)}
        if len(set(known.values())) < len(known) or "" in known.values():
            return {}
        return {slot: known[node] for slot, node in chosen.items() if node in known}

    def _filled(self):
        return self._study.fillSlots(tuple(sequence.name for sequence in STANDARD))[0]

    def _nodes(self):
        return [node for node in self._study.included() if not self._study.problem(node)]


def _imageOf(inbox, node):
    return inbox / f"{node.GetID()}.mha"
