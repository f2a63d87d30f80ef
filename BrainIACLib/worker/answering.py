"""One function that answers every request, by its type; the handlers are in ``handlers``."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from BrainIACLib.errors import RequestError
from BrainIACLib.job import Job
from BrainIACLib.worker.requests import Request
from BrainIACLib.worker.session import Session


@singledispatch
def answer(request: Request, session: Session, job: Job) -> dict[str, Any]:
    """The value for one request, as its class describes it; ``@answer.register`` adds a handler.

    Raises
    ------
    BrainIACError : a failure that a person can act on.
    """
    raise RequestError(f"Nothing answers the request '{type(request).__name__}'.")
