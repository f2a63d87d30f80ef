"""Everything that BrainIAC does without its panel, for scripts and for the widget."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from BrainIACBridge import settings
from BrainIACBridge.analysis import Analysis, Preparation
from BrainIACBridge.contents import Contents
from BrainIACBridge.flow import Ask, Listener, follow
from BrainIACBridge.model_list import ModelList
from BrainIACBridge.parameters import BrainIACParameterNode
from BrainIACBridge.preprocessing_options import forgetWayThatIsNotHere, optionsOf
from BrainIACBridge.results import PROVENANCE, Results, findResult, markResult, resultNode
from BrainIACBridge.saliency_map import SaliencyMap
from BrainIACBridge.study import RESULT, Study, identityOf
from BrainIACBridge.study_report import StudyReport
from BrainIACBridge.volume_nodes import VolumeNodes
from BrainIACBridge.worker_process import WorkerProcess
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.checkpoints.store import remove
from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.worker.conversation import WorkerError
from BrainIACLib.worker.requests import DownloadModel, ImportCheckpoint, InspectCheckpoint

PREPARING, ANSWERING = 0.6, 0.75  # of the time of an analysis: until then scans are prepared, then answers given


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
        self.contents = Contents()
        self.map = SaliencyMap()
        self._modelList = ModelList()
        self._analysis = Analysis(self.worker, self.volumes, self.contents)
        self._report = StudyReport(self.worker, self.volumes, self.study)

    def getParameterNode(self):
        """The parameters of this scene."""
        node = super().getParameterNode()
        forgetWayThatIsNotHere(node)
        return BrainIACParameterNode(node)

    # Models

    def models(self):
        """The installed models, bundled ones first."""
        return self._modelList.models()

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
        self._ask(DownloadModel(name), lambda value: installed(value["id"]), listener)

    def inspectWeights(self, path, found, listener):
        """``found(value)`` with what a weight file is and the licenses of its possible tasks."""
        self._ask(InspectCheckpoint(Path(path)), found, listener)

    def importWeights(self, path, task, installed, listener):
        """Install a weight file whose license the person has accepted; ``installed(id)``."""
        self._ask(ImportCheckpoint(Path(path), task), lambda value: installed(value["id"]), listener)

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
        return self.results().records()[-1]

    def predict(self, task, model, targets, listener):
        """An answer for each target into the results table; sequences also onto the volumes.

        Parameters
        ----------
        model : id of the model, None for the only or the bundled one.
        targets : for each answer slot -> volume node.
        listener : a ``Listener``.
        """
        follow(self.worker, self._predict(task, model, targets), listener)

    def analyze(self, contracts, told, listener):
        """The whole study by one click: prepare, name the sequences, ask all tasks that can be, explain one answer.

        Parameters
        ----------
        contracts : task -> contract of the model to use.
        told : called at the end with a ``StudyOutcome``.
        """

        def flow():
            started = datetime.now()
            ready = yield from self._prepare(self.study.included(), 0.0, PREPARING)
            if not ready:
                problems = [self.study.problem(node) for node in self.study.included()]
                raise BrainIACError(problems[0] if problems else _("Load a scan first."))
            questions = []
            if SEQUENCE_TASK in contracts:
                model = contracts[SEQUENCE_TASK].id
                unnamed = [node for node in ready if not self.study.isSetByPerson(node)]
                questions = [(SEQUENCE_TASK, model, {"any": node}) for node in unnamed]
            middle = (PREPARING + ANSWERING) / 2
            failed = yield from self._answer(questions, ready, PREPARING, middle)
            questions, unasked = self._questions(contracts, ready)
            failed += yield from self._answer(questions, ready, middle, ANSWERING)
            record = self.mainAnswer()
            if record is not None:
                scan = self._mainScan(record)
                if self.isExplained(record, scan):
                    self._showMap(scan)
                else:
                    yield from self._explain(record, scan, (ANSWERING, 1.0))
            told((datetime.now() - started).total_seconds(), [str(error) for error in failed], unasked)

        follow(self.worker, flow(), listener)

    def explain(self, record, scan, listener):
        """The map for an answer that is in the results table; over the scan, and beside it in the data tree."""

        def flow():
            target = self._targetOf(record)
            yield from self._prepare(self._scansOfStudy(target.values()), 0.0, 0.3)
            yield from self._explain(record, scan, (0.3, 1.0))

        follow(self.worker, flow(), listener)

    def examine(self, record, scan, listener):
        """What small changes do to an answer that is in the results table; the findings become part of it."""

        def flow():
            target = self._targetOf(record)
            yield from self._prepare(self._scansOfStudy(target.values()), 0.0, 0.3)
            found = yield from self._analysis.examine(record, target, scan, 0)
            self.results().extend(record, "trust", found)

        follow(self.worker, flow(), listener)

    def renew(self, record, listener):
        """Give an answer again, for the scans as they are now."""

        def flow():
            target = self._targetOf(record)
            yield from self._predict(record["task"], record["provenance"]["model"]["id"], [target])

        follow(self.worker, flow(), listener)

    def saveReport(self, folder, saved, listener):
        """The report of the study into a folder; ``saved(page, objects)`` with the paths of page and DICOM objects."""

        def flow():
            parameters = self.getParameterNode()
            options = self._preparation([]).options
            request = self._report.request(folder, options, settings.device(), parameters.samples)
            value = yield Ask(request)
            saved(value["report"], value["objects"])

        follow(self.worker, flow(), listener)

    def loadSteps(self, scan, listener):
        """The brain in MNI space, its masks, and the transform from the scan, as nodes."""

        def flow():
            ready = yield from self._prepare(self._scansOfStudy([scan]), 0.0, 0.9)
            if scan not in ready:
                raise BrainIACError(self.study.problem(scan))
            images, transform, record = yield from self._analysis.steps(scan)
            self._storeSteps(scan, images, transform, record)

        follow(self.worker, flow(), listener)

    def stepsOf(self, scan):
        """How a scan was prepared, where its steps were loaded; else nothing."""
        node = findResult("vtkMRMLScalarVolumeNode", scan, "image")
        return json.loads(node.GetAttribute(PROVENANCE))["preprocessing"] if node is not None else []

    # What the scene holds

    def results(self, create=True):
        """The results of this scene, in one table; None if there are none and none are to be made."""
        parameters = self.getParameterNode()
        tables = [
            node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute(RESULT) == "table"
        ]
        if not tables and not create:
            return None
        first = tables[0] if tables else slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "BrainIAC results")
        results = Results(first)
        for other in tables[1:]:  # of a scene that was added to this one
            results.absorb(Results(other))
        if parameters.resultTable is not first:
            parameters.resultTable = first
        return results

    def records(self):
        """All answers of the scene, oldest first."""
        results = self.results(create=False)
        return results.records() if results else []

    def answersFor(self, scan):
        """The answers in which a scan took part."""
        results = self.results(create=False)
        return results.about(scan) if results else []

    def staleness(self, record):
        """Why an answer is not one about what the scene shows now, "" if it is."""
        scans = self.results(create=False).scansOf(record)
        if None in scans.values():
            return _("The scan is no longer in the scene; load it again.")
        for slot, node in scans.items():
            if self.contents.of(node) != record.get("contents", {}).get(slot):
                return _("'{name}' was changed since.").format(name=node.GetName())
        asked, (known, _typed) = record.get("ageYears"), self.study.ageAt(list(scans.values()))
        if record["task"] != SEQUENCE_TASK and asked != known:
            return _("The age of the person was changed since.")
        return ""

    def mainAnswer(self):
        """The answer of the current study that a person looks at first: of the study before that of one scan."""
        scans = self.study.included()
        results = self.results(create=False)
        records = [
            record
            for record in (results.records() if results else [])
            if set(results.scansOf(record).values()) <= set(scans) and not self.staleness(record)
        ]
        of_study = [record for record in records if record["task"] != SEQUENCE_TASK]
        return (of_study or records or [None])[0]

    def saliencyOf(self, scan):
        """The saliency volume of a scan as it is now, or None."""
        node = findResult("vtkMRMLScalarVolumeNode", scan, "saliency")
        if node is None or node.GetImageData() is None:
            return None
        return node if node.GetAttribute("BrainIAC.Content") == self.contents.of(scan) else None

    def explained(self, scan):
        """(task, label) of the answer that the map of a scan explains, None without a map."""
        facts = self._factsOfMap(scan)
        return (facts["task"], facts["label"]) if "task" in facts else None

    def isExplained(self, record, scan):
        """Whether the map of a scan is that of this answer of this model, with as many samples as are wanted."""
        facts = self._factsOfMap(scan)
        return (
            self.explained(scan) == (record["task"], record["label"])
            and facts.get("model") == record["provenance"]["model"]
            and facts["saliency"].get("samples") == self.getParameterNode().samples
        )

    def _factsOfMap(self, scan):
        node = self.saliencyOf(scan)
        return json.loads(node.GetAttribute(PROVENANCE) or "{}") if node is not None else {}

    # Parts of the flows

    def _predict(self, task, model, targets):
        scans = self._scansOfStudy([node for target in targets for node in target.values()])
        ready = yield from self._prepare(scans, 0.0, ANSWERING)
        failed = yield from self._answer([(task, model, target) for target in targets], ready, ANSWERING, 1.0)
        if len(targets) == len(failed):
            raise failed[0]

    def _prepare(self, scans, first, last):
        return self._analysis.prepare(self._preparation(scans), self.study.setProblem, first, last)

    def _answer(self, questions, ready, first, last):
        """Flow: ask (task, model, target) one after the other, store the answers. Returns the errors of the others."""
        failed = []
        for number, (task, model, target) in enumerate(questions):
            years, _typed = self.study.ageAt(list(target.values()))
            part = [first + (last - first) * (number + end) / len(questions) for end in (0, 1)]
            try:
                missing = [node for node in target.values() if node not in ready]
                if missing:
                    raise BrainIACError(self.study.problem(missing[0]))
                contents = {slot: self.contents.of(node) for slot, node in target.items()}
                record = yield from self._analysis.predict(task, model, target, years, part)
            except (Cancelled, WorkerError):
                raise
            except BrainIACError as error:
                failed.append(error)
                continue
            if all(node.GetScene() is not None for node in target.values()):
                self._store({**record, "ageYears": years}, target, contents)
        return failed

    def _store(self, record, target, contents):
        identities = {identityOf(node).key for node in target.values()}
        if len(identities) > 1:
            mixed = _(
                "Scans of different patients or dates were taken together, as you asked; check that this is meant."
            )
            record = {**record, "warnings": [mixed, *record["warnings"]]}
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        self.results().add({**record, "time": time}, target, contents)
        if record["task"] == SEQUENCE_TASK:
            self.study.setSequence(target["any"], record["label"], record["confidence"], record["warnings"])

    def _questions(self, contracts, ready):
        """(task, model, target) for each task but the sequence whose slots can be filled, and why others cannot."""
        questions, unasked = [], {}
        for task, contract in contracts.items():
            if task == SEQUENCE_TASK:
                continue
            filled, missing = self.study.fillSlots(contract.head.slots)
            if several := self.study.choices(contract.head.slots):
                unasked[task] = _("several scans are {sequences}: choose one").format(sequences=", ".join(several))
            elif not filled or (missing and contract.head.missing_policy == "refuse"):
                unasked[task] = _("missing in the study: {sequences}").format(sequences=", ".join(missing))
            else:
                questions.append((task, contract.id, filled))
        return questions, unasked

    def _explain(self, record, scan, part):
        samples = self.getParameterNode().samples
        image, parameters = yield from self._analysis.explain(record, self._targetOf(record), scan, samples, 0, part)
        if scan.GetScene() is None:
            return
        node = resultNode("vtkMRMLScalarVolumeNode", scan, "saliency", f"{scan.GetName()} saliency")
        self.volumes.showOnGridOf(image, node, scan)
        node.CreateDefaultDisplayNodes()
        node.SetAttribute("BrainIAC.Content", self.contents.of(scan))
        about = {"task": record["task"], "label": record["label"], "saliency": parameters}
        markResult(node, scan, "saliency", {**record["provenance"], **about})
        self._showMap(scan)

    def _showMap(self, scan):
        parameters, saliency = self.getParameterNode(), self.saliencyOf(scan)
        parameters.saliencyScan = scan
        parameters.showSaliency = True
        self.map.apply(parameters, saliency, scan)
        self.map.goToMaximum(saliency)

    def _mainScan(self, record):
        """Which scan of an answer is explained: the one that is shown, else the first."""
        scans = list(self._targetOf(record).values())
        shown = [node for node in scans if node is self.map.background()]
        return (shown or scans)[0]

    def _targetOf(self, record):
        """slot -> volume of an answer. Raises BrainIACError if one is gone."""
        target = self.results().scansOf(record)
        if None in target.values():
            raise BrainIACError(_("The scan of this answer is no longer in the scene; load it again."))
        return target

    def _storeSteps(self, scan, images, transform, record):
        if scan.GetScene() is None:
            return
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

    def _scansOfStudy(self, needed):
        """All included scans, so that they are prepared once, and those that are needed in any case."""
        included = self.study.included()
        return included + [node for node in needed if node not in included]

    def _ask(self, request, done, listener):
        def flow():
            done((yield Ask(request)))

        follow(self.worker, flow(), listener)

    def _preparation(self, scans):
        parameters = self.getParameterNode()
        return Preparation(scans, optionsOf(parameters), settings.device(), parameters.brainMask)
