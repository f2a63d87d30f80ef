"""The requests behind a click, as flows (``flow``): hand the scans over, prepare them, ask for answers, maps, steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import SimpleITK as sitk
from slicer.i18n import tr as _

from BrainIACBridge.contents import stateOf
from BrainIACBridge.flow import Ask
from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.worker.conversation import WorkerError
from BrainIACLib.worker.requests import Examine, Explain, MeasureVolumes, Predict, PrepareStudy, Steps


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Which volume nodes make up a study, and how they are prepared; ``mask`` is a node too, or None."""

    scans: list
    options: PreprocessingOptions
    device: str
    mask: object


class Analysis:
    """Talks to one worker about the volumes of the scene.

    The worker knows a scan by the hash of its content: what was prepared once is not prepared again in this session,
    also after the scene was closed and opened again.

    Parameters
    ----------
    worker : a ``WorkerProcess``.
    volumes : a ``VolumeNodes``.
    contents : the ``Contents`` of the volumes.
    """

    def __init__(self, worker, volumes, contents):
        self._worker, self._volumes, self._contents = worker, volumes, contents
        # what the worker's study is made of, None where that is in doubt; and the contents of it that are ready
        self._prepared = None, set()
        self._records = {}  # hash -> how the scan was prepared

    def prepare(self, study, needed, onProblem, first=0.0, last=1.0):
        """Flow: prepare every scan; one that fails is told to ``onProblem(node, text)``, the others go on.

        Parameters
        ----------
        needed : the nodes that are asked about; one that failed before is tried again for its own sake only.

        Returns
        -------
        The nodes that are ready as they are now: one that was edited after it was handed over is not. Nothing is asked
        if those that are needed are ready already.
        """
        known, contents = self._prepared
        if self._identity(study) == known:  # by other nodes, perhaps, since the scene was closed and opened again
            ready = [node for node in study.scans if self._contents.of(node) in contents]
            if all(node in ready for node in needed):
                return ready
        self._prepared, ready, failed, contents = (None, set()), [], False, set()
        mask = self._maskFile(study)
        masked = _stateOfMask(study.mask)
        for number, node in enumerate(study.scans):
            about = _("scan {number} of {all}").format(number=number + 1, all=len(study.scans))
            part = [first + (last - first) * (number + end) / len(study.scans) for end in (0, 1)]
            try:
                request = self._request([*ready, node], study, mask)
                value = yield Ask(request, about, *part)
            except (Cancelled, WorkerError):
                raise
            except BrainIACError as error:
                failed = True
                onProblem(node, self._named(str(error), node))
            else:
                failed, contents = False, set(request.scans)
                ready.append(node)
                self._records.update({name: found["record"] for name, found in value["scans"].items()})
                onProblem(node, "")
        if failed and ready:
            request = self._request(ready, study, mask)  # of the scans without the last one
            yield Ask(request)
            contents = set(request.scans)
        unchanged = [node for node in ready if self._contents.of(node) in contents]
        asIs = unchanged == ready and masked == _stateOfMask(study.mask)
        self._prepared = self._identity(study) if asIs else None, contents
        return unchanged

    def isReady(self, node):
        """Whether the worker knows a scan as it is now."""
        return self._contents.of(node) in self._prepared[1]

    def predict(self, task, model, target, ageYears, part=(0.0, 1.0)):
        """Flow: the answer for ``target``, slot -> node; the fields of a prediction with the names of the nodes."""
        names = {self._contents.of(node): node.GetName() for node in target.values()}
        scans = {slot: self._contents.of(node) for slot, node in target.items()}
        about = ", ".join(names.values())
        record = yield Ask(Predict(task, scans, model, age_years=ageYears), about, *part)
        for step in record["provenance"]["preprocessing"]:
            step["scan"] = names.get(step["scan"], step["scan"])
        return {**record, "scans": {slot: node.GetName() for slot, node in target.items()}}

    def explain(self, record, target, scan, samples, seed, part=(0.0, 1.0)):
        """Flow: (image, parameters) of the map of an answer given before, on the grid of ``scan``."""
        value = yield Ask(Explain(**self._about(record, target, scan, seed), samples=samples), scan.GetName(), *part)
        image = sitk.ReadImage(value["map"])
        Path(value["map"]).unlink()
        return image, value["parameters"]

    def examine(self, record, target, scan, seed):
        """Flow: does an answer given before hold under small changes, does its map need the model."""
        value = yield Ask(Examine(**self._about(record, target, scan, seed)))
        return value["trust"]

    def steps(self, scan):
        """Flow: (images, transform, record): what the model saw of ``scan``, and how it was made."""
        content = self._contents.of(scan)
        paths = yield Ask(Steps(content))
        images = {name: sitk.ReadImage(path) for name, path in paths.items() if name != "transform"}
        transform = sitk.ReadTransform(paths["transform"])
        for path in paths.values():
            Path(path).unlink()
        return images, transform, self._records.get(content, [])

    def volumes(self, scan):
        """Flow: (label map, found): brain structures of ``scan`` and their volumes."""
        found = yield Ask(MeasureVolumes(self._contents.of(scan), labels=True), scan.GetName(), 0.8, 1.0)
        path = Path(found.pop("labels"))
        labels = sitk.ReadImage(str(path))
        path.unlink()
        return labels, found

    def _about(self, record, target, scan, seed):
        return {
            "task": record["task"],
            "scans": {slot: self._contents.of(node) for slot, node in target.items()},
            "scan": self._contents.of(scan),
            "label": record["label"],
            "model": record["provenance"]["model"]["id"],
            "seed": seed,
        }

    def _identity(self, study):
        folder = self._worker.folder if self._worker.running else object()
        contents = [self._contents.of(node) for node in study.scans]
        return folder, contents, study.options, study.device, _stateOfMask(study.mask)

    def _request(self, nodes, study, mask):
        files = {self._contents.of(node): self._handOver(node) for node in nodes}
        originals = {self._contents.of(node): self._volumes.original(node) for node in nodes}
        return PrepareStudy(
            scans=files,
            options=study.options,
            originals={name: Path(path) for name, path in originals.items() if path},
            mask=mask,
            device=study.device,
        )

    def _maskFile(self, study):
        if study.mask is None:
            return None
        self._worker.start()
        path = self._worker.folder / "brain_mask.mha"
        sitk.WriteImage(self._volumes.mask(study.mask), str(path))
        return path

    def _handOver(self, node):
        self._worker.start()
        path = self._worker.folder / f"scan_{self._contents.of(node)[:24]}.mha"
        if not path.exists():
            sitk.WriteImage(self._volumes.image(node), str(path))
        return path

    def _named(self, text, node):
        """A message of the library names a file; a person knows the volume."""
        path = self._worker.folder / f"scan_{self._contents.of(node)[:24]}.mha" if self._worker.folder else Path()
        for known in (str(path), path.name, path.stem, self._contents.of(node)):
            if len(known) > 8:
                text = text.replace(known, node.GetName())
        return text


def _stateOfMask(mask):
    """Changes whenever a mask does."""
    if mask is None or mask.IsA("vtkMRMLVolumeNode"):
        return None if mask is None else stateOf(mask)
    return mask, mask.GetSegmentation().GetMTime()
