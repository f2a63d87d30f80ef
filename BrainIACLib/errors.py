"""Errors a person can act on: one clear sentence that says what is wrong, with which file, and what to do."""


class BrainIACError(Exception):
    """Base of every expected failure. ``str(error)`` is shown to the user as it is, without a traceback."""


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


class Cancelled(BrainIACError):
    """The person asked to stop; nothing was written."""


class ManifestError(BrainIACError):
    """A manifest, or a row of one, that is missing, damaged, contradicts itself or leaks patients between roles."""


class CacheError(BrainIACError):
    """A cache of standardised volumes that is missing, damaged, or cannot be written."""


class TrainingError(BrainIACError):
    """A training run that cannot start, go on or be resumed as asked."""
