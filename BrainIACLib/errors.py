"""Errors a person can act on: one clear sentence that says what is wrong, with which file, and what to do."""

FULL_MEMORY = ("out of memory", "alloc_failed", "allocation_failed")  # PyTorch, cuBLAS and cuDNN, cuDNN 9


class BrainIACError(Exception):
    """Base of every expected failure. ``str(error)`` is shown to the user as it is, without a traceback.

    ``command``: how the command line does what the sentence advises (``--frame N``). The command line alone adds it,
    since the sentence is read in Slicer as well.
    """

    def __init__(self, sentence: str = "", command: str = ""):
        super().__init__(sentence)
        self.command = command


class ScanError(BrainIACError):
    """A file that cannot be read as a 3D brain MRI, or should not be (2D, 4D, CT, empty, ...)."""


class PreprocessingError(BrainIACError):
    """A preprocessing step that failed, or whose back end is not installed."""


class ModelError(BrainIACError):
    """A model folder, contract or weight file that is missing, damaged or of another kind than needed."""


class RequestError(BrainIACError):
    """A request to the worker that does not exist, or whose fields are missing, unknown or of another type."""


class StatisticsError(BrainIACError):
    """Numbers from which the asked-for statistic is not defined (one class only, nobody at risk, too few cases)."""


class ResultsError(BrainIACError):
    """A folder of finished runs that is missing, damaged, or whose parts do not belong together."""


class NotWritten(BrainIACError):
    """A file or folder that cannot be written: the place's fault, and no scan's."""


class Cancelled(BrainIACError):
    """The person asked to stop; nothing was written."""


class ManifestError(BrainIACError):
    """A manifest, or a row of one, that is missing, damaged, contradicts itself or leaks patients between roles."""


class CacheError(BrainIACError):
    """A cache of standardized volumes that is missing, damaged, or cannot be written."""


class TrainingError(BrainIACError):
    """A training run that cannot start, go on or be resumed as asked."""


def in_a_sentence(error: Exception) -> str:
    """Why something failed, whatever it was: one bad scan must not end a cohort.

    >>> in_a_sentence(KeyError("rows"))
    "It failed unexpectedly (KeyError: 'rows'); please report this."
    """
    if isinstance(error, BrainIACError):
        return str(error)
    if isinstance(error, MemoryError):
        return "It needs more memory than is free; close other programs and try again."
    first = (str(error).splitlines() or [""])[0][:200]
    return f"It failed unexpectedly ({type(error).__name__}{': ' + first if first else ''}); please report this."


def is_for_the_caller(error: Exception, device: str) -> bool:
    """A graphics processor without memory: whoever chose it tries another one. Anything else is the scan's own."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and device != "cpu" and any(words in text for words in FULL_MEMORY)
