"""The library's worker as a child process of Slicer, driven by Qt's event loop so that the window never waits."""

from __future__ import annotations

import collections
import shutil

import qt
from slicer.i18n import tr as _

from BrainIACLib.errors import Cancelled
from BrainIACLib.private_folder import new_private_folder, remove_private_folder
from BrainIACLib.worker.client import LIBRARY_ROOT, MODULE, ended_unexpectedly
from BrainIACLib.worker.conversation import Conversation, Reply, WorkerError
from BrainIACLib.worker.process_group import end_group


class WorkerProcess:
    """One worker, started when first needed and again after it ended.

    Parameters
    ----------
    python : the interpreter; Slicer's own (``sys.executable`` inside Slicer is Slicer itself).
    models : folder of installed models; the default ones if None.
    grace : milliseconds that the worker has to obey a cancel before it is ended.
    silenceLimit : milliseconds without any message after which a busy worker counts as hung.
    """

    def __init__(self, python=None, models=None, grace=5_000, silenceLimit=900_000):
        self.log = collections.deque(maxlen=500)
        self.folder = None  # private, for the files handed over; exists while the worker runs
        self.cancels = 0  # how often somebody stopped what was under way
        self._python = python or shutil.which("PythonSlicer")
        self._models = models
        self._running = False
        self._process = None
        self._previous = None  # kept, because dropping a QProcess inside its own signal crashes
        self._conversation = None
        self._graceTimer = self._timer(grace, self._onDisobeyed)
        self._silenceTimer = self._timer(silenceLimit, self._onSilence)

    @property
    def busy(self):
        """Whether an answer is still to come."""
        return self._running and self._conversation.busy

    @property
    def running(self):
        """Whether the process lives."""
        return self._running

    def start(self):
        """Start the process unless it runs; files for it may then be written into ``folder``.

        Raises
        ------
        WorkerError : there is no Python interpreter to start.
        """
        if self._running:
            return
        if not self._python:
            raise WorkerError(_("PythonSlicer was not found beside Slicer; install Slicer again."))
        self._removeFolder()
        self.folder = new_private_folder()
        self._previous, self._process = self._process, qt.QProcess()
        self._process.readyReadStandardOutput.connect(self._onOutput)
        self._process.readyReadStandardError.connect(self._onChatter)
        self._process.finished.connect(self._onFinished)
        self._process.errorOccurred.connect(self._onError)
        self._process.setWorkingDirectory(str(LIBRARY_ROOT))
        self._conversation = Conversation(self._process.write, self.log.append)
        self._running = True
        models = ["--models", str(self._models)] if self._models else []
        self._process.start(self._python, ["-m", MODULE, str(self.folder), *models])

    def request(self, request, done, failed, progress):
        """Ask the worker; ``done(value)`` or ``failed(error)`` is called later, ``progress(step, fraction)`` before."""
        self.start()
        self._silenceTimer.start()
        self._conversation.request(request, Reply(done, failed, progress))

    def cancel(self, byForce=True):
        """Stop what is running or waiting.

        Parameters
        ----------
        byForce : end the process if it does not obey in time; else its models and what it prepared stay in any case.
        """
        if self.busy:
            self.cancels += 1
            self._conversation.cancel()
            if byForce:
                self._graceTimer.start()

    def stop(self):
        """End the process at once and remove its folder; requests under way fail as canceled."""
        if self._running:
            self._end(Cancelled(_("Stopped.")))
            self._process.waitForFinished(2000)
        self._removeFolder()

    def waitWhileBusy(self, milliseconds=600_000):
        """For scripts: block until every request is answered, or until nothing was heard for so long."""
        while self.busy:
            if not self._process.waitForReadyRead(milliseconds):
                if self.busy:
                    self._onSilence()
                return
            self._onOutput()

    def _onOutput(self, *unused):
        self._silenceTimer.start()
        self._conversation.feed(self._process.readAllStandardOutput().data())
        if not self._conversation.busy:
            self._silenceTimer.stop()
            self._graceTimer.stop()

    def _onChatter(self, *unused):
        self.log.extend(self._process.readAllStandardError().data().decode("utf-8", "replace").splitlines())

    def _onFinished(self, *unused):
        if self._running:
            self._onOutput()
            self._onChatter()
            self._close(WorkerError(ended_unexpectedly(self._process.exitCode(), self.log)))

    def _onError(self, *unused):
        if self._running and self._process.state() == qt.QProcess.NotRunning and self._conversation.pid is None:
            self._close(
                WorkerError(_("The analysis process could not be started: {program}").format(program=self._python))
            )

    def _onDisobeyed(self):
        if self.busy:
            self._end(Cancelled(_("Stopped; the analysis process had to be ended.")))

    def _onSilence(self):
        if self.busy:
            self._end(WorkerError(_("The analysis process gave no sign of life and was ended; try again.")))

    def _end(self, error):
        if self._conversation.pid is not None:  # the interpreter; the process started here may be a launcher before it
            end_group(self._conversation.pid)
        self._process.kill()
        self._close(error)

    def _close(self, error):
        self._running = False
        self._silenceTimer.stop()
        self._graceTimer.stop()
        self._removeFolder()
        self._conversation.fail(error)

    def _removeFolder(self):
        if self.folder is not None:
            remove_private_folder(self.folder)
            self.folder = None

    def _timer(self, milliseconds, act):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(act)
        return timer
