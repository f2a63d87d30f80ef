"""Slicer's DICOM database: the files of a volume, volumes of what is selected, and results that are put into it."""

from __future__ import annotations

from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACLib.errors import BrainIACError

MODALITY, SERIES_NUMBER, STUDY_UID = "0008,0060", "0020,0011", "0020,000D"


def database():
    """The database, None where there is none or it is closed."""
    found = getattr(slicer, "dicomDatabase", None)
    return found if found is not None and found.isOpen else None


def instanceUids(node):
    """Of the DICOM files that a volume was loaded from."""
    return (node.GetAttribute("DICOM.instanceUIDs") or "").split()


def filesOf(node):
    """The files of a volume; [] if there are none, or if the volume is under a transform and shows something else."""
    known, uids = database(), instanceUids(node)
    if known is None or not uids or node.GetParentTransformNode() is not None:
        return []
    files = [known.fileForInstance(uid) for uid in uids]
    return files if all(file and Path(file).is_file() for file in files) else []


def seriesNumberOf(node):
    """Of the series that a volume was loaded from; "" if it has none."""
    return _valueOf(node, SERIES_NUMBER)


def studyUidOf(node):
    """Of the study that a volume was loaded from; "" if it has none."""
    return _valueOf(node, STUDY_UID)


def add(files):
    """Copy DICOM files into the database, whose browser then shows them. Returns how many of them are in it."""
    known = database()
    if known is None:
        return 0
    import ctk
    import pydicom

    indexer = ctk.ctkDICOMIndexer()
    indexer.addListOfFiles(known, [str(file) for file in files], True)
    indexer.waitForImportFinished()
    _refreshBrowser()
    uids = [str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files]
    return sum(bool(known.fileForInstance(uid)) for uid in uids)


def loadScans(seriesUids):
    """The MR series among ``seriesUids`` as volumes; those that are in the scene already are not loaded again.

    Slicer's own DICOM plugins read them, so that names, patients, studies and UIDs are as always.

    Raises
    ------
    BrainIACError : none of them is MR, or none can be loaded.
    """
    from DICOMLib import DICOMUtils

    known = database()
    wanted = [uid for uid in seriesUids if known is not None and _modality(known, uid) == "MR"]
    if not wanted:
        raise BrainIACError(_("The selection holds no MR series."))
    there = {uid: node for uid in wanted if (node := _volumeOf(uid)) is not None}
    missing = [uid for uid in wanted if uid not in there]
    loaded = DICOMUtils.loadSeriesByUID(missing) if missing else []
    nodes = [*there.values(), *(slicer.mrmlScene.GetNodeByID(node) for node in loaded)]
    volumes = [node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
    if not volumes:
        raise BrainIACError(_("Slicer's DICOM module could load none of the selected series."))
    return volumes


def _valueOf(node, tag):
    known, uids = database(), instanceUids(node)
    return (known.instanceValue(uids[0], tag) or "").strip() if known is not None and uids else ""


def _modality(known, series):
    files = known.filesForSeries(series, 1)
    return known.fileValue(files[0], MODALITY) if files else ""


def _volumeOf(series):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemDataNode(hierarchy.GetItemByUID("DICOM", series))


def _refreshBrowser():
    """What came into the database by another connection is shown after this only."""
    instance = getattr(slicer.modules, "DICOMInstance", None)
    browser = instance.browserWidget if instance is not None else None
    if browser is not None:
        browser.dicomBrowser.dicomTableManager().updateTableViews()
