"""The requests behind a click: hand the scans over, set the study, ask for answers, maps and steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import SimpleITK as sitk
import slicer.util
import vtk

from BrainIACLib.errors import BrainIACError
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.worker.requests import Examine, Explain, Predict, PrepareStudy, Steps


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Which volume nodes make up a study, and how they are prepared; ``mask`` is a node too, or None."""

    scans: list
    options: PreprocessingOptions
    device: str
    mask: object


@dataclasses.dataclass(frozen=True)
class Listener:
    """Whom to tell: ``progress(step, fraction)``, then ``finished(error)``, with None if all went well."""

    progress: object
    finished: object


class Analysis:
    """Talks to one worker about the volumes of the scene. Scans are known to the worker by their node IDs.

    Parameters
    ----------
    worker : a ``WorkerProcess``.
    volumes : a ``VolumeNodes``.
    """

    def __init__(self, worker, volumes):
        self._worker = worker
        self._volumes = volumes
        self._handedOver = {}  # node ID -> (state of the volume, path of its file)

    def predict(self, task, model, targets, study, onPrediction, listener):
        """One answer for each target, a dictionary slot -> volume node; ``onPrediction(record, target)`` for each."""

        def ask(index):
            if index == len(targets):
                listener.finished(None)
                return
            target = targets[index]

            def answered(record):
                if all(_exists(node) for node in target.values()):
                    onPrediction(record, target)
                ask(index + 1)

            scans = {slot: node.GetID() for slot, node in target.items()}
            self._worker.request(Predict(task, scans, model), answered, listener.finished, listener.progress)

        self._setStudy(study, lambda unused: ask(0), listener)

    def explain(self, record, scan, samples, study, onMap, listener):
        """``onMap(image, parameters)`` with a map on the grid of ``scan``, for an answer given before."""

        def answered(value):
            if _exists(scan):
                onMap(sitk.ReadImage(value["map"]), value["parameters"])
            Path(value["map"]).unlink()

        self._askAbout(Explain(**_about(record, scan, study), samples=samples), study, answered, listener)

    def examine(self, record, scan, study, onFound, listener):
        """``onFound(trust)``: does an answer given before hold under small changes, does its map need the model."""

        def answered(value):
            onFound(value["trust"])

        self._askAbout(Examine(**_about(record, scan, study)), study, answered, listener)

    def steps(self, scan, study, onSteps, listener):
        """``onSteps(images, transform, record)``: what the model saw of ``scan``, and how it was made."""

        def answered(paths, record):
            if _exists(scan):
                images = {name: sitk.ReadImage(path) for name, path in paths.items() if name != "transform"}
                onSteps(images, sitk.ReadTransform(paths["transform"]), record)
            for path in paths.values():
                Path(path).unlink()
            listener.finished(None)

        def ask(prepared):
            record = prepared["scans"][scan.GetID()]["record"]
            self._worker.request(
                Steps(scan.GetID()), lambda paths: answered(paths, record), listener.finished, listener.progress
            )

        self._setStudy(study, ask, listener)

    def _askAbout(self, request, study, answered, listener):
        def finished(value):
            answered(value)
            listener.finished(None)

        def ask(unused):
            self._worker.request(request, finished, listener.finished, listener.progress)

        self._setStudy(study, ask, listener)

    def _setStudy(self, study, done, listener):
        try:
            self._worker.start()
            scans = {node.GetID(): self._handOver(node) for node in study.scans}
            mask = None
            if study.mask is not None:
                mask = self._worker.folder / "brain_mask.mha"
                sitk.WriteImage(self._volumes.mask(study.mask), str(mask))
        except BrainIACError as error:
            listener.finished(error)
            return
        originals = {node.GetID(): self._volumes.original(node) for node in study.scans}
        request = PrepareStudy(
            scans=scans,
            options=study.options,
            originals={name: Path(path) for name, path in originals.items() if path},
            mask=mask,
            device=study.device,
        )
        self._worker.request(request, done, listener.finished, listener.progress)

    def _handOver(self, node):
        state = (self._worker.folder, _state(node))
        known, path = self._handedOver.get(node.GetID(), (None, None))
        if state != known:
            path = self._worker.folder / f"scan_{node.GetID()}.mha"
            sitk.WriteImage(self._volumes.image(node), str(path))
            self._handedOver[node.GetID()] = (state, path)
        return path


def _about(record, scan, study):
    """The fields of a request about an answer that was given before."""
    task, scans = record["key"]
    return {
        "task": task,
        "scans": scans,
        "scan": scan.GetID(),
        "label": record["label"],
        "model": record["provenance"]["model"]["id"],
        "seed": study.options.seed,
    }


def _state(node):
    """Changes whenever the voxels or the place of a volume change."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    placed = parent.GetTransformToWorldMTime() if parent is not None else None
    return node.GetImageData().GetMTime(), tuple(slicer.util.arrayFromVTKMatrix(matrix).ravel()), placed


def _exists(node):
    return node.GetScene() is not None
