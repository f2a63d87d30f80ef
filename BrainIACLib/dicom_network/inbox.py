"""What the node has received, on disk: one folder a study, whose files alone say what is left to do.

    STUDY/images/HASH.dcm   received, each written whole before its sender hears "success"
    STUDY/report/           the published report; its study.json says of which images (label)
    STUDY/failed.json       why the images of which label could not be analyzed
    STUDY/sent.jsonl        one line for each object that a destination has acknowledged

Nothing else is kept, so a node that is killed at any moment goes on where the files are. STUDY is a pseudonym. Nothing
is removed unless ``Inbox.remove`` is called.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.publishing import Journal, replacing, write_text
from BrainIACLib.publishing.files import not_written
from BrainIACLib.studies.identity import Identity
from BrainIACLib.studies.report.files import DOCUMENT

IMAGES, REPORT, FAILED, SENT = "images", "report", "failed.json", "sent.jsonl"
REMOVED = ".removed-"  # beginning of the name of what is being removed


@dataclass(frozen=True)
class ReceivedStudy:
    """One study of the inbox."""

    folder: Path

    @property
    def name(self) -> str:
        """The pseudonym."""
        return self.folder.name

    @property
    def images(self) -> Path:
        """Where its images lie."""
        return self.folder / IMAGES

    @property
    def report(self) -> Path:
        """Where its report is published."""
        return self.folder / REPORT

    def label(self) -> str:
        """Names the set of images that is here: equal if and only if it is the same set."""
        names = sorted(file.name for file in self._files())
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    def count(self) -> int:
        """How many images there are."""
        return sum(1 for _ in self._files())

    def quiet_seconds(self) -> float:
        """Since the last image arrived, by the clock of the files."""
        times = []
        for file in self._files():
            with contextlib.suppress(FileNotFoundError):  # replaced by the same image this moment
                times.append(file.stat().st_mtime)
        return time.time() - max(times) if times else 0.0

    def analyzed_label(self) -> str:
        """Of the images that the report is about; empty without one."""
        return _field(self.report / DOCUMENT, "label")

    def failed_label(self) -> str:
        """Of the images that could not be analyzed; empty if that did not happen."""
        return _field(self.folder / FAILED, "label")

    def fail(self, label: str, reason: str) -> None:
        """Remember why; it is not tried again before further images arrive."""
        write_text(json.dumps({"label": label, "reason": reason}) + "\n", self.folder / FAILED)

    def objects(self) -> list[Path]:
        """The DICOM objects of the report."""
        return sorted(self.report.glob("*.dcm"))

    def sent(self) -> set[tuple[str, str, str]]:
        """(destination, label, file name) of what was acknowledged."""
        return {(row["to"], row["label"], row["name"]) for row in Journal(self.folder / SENT).rows()}

    def acknowledge(self, destination: str, label: str, name: str) -> None:
        """The destination has this object."""
        Journal(self.folder / SENT).add({"to": destination, "label": label, "name": name})

    def _files(self) -> Iterator[Path]:
        return (file for file in self.images.glob("*.dcm") if not file.name.startswith("."))


class Inbox:
    """The folder of a node."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()  # of the next
        self._arriving: Counter[str] = Counter()  # images that are being written, by the pseudonym of their study
        for left in folder.glob(f"{REMOVED}*"):  # by a process that was killed while it removed a study
            shutil.rmtree(left, ignore_errors=True)

    def receive(self, study_uid: str, instance_uid: str, content: bytes) -> str:
        """Write one image; returns the pseudonym of its study. The same image again replaces itself.

        Raises
        ------
        BrainIACError : it cannot be written.
        """
        name = Identity(study_uid=study_uid).pseudonym
        images = self.folder / name / IMAGES
        with self._arrival(name):
            try:
                images.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise not_written(images, error) from None
            file = images / f"{hashlib.sha256(instance_uid.encode()).hexdigest()[:32]}.dcm"
            with replacing(file) as temporary:
                temporary.write_bytes(content)
        return name

    @contextlib.contextmanager
    def _arrival(self, name: str) -> Iterator[None]:
        with self._lock:
            self._arriving[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= Counter((name,))

    def remove(self, study: ReceivedStudy, is_over: Callable[[], bool]) -> bool:
        """Remove a study with everything in it: out of sight at once, so that a kill leaves no half of it in the queue.

        A study of which an image is arriving stays. An image that begins to arrive later begins the study anew.

        Parameters
        ----------
        is_over : asked while no image can arrive; the study stays unless it says yes.

        Returns
        -------
        Whether it was removed.

        Raises
        ------
        OSError : it cannot be removed.
        """
        away = self.folder / f"{REMOVED}{uuid.uuid4().hex}"
        with self._lock:
            if self._arriving[study.name] or not is_over():
                return False
            study.folder.rename(away)
        shutil.rmtree(away)
        return True

    def studies(self) -> list[ReceivedStudy]:
        """All studies, the one that waits longest first."""
        found = [ReceivedStudy(path.parent) for path in self.folder.glob(f"[!.]*/{IMAGES}")]
        return sorted(found, key=lambda study: -study.quiet_seconds())

    def due(self, wait_seconds: float) -> list[ReceivedStudy]:
        """Complete studies whose images are neither reported nor known to fail."""
        return [
            study
            for study in self.studies()
            if study.count()
            and study.quiet_seconds() >= wait_seconds
            and study.label() not in (study.analyzed_label(), study.failed_label())
        ]


def _field(file: Path, name: str) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8")).get(name, ""))
    except (OSError, ValueError, AttributeError):
        return ""
