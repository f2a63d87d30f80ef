"""Download a released Slicer and unpack it: ``python install_slicer.py {linux,macosx,win} {release,nightly} FOLDER``.

Prints the path of the program. **Not run yet**: the computer that this was written on reaches no download server. The
choice of the file and the unpacking of a Linux package are tested; macOS and Windows are written after the documents.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path

SERVER = "https://download.slicer.org"
PROGRAMS = {"linux": "Slicer", "macosx": "Slicer.app/Contents/MacOS/Slicer", "win": "Slicer.exe"}
ENDINGS = {"linux": ".tar.gz", "macosx": ".dmg", "win": ".exe"}


def package_address(answer: str) -> str:
    """The address of the package, from the server's JSON answer about the newest one.

    Raises
    ------
    ValueError : the answer names none.
    """
    path = json.loads(answer).get("download_url")
    if not path:
        raise ValueError(f"The server names no package: {answer[:200]}")
    return urllib.parse.urljoin(SERVER, path)


def unpack(package: Path, system: str, folder: Path) -> Path:
    """Put the program into ``folder``; its path.

    Raises
    ------
    FileNotFoundError : the package does not hold what it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if system == "linux":
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
    elif system == "macosx":
        mounted = folder / "mounted"
        subprocess.run(["hdiutil", "attach", str(package), "-nobrowse", "-mountpoint", str(mounted)], check=True)
        subprocess.run(["cp", "-R", str(mounted / "Slicer.app"), str(folder)], check=True)
        subprocess.run(["hdiutil", "detach", str(mounted)], check=True)
    else:
        subprocess.run([str(package), "/S", f"/D={folder.absolute()}"], check=True)
    name = PROGRAMS[system]
    found = [path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()]
    if not found:
        raise FileNotFoundError(f"{package.name} holds no {name}.")
    return found[0]


def main(system: str, stability: str, folder: str) -> None:
    """Download, unpack, print the path of the program."""
    with urllib.request.urlopen(f"{SERVER}/find?os={system}&stability={stability}") as answer:
        address = package_address(answer.read().decode())
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    package = target / f"slicer{ENDINGS[system]}"
    urllib.request.urlretrieve(address, package)
    print(unpack(package, system, target / "Slicer"))


if __name__ == "__main__":
    main(*sys.argv[1:])
