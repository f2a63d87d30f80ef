"""What a click makes of a study, as flows (``flow``): prepare its scans, answer, explain, examine."""

from __future__ import annotations

from datetime import datetime

from slicer.i18n import tr as _

from BrainIACBridge import settings
from BrainIACBridge.analysis import Preparation
from BrainIACBridge.preprocessing_options import optionsOf
from BrainIACBridge.study_identity import identityOf
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.worker.conversation import WorkerError

PREPARING, ANSWERING = 0.6, 0.75  # of the time of an analysis: until then scans are prepared, then answers given


class StudyFlows:
    """Each public method is a generator of requests; what it finds goes into the scene.

    Parameters
    ----------
    analysis : an ``Analysis``, which talks to the worker.
    study : the ``Study``.
    contents : the ``Contents`` of the volumes.
    answers : the ``SceneAnswers``.
    nodes : the ``ResultNodes``.
    map : the ``SaliencyMap``.
    parameterNode : gives the parameters of the scene.
    """

    def __init__(self, analysis, study, contents, answers, nodes, map, parameterNode):
        self._analysis, self._study, self._contents = analysis, study, contents
        self._answers, self._nodes, self._map, self._parameterNode = answers, nodes, map, parameterNode

    def analyze(self, contracts, told):
        """Prepare all, name the sequences, ask every task that can be asked, explain one answer.

        Parameters
        ----------
        contracts : task -> contract of the model to use.
        told : called at the end with seconds, what failed (texts), and why tasks were not asked (task -> text).
        """
        started = datetime.now()
        scans = self._study.included()
        ready = yield from self._prepare(scans, 0.0, PREPARING)
        if not ready:
            raise BrainIACError(self._study.problem(scans[0]) if scans else _("Load a scan first."))
        study = self._study.heldTo(ready)  # the person may choose another one meanwhile
        questions = []
        if SEQUENCE_TASK in contracts:
            model = contracts[SEQUENCE_TASK].id
            unnamed = [node for node in ready if not self._study.isSetByPerson(node)]
            questions = [(SEQUENCE_TASK, model, {"any": node}) for node in unnamed]
        middle = (PREPARING + ANSWERING) / 2
        failed = yield from self._answer(questions, ready, PREPARING, middle)
        questions, unasked = _questions(contracts, study)
        failed += yield from self._answer(questions, ready, middle, ANSWERING)
        record = self._answers.main(study.included())
        if record is not None:
            scan = self._mainScan(record)
            if self._answers.isExplained(record, scan):
                self._showMap(scan)
            else:
                yield from self._explain(record, scan, (ANSWERING, 1.0))
        told((datetime.now() - started).total_seconds(), [str(error) for error in failed], unasked)

    def predict(self, task, model, targets):
        """An answer for each of ``targets``, slot -> volume node. Raises the reason if none can be answered."""
        scans = self._withStudy([node for target in targets for node in target.values()])
        ready = yield from self._prepare(scans, 0.0, ANSWERING)
        failed = yield from self._answer([(task, model, target) for target in targets], ready, ANSWERING, 1.0)
        if len(targets) == len(failed):
            raise failed[0]

    def renew(self, record):
        """An answer again, for the scans as they are now."""
        target = self._answers.targetOf(record)
        yield from self.predict(record["task"], record["provenance"]["model"]["id"], [target])

    def explain(self, record, scan):
        """The map for an answer of the table over one of its scans."""
        target = self._answers.targetOf(record)
        yield from self._prepare(self._withStudy(target.values()), 0.0, 0.3)
        yield from self._explain(record, scan, (0.3, 1.0))

    def examine(self, record, scan):
        """What small changes do to an answer of the table; the findings become part of it."""
        target = self._answers.targetOf(record)
        yield from self._prepare(self._withStudy(target.values()), 0.0, 0.3)
        found = yield from self._analysis.examine(record, target, scan, 0)
        self._answers.results().extend(record, "trust", found)

    def steps(self, scan):
        """What the model saw of a scan, as nodes."""
        yield from self._readied(scan, 0.9)
        images, transform, record = yield from self._analysis.steps(scan)
        self._nodes.storeSteps(images, transform, scan, record)

    def volumes(self, scan):
        """Volumes of the brain structures of a scan, and their label map, as a node."""
        yield from self._readied(scan, 0.8)
        labels, found = yield from self._analysis.volumes(scan)
        self._nodes.storeStructures(labels, scan, found)

    def preparation(self, scans):
        """How ``scans`` are prepared, as the person set it."""
        parameters = self._parameterNode()
        return Preparation(scans, optionsOf(parameters), settings.device(), parameters.brainMask)

    # Parts

    def _prepare(self, scans, first, last):
        return self._analysis.prepare(self.preparation(scans), self._study.setProblem, first, last)

    def _readied(self, scan, last):
        ready = yield from self._prepare(self._withStudy([scan]), 0.0, last)
        if scan not in ready:
            raise BrainIACError(self._study.problem(scan))

    def _withStudy(self, needed):
        """All included scans, so that they are prepared once, and those that are needed in any case."""
        included = self._study.included()
        return included + [node for node in needed if node not in included]

    def _answer(self, questions, ready, first, last):
        """Ask (task, model, target) one after the other, store the answers. Returns the errors of the others."""
        failed = []
        for number, (task, model, target) in enumerate(questions):
            years, _typed = self._study.ageAt(list(target.values()))
            part = [first + (last - first) * (number + end) / len(questions) for end in (0, 1)]
            try:
                missing = [node for node in target.values() if node not in ready]
                if missing:
                    reason = _("'{name}' was not prepared; analyze the study again.").format(name=missing[0].GetName())
                    raise BrainIACError(self._study.problem(missing[0]) or reason)
                contents = {slot: self._contents.of(node) for slot, node in target.items()}
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
        self._answers.results().add({**record, "time": time}, target, contents)
        if record["task"] == SEQUENCE_TASK:
            self._study.setSequence(target["any"], record["label"], record["confidence"], record["warnings"])

    def _explain(self, record, scan, part):
        samples, target = self._parameterNode().samples, self._answers.targetOf(record)
        image, parameters = yield from self._analysis.explain(record, target, scan, samples, 0, part)
        about = {"task": record["task"], "label": record["label"], "saliency": parameters}
        if self._nodes.storeMap(image, scan, {**record["provenance"], **about}) is not None:
            self._showMap(scan)

    def _showMap(self, scan):
        parameters, saliency = self._parameterNode(), self._answers.saliencyOf(scan)
        parameters.saliencyScan = scan
        parameters.showSaliency = True
        self._map.apply(parameters, saliency, scan)
        self._map.goToMaximum(saliency)

    def _mainScan(self, record):
        """Which scan of an answer is explained: the one that is shown, else the first."""
        scans = list(self._answers.targetOf(record).values())
        shown = [node for node in scans if node is self._map.background()]
        return (shown or scans)[0]


def _questions(contracts, study):
    """(task, model, target) for each task but the sequence whose slots can be filled, and why others cannot."""
    questions, unasked = [], {}
    for task, contract in contracts.items():
        if task == SEQUENCE_TASK:
            continue
        filled, missing = study.fillSlots(contract.head.slots)
        if several := study.choices(contract.head.slots):
            unasked[task] = _("several scans are {sequences}: choose one").format(sequences=", ".join(several))
        elif not filled or (missing and contract.head.missing_policy == "refuse"):
            unasked[task] = _("missing in the study: {sequences}").format(sequences=", ".join(missing))
        else:
            questions.append((task, contract.id, filled))
    return questions, unasked
