"""dcm2niix, where it reads DICOM files that ITK cannot: Siemens mosaics and rare compressions.

Source: Li et al. 2016, doi 10.1016/j.jneumeth.2016.03.001; the wheel on PyPI holds the program.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.scans.scan import Refused

TIMEOUT_SECONDS = 600


@contextlib.contextmanager
def converted_to_nifti(files: Sequence[Path]) -> Iterator[Path]:
    """The NIfTI file that dcm2niix makes of ``files``, in a private folder that is removed afterwards.

    Raises
    ------
    Refused : dcm2niix is not installed, fails, or makes several volumes.
    """
    try:
        import dcm2niix
    except ImportError:
        raise Refused(
            "has pixel data that is damaged or that only dcm2niix can read; install it (pip install dcm2niix) and try "
            "again, or export the series uncompressed."
        ) from None
    with temporary_folder() as folder:
        source, output = folder / "dicom", folder / "nifti"
        source.mkdir()
        output.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, source / f"{number:06d}.dcm")
        command = [dcm2niix.bin, "-b", "n", "-z", "n", "-f", "volume", "-o", output, source]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
        volumes = list(output.glob("*.nii"))
        if len(volumes) != 1:
            raise Refused(
                f"has pixel data that neither SimpleITK nor dcm2niix can turn into one volume ({len(volumes)} were "
                "made); export the series again, uncompressed."
            )
        yield volumes[0]
