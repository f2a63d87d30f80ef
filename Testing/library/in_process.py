"""The worker's client for tests that ask about answers, not about processes: it saves each the start of one."""

from __future__ import annotations

import json
from pathlib import Path

from BrainIACLib.job import UNATTENDED
from BrainIACLib.worker.requests import Request
from BrainIACLib.worker.service import Service


class InProcess:
    """Stands in for ``worker.client.Client``; what is asked and answered goes through JSON as over the pipe."""

    def __init__(self, folder: Path, models):
        self._service = Service(folder, models)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, request, job=UNATTENDED):
        """The value of one request."""
        asked = Request.from_json(**json.loads(json.dumps(request.to_json())))
        return json.loads(json.dumps(self._service.answer(asked, job)))
