"""What the worker keeps between requests: one study in a warm predictor, its scans as the client knows them, a note."""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import SimpleITK as sitk

from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.scans import Scan, read_scan
from BrainIACLib.worker.device import is_out_of_memory, pick_device
from BrainIACLib.worker.requests import PrepareStudy
from BrainIACLib.worker.scan_files import content_sha256, read_handed_over

if typing.TYPE_CHECKING:
    from BrainIACLib.head_training.training import TrainedHead

T = TypeVar("T")
ALWAYS_THERE = ("auto", "cpu")  # devices that need no check


class Session:
    """The study that is set and the device that it is computed on.

    Parameters
    ----------
    folder : where maps and images for the client are written.
    models : folders of installed models; the bundled and the imported ones if None.
    """

    def __init__(self, folder: Path, models: Sequence[Path] | None = None):
        self.folder, self.models = folder, models
        self.note = ""  # why the device is what it is
        self.trained: TrainedHead | None = None  # last, not yet installed
        self._predictor: Predictor | None = None
        self._is_set = False  # the predictor's study is the one that was asked for, whole
        self._device_asked_for: str | None = None
        self._handed_over: dict[
            tuple[Any, ...], tuple[Scan, sitk.Image]
        ] = {}  # scans that a client wrote into the folder
        self._grids: dict[str, sitk.Image] = {}  # the scans as the client knows them
        self._files = itertools.count(1)

    def prepare(self, request: PrepareStudy, job: Job) -> tuple[Mapping[str, Standardised], bool]:
        """Set the study; name -> standardized scan, and whether all of them were ready before."""
        if self._device_asked_for != request.device:
            self.forget()
        self._is_set = False
        if self._predictor is None and request.device not in ALWAYS_THERE:
            pick_device(request.device)  # a wrong one is told of before a scan is read
        with _torch_meanwhile():  # takes as long as a DICOM series, which is read without it
            mask = read_scan(request.mask).image if request.mask else None
            read = self._read_all(request)
        scans = {name: scan for name, (scan, _) in read.items()}
        if self._predictor is None:
            found = pick_device(request.device)
            self.note, self._device_asked_for, device = found.reason, request.device, found.name
        else:  # its models, and the scans that did not change, are of use again
            device = self._predictor.device
        before = dict(self._predictor.study.standardised) if self._predictor is not None else {}
        after = self.on_device(device, lambda name: self._standardise(request.options, scans, mask, name, job))
        self._grids, self._is_set = {name: grid for name, (_, grid) in read.items()}, True
        return after, all(after[name] is before.get(name) for name in after)

    def with_study(self, act: Callable[[Predictor], T], job: Job = UNATTENDED) -> T:
        """``act`` on the study that is set, on the CPU if the device has too little memory for it.

        Raises
        ------
        BrainIACError : no study is set.
        """
        set_up = self._predictor
        if set_up is None or not self._is_set:
            raise BrainIACError("No study is set; classify or predict again.")

        def on(device: str) -> T:
            predictor = self._predictor or set_up
            if predictor.device != device:
                known = predictor.study
                self._predictor = predictor = Predictor(device, self.models)
                predictor.set_study(known.scans, known.options, job, mask=known.mask)
            return act(predictor)

        return self.on_device(set_up.device, on)

    def on_device(self, device: str, act: Callable[[str], T]) -> T:
        """``act`` on the device, or on the CPU with a note if the device has too little memory."""
        try:
            return act(device)
        except Exception as error:
            if device == "cpu" or not is_out_of_memory(error):
                raise
        gc.collect()
        self.note = f"the memory of the device '{device}' was too small, computed on the CPU instead"
        return act("cpu")

    def forget(self) -> None:
        """Free the study and the models."""
        self._predictor, self._is_set, self.note, self._device_asked_for = None, False, "", None
        self._handed_over, self._grids = {}, {}
        gc.collect()

    def grid(self, scan: str) -> sitk.Image:
        """The scan as the client handed it over."""
        return self._grids[scan]

    def new_file(self, name: str) -> Path:
        """A path in the folder that no other file has."""
        return self.folder / f"{next(self._files)}_{name}"

    def _standardise(
        self,
        options: PreprocessingOptions,
        scans: Mapping[str, Scan],
        mask: sitk.Image | None,
        device: str,
        job: Job,
    ) -> Mapping[str, Standardised]:
        if self._predictor is None or self._predictor.device != device:
            self._predictor = Predictor(device, self.models)
        return self._predictor.set_study(scans, options, job, mask=mask)

    def _read_all(self, request: PrepareStudy) -> dict[str, tuple[Scan, sitk.Image]]:
        known, self._handed_over = self._handed_over, {}
        return {name: self._read(request, name, known) for name in request.scans}

    def _read(
        self, request: PrepareStudy, name: str, known: Mapping[tuple[Any, ...], tuple[Scan, sitk.Image]]
    ) -> tuple[Scan, sitk.Image]:
        """A file that a client wrote is read once; any other one may consist of several, and is read again."""
        path, original = request.scans[name], request.originals.get(name)
        if path.parent != self.folder:
            return read_handed_over(path, original, request.series, request.frame)
        key = (path, original, request.series, request.frame, content_sha256(path))
        self._handed_over[key] = known.get(key) or read_handed_over(path, original, request.series, request.frame)
        return self._handed_over[key]


@contextmanager
def _torch_meanwhile() -> Iterator[None]:
    """Import torch in a thread, and have it at the end; a failure is heard by who imports it next.

    Nothing within may import torch or a part of it: two threads that import a package and its part at once can break it
    for as long as the process lives.
    """
    if "torch" in sys.modules:
        yield
        return
    importing = threading.Thread(target=_import_torch, daemon=True)
    importing.start()
    try:
        yield
    finally:
        importing.join()


def _import_torch() -> None:
    with suppress(Exception):
        importlib.import_module("torch")
