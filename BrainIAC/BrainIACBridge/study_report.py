"""The report of the study that is analyzed: what ``brainiac study`` writes, from the scans of the scene."""

from __future__ import annotations

import shutil
from pathlib import Path

import SimpleITK as sitk
from slicer.i18n import tr as _

from BrainIACBridge.dicom_database import filesOf, seriesNumberOf, studyUidOf
from BrainIACBridge.flow import Ask
from BrainIACBridge.optional_packages import HIGHDICOM
from BrainIACBridge.study_identity import identityOf, mixedInWords
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
        """Whether every scan came from one study of the DICOM database: then DICOM objects can be written."""
        return _isOneStudy(self._nodes())

    def flow(self, folder, options, device, samples):
        """Flow: the worker's value of a report into ``folder``.

        DICOM objects are part of it where every scan came from one study of the DICOM database and still shows its
        files, the choices of the person can be told by series number, and the package for them is there; else the scans
        go as they are shown. The report is about the study that is analyzed now, whichever is chosen meanwhile.

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
        study = self._study.heldTo(nodes)
        filled = study.fillSlots(tuple(sequence.name for sequence in STANDARD))[0]
        numbers = _numbers({slot: node for slot, node in filled.items() if study.isChosenByPerson(node)}, nodes)
        mixed = len({identityOf(node).key for node in nodes}) > 1
        ages = {study.ageAt([node])[0] for node in nodes}
        common = {
            "out": Path(folder),
            "samples": samples,
            "age_years": ages.pop() if len(ages) == 1 else None,  # one of several ages would be wrong for the others
            "notes": (mixedInWords(),) if mixed else (),
            "options": options,
            "device": device,
        }
        asFiles = _isOneStudy(nodes) and not mixed and numbers is not None
        if asFiles and (yield from self._areUnchanged(nodes, inbox)):
            dicom = HIGHDICOM.isInstalled()
            request = AnalyzeStudy(paths=(inbox / DICOM,), use=numbers, dicom=dicom, **common)
        else:
            use = {slot: str(nodes.index(node) + 1) for slot, node in filled.items()}
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

    def _nodes(self):
        return [node for node in self._study.included() if not self._study.problem(node)]


def _isOneStudy(nodes):
    """Whether all came from one study of the DICOM database; of several studies, the library reads one only."""
    return bool(nodes) and all(map(filesOf, nodes)) and len(set(map(studyUidOf, nodes))) == 1


def _numbers(chosen, nodes):
    """slot -> series number of the scans that the person named or chose; None where a number does not tell them."""
    numbers = [seriesNumberOf(node) for node in nodes]
    found = {slot: seriesNumberOf(node) for slot, node in chosen.items()}
    return found if all(number and numbers.count(number) == 1 for number in found.values()) else None


def _imageOf(inbox, node):
    return inbox / f"{node.GetID()}.mha"
