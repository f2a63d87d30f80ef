"""The mask of a structure in a scan of the study."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from BrainIACLib.job import Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.publishing import publishing_set
from BrainIACLib.scans import write_image
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.handlers.volumes import other_sequence
from BrainIACLib.worker.requests import MakeMask
from BrainIACLib.worker.session import Session

if typing.TYPE_CHECKING:
    from BrainIACLib.masks import Mask


@answer.register
def make_mask(request: MakeMask, session: Session, job: Job) -> dict[str, Any]:
    """The mask, and its file where it was asked for."""
    from BrainIACLib.masks import MaskMaker

    def on(predictor: Predictor) -> Mask:
        maker = MaskMaker(predictor.device, session.models, request.model)
        found = maker.mask(predictor.study.standardised[request.scan])
        doubts = (*predictor.study.scans[request.scan].warnings, *found.warnings)
        doubts += tuple(other_sequence(predictor, request.scan, found.slot))
        return dataclasses.replace(found, warnings=tuple(dict.fromkeys(doubts)))

    found = session.with_study(on, job)
    result = None
    if request.folder is not None:
        name = f"{found.label}.nii.gz"
        request.folder.mkdir(parents=True, exist_ok=True)
        with publishing_set(request.folder, (name,)) as staging:
            write_image(found.image, staging / name)
        result = str(request.folder / name)
    return {**found.to_json(), "result": result, "note": session.note}
