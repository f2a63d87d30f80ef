"""What a series is, from its header and from its image: where both say it, whether they agree."""

from __future__ import annotations

from dataclasses import dataclass

from BrainIACLib import sequences
from BrainIACLib.studies.header_rules import HeaderClass
from BrainIACLib.trust.words import probability

AGREE, DISAGREE, UNSURE = "agree", "disagree", "unsure"
HEADER_ONLY, IMAGE_ONLY, NEITHER = "header only", "image only", "neither"
_LOOKS_LIKE = {  # kinds that the image model has no class for, and what an image of them may look like to it
    sequences.DWI_B0.name: (sequences.T2.name,),
    sequences.DWI_TRACE.name: (sequences.FLAIR.name, sequences.T2.name),
    sequences.PERFUSION.name: (sequences.T2.name,),
    sequences.T2_STAR.name: (sequences.T2.name, sequences.T1.name),
    sequences.PD.name: (sequences.T2.name, sequences.T1.name),
    sequences.ANGIOGRAPHY.name: (sequences.T1.name, sequences.T1CE.name),
}


@dataclass(frozen=True)
class ImageClass:
    """The answer of the sequence model about one scan; ``sure``: at or above the gate of its contract."""

    name: str
    confidence: float
    sure: bool


@dataclass(frozen=True)
class Judgement:
    """The kind that is believed, how header and image relate, and the finding to show where they disagree."""

    name: str
    relation: str
    finding: str = ""


def judge(key: str, header: HeaderClass | None, image: ImageClass | None) -> Judgement:
    """Weigh both: attributes of the acquisition are facts, words are not, and an unsure image decides nothing.

    A series whose image contradicts the attributes keeps the name of the attributes, with a finding; whether contrast
    agent was given is typed by people, so where only that differs and the image is sure, there is a finding as well.
    """
    named = header.name if header is not None else ""
    if image is None:
        return Judgement(named, HEADER_ONLY if named else NEITHER)
    if header is None or not named:
        return Judgement(image.name if image.sure else "", IMAGE_ONLY if image.sure else NEITHER)
    expected = named if named in sequences.STANDARD_NAMES else sequences.OTHER
    if image.name in (named, expected):
        return Judgement(named, AGREE if image.sure else UNSURE)
    if not image.sure:
        return Judgement(named, UNSURE)
    believed = image.name if header.by_words and expected != sequences.OTHER else named
    said = f"Series {key}: the header says {named} ({header.reason}), the image looks like {image.name}"
    if image.name in _LOOKS_LIKE.get(named, ()):
        return Judgement(named, DISAGREE, f"{said}, as such series can; it is not used as {image.name}.")
    sure = probability(image.confidence)
    return Judgement(believed, DISAGREE, f"{said} (probability {sure}); it is taken as {believed}.")


def undecided(key: str, judgement: Judgement, image: ImageClass | None) -> str:
    """What the image of a series looks like that nothing else names and of which the model is not sure; else empty."""
    if judgement.relation != NEITHER or image is None or image.name not in sequences.STANDARD_NAMES:
        return ""
    sure = probability(image.confidence)
    return (
        f"Series {key} is not used: nothing but its image says what it is, and that looks like {image.name} "
        f"(probability {sure}), too little to rely on. Name it if you know it."
    )
