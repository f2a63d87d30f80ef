"""A DICOM node: receives studies, analyzes each once it is complete, sends the results where it was told."""

from __future__ import annotations

import functools
import logging
import shutil
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
SECONDS_BETWEEN_TRIES = 300.0  # after the disk was full
LEAST_FREE = 200 << 20  # bytes; with less, an analysis that failed is tried again instead of being recorded as failed
SECONDS_BETWEEN_REMOVALS = 600.0
log = logging.getLogger("brainiac.node")


@dataclass(frozen=True)
class NodeOptions:
    """How the node behaves.

    Attributes
    ----------
    wait_seconds : without a further image, after which a study counts as complete.
    keep_days : after which a study that is answered, and sent where it is to be sent, is removed from the inbox, images
        and report; None keeps all.
    """

    ae_title: str
    wait_seconds: float = 30.0
    destination: Destination | None = None
    keep_days: float | None = None


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
        self._try_again: dict[str, float] = {}  # the same, of analyses
        self._remove_again = 0.0

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
            if self._try_again.get(study.name, 0.0) <= time.monotonic():
                self._answer(study)
        if self._options.destination is not None:
            for study in self._inbox.studies():
                if not self._stopped.is_set():
                    self._deliver(study, self._options.destination)
        if self._options.keep_days is not None and self._remove_again <= time.monotonic():
            self._remove_again = time.monotonic() + SECONDS_BETWEEN_REMOVALS
            self._remove_old(self._options.keep_days)

    def _answer(self, study: ReceivedStudy) -> None:
        label, started = study.label(), time.monotonic()
        log.info("%s: %d images, analysis begins", study.name, study.count())
        try:
            said = self._analyze(study.images, study.report, label)
        except BrainIACError as error:
            reason = str(error).replace(str(study.images), "it").replace(str(study.report), "the report")
            if not self._recorded(study, label, reason):
                self._try_again[study.name] = time.monotonic() + SECONDS_BETWEEN_TRIES
                log.error("%s: not analyzed, tried again in %.0f minutes: the disk of the inbox is full, free some "
                          "space. %s", study.name, SECONDS_BETWEEN_TRIES / 60, reason)  # fmt: skip
                return
            log.warning("%s: not analyzed. %s", study.name, reason)
            return
        log.info("%s: %s (%.0f s)", study.name, said, time.monotonic() - started)

    def _recorded(self, study: ReceivedStudy, label: str, reason: str) -> bool:
        """Whether the failure is on disk; a full disk says nothing of the study, so it is not recorded as its fault."""
        try:
            if shutil.disk_usage(study.folder).free < LEAST_FREE:
                return False
            study.fail(label, reason)
        except (BrainIACError, OSError):
            return False
        return True

    def _remove_old(self, days: float) -> None:
        for study in self._inbox.studies():
            try:
                is_removed = self._inbox.remove(study, functools.partial(self._is_over, study, days))
            except OSError as error:
                log.error("%s: not removed (%s)", study.name, error.strerror)
                continue
            if is_removed:
                log.info("%s: removed after %g days", study.name, days)

    def _is_over(self, study: ReceivedStudy, days: float) -> bool:
        """``days`` without an image, the answer given, and sent where it is to be sent.

        What failed, and what has nothing to send, stays: nobody else has its answer.
        """
        if study.quiet_seconds() < days * 86400:
            return False
        label, to = study.label(), self._options.destination
        if study.analyzed_label() != label:
            return False
        if to is None:
            return True
        results = {(str(to), label, file.name) for file in study.objects()}
        return bool(results) and results <= study.sent()

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
