"""Which format a file has: by its first bytes where they tell, by its suffix where they do not."""

from __future__ import annotations

from pathlib import Path, PurePath

from BrainIACLib.scans.scan import Refused

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz")
MGH_SUFFIXES = (".mgz", ".mgh", ".mgh.gz")
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".hdr.gz", ".nrrd", ".nhdr", ".mha", ".mhd", *MGH_SUFFIXES)  # one a scan
SUFFIXES = (*NIFTI_SUFFIXES, *MGH_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd", ".zip", ".dcm", ".ima")
_LONGEST_FIRST = tuple(sorted(SUFFIXES, key=len, reverse=True))


def suffix(path: PurePath) -> str:
    """The known suffix of a file name in lower case (``".nii.gz"``), or ``""``."""
    return suffix_of_name(path.name)


def suffix_of_name(name: str) -> str:
    """As ``suffix``, of a name without folders; a manifest may have a million of them."""
    name = name.lower()
    for known in _LONGEST_FIRST:
        if name.endswith(known):
            return known
    return ""


def is_dicom(path: Path) -> bool:
    """A DICOM file, with or without the 128 bytes before ``DICM`` that old files lack."""
    with path.open("rb") as stream:
        head = stream.read(132)
    bare = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"  # starts with group 0002 or 0008
    return head[128:] == b"DICM" or bare


def is_marked_dicom(path: Path) -> bool:
    """A DICOM file that says so, unlike voxels that happen to begin as an old one does."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def recognise(path: Path) -> str:
    """``"NIfTI"``, ``"NRRD"``, ``"MetaImage"``, ``"MGH"``, ``"DICOM"`` or ``"zip"``; ``Refused`` for anything else."""
    with path.open("rb") as stream:
        head = stream.read(132)
    if not head:
        raise Refused("is an empty file (0 bytes); copy or export it again.")
    if head.startswith(b"PK"):
        return "zip"
    if head.startswith(b"NRRD"):
        return "NRRD"
    if head[128:] == b"DICM":  # whatever its name: some archives call every image .img
        return "DICOM"
    if suffix(path) in (".mha", ".mhd"):
        return "MetaImage"
    if suffix(path) in MGH_SUFFIXES:
        return "MGH"
    if suffix(path) in NIFTI_SUFFIXES:
        return "NIfTI"
    if is_dicom(path):
        return "DICOM"
    raise Refused(
        "is not an image in a known format; give NIfTI, NRRD, MetaImage, MGH, a DICOM folder, or a zip of DICOM files."
    )
