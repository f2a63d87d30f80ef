"""A chain of requests to the worker, written as one generator: it yields what to ask and is sent the answers.

An answer that is an error is raised where it was asked for, so that a flow goes on with the next scan after a bad one
by ``try`` and ``except``. After a cancel no further request is sent, also where the one under way was answered before
it heard of it. Whatever else goes wrong in a flow ends it, and is told as the listener's error: an exception
in a callback of Qt would reach nobody and leave the panel busy.
"""

from __future__ import annotations

import dataclasses
import traceback

from slicer.i18n import tr as _

from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.worker.conversation import WorkerError


@dataclasses.dataclass(frozen=True)
class Listener:
    """Whom to tell: ``progress(step, fraction)``, then ``finished(error)``, with None if all went well."""

    progress: object
    finished: object


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request, what it is about for the progress line, and which part of the whole flow it is."""

    request: object
    about: str = ""
    first: float = 0.0
    last: float = 1.0


def follow(worker, flow, listener):
    """Run a generator of ``Ask`` to its end; returns at once where the worker is still to answer."""
    cancels = worker.cancels  # until now

    def advance(step, value):
        if worker.cancels != cancels and not isinstance(value, (Cancelled, WorkerError)):
            step, value = flow.throw, Cancelled(_("Stopped."))
        try:
            ask = step(value)
        except StopIteration:
            listener.finished(None)
        except BrainIACError as error:
            listener.finished(error)
        except Exception as error:
            worker.log.extend(traceback.format_exc().splitlines())
            text = _("Something unexpected happened ({kind}: {error}); the details hold more. Try again.")
            listener.finished(BrainIACError(text.format(kind=type(error).__name__, error=error)))
        else:
            _request(
                worker, ask, lambda value: advance(flow.send, value), lambda error: advance(flow.throw, error), listener
            )

    advance(flow.send, None)


def _request(worker, ask, done, failed, listener):
    def progress(step, fraction):
        text = f"{ask.about}, {step}" if ask.about else step
        try:
            listener.progress(text, ask.first + (ask.last - ask.first) * fraction)
        except Exception:  # a progress line must not cost the answer
            worker.log.extend(traceback.format_exc().splitlines())

    try:
        worker.request(ask.request, done, failed, progress)
    except BrainIACError as error:  # it could not even be started
        failed(error)
