"""The requests behind a click: hand the scans over, set the study, ask for answers, maps and steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import SimpleITK as sitk
import slicer.util
import vtk

from BrainIACLib.errors import BrainIACError


@dataclasses.dataclass(frozen=True)
class Options:
    """How a study is prepared; the names are those of the worker's "study" action, but ``mask`` is a node here."""

    device: str = "auto"
    bias_field: bool = True
    brain_extraction: str = "auto"
    mask: object = None
    seed: int = 0


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

    def predict(self, task, model, targets, study, options, onPrediction, listener):
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
            arguments = {"task": task, "model": model, "scans": scans}
            self._worker.request("predict", arguments, answered, listener.finished, listener.progress)

        self._setStudy(study, options, lambda unused: ask(0), listener)

    def explain(self, record, scan, samples, study, options, onMap, listener):
        """``onMap(image, parameters)`` with a map on the grid of ``scan``, for an answer given before."""

        def answered(value):
            if _exists(scan):
                onMap(sitk.ReadImage(value["map"]), value["parameters"])
            Path(value["map"]).unlink()

        self._askAbout(record, "explain", {"samples": samples}, scan, study, options, answered, listener)

    def examine(self, record, scan, study, options, onFound, listener):
        """``onFound(trust)``: does an answer given before hold under small changes, does its map need the model."""

        def answered(value):
            onFound(value["trust"])

        self._askAbout(record, "examine", {}, scan, study, options, answered, listener)

    def steps(self, scan, study, options, onSteps, listener):
        """``onSteps(images, transform, record)``: what the model saw of ``scan``, and how it was made."""

        def answered(paths, record):
            if _exists(scan):
                images = {name: sitk.ReadImage(path) for name, path in paths.items() if name != "transform"}
                onSteps(images, sitk.ReadTransform(paths["transform"]), record)
            for path in paths.values():
                Path(path).unlink()
            listener.finished(None)

        def ask(study):
            record = study["scans"][scan.GetID()]["record"]
            self._worker.request(
                "steps",
                {"scan": scan.GetID()},
                lambda paths: answered(paths, record),
                listener.finished,
                listener.progress,
            )

        self._setStudy(study, options, ask, listener)

    def _askAbout(self, record, action, more, scan, study, options, answered, listener):
        task, scans = record["key"]
        arguments = {
            "task": task,
            "model": record["provenance"]["model"]["id"],
            "scans": scans,
            "scan": scan.GetID(),
            "label": record["label"],
            "seed": options.seed,
            **more,
        }

        def finished(value):
            answered(value)
            listener.finished(None)

        def ask(unused):
            self._worker.request(action, arguments, finished, listener.finished, listener.progress)

        self._setStudy(study, options, ask, listener)

    def _setStudy(self, nodes, options, done, listener):
        try:
            self._worker.start()
            scans = {node.GetID(): self._handOver(node) for node in nodes}
            arguments = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
            if options.mask is not None:
                arguments["mask"] = str(self._worker.folder / "brain_mask.mha")
                sitk.WriteImage(self._volumes.mask(options.mask), arguments["mask"])
        except BrainIACError as error:
            listener.finished(error)
            return
        originals = {node.GetID(): self._volumes.original(node) for node in nodes}
        arguments |= {"scans": scans, "originals": originals}
        self._worker.request("study", arguments, done, listener.finished, listener.progress)

    def _handOver(self, node):
        state = (self._worker.folder, _state(node))
        known, path = self._handedOver.get(node.GetID(), (None, None))
        if state != known:
            path = str(self._worker.folder / f"scan_{node.GetID()}.mha")
            sitk.WriteImage(self._volumes.image(node), path)
            self._handedOver[node.GetID()] = (state, path)
        return path


def _state(node):
    """Changes whenever the voxels or the place of a volume change."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    placed = parent.GetTransformToWorldMTime() if parent is not None else None
    return node.GetImageData().GetMTime(), tuple(slicer.util.arrayFromVTKMatrix(matrix).ravel()), placed


def _exists(node):
    return node.GetScene() is not None
