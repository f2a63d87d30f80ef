"""The kinds of scan that are told apart: one list, in one order, that every other file reads.

The paper's four (``STANDARD``) keep its names and order; a bundled contract's labels are these names. ``WIDER`` are the
series that stand beside them in a study. A model without a label of its own for one of those answers ``OTHER``.

>>> [kind.name for kind in STANDARD]
['T1', 'T2', 'FLAIR', 'T1CE']
>>> sequence_named("t1-gd").title
'contrast-enhanced T1'
>>> sequence_named("localizer") is None
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Sequence:
    """A kind of scan.

    Attributes
    ----------
    name : as tables, contracts and files write it.
    title : as a sentence calls it.
    synonyms : other whole names of the same kind in data sets and software; case, spaces, ``-`` and ``_`` do not count.
    contrast_enhanced : acquired after a contrast agent was given.
    """

    name: str
    title: str
    synonyms: tuple[str, ...] = ()
    contrast_enhanced: bool = False

    def __str__(self) -> str:
        return self.name


T1 = Sequence("T1", "T1", ("T1w", "T1n", "T1 weighted", "T1 pre", "MPRAGE"))
T2 = Sequence("T2", "T2", ("T2w", "T2 weighted"))
FLAIR = Sequence("FLAIR", "FLAIR", ("T2f", "T2 FLAIR"))
T1CE = Sequence(
    "T1CE", "contrast-enhanced T1", ("T1c", "T1 Gd", "T1 post", "T1w CE", "T1 contrast"), contrast_enhanced=True
)
PD = Sequence("PD", "proton density", ("PDw", "PD weighted"))
T2_STAR = Sequence("T2*", "T2* or susceptibility-weighted", ("T2star", "T2starw", "SWI", "GRE", "SWAN"))
DWI_B0 = Sequence("DWI-b0", "diffusion without weighting (b0)", ("b0",))
DWI_TRACE = Sequence("DWI-trace", "diffusion trace", ("DWI", "trace", "TRACEW", "isotropic DWI"))
ADC = Sequence("ADC", "apparent diffusion coefficient")
PERFUSION = Sequence("perfusion", "perfusion or functional (BOLD)", ("BOLD", "fMRI", "perf", "DSC", "DCE", "ASL"))
ANGIOGRAPHY = Sequence("MRA", "angiography", ("angio", "angiography", "TOF", "MRV"))
CT = Sequence("CT", "computed tomography")
NOT_A_HEAD = Sequence("not a head", "not a scan of a head")

STANDARD = (T1, T2, FLAIR, T1CE)
"""The paper's four, in the order of the bundled model's classes (PROTOCOL P-24)."""
WIDER = (PD, T2_STAR, DWI_B0, DWI_TRACE, ADC, PERFUSION, ANGIOGRAPHY, CT, NOT_A_HEAD)
ALL = (*STANDARD, *WIDER)
OTHER = "other"
"""The answer of a model, or the word of a person, for what is none of the kinds that it knows."""

STANDARD_NAMES = tuple(kind.name for kind in STANDARD)
STANDARD_OR_OTHER = (*STANDARD_NAMES, OTHER)
ALL_NAMES = tuple(kind.name for kind in ALL)
STUDY_ORDER = tuple(kind.name for kind in (T1CE, FLAIR, T1, T2))
"""The order in which the paper joins the scans of one study (PROTOCOL P-18)."""


def any_of(kinds: tuple[Sequence, ...] = STANDARD) -> str:
    """The kinds as a sentence lists them.

    >>> any_of()
    'T1, T2, FLAIR or contrast-enhanced T1'
    """
    *first, last = [kind.title for kind in kinds]
    return f"{', '.join(first)} or {last}" if first else last


def unlike_the_four(label: str) -> str | None:
    """What a sentence says of a scan with a label beside the paper's four; None for these and for unknown labels.

    >>> unlike_the_four("CT")
    'looks like computed tomography, not like a T1, T2, FLAIR or contrast-enhanced T1 scan of a brain'
    >>> unlike_the_four("other")
    'does not look like a T1, T2, FLAIR or contrast-enhanced T1 scan of a brain'
    >>> unlike_the_four("T2"), unlike_the_four("a label of somebody's own")
    (None, None)
    """
    if label == OTHER:
        return f"does not look like a {any_of()} scan of a brain"
    kind = next((kind for kind in WIDER if kind.name == label), None)
    if kind is NOT_A_HEAD:
        return "does not look like a scan of a head"
    return f"looks like {kind.title}, not like a {any_of()} scan of a brain" if kind is not None else None


def sequence_named(text: str) -> Sequence | None:
    """The kind with this name or synonym; None if there is none.

    The whole text must be a name: what a header says in passing (``"T1 after T2"``) is not decided here.
    """
    return _BY_NAME.get(_plain(text))


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


_BY_NAME = {_plain(name): kind for kind in ALL for name in (kind.name, kind.title, *kind.synonyms)}
