"""Everything that can be asked of the worker: one frozen dataclass an action, the same for every client.

Command line, Slicer's modules and Python build these objects; ``service`` answers by their type; ``typed_json`` makes
and checks what travels over the pipe. A further action is a further class here and a handler for it.

The value of an answer is a dictionary; volumes and maps in it are paths of files in the private folder of the worker,
maps and native masks on the grid of the scan that was handed over. ``note`` says why the device is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from BrainIACLib import typed_json
from BrainIACLib.errors import RequestError
from BrainIACLib.preprocessing.options import PreprocessingOptions

NO_OPTIONS = PreprocessingOptions()


class Request:
    """Base of every request; a subclass is known by its own name on the wire."""

    known: ClassVar[dict[str, type[Request]]] = {}

    def __init_subclass__(cls) -> None:
        Request.known[cls.__name__] = cls

    def to_json(self) -> dict[str, Any]:
        """``action`` and ``arguments`` of the message."""
        return {"action": type(self).__name__, "arguments": typed_json.encoded(self)}

    @staticmethod
    def from_json(action: object, arguments: object) -> Request:
        """The request of a message.

        Raises
        ------
        RequestError : no such action; arguments that are missing, unknown or of another type.
        """
        cls = Request.known.get(action) if isinstance(action, str) else None
        if cls is None:
            raise RequestError(f"Unknown action '{action}'; known: {', '.join(Request.known)}.")
        return typed_json.decoded(cls, {} if arguments is None else arguments, f"The request '{action}'")


@dataclass(frozen=True)
class Status(Request):
    """Answered by device, reason, versions, models: [contract, ...]."""

    device: str = "auto"


@dataclass(frozen=True)
class ListSeries(Request):
    """The DICOM series of a folder; answered by series: [{uid, volume: bool, text}]."""

    folder: Path


@dataclass(frozen=True)
class LoadSeries(Request):
    """One DICOM series as a volume; answered by scan (path), name, warnings."""

    folder: Path
    series: str


@dataclass(frozen=True)
class CompareImages(Request):
    """Whether two files or folders show the same voxels at the same places; answered by same.

    What cannot be read as one scan is another image.
    """

    first: Path
    second: Path


@dataclass(frozen=True)
class PrepareStudy(Request):
    """Read and standardize scans; answered by scans: {name: {warnings, record}}, reused: bool.

    A study stays set until another one is: asking again with the same scans and options costs reading them, and a
    study that shares scans with it costs the others only.
    """

    scans: Mapping[str, Path]  # name -> file, DICOM folder or zip
    options: PreprocessingOptions = NO_OPTIONS
    originals: Mapping[str, Path] = field(default_factory=dict)
    """name -> the file that a client loaded a scan from: taken instead of the copy if both are the same image."""
    mask: Path | None = None  # the brain of every scan, taken instead of extracting it
    series: str | None = None  # which DICOM series, where a folder holds several
    frame: int | None = None  # of a 4D file, from 0
    device: str = "auto"


@dataclass(frozen=True)
class Predict(Request):
    """Answered by the fields of ``Prediction``, and note."""

    task: str
    scans: Mapping[str, str]  # slot -> name in the study
    model: str | None = None
    accept_missing: bool = False
    age_years: float | None = None
    trust: bool = False  # also change the scans slightly and see if the answer holds
    sanity: bool = False  # also see if the saliency map of the first scan depends on the weights of the model
    seed: int = 0  # of that map


@dataclass(frozen=True)
class Explain(Request):
    """The saliency map of an answer; answered by map (path), parameters, note."""

    task: str
    scans: Mapping[str, str]
    scan: str
    label: str
    model: str | None = None
    samples: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Examine(Request):
    """Does an answer hold under small changes; answered by trust: spread, stability, sanity_check."""

    task: str
    scans: Mapping[str, str]
    scan: str
    label: str
    model: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Save(Request):
    """An answer, its map and everything else as files; answered by result (path), prediction, note.

    ``folder`` gets what ``reports.result_files`` lists.
    """

    folder: Path
    task: str
    scans: Mapping[str, str]
    scan: str
    model: str | None = None
    accept_missing: bool = False
    samples: int = 10
    seed: int = 0
    age_years: float | None = None
    trust: bool = False
    sanity: bool = False


@dataclass(frozen=True)
class MeasureVolumes(Request):
    """Volumes of brain structures of a scan of the study; answered by ``Measurement``, loose, result, labels, note.

    ``loose``: the structures that follow another measurement only loosely; ``result``: the table that was written.
    """

    scan: str
    folder: Path | None = None  # gets what ``reports.volume_files`` lists
    age: float | None = None  # years at the scan, for percentiles
    labels: bool = False  # also the label map, as a path


@dataclass(frozen=True)
class MakeMask(Request):
    """The mask of a structure in a scan of the study; answered by ``Mask``, result (the file), note."""

    scan: str
    folder: Path | None = None  # gets the mask
    model: str | None = None  # its id, where several make masks


@dataclass(frozen=True)
class AnalyzeStudy(Request):
    """A whole study from its files to a report; answered by report, objects (paths), document (``studies.document``).

    It has scans of its own: the study that is set stays as it is.
    """

    paths: tuple[Path, ...]  # one folder or zip, or the files of one person
    out: Path
    study: str | None = None  # which one, where there are several
    use: Mapping[str, str] = field(default_factory=dict)  # slot -> series as the report calls it
    tasks: tuple[str, ...] = ()  # all that can be answered if empty
    samples: int = 10  # of each map; 0 for no maps
    age_years: float | None = None  # from the header if None
    identity: bool = False  # names, dates and descriptions into the report
    dicom: bool = False  # also DICOM objects, which hold the identity
    label: str = ""  # kept in the document: what the caller calls these files
    notes: tuple[str, ...] = ()  # sentences for the report on how the files came
    options: PreprocessingOptions = NO_OPTIONS
    device: str = "auto"


@dataclass(frozen=True)
class Steps(Request):
    """How a scan was prepared; answered by image, mask, native_mask, transform (paths)."""

    scan: str


@dataclass(frozen=True)
class InspectCheckpoint(Request):
    """What a weight file is; answered by title, licenses: {task: text}, suggestion (task or null)."""

    file: Path


@dataclass(frozen=True)
class ImportCheckpoint(Request):
    """Install a weight file whose license the person has accepted; answered by id, new: bool."""

    file: Path
    task: str


@dataclass(frozen=True)
class DownloadModel(Request):
    """Fetch and install an official file from Hugging Face; answered by id, new: bool.

    The person has accepted license, size and source. The only request that uses the network.
    """

    id: str


@dataclass(frozen=True)
class CaseFile:
    """One scan to embed: its file, the file that a client loaded it from, and what the table is to say of it."""

    path: Path
    facts: Mapping[str, str]
    original: Path | None = None


@dataclass(frozen=True)
class EmbedCases(Request):
    """Embed scans into a table; answered by scans, computed, reused, failures: {scan: reason}, model, size.

    ``size`` is the length of an embedding. Each case is delivered as a part when it is done: {file, error or null}.
    """

    cases: tuple[CaseFile, ...]
    out: Path
    model: str | None = None
    options: PreprocessingOptions = NO_OPTIONS
    mask: Path | None = None
    series: str | None = None
    frame: int | None = None
    replace: bool = False  # also where that takes rows or columns out of a table at ``out``
    device: str = "auto"


@dataclass(frozen=True)
class RunBatch(Request):
    """Every scan of a folder, BIDS data set or table into a folder of derivatives; what is done is not done again.

    It is the queue of ``brainiac batch``: either goes on where the other was stopped. Answered by scans, done, failed,
    failures: [[reason, count], ...], page (path).
    """

    source: Path
    out: Path
    tasks: tuple[str, ...] = ("sequence",)
    models: Mapping[str, str] = field(default_factory=dict)  # task -> id of its model, where there are several
    saliency: bool = False
    samples: int = 10  # of each map
    jobs: int | None = None  # processes; what fits, less one that is left to the person
    retry_failed: bool = False
    options: PreprocessingOptions = NO_OPTIONS
    device: str = "auto"


@dataclass(frozen=True)
class TrainHead(Request):
    """Train a head on a table of embeddings; answered by the report of ``head_training``.

    The fields below ``decisions`` are arguments of ``head_training.training.train_head``.
    """

    table: Path
    target: str
    task: str
    facts: tuple[Mapping[str, str], ...] = ()  # newer facts of the rows, named by "scan"
    labels: tuple[Path, ...] = ()  # files of further columns, joined by scan or patient
    decisions: Path | None = None  # of a batch's quality page: rejected scans are left out
    kind: str = "auto"
    seed: int = 0
    head: str = "linear"
    balanced: bool = True
    coverage: float = 0.9
    event: str = "event"
    endpoint: float | None = None
    slots: tuple[str, ...] | None = None
    missing: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    site: str | None = None


@dataclass(frozen=True)
class InstallHead(Request):
    """Install the head that was trained last; answered by id, folder, slots, complete.

    ``complete``: whether every case of the training had a scan for each of the ``slots``.
    """

    replace: bool = False
    store: Path | None = None  # where it is installed; the user's own models by default


@dataclass(frozen=True)
class Forget(Request):
    """Free the study and the models; answered by nothing."""
