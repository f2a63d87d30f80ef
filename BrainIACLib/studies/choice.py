"""The best series for each slot of the models, with the reason in words; a person can choose another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from BrainIACLib import sequences
from BrainIACLib.errors import BrainIACError
from BrainIACLib.studies.agreement import AGREE, DISAGREE, IMAGE_ONLY

WHOLE_BRAIN_MM = 110.0  # a brain is some 120 to 140 mm high; a field of view below it cuts something off


@dataclass(frozen=True)
class Candidate:
    """A series that was read and prepared. ``relation`` is of ``agreement``; sizes in mm."""

    key: str
    name: str
    relation: str
    spacing: tuple[float, ...]
    extent: tuple[float, ...]
    derived: bool
    repeats: int
    warnings: int
    time: str  # of acquisition, sorts


@dataclass(frozen=True)
class SlotChoice:
    """Which series fills a slot, why, and why the others of its kind do not."""

    slot: str
    series: str
    why: str
    others: Mapping[str, str]
    by_person: bool = False


def choose(candidates: Sequence[Candidate], use: Mapping[str, str] | None = None) -> list[SlotChoice]:
    """One choice for each of the paper's four sequences that the study has, in their order.

    Parameters
    ----------
    use : slot -> key of a series, as a person wants it.

    Raises
    ------
    BrainIACError : ``use`` names a slot or series that is not there.
    """
    use = dict(use or {})
    by_key = {candidate.key: candidate for candidate in candidates}
    _check(use, by_key)
    choices = []
    for slot in sequences.STANDARD_NAMES:
        fitting = sorted((one for one in candidates if one.name == slot), key=_rank)
        if slot in use:
            rest = {one.key: "you chose another" for one in fitting if one.key != use[slot]}
            named = by_key[use[slot]].name
            known = f"it is taken for {named} otherwise" if named else "nothing else says surely what it is"
            why = "as you chose" + ("" if named == slot else f"; {known}")
            choices.append(SlotChoice(slot, use[slot], why, rest, by_person=True))
        elif fitting := [one for one in fitting if one.key not in use.values()]:
            best, *others = fitting
            choices.append(
                SlotChoice(slot, best.key, _why(best, others), {one.key: _behind(one, best) for one in others})
            )
    return choices


def _check(use: Mapping[str, str], known: Mapping[str, Candidate]) -> None:
    for slot, key in use.items():
        if slot not in sequences.STANDARD_NAMES:
            raise BrainIACError(f"There is no slot '{slot}'; choose for one of: {', '.join(sequences.STANDARD_NAMES)}.")
        if key not in known:
            raise BrainIACError(
                f"Series '{key}' cannot be used as {slot}; these can be: {', '.join(known) or 'none of this study'}."
            )
    if len(set(use.values())) < len(use):
        raise BrainIACError("One series was chosen for two slots; choose a different series for each.")


def _rank(one: Candidate) -> tuple[Any, ...]:
    """Smaller is better: believed, measured, whole, undoubted, fine, not a time series, the later of equal scans."""
    return (
        one.relation == DISAGREE,
        one.derived,
        not _is_whole(one),
        one.relation not in (AGREE, IMAGE_ONLY),
        _edge_class(one),
        one.repeats,
        one.warnings,
        [-ord(letter) for letter in one.time],
    )


def _is_whole(one: Candidate) -> bool:
    return min(one.extent) >= WHOLE_BRAIN_MM


def _edge_class(one: Candidate) -> tuple[int, int]:
    """Longest edge, then volume of a voxel, in steps so coarse that rounding does not decide."""
    volume = one.spacing[0] * one.spacing[1] * one.spacing[2]
    return round(max(one.spacing) / 0.25), round(volume / 0.1)


def _why(best: Candidate, others: Sequence[Candidate]) -> str:
    if not others:
        return f"the only {best.name}"
    reasons = list(dict.fromkeys(_advantage(best, other) for other in others))
    return f"best of {len(others) + 1}: {', '.join(reasons)}"


def _advantage(best: Candidate, other: Candidate) -> str:
    return {
        "contradicted": "header and image agree",
        "derived": "as measured, not computed",
        "partial": "covers the whole brain",
        "doubted": "header and image agree",
        "coarser": f"finest voxels ({_edges(best)})",
        "repeated": "a single volume",
        "warned": "fewer warnings",
        "earlier": "acquired last",
    }[_difference(other, best)]


def _behind(one: Candidate, best: Candidate) -> str:
    return {
        "contradicted": "its image contradicts its header",
        "derived": "computed from other images",
        "partial": f"covers only {min(one.extent):.0f} mm",
        "doubted": "the image model is not sure of it",
        "coarser": f"coarser voxels ({_edges(one)})",
        "repeated": f"{one.repeats} volumes",
        "warned": "more warnings",
        "earlier": "acquired earlier; a scan is often repeated because the first was poor",
    }[_difference(one, best)]


def _difference(one: Candidate, best: Candidate) -> str:
    """The first point in which ``one`` is behind ``best``."""
    names = ("contradicted", "derived", "partial", "doubted", "coarser", "repeated", "warned")
    ranks = zip(names, _rank(one), _rank(best), strict=False)
    return next((name for name, mine, its in ranks if mine != its), "earlier")


def _edges(one: Candidate) -> str:
    return " x ".join(f"{edge:.2g}" for edge in one.spacing) + " mm"
