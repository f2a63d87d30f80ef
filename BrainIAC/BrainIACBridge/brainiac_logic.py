"""Everything that BrainIAC does without its panel, for scripts and for the widget."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import SimpleITK as sitk
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from BrainIACBridge.analysis import Analysis, Listener, Preparation
from BrainIACBridge.model_list import ModelList
from BrainIACBridge.overlay import Overlay
from BrainIACBridge.parameters import BrainIACParameterNode
from BrainIACBridge.results import PROVENANCE, Results, findResult, markResult, resultNode
from BrainIACBridge.study import Study
from BrainIACBridge.volume_nodes import VolumeNodes
from BrainIACBridge.worker_process import WorkerProcess
from BrainIACLib.checkpoints.store import remove
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.worker.requests import DownloadModel, ImportCheckpoint, InspectCheckpoint, ListSeries, LoadSeries


class BrainIACLogic(ScriptedLoadableModuleLogic):
    """Everything without the panel, for scripts and for the widget.

    Parameters
    ----------
    worker : a ``WorkerProcess``; a new one by default.
    """

    def __init__(self, worker=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = worker or WorkerProcess()
        self.volumes = VolumeNodes()
        self.study = Study()
        self.overlay = Overlay()
        self._modelList = ModelList()
        self._analysis = Analysis(self.worker, self.volumes)
        self._shown = None  # how the overlay was last applied

    def getParameterNode(self):
        """The parameters of this scene."""
        return BrainIACParameterNode(super().getParameterNode())

    def models(self):
        """The installed models, bundled ones first."""
        return self._modelList.models()

    def removeModel(self, model):
        """Delete an imported model from the disk. Raises ModelError for a bundled one."""
        remove(model.folder)

    def downloadModel(self, name, listener):
        """Fetch and install the official model of that id, whose license the person has accepted."""
        self._requestFor(DownloadModel(name), listener)

    def inspectWeights(self, path, found, listener):
        """``found(value)`` with what a weight file is and the licenses of its possible tasks."""
        self.worker.request(InspectCheckpoint(Path(path)), found, listener.finished, listener.progress)

    def importWeights(self, path, task, listener):
        """Install a weight file whose license the person has accepted."""
        self._requestFor(ImportCheckpoint(Path(path), task), listener)

    def process(self, task, target):
        """For scripts: answer and wait.

        Parameters
        ----------
        task : "sequence", or the task of an imported model.
        target : slot -> volume node, ``{"any": node}`` for a single scan.

        Returns
        -------
        The fields of ``BrainIACLib.predictor.Prediction``.

        Raises
        ------
        BrainIACError : what is wrong and what to do.
        """
        outcome = []
        self.predict(task, None, [target], Listener(lambda step, fraction: None, outcome.append))
        self.worker.waitWhileBusy()
        if outcome[0] is not None:
            raise outcome[0]
        return self.results().records()[-1]

    def listSeries(self, folder, found, listener):
        """``found(series)`` with the DICOM series in a folder."""
        request = ListSeries(Path(folder))
        self.worker.request(request, lambda value: found(value["series"]), listener.finished, listener.progress)

    def loadSeries(self, folder, uids, listener):
        """Load DICOM series of a folder as volumes, one after the other."""

        def load(index):
            if index == len(uids):
                listener.finished(None)
                return

            def loaded(value):
                name = slicer.mrmlScene.GenerateUniqueName(value["name"])
                node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
                self.volumes.showImage(sitk.ReadImage(value["scan"]), node)
                node.CreateDefaultDisplayNodes()
                Path(value["scan"]).unlink()
                load(index + 1)

            request = LoadSeries(Path(folder), uids[index])
            self.worker.request(request, loaded, listener.finished, listener.progress)

        load(0)

    def predict(self, task, model, targets, listener):
        """An answer for each target into the results table; sequences also onto the volumes.

        Parameters
        ----------
        model : id of the model, None for the only or the bundled one.
        targets : for each answer slot -> volume node.
        listener : a ``Listener``.
        """

        def store(record, target):
            names = {slot: node.GetName() for slot, node in target.items()}
            byId = {node.GetID(): node.GetName() for node in target.values()}
            for step in record["provenance"]["preprocessing"]:
                step["scan"] = byId[step["scan"]]
            time = datetime.now().astimezone().isoformat(timespec="seconds")
            self.results().add({**record, "scans": names, "time": time}, target)
            if task == "sequence":
                self.study.setSequence(target["any"], record["label"], record["confidence"], record["warnings"])

        scans = self._scansOfStudy([node for target in targets for node in target.values()])
        self._analysis.predict(task, model, targets, self._preparation(scans), store, listener)

    def explain(self, task, scan, listener):
        """The map for an answer that is in the results table; over the scan, and beside it in the data tree."""
        record = next(record for record in self.answersFor(scan) if record["task"] == task)
        samples = self.getParameterNode().samples

        def store(image, parameters):
            node = resultNode("vtkMRMLScalarVolumeNode", scan, "saliency", f"{scan.GetName()} saliency")
            self.volumes.showOnGridOf(image, node, scan)
            node.CreateDefaultDisplayNodes()
            markResult(node, scan, "saliency", {**record["provenance"], "saliency": parameters})
            self._shown = None

        study = self._scansOfStudy([slicer.mrmlScene.GetNodeByID(name) for name in record["key"][1].values()])
        self._analysis.explain(record, scan, samples, self._preparation(study), store, listener)

    def examine(self, task, scan, listener):
        """What small changes do to an answer that is in the results table; the findings become part of it."""
        record = next(record for record in self.answersFor(scan) if record["task"] == task)

        def store(found):
            self.results().extend(record["key"], "trust", found)

        study = self._scansOfStudy([slicer.mrmlScene.GetNodeByID(name) for name in record["key"][1].values()])
        self._analysis.examine(record, scan, self._preparation(study), store, listener)

    def loadSteps(self, scan, listener):
        """The brain in MNI space, its masks, and the transform from the scan, as nodes."""

        def store(images, transform, record):
            for kind, className, title in (
                ("image", "vtkMRMLScalarVolumeNode", _("brain in MNI space")),
                ("mask", "vtkMRMLLabelMapVolumeNode", _("brain mask in MNI space")),
                ("native_mask", "vtkMRMLLabelMapVolumeNode", _("brain mask")),
            ):
                node = resultNode(className, scan, kind, f"{scan.GetName()} {title}")
                if kind == "native_mask":
                    self.volumes.showOnGridOf(images[kind], node, scan)
                else:
                    self.volumes.showImage(images[kind], node)
                node.CreateDefaultDisplayNodes()
                markResult(node, scan, kind, {"preprocessing": record})
            node = resultNode("vtkMRMLTransformNode", scan, "transform", f"{scan.GetName()} to MNI")
            self.volumes.showTransform(transform, node)
            markResult(node, scan, "transform", {"preprocessing": record})

        self._analysis.steps(scan, self._preparation(self._scansOfStudy([scan])), store, listener)

    def stepsOf(self, scan):
        """How a scan was prepared, where its steps were loaded; else nothing."""
        node = findResult("vtkMRMLScalarVolumeNode", scan, "image")
        return json.loads(node.GetAttribute(PROVENANCE))["preprocessing"] if node is not None else []

    def results(self, create=True):
        """The results of this scene; None if there are none and none are to be made."""
        parameters = self.getParameterNode()
        if parameters.resultTable is None and create:
            parameters.resultTable = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "BrainIAC results")
        return Results(parameters.resultTable) if parameters.resultTable is not None else None

    def answersFor(self, scan):
        """The results in which a scan took part."""
        results = self.results(create=False)
        records = results.records() if results else []
        return [record for record in records if scan.GetID() in record["key"][1].values()]

    def saliencyOf(self, scan):
        """The saliency volume of a scan, or None."""
        return findResult("vtkMRMLScalarVolumeNode", scan, "saliency")

    def showOverlay(self, parameters, saliency):
        """Apply the display parameters to a saliency volume, if anything changed since the last time."""
        if saliency is None:
            return
        scan = parameters.saliencyScan
        wanted = (saliency.GetID(), parameters.showSaliency, parameters.showLegend, parameters.opacity)
        wanted += (parameters.threshold, parameters.colorMap)
        if wanted == self._shown:
            return
        self._shown = wanted
        self.overlay.style(saliency, parameters.colorMap, parameters.threshold)
        if parameters.showSaliency:
            self.overlay.show(saliency, scan, parameters.opacity)
        else:
            self.overlay.hide()
        self.overlay.setLegend(saliency, parameters.showSaliency and parameters.showLegend)

    def _scansOfStudy(self, needed):
        """All included scans, so that they are prepared once, and those that are needed in any case."""
        included = self.study.included()
        return included + [node for node in needed if node not in included]

    def _requestFor(self, request, listener):
        self.worker.request(request, lambda value: listener.finished(None), listener.finished, listener.progress)

    def _preparation(self, scans):
        parameters = self.getParameterNode()
        options = PreprocessingOptions(
            bias_field=parameters.biasField, brain_extraction=parameters.brainExtraction.value
        )
        return Preparation(scans, options, parameters.device.value, parameters.brainMask)
