"""Embed cases, train a head on them, install it: everything of the head trainer without its panel."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge import settings
from BrainIACBridge.cases import Cases
from BrainIACBridge.flow import Ask, follow
from BrainIACBridge.logic import Logic
from BrainIACBridge.model_list import ModelList
from BrainIACBridge.preprocessing_options import optionsOf
from BrainIACBridge.study import Study
from BrainIACBridge.trainer_parameters import USUAL_CODES, BrainIACHeadTrainerParameterNode
from BrainIACBridge.volume_nodes import VolumeNodes
from BrainIACLib.checkpoints.store import user_folders
from BrainIACLib.errors import BrainIACError
from BrainIACLib.worker.requests import CaseFile, EmbedCases, InstallHead, TrainHead


class BrainIACHeadTrainerLogic(Logic):
    """The requests to one worker about the cases.

    Parameters
    ----------
    worker : a ``WorkerProcess``; a new one by default.
    """

    parameterNodeClass = BrainIACHeadTrainerParameterNode

    def __init__(self, worker=None):
        super().__init__(worker)
        self.cases = Cases()
        self._modelList = ModelList()
        self._volumes = VolumeNodes()

    def addVolumes(self):
        """Put the volumes of the scene into the list. Returns how many are new."""
        study = Study()
        return self.cases.addVolumes(study.volumes(), lambda node: study.sequence(node)[0])

    def encoders(self):
        """The installed models whose encoder can be used, bundled ones first."""
        return self._modelList.models()

    def defaultTableFile(self):
        """Where embeddings are kept unless the person chooses another file."""
        return user_folders()[0].parent / "Embeddings" / "embeddings.npz"

    def embed(self, encoder, tableFile, done, listener):
        """Compute the embeddings of all cases into ``tableFile``; ``done(value)`` with the worker's value.

        Parameters
        ----------
        encoder : id of the model whose encoder is used.
        """
        parameters = self.getParameterNode()
        try:
            Path(tableFile).parent.mkdir(parents=True, exist_ok=True)
            self.worker.start()
            cases = [self._handedOver(index, case) for index, case in enumerate(self.cases.all)]
        except BrainIACError as error:
            listener.finished(error)
            return
        except OSError as error:
            reason = _("'{file}' cannot be written ({reason}); choose another embeddings file.")
            listener.finished(BrainIACError(reason.format(file=tableFile, reason=error.strerror)))
            return
        request = EmbedCases(
            cases=tuple(cases),
            out=Path(tableFile),
            model=encoder,
            options=optionsOf(parameters),
            replace=True,  # the panel's list of cases is the table: who takes a case out there means it
            device=settings.device(),
        )
        self._request(request, done, listener)

    def train(self, tableFile, done, listener):
        """Train on the embeddings with the labels as they are now; ``done(report)``."""
        parameters = self.getParameterNode()
        request = TrainHead(
            table=Path(tableFile),
            target=parameters.labelColumn,
            task=parameters.taskName,
            facts=tuple(case.facts for case in self.cases.all),
            kind=parameters.kind.value,
            missing=None if parameters.missingCodes == USUAL_CODES else _names(parameters.missingCodes),
            covariates=_names(parameters.covariates),
            site=parameters.siteColumn or None,
        )
        self._request(request, done, listener)

    def unknownCovariates(self):
        """Those that are no column of the cases."""
        columns = self.cases.labelColumns()
        return [name for name in _names(self.getParameterNode().covariates) if name not in columns]

    def earlierHead(self, task):
        """The title of a head for the task that was trained before, or None."""
        models = [model for model in self._modelList.models() if model.task == task and model.trained_here]
        return models[0].contract.title if models else None

    def install(self, replace, done, listener):
        """Make the trained head a task of BrainIAC; ``done(value)`` with its ``id``.

        Parameters
        ----------
        replace : take an earlier head for the same task away.
        """
        self._request(InstallHead(replace), done, listener)

    def show(self, scan):
        """The scan of a case in the slice views; loads its file if it is not in the scene yet.

        Raises
        ------
        BrainIACError : it is gone.
        """
        case = self.cases.named(scan)
        node = case.node() if case is not None else None
        if node is None and case is not None and case.path:
            node = slicer.util.loadVolume(case.path)
            case.setNode(node)
        if node is None:
            raise BrainIACError(_("The scan '{name}' is no longer here; add it again.").format(name=scan))
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        return node

    def _handedOver(self, index, case):
        node = None if case.path else case.node()
        if case.path:
            return CaseFile(Path(case.path), case.facts)
        if node is None:
            raise BrainIACError(_("The scan '{name}' is no longer here; add it again.").format(name=case.facts["scan"]))
        path = self.worker.folder / f"case_{index}.mha"
        sitk.WriteImage(self._volumes.image(node), str(path))
        original = self._volumes.original(node)
        return CaseFile(path, case.facts, Path(original) if original else None)

    def _request(self, request, done, listener):
        def flow():
            done((yield Ask(request)))

        follow(self.worker, flow(), listener)


def _names(text):
    """What stands between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
