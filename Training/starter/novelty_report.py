"""Does the distance from the simulated training images tell odd inputs from real scans of the four sequences?

Which inputs are odd is decided by MANIFEST.csv alone. A refusal is the strongest warning there is; the AUROC is
therefore given among the answered inputs, and with every refusal (of an odd input or of a real scan) counted as more
novel than any answered one.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.statistics.bootstrap import bootstrap
from BrainIACLib.statistics.metrics import auc

if typing.TYPE_CHECKING:
    from Training.starter.evaluate import Answer

SEQUENCES = STANDARD_NAMES
BAD = "bad inputs"
OTHER_SEQUENCE = "sequences outside the four"
NEWBORN = "newborn"
NO_IMAGE = "tissue maps and masks"
TARGET = 0.95


def oddness(row: Mapping[str, str]) -> str | None:
    """Why the input of a row of MANIFEST.csv is odd; "" for a real scan of one of the four sequences.

    None where it is neither: label maps, and averages of many adult heads, which are no real scans.
    """
    if row["file"].startswith("bad/"):
        return BAD
    if row["kind"] in ("scan", "dicom"):
        return "" if row["sequence"] in SEQUENCES else OTHER_SEQUENCE
    if row["kind"] == "atlas" and not row["sequence"]:
        return NO_IMAGE
    if row["kind"] == "atlas" and row["age_years"] and float(row["age_years"]) < 1:
        return NEWBORN
    return None


def novelty_section(chosen: Sequence[Answer], warn_above: float) -> str:
    """One block of the report, from answers of one mode with their ``novelty``."""
    usual, odd = [a for a in chosen if not a.odd], [a for a in chosen if a.odd]
    answered, warned = _answered(usual), _warned(usual, warn_above)
    lines = [
        "## Distance from the training images, brain extraction auto",
        "",
        f"Real scans of the four sequences: {len(usual)} of {_subjects(usual)} subjects, "
        f"{len(usual) - len(answered)} refused; of the others {_share(len(warned), len(answered))} are warned of "
        f"(score above {warn_above:.2f}). Odd inputs: {len(odd)} of {_subjects(odd)} subjects, "
        f"{len(odd) - len(_answered(odd))} refused. Target: AUROC {TARGET:.2f}. Intervals: 95 %, by subject.",
        "",
        "| odd inputs | n | refused | answered and warned of | AUROC among answered | AUROC, refusals most novel |",
        "|---|---|---|---|---|---|",
    ]
    groups = {"all": odd}
    groups |= {f"all but `{BAD}` that show one of the four": [a for a in odd if not (a.odd == BAD and a.truth)]}
    groups |= {name: [a for a in odd if a.odd == name] for name in dict.fromkeys(a.odd for a in odd)}
    for name, those in groups.items():
        caught = _share(len(_warned(those, warn_above)), len(_answered(those)))
        lines.append(
            f"| {name} | {len(those)} | {len(those) - len(_answered(those))} | {caught} "
            f"| {_auroc(answered, _answered(those))} | {_auroc(usual, those)} |"
        )
    lines += ["", "Real scans that are warned of:", ""]
    lines += [f"- `{a.file}`: {a.truth}, score {a.novelty:.2f}" for a in warned] or ["- none"]
    return "\n".join(lines) + "\n"


def _answered(some: Sequence[Answer]) -> list[Answer]:
    return [a for a in some if not a.refusal]


def _warned(some: Sequence[Answer], warn_above: float) -> list[Answer]:
    return [a for a in _answered(some) if a.novelty > warn_above]


def _subjects(some: Sequence[Answer]) -> int:
    return len({a.subject for a in some})


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({part / whole:.0%})" if whole else "")


def _auroc(usual: Sequence[Answer], odd: Sequence[Answer]) -> str:
    """Of odd inputs above usual ones, with its interval; a dash where there are none."""
    if not usual or not odd:
        return "-"
    everything = [*usual, *odd]
    beyond = 1 + max((a.novelty for a in everything if not a.refusal), default=0.0)
    scores = [beyond if a.refusal else a.novelty for a in everything]
    labels = [bool(a.odd) for a in everything]
    subjects = np.unique([a.subject for a in everything], return_inverse=True)[1]
    try:
        found = bootstrap(auc, labels, scores, groups=subjects)
    except StatisticsError:  # too few odd subjects: most resamples hold none
        return f"{auc(labels, scores):.3f} (too few for an interval)"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
