"""Everything that BrainIAC does without its panel, for scripts and for the widget."""

from __future__ import annotations

from pathlib import Path

from BrainIACBridge import settings
from BrainIACBridge.analysis import Analysis
from BrainIACBridge.contents import Contents
from BrainIACBridge.flow import Ask, Listener, follow
from BrainIACBridge.logic import Logic
from BrainIACBridge.model_list import ModelList
from BrainIACBridge.parameters import BrainIACParameterNode
from BrainIACBridge.preprocessing_options import optionsOf
from BrainIACBridge.result_nodes import ResultNodes
from BrainIACBridge.saliency_map import SaliencyMap
from BrainIACBridge.scene_answers import SceneAnswers
from BrainIACBridge.study import Study
from BrainIACBridge.study_flows import StudyFlows
from BrainIACBridge.study_report import StudyReport
from BrainIACBridge.volume_nodes import VolumeNodes
from BrainIACLib.checkpoints.store import remove
from BrainIACLib.worker.requests import DownloadModel, ImportCheckpoint, InspectCheckpoint


class BrainIACLogic(Logic):
    """Starts the flows; ``study`` is what is asked about, ``answers`` what the scene holds, ``map`` what is shown.

    Parameters
    ----------
    worker : a ``WorkerProcess``; a new one by default.
    """

    parameterNodeClass = BrainIACParameterNode

    def __init__(self, worker=None):
        super().__init__(worker)
        self.volumes = VolumeNodes()
        self.study = Study()
        self.contents = Contents()
        self.answers = SceneAnswers(self.study, self.contents, self.getParameterNode)
        self.map = SaliencyMap(self.answers.saliencyOf)
        self.flows = StudyFlows(
            Analysis(self.worker, self.volumes, self.contents),
            self.study,
            self.contents,
            self.answers,
            ResultNodes(self.volumes, self.contents),
            self.map,
            self.getParameterNode,
        )
        self._modelList = ModelList()
        self.report = StudyReport(self.worker, self.volumes, self.study)

    # Models

    def models(self):
        """The installed models, bundled ones first."""
        return self.study.once("models", self._modelList.models)

    def contracts(self, chosen=None):
        """Task -> contract to use: of the model ``chosen``, else of the first one, bundled models first."""
        contracts = {}
        for model in [chosen, *self.models()] if chosen is not None else self.models():
            if model.contract.head is not None:
                contracts.setdefault(model.task, model.contract)
        return contracts

    def removeModel(self, model):
        """Delete an imported model from the disk. Raises ModelError for a bundled one."""
        remove(model.folder)

    def downloadModel(self, name, installed, listener):
        """Fetch and install the official model of that id, whose license was accepted; ``installed(id)``."""
        self.ask(DownloadModel(name), lambda value: installed(value["id"]), listener)

    def inspectWeights(self, path, found, listener):
        """``found(value)`` with what a weight file is and the licenses of its possible tasks."""
        self.ask(InspectCheckpoint(Path(path)), found, listener)

    def importWeights(self, path, task, installed, listener):
        """Install a weight file whose license the person has accepted; ``installed(id)``."""
        self.ask(ImportCheckpoint(Path(path), task), lambda value: installed(value["id"]), listener)

    # Answers

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
        return self.answers.records()[-1]

    def analyze(self, contracts, told, listener):
        """The whole study by one click; see ``StudyFlows.analyze``."""
        follow(self.worker, self.flows.analyze(contracts, told), listener)

    def predict(self, task, model, targets, listener):
        """An answer for each target into the results table; sequences also onto the volumes.

        Parameters
        ----------
        model : id of the model, None for the only or the bundled one.
        targets : for each answer slot -> volume node.
        listener : a ``Listener``.
        """
        follow(self.worker, self.flows.predict(task, model, targets), listener)

    def renew(self, record, listener):
        """Give an answer again, for the scans as they are now."""
        follow(self.worker, self.flows.renew(record), listener)

    def explain(self, record, scan, listener):
        """The map for an answer of the results table; over the scan, and beside it in the data tree."""
        follow(self.worker, self.flows.explain(record, scan), listener)

    def examine(self, record, scan, listener):
        """What small changes do to an answer of the results table; the findings become part of it."""
        follow(self.worker, self.flows.examine(record, scan), listener)

    def loadSteps(self, scan, listener):
        """The brain in MNI space, its masks, and the transform from the scan, as nodes."""
        follow(self.worker, self.flows.steps(scan), listener)

    def measureVolumes(self, scan, listener):
        """Volumes of the brain structures of a scan; their label map beside it in the data tree."""
        follow(self.worker, self.flows.volumes(scan), listener)

    def saveReport(self, folder, saved, listener):
        """The report of the study into a folder; ``saved(page, objects)`` with the paths of page and DICOM objects."""

        def flow():
            parameters = self.getParameterNode()
            options, device = optionsOf(parameters), settings.device()
            value = yield from self.report.flow(folder, options, device, parameters.samples)
            saved(value["report"], value["objects"])

        follow(self.worker, flow(), listener)

    def ask(self, request, done, listener):
        """One request; ``done(value)`` with its answer."""

        def flow():
            done((yield Ask(request)))

        follow(self.worker, flow(), listener)
