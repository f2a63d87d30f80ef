"""A process that publishes, killed at each of its system calls, and a disk that forgets what was not synced.

Shared by the test, which takes a minute at most, and by ``Testing/benchmarks/publishing_crashes.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CALLS = ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir", "open", "close")
NAMES = ("map.bin", "mask.bin", "result.json")


def publish_set(folder: Path, content: str) -> None:
    """What ``analyze`` does when it writes its results."""
    from BrainIACLib.publishing import publishing_set, write_text

    with publishing_set(folder, NAMES) as staging:
        for name in NAMES:
            write_text(content, staging / name)


def publish_file(folder: Path, content: str) -> None:
    """What ``embed`` does when it writes its table."""
    from BrainIACLib.publishing import write_text

    write_text(content, folder / "table.csv")


def publish_model(folder: Path, content: str) -> None:
    """What ``models import`` does."""
    from BrainIACLib.publishing import publish_folder, staging_folder

    with staging_folder(folder) as staging:
        for name in NAMES:
            (staging / name).write_text(content)
        publish_folder(staging, folder / f"model {content}")


def journal(folder: Path, content: str) -> None:
    """What ``embed`` does after each scan."""
    from BrainIACLib.publishing import Journal

    Journal(folder / "journal").add({"content": content})


WAYS: dict[str, Callable[[Path, str], None]] = {
    "set": publish_set,
    "file": publish_file,
    "model": publish_model,
    "journal": journal,
}


def what_is_there(way: str, folder: Path) -> str:
    """ "old", "new", or what else a reader finds."""
    from BrainIACLib.publishing import Journal, recover_sets

    if way == "journal":
        rows = [row["content"] for row in Journal(folder / "journal").rows()]
        return {("old",): "old", ("old", "new"): "new"}.get(tuple(rows), f"rows {rows}")
    if way == "model":
        models = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if not all(read_set(folder / model) == model.split()[1] for model in models):
            return "a model that is not whole"
        return {("model old",): "old", ("model new", "model old"): "new"}.get(tuple(models), f"models {models}")
    if way == "file":
        return (folder / "table.csv").read_text()
    before = read_set(folder)
    recover_sets(folder)
    after = read_set(folder)
    return after if before in ("old", "new", "no set") else f"{before}, and after recovery {after}"


def read_set(folder: Path) -> str:
    """As a program reads it that knows nothing of recovery: the file that says that the set is complete comes first."""
    if not (folder / NAMES[-1]).exists():
        return "no set"
    contents = {(folder / name).read_text() for name in NAMES if (folder / name).exists()}
    whole = all((folder / name).exists() for name in NAMES)
    return contents.pop() if whole and len(contents) == 1 else f"a mixture {sorted(contents)}"


def die_at(number: int, before: bool) -> None:
    """Patch ``os`` so that the process is gone at its call ``number``, before or after the call has acted."""
    count = 0

    def patched(act: Callable) -> Callable:
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == number and before:
                os._exit(99)
            found = act(*arguments, **options)
            if count == number:
                os._exit(99)
            return found

        return call

    for name in CALLS:
        setattr(os, name, patched(getattr(os, name)))


def child(way: str, folder: str, number: str, before: str) -> None:
    """In a process of its own."""
    die_at(int(number), before == "before")
    WAYS[way](Path(folder), "new")
    os._exit(0)


def kills(way: str, folder: Path) -> Iterator[tuple[int, str, str]]:
    """(number of the call, "before" or "after" it, what is there) for every call that the way makes."""
    from BrainIACLib.publishing import files

    for moment in ("before", "after"):
        number, code = 0, 99
        while code == 99:
            number += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            WAYS[way](folder, "old")
            code = _forked(way, folder, number, moment)
            found = what_is_there(way, folder)
            if code not in (0, 99):
                found = f"status {code}"
            yield number, moment, found
            files._swept.clear()
            WAYS[way](folder, "newer")  # the next process is never kept out, and cleans up
            if any(path.name.startswith(".brainiac-") and path.is_dir() for path in folder.iterdir()):
                yield number, moment, "something left behind"


def _forked(way: str, folder: Path, number: int, moment: str) -> int:
    """A fork where the system has one: it costs a millisecond, and a new interpreter a second."""
    if hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            try:
                child(way, str(folder), str(number), moment)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = "import sys; from publishing_crashes import child; child(*sys.argv[1:])"
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    return subprocess.run(
        [sys.executable, "-c", code, way, str(folder), str(number), moment],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    ).returncode


Tables = dict[int, dict[str, tuple[int, bool]]]  # inode of a folder -> name -> (inode, whether it is a folder)


class Disk:
    """What the disk holds of a folder: names and contents that were synced, the rest perhaps.

    The worst that POSIX allows, with changes of names kept in order: those of a folder are on the disk once it was
    synced, a content once its file was. What was not synced is there or not. A file whose name is there and whose
    content was not synced is empty.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.tables = self._now()
        self.contents = {path.stat().st_ino: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.pending: list[Tables] = []  # after each change of a name that was not synced
        self.states: list[tuple[Tables, dict[int, bytes]]] = []

    def _now(self) -> Tables:
        folders = [self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())]
        return {
            folder.stat().st_ino: {path.name: (path.stat().st_ino, path.is_dir()) for path in folder.iterdir()}
            for folder in folders
        }

    def changed(self) -> None:
        """A name was made, moved or removed: a power cut may keep that, or not, until the folder is synced."""
        now = self._now()
        if not self.pending or self.pending[-1] != now:
            self.pending.append(now)
        self.possible()

    def synced(self, path: Path) -> None:
        """A file or folder was synced."""
        if path.is_dir():
            now = self._now()
            self.tables = {**self.tables, path.stat().st_ino: now[path.stat().st_ino]}
            self.pending = [now]
        else:
            self.contents[path.stat().st_ino] = path.read_bytes()
        self.possible()

    def possible(self) -> None:
        """Remember what a power cut in this moment may leave: the synced names, or those after any later change."""
        for tables in (self.tables, *self.pending):
            self.states.append((tables, dict(self.contents)))

    def write(self, state: tuple[Tables, dict[int, bytes]], folder: Path) -> None:
        """One possible state, as a folder."""
        shutil.rmtree(folder, ignore_errors=True)
        self._write(state, self.folder.stat().st_ino, folder)

    def _write(self, state: tuple[Tables, dict[int, bytes]], inode: int, folder: Path) -> None:
        folder.mkdir()
        tables, contents = state
        for name, (of_name, is_folder) in tables.get(inode, {}).items():
            if is_folder:
                self._write(state, of_name, folder / name)
            else:
                (folder / name).write_bytes(contents.get(of_name, b""))


