"""The files that a header names: where they may lie.

A header of a stranger must not read any file of this computer. So a name counts from the header's folder and must stay
in it: no absolute path to elsewhere, no ``..`` that leads out. On a person's own disk, links are followed (data sets
under version control are made of them); an archive has no links, only its own members.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path

from BrainIACLib.scans.scan import Refused

Companions = Callable[[str], Path]
"""The file of a name, or ``Refused``."""


def beside(header: Path) -> Companions:
    """Names in the header of a plain file."""
    folder = os.path.abspath(header.parent)

    def find(name: str) -> Path:
        for spelled in dict.fromkeys((name, name.replace("\\", "/"))):  # as Windows writes it
            place = os.path.abspath(os.path.join(folder, spelled))
            if not _is_inside(place, folder):
                raise _outside()
            try:
                if os.path.isfile(place):
                    return Path(place)
            except ValueError:
                break
        raise _missing()

    return find


def members_of(members: Mapping[str, Path], header: str) -> Companions:
    """Names in the header that is the member ``header`` of an archive, whose ``members`` were unpacked."""
    known = {posixpath.normpath(name.replace("\\", "/")): file for name, file in members.items()}
    folder = posixpath.dirname(posixpath.normpath(header.replace("\\", "/")))

    def find(name: str) -> Path:
        place = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
        if place not in known:
            raise _missing()
        return known[place]

    return find


def _is_inside(place: str, folder: str) -> bool:
    try:
        return os.path.commonpath([place, folder]) == folder
    except ValueError:  # on another drive
        return False


def _outside() -> Refused:
    return Refused("names a data file outside its own folder; put header and data file in one folder.")


def _missing() -> Refused:
    return Refused("cannot be read: its data file is missing; put header and data file in one folder.")
