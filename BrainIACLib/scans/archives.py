"""Zip archives, unpacked into a private folder that is always removed.

No name from the archive is ever used on the disk: members become numbered plain files. So there is no way out of the
folder, no link, no name too long or in the wrong script, and no patient's name on the disk.
"""

from __future__ import annotations

import contextlib
import lzma
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.scans.formats import suffix
from BrainIACLib.scans.memory import check_disk
from BrainIACLib.scans.scan import Refused

MOST_MEMBERS = 50_000
MOST_BYTES = 16 * 2**30
LARGEST_RATIO, FREE_BYTES = 200, 256 << 20  # of unpacked to packed bytes, beyond what any archive may have


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[dict[str, Path]]:
    """The members of the archive at ``path``, name -> numbered file that keeps its suffix.

    Raises
    ------
    Refused : damaged, encrypted, of an unknown compression, or larger than any study.
    """
    with temporary_folder() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                files = _unpack(archive, folder)
        except NotImplementedError:
            raise Refused("is a zip archive with an unknown compression; unpack it and give the folder.") from None
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Refused("is a damaged zip archive; copy or download it again.") from None
        yield files


# Of zipfile and its decompressors; those that are given garbage raise nearly anything, bzip2 an OSError without number.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error, RuntimeError)


def _unpack(archive: zipfile.ZipFile, folder: Path) -> dict[str, Path]:
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_macos_metadata(member)]
    if any(member.flag_bits & 1 for member in members):
        raise Refused("is protected by a password; unpack it and give the folder.")
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        raise Refused(
            f"unpacks to more than {MOST_MEMBERS} files or {MOST_BYTES >> 30} GiB, more than any study; "
            "unpack the series that you want and give its folder."
        )
    total, packed = (sum(getattr(member, size) for member in members) for size in ("file_size", "compress_size"))
    if total > max(FREE_BYTES, LARGEST_RATIO * packed):
        raise Refused(
            f"unpacks from {packed / 2**20:.0f} MiB to {total / 2**30:.1f} GiB, as no scan does; unpack what you want "
            "and give that."
        )
    check_disk(total, folder)
    files: dict[str, Path] = {}
    for number, member in enumerate(members):
        file = folder / f"{number:06d}{suffix(PurePosixPath(member.filename))}"
        with archive.open(member) as source, file.open("xb") as target:  # never yields more than file_size bytes
            shutil.copyfileobj(source, target, 1 << 20)
        name = member.filename
        files[name if name not in files else f"{name}\0{number}"] = file  # two members may have the same name
    return files


def _is_macos_metadata(member: zipfile.ZipInfo) -> bool:
    return member.filename.startswith("__MACOSX/") or PurePosixPath(member.filename).name.startswith("._")