@contextmanager
def recorded(folder: Path) -> Iterator[Disk]:
    """The disk while something is published into ``folder``; all that is there before is on it."""
    disk = Disk(folder)
    known = {name: getattr(os, name) for name in (*CALLS, "fsync")}
    paths: dict[int, Path] = {}

    def opened(path, *arguments, **options):
        handle = known["open"](path, *arguments, **options)
        paths[handle] = Path(path)
        disk.changed()
        return handle

    def synced(handle):
        known["fsync"](handle)
        disk.synced(paths[handle])

    def then(name):
        def call(*arguments, **options):
            found = known[name](*arguments, **options)
            disk.changed()
            return found

        return call

    patches = {name: then(name) for name in ("replace", "rename", "unlink", "mkdir", "rmdir")}
    for name, patch in {**patches, "open": opened, "fsync": synced}.items():
        setattr(os, name, patch)
    try:
        yield disk
    finally:
        for name, original in known.items():
            setattr(os, name, original)


def power_cuts(way: str, folder: Path) -> Iterator[str]:
    """What a reader finds after a power cut in every moment of publishing, and every state that may then be."""
    work, image = folder / "work", folder / "image"
    work.mkdir(parents=True)
    WAYS[way](work, "old")
    with recorded(work) as disk:
        WAYS[way](work, "new")
    for state in disk.states:
        disk.write(state, image)
        yield what_is_there(way, image)


def finished(way: str, folder: Path) -> str:
    """What is on the disk when the call has returned, of which a person was told that it is done."""
    work, image = folder / "work", folder / "image"
    work.mkdir(parents=True)
    WAYS[way](work, "old")
    with recorded(work) as disk:
        WAYS[way](work, "new")
    disk.write((disk.tables, disk.contents), image)
    return what_is_there(way, image)


WRITER = """
import sys
from pathlib import Path
from publishing_crashes import WAYS
for number in range(int(sys.argv[3])):
    WAYS[sys.argv[1]](Path(sys.argv[2]), f"{sys.argv[4]} {number}")
"""


def writers(folder: Path, count: int, times: int) -> list[str]:
    """Sets that a reader sees while ``count`` processes publish ``times`` sets each into one folder, and at the end."""
    folder.mkdir()
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, "set", str(folder), str(times), str(number)],
            env={**os.environ, "PYTHONPATH": path},
        )
        for number in range(count)
    ]
    seen = set()
    while any(process.poll() is None for process in processes):
        seen.add(stable_set(folder))
    assert all(process.returncode == 0 for process in processes)
    return sorted(seen | {read_set(folder)})


def stable_set(folder: Path) -> str:
    """What a careful reader sees: the last file, the others, and the last file again, unchanged."""
    last = folder / NAMES[-1]
    try:
        first = last.read_bytes()
        contents = {(folder / name).read_bytes() for name in NAMES}
        if last.read_bytes() != first:
            return "changed meanwhile"
    except OSError:
        return "changed meanwhile"
    return "whole" if contents == {first} else f"a mixture {json.dumps(sorted(map(repr, contents)))}"
