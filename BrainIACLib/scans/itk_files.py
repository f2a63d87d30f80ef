"""How ITK opens files: silently, and by names in any script."""

from __future__ import annotations

import contextlib
import locale
import sys
from collections.abc import Iterator

import SimpleITK as sitk


@contextlib.contextmanager
def itk_files() -> Iterator[None]:
    """Use around every read and write of a file through ITK.

    ITK's own warnings are switched off: they print paths, and what they say is checked and said in this package. On
    Windows ITK opens files by the C library, which takes UTF-8 names only under a UTF-8 locale.
    """
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    on_windows = sys.platform == "win32"
    character_set = locale.setlocale(locale.LC_CTYPE)
    if on_windows:
        locale.setlocale(locale.LC_CTYPE, ".UTF8")
    try:
        yield
    finally:
        if on_windows:
            locale.setlocale(locale.LC_CTYPE, character_set)
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
