"""A DICOM node: receives studies, analyzes each once it is complete, sends the results where it was told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.dicom_network.inbox import Inbox, ReceivedStudy
from BrainIACLib.dicom_network.sending import Destination, send
from BrainIACLib.errors import BrainIACError

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_SENDS = 60.0  # after a destination did not take something
log = logging.getLogger("brainiac.node")


@dataclass(frozen=True)
class NodeOptions:
    """How the node behaves. ``wait_seconds``: without a further image, after which a study counts as complete."""

    ae_title: str
    wait_seconds: float = 30.0
    destination: Destination | None = None


class Node:
    """The loop between inbox and destination; the receiver runs beside it.

    Parameters
    ----------
    analyze : (folder of images, folder for the report, label) -> one line about the answers. Raises BrainIACError.
    """

    def __init__(self, inbox: Inbox, options: NodeOptions, analyze: Callable[[Path, Path, str], str]):
        self._inbox, self._options, self._analyze = inbox, options, analyze
        self._stopped = threading.Event()
        self._send_again: dict[str, float] = {}  # pseudonym -> when, by the monotonic clock

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(SECONDS_BETWEEN_LOOKS)

    def stop(self) -> None:
        """End the loop after what it is doing."""
        self._stopped.set()

    def look(self) -> None:
        """Do what is due now, one study after the other."""
        for study in self._inbox.due(self._options.wait_seconds):
            if self._stopped.is_set():
                return
            self._answer(study)
        if self._options.destination is not None:
            for study in self._inbox.studies():
                if not self._stopped.is_set():
                    self._deliver(study, self._options.destination)

    def _answer(self, study: ReceivedStudy) -> None:
        label, started = study.label(), time.monotonic()
        log.info("%s: %d images, analysis begins", study.name, study.count())
        try:
            said = self._analyze(study.images, study.report, label)
        except BrainIACError as error:
            reason = str(error).replace(str(study.images), "it")
            study.fail(label, reason)
            log.warning("%s: not analyzed. %s", study.name, reason)
            return
        log.info("%s: %s (%.0f s)", study.name, said, time.monotonic() - started)

    def _deliver(self, study: ReceivedStudy, to: Destination) -> None:
        label = study.analyzed_label()
        known = study.sent()
        left = [file for file in study.objects() if (str(to), label, file.name) not in known]
        if not label or not left or self._send_again.get(study.name, 0.0) > time.monotonic():
            return
        try:
            send(left, to, self._options.ae_title, lambda file: study.acknowledge(str(to), label, file.name))
        except BrainIACError as error:
            self._send_again[study.name] = time.monotonic() + SECONDS_BETWEEN_SENDS
            log.warning("%s: results not sent, tried again in a minute. %s", study.name, error)
            return
        log.info("%s: %d results sent to %s", study.name, len(left), to)
