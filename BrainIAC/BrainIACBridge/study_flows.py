"""What a click makes of a study, as flows (``flow``): prepare its scans, answer, explain, examine."""

from __future__ import annotations

from datetime import datetime

from slicer.i18n import tr as _

from BrainIACBridge import settings
from BrainIACBridge.analysis import Preparation
from BrainIACBridge.preprocessing_options import optionsOf
from BrainIACBridge.results import ANSWER
from BrainIACBridge.study_identity import identityOf, mixedInWords
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
            raise BrainIACError(self._whyNot(scans[0]) if scans else _("Load a scan first."))
        study = self._study.heldTo(ready)  # the person may choose another one meanwhile
        questions = []
        if SEQUENCE_TASK in contracts:
            model = contracts[SEQUENCE_TASK].id
            unnamed = [node for node in ready if not self._study.isSetByPerson(node)]
            questions = [(SEQUENCE_TASK, model, {"any": node}) for node in unnamed]
        middle = (PREPARING + ANSWERING) / 2
        lost = [node for node in scans if node not in ready and not self._study.problem(node)]  # of no row
        failed = [BrainIACError(self._whyNot(node)) for node in lost]
        failed += yield from self._answer(questions, PREPARING, middle)
        questions, unasked = _questions(contracts, study)
        failed += yield from self._answer(questions, middle, ANSWERING)
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
        yield from self._prepare([node for target in targets for node in target.values()], 0.0, ANSWERING)
        failed = yield from self._answer([(task, model, target) for target in targets], ANSWERING, 1.0)
        if len(targets) == len(failed):
            raise failed[0]

    def renew(self, record):
        """An answer again, for the scans as they are now."""
        target = self._answers.targetOf(record)
        yield from self.predict(record["task"], record["provenance"]["model"]["id"], [target])

    def explain(self, record, scan):
        """The map for an answer of the table over one of its scans."""
        yield from self._readied(self._answers.targetOf(record).values(), 0.3)
        self._checkCurrent(record)
        yield from self._explain(record, scan, (0.3, 1.0))

    def examine(self, record, scan):
        """What small changes do to an answer of the table; the findings become part of it."""
        target = self._answers.targetOf(record)
        yield from self._readied(target.values(), 0.3)
        self._checkCurrent(record)
        found = yield from self._analysis.examine(record, target, scan, 0)
        self._answers.results().extend(record, "trust", found)

    def steps(self, scan):
        """What the model saw of a scan, as nodes."""
        yield from self._readied([scan], 0.9)
        content = self._contents.of(scan)
        images, transform, record = yield from self._analysis.steps(scan)
        self._nodes.storeSteps(images, transform, scan, content, record)

    def volumes(self, scan):
        """Volumes of the brain structures of a scan, and their label map, as a node."""
        yield from self._readied([scan], 0.8)
        content = self._contents.of(scan)
        labels, found = yield from self._analysis.volumes(scan)
        self._nodes.storeStructures(labels, scan, content, found)

    def preparation(self, scans):
        """How ``scans`` are prepared, as the person set it."""
        parameters = self._parameterNode()
        return Preparation(scans, optionsOf(parameters), settings.device(), parameters.brainMask)

    # Parts

    def _prepare(self, needed, first, last):
        """All included scans, so that they are prepared once, and those that are needed in any case."""
        included = self._study.included()
        preparation = self.preparation(included + [node for node in needed if node not in included])
        return self._analysis.prepare(preparation, needed, self._study.setProblem, first, last)

    def _readied(self, scans, last):
        scans = list(scans)
        ready = yield from self._prepare(scans, 0.0, last)
        for scan in scans:
            if scan not in ready:
                raise BrainIACError(self._whyNot(scan))

    def _whyNot(self, scan):
        """Why a scan is not among those that are ready; one that has no problem was edited after it was handed over."""
        changed = _("'{name}' was changed in the meantime; run again.").format(name=scan.GetName())
        return self._study.problem(scan) or changed

    def _checkCurrent(self, record):
        """Raises BrainIACError where the scan was edited since: what is found now is not about that answer."""
        if reason := self._answers.staleness(record):
            raise BrainIACError(reason)

    def _answer(self, questions, first, last):
        """Ask (task, model, target) one after the other, store the answers. Returns the errors of the others."""
        failed = []
        for number, (task, model, target) in enumerate(questions):
            years, _typed = self._study.ageAt(list(target.values()))
            part = [first + (last - first) * (number + end) / len(questions) for end in (0, 1)]
            try:
                missing = [node for node in target.values() if not self._analysis.isReady(node)]
                if missing:
                    raise BrainIACError(self._whyNot(missing[0]))
                contents = {slot: self._contents.of(node) for slot, node in target.items()}
                identities = {identityOf(node) for node in target.values()}
                sequences = {slot: self._study.sequence(node) for slot, node in target.items()}
                record = yield from self._analysis.predict(task, model, target, years, part)
            except (Cancelled, WorkerError):
                raise
            except BrainIACError as error:
                failed.append(error)
                continue
            if all(node.GetScene() is not None for node in target.values()):
                self._store({**record, "ageYears": years}, target, contents, identities, sequences)
        return failed

    def _store(self, record, target, contents, identities, sequences):
        """An answer about scans of which contents, persons and sequences were these when it was asked for."""
        if len({identity.key for identity in identities}) > 1:
            record = {**record, "warnings": [mixedInWords(), *record["warnings"]]}
        inner = {
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
            "studies": sorted({identity.mark if identity.isOnePerson else "" for identity in identities}),
            "sequences": {slot: sequence for slot, (sequence, _confidence) in sequences.items() if slot != "any"},
        }
        self._answers.results().add({**record, **inner}, target, contents)
        if record["task"] == SEQUENCE_TASK and self._study.sequence(target["any"]) == sequences["any"]:  # not corrected
            self._study.setSequence(target["any"], record["label"], record["confidence"], record["warnings"])

    def _explain(self, record, scan, part):
        samples, target = self._parameterNode().samples, self._answers.targetOf(record)
        content = self._contents.of(scan)
        image, parameters = yield from self._analysis.explain(record, target, scan, samples, 0, part)
        about = {ANSWER: record["id"], "task": record["task"], "label": record["label"], "saliency": parameters}
        if self._nodes.storeMap(image, scan, content, {**record["provenance"], **about}) is not None:
            self._showMap(scan)

    def _showMap(self, scan):
        if scan not in self._study.scans():
            return  # the person has chosen another study meanwhile, and sees that one
        parameters, saliency = self._parameterNode(), self._answers.saliencyOf(scan)
        if saliency is None:
            return  # the answer ended or was forgotten meanwhile
        self._map.showScan(scan)
        parameters.saliencyScan = scan
        parameters.showSaliency = True
        self._map.apply(parameters, force=True)
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
