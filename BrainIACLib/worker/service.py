"""What the worker does for each request: one after the other, one study at a time, kept warm between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import BrainIACLib.worker.handlers  # noqa: F401 (they register themselves)
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.requests import Request
from BrainIACLib.worker.session import Session


class Service:
    """Answers requests; not thread-safe, the worker asks one thing at a time.

    Parameters
    ----------
    folder : where maps and images for the client are written.
    models : folders of installed models; the bundled and the imported ones if None.
    """

    def __init__(self, folder: Path, models: Sequence[Path] | None = None):
        self._session = Session(folder, models)

    def answer(self, request: Request, job: Job = UNATTENDED) -> dict[str, Any]:
        """The value for one request (see ``requests``).

        Raises
        ------
        BrainIACError : a failure that a person can act on.
        """
        return answer(request, self._session, job)
