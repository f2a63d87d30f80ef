"""Decodes DICOM files of the JPEG family in a process of its own: ``python -m BrainIACLib.scans.jpeg_process FOLDER``.

The decoders are those of GDCM, inside ITK, written in C: a damaged stream may end their process, and must not end the
one that answers. All other pixels are read in Python, so only a compressed series pays for the start of this process.
``FOLDER`` holds ``000000.dcm`` and so on, with pixels and nothing else; beside each comes ``000000.npy`` with the
stored values, shape (frame, row, column).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.itk_files import itk_files


def main() -> int:
    """Decode everything in the folder; 1 if a file cannot be decoded."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for file in sorted(Path(sys.argv[1]).glob("*.dcm")):
        reader.SetFileName(str(file))
        try:
            with itk_files():
                np.save(file.with_suffix(".npy"), sitk.GetArrayFromImage(reader.Execute()))
        except RuntimeError:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
