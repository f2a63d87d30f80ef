"""What a batch keeps of one prepared scan, and what its index says of an answer: the same for scans and for studies."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.batch.layout import Names, sidecar
from BrainIACLib.batch.thumbnail import thumbnail
from BrainIACLib.predictions import Prediction
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.publishing import write_bytes, write_text
from BrainIACLib.scans import write_image, write_transform
from BrainIACLib.studies.document import Answer


def write_derivatives(
    folder: Path, names: Names, case: BatchCase, prepared: Standardised, embedding: Sequence[float]
) -> None:
    """Brain, masks and transform with their sidecars, the embedding, and the thumbnail of the quality page."""
    for image, name, beside, kind in (
        (prepared.image, names.brain, names.brain_sidecar, "brain"),
        (prepared.mask, names.mask, names.mask_sidecar, "mask"),
        (prepared.native_mask, names.native_mask, names.native_mask_sidecar, "native mask"),
    ):
        write_image(image, folder / name)
        write_text(sidecar(case, kind), folder / beside)
    write_transform(prepared.transform, folder / names.transform)
    content = io.BytesIO()
    np.save(content, np.array(embedding, np.float32), allow_pickle=False)
    write_bytes(content.getvalue(), folder / names.embedding)
    write_bytes(thumbnail(prepared), folder / names.thumbnail)


def quality_of(standardised: Standardised) -> dict[str, object]:
    """The quality figures of all steps: "registration overlap" -> .93."""
    return {
        f"{step.name.replace(' ', '_')}_{name}": float(value)
        for step in standardised.record
        for name, value in step.quality.items()
        if isinstance(value, (int, float))
    }


def found_by(task: str, answer: Prediction | Answer) -> dict[str, object]:
    """The columns of an answer in the index."""
    found: dict[str, object] = {f"found_{task}": answer.label if answer.value is None else answer.value}
    if answer.confidence is not None:
        found[f"found_{task}_confidence"] = answer.confidence
    return found


def doubts_in(answers: Iterable[Prediction | Answer], said: Collection[str]) -> str:
    """The warnings of the answers that are not ``said`` of the scans already. What stands with every answer of a head
    tells no case from another, and is left out; where it is grave, no row may lack it."""
    doubts: dict[str, None] = {}
    for answer in answers:
        trust = answer.trust.to_json() if isinstance(answer, Prediction) else answer.trust
        left_out = {*said, *({*trust.get("standing", ())} - {*trust.get("grave", ())})}
        doubts |= dict.fromkeys(text for text in answer.warnings if text not in left_out)
    return " ".join(doubts)
