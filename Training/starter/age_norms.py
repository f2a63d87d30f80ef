r"""Percentiles for age of the bundled volumes: curves from DLMUSE's tables, on the scale of the bundled network.

    python -m Training.starter.age_norms --data ../shared/data --work runs/probes --install Resources/Models

Healthy adults of three scanners have DLMUSE volumes and ages, most of them no scan here. Persons with both, whom the
network was not trained on, say how its share of a structure follows DLMUSE's: a line of the logarithms, and what it
leaves unexplained. Along the translated shares lies a parabola of age; its spread is that of the persons and of the
network's own errors together.

A structure gets a curve only if the network follows DLMUSE (``LEAST_R`` of the shares, in each table) and if each
scanner's persons lie on the curve of the others (mean z-score within ``FARTHEST``): a scanner's offset must not be read
as atrophy. Below 40 years there is one scanner, so that its agreement is not tested there.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.models.anatomy import SMALLEST_ML
from BrainIACLib.structures import STRUCTURES, VENTRICLES
from BrainIACLib.volumes.percentiles import DECADE, FILE, LEAST_SHARE, MIDDLE_AGE
from Training.command import run
from Training.starter.anatomy.real_scans import is_trained_on, ixi_scans
from Training.starter.anatomy.reference import COLUMNS, TablePerson, person_of, three_sites, two_millimetres
from Training.starter.features import ANATOMY_MODEL, anatomy
from Training.starter.open_scans import OpenScan, all_prepared, open_scans, prepared

LEAST_R, FARTHEST = 0.7, 0.5
OLDEST = 80.0  # years; two persons of the tables are older
STRUCTURES_OF_TABLES = tuple(name for name in COLUMNS if name not in ("intracranial", "gray matter", "white matter"))
SOURCE = "IXI (brain-development.org), three scanners from 40 years on and one below, volumes by NiChart DLMUSE"
LICENCE = "CC BY-SA 3.0"
CONTROLS = {"ds002748": "group=control", "ds000002": ""}  # study of healthy adults: what their notes hold
NOTES = f"""\
- r: of this network's shares with DLMUSE's (logarithms), at least {LEAST_R}, of persons whom it was **not trained
  on**: the lower of two tables ({{persons}} of them), with 95 % interval. Line and errors of each curve are theirs too.
- DLMUSE itself: r of DLMUSE at 2 mm with DLMUSE at full resolution, of persons in both tables.
- Scanners: mean z-score of their persons on the curve of the other scanners' persons, both by DLMUSE, ± standard error;
  the mean at most {FARTHEST}. All these persons are 40 or older. **Below 40 there is one scanner (HH), at 2 mm: whether
  others agree is not tested there.**
- Other studies: mean z-score [95 % interval], SD of healthy adults of these ages, measured by this network; 0 and 1 are
  right. No patients. Persons of one study share a scanner, which the interval does not know of.
"""


@dataclass(frozen=True)
class Line:
    """log of our share = slope * log of DLMUSE's + intercept, with errors of SD ``noise``; ``r``: of the two."""

    slope: float
    intercept: float
    noise: float
    r: float
    persons: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of r (Fisher's z)."""
        half = 1.96 / math.sqrt(self.persons - 3)
        return math.tanh(math.atanh(self.r) - half), math.tanh(math.atanh(self.r) + half)


@dataclass(frozen=True)
class Offset:
    """``mean`` z-score of a scanner's persons on the curve of the others, and its standard ``error``."""

    mean: float
    error: float


@dataclass(frozen=True)
class Judged:
    """What is known of a structure. ``lines``: of each table; ``itself``: r of DLMUSE at two resolutions."""

    lines: tuple[Line, ...]
    itself: float
    offsets: dict[str, Offset]
    curve: dict[str, object]

    @property
    def given(self) -> bool:
        """Whether percentiles are given."""
        followed = min(one.r for one in self.lines) >= LEAST_R
        return followed and all(abs(offset.mean) <= FARTHEST for offset in self.offsets.values())


def shares_in(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """Structure, or all ventricles -> (n,) shares of the intracranial volume, from embeddings (n, d)."""
    whole = np.exp(embeddings[:, 0]) * 1000
    found = {
        structure.name: (np.exp(embeddings[:, index]) * whole - SMALLEST_ML).clip(0) / whole
        for index, structure in enumerate(STRUCTURES)
        if index
    }
    return found | {"ventricles": np.sum([found[part] for part in VENTRICLES], axis=0)}


def logarithms(persons: Sequence[TablePerson], name: str) -> np.ndarray:
    """(n,) of DLMUSE's shares."""
    return np.log([max(person.ml[name] / person.ml["intracranial"], LEAST_SHARE) for person in persons])


def line(theirs: np.ndarray, ours: np.ndarray) -> Line:
    """Least squares through pairs of logarithms, (n,) each."""
    slope, intercept = np.polyfit(theirs, ours, 1)
    left = ours - slope * theirs - intercept
    noise = np.sqrt((left**2).sum() / (len(left) - 2))
    return Line(float(slope), float(intercept), float(noise), float(np.corrcoef(theirs, ours)[0, 1]), len(ours))


def parabola(age: np.ndarray, logarithm: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of 1, x, x^2 for x = (age - 50) / 10, and the SD around it (least squares)."""
    powers = _powers(age)
    coefficients = np.linalg.lstsq(powers, logarithm, rcond=None)[0]
    return coefficients, float(np.sqrt(((logarithm - powers @ coefficients) ** 2).sum() / (len(age) - 3)))


def _powers(age: np.ndarray) -> np.ndarray:
    return np.stack([((age - MIDDLE_AGE) / DECADE) ** power for power in range(3)], 1)


def scanner_offsets(persons: Sequence[TablePerson], name: str) -> dict[str, Offset]:
    """By scanner, all by DLMUSE. The error is that of the persons' mean and of the others' curve together."""
    logarithm, age = logarithms(persons, name), np.array([person.age for person in persons])
    site = np.array([person.site for person in persons])
    found = {}
    for one in np.unique(site):
        mine = site == one
        coefficients, deviation = parabola(age[~mine], logarithm[~mine])
        z = (logarithm[mine] - _powers(age[mine]) @ coefficients) / deviation
        others, middle = _powers(age[~mine]), _powers(age[mine]).mean(0)
        error = np.sqrt(z.var(ddof=1) / len(z) + middle @ np.linalg.inv(others.T @ others) @ middle)
        found[str(one)] = Offset(float(z.mean()), float(error))
    return found


def repeated(tables: Sequence[Sequence[TablePerson]], name: str) -> float:
    """r of the logarithms of DLMUSE's shares of the persons who are in both tables: what nobody can follow better."""
    first, second = ({person.person: person for person in table} for table in tables)
    both = sorted(first.keys() & second.keys())
    pair = [logarithms([table[person] for person in both], name) for table in (first, second)]
    return float(np.corrcoef(pair)[0, 1])


def norms_of(
    tables: Sequence[Sequence[TablePerson]], measured: dict[str, dict[str, float]]
) -> tuple[dict, dict[str, Judged]]:
    """The curves of the file, and what is known of each structure.

    Parameters
    ----------
    tables : the persons of each table; the first holds several scanners, each person counts by the first with him.
    measured : person -> structure -> our share, of persons in the tables whom the network was not trained on.
    """
    known = {person.person for person in tables[0]}
    groups = [tables[0], *([one for one in table if one.person not in known] for table in tables[1:])]
    age = np.array([person.age for group in groups for person in group])
    judged = {}
    for name in STRUCTURES_OF_TABLES:
        lines, translated = [], []
        for table, counted in zip(tables, groups, strict=True):
            both = [person for person in table if person.person in measured]
            ours = np.log([max(measured[person.person][name], LEAST_SHARE) for person in both])
            lines.append(line(logarithms(both, name), ours))
            translated.append(lines[-1].slope * logarithms(counted, name) + lines[-1].intercept)
        coefficients, deviation = parabola(age, np.concatenate(translated))
        noise = max(one.noise for one in lines)
        curve = {
            "coefficients": [round(float(c), 5) for c in coefficients],
            "deviation": round(float(np.hypot(deviation, noise)), 5),
        }
        judged[name] = Judged(tuple(lines), repeated(tables, name), scanner_offsets(tables[0], name), curve)
    curves = {name: found.curve for name, found in judged.items() if found.given}
    return {"persons": len(age), "ages": [math.ceil(age.min()), math.floor(age.max())], "curves": curves}, judged


def z_score(curve: dict, share: float, age: float) -> float:
    """SDs above the curve."""
    usual = _powers(np.array([age]))[0] @ np.array(curve["coefficients"])
    return float((np.log(max(share, LEAST_SHARE)) - usual) / curve["deviation"])


def report(content: dict, judged: dict[str, Judged], others: list[tuple[OpenScan, dict[str, float]]]) -> str:
    """Markdown."""
    first = next(iter(judged.values()))
    sites = sorted(first.offsets)
    persons = " and ".join(str(one.persons) for one in first.lines)
    low, high = content["ages"]
    counts = {study: sum(scan.study == study for scan, _ in others) for study in CONTROLS}
    lines = [
        "# Percentiles for age",
        "",
        "Made by `python -m Training.starter.age_norms --data ../shared/data`. "
        f"{content['persons']} adults of {low} to {high} years, {SOURCE}; {LICENCE}.",
        "",
        NOTES.format(persons=persons),
        "| structure | r, not trained on | DLMUSE itself | "
        + " | ".join([*sites, "percentiles", *(f"{study}, n = {n}" for study, n in counts.items())])
        + " |",
        "|---" * (len(sites) + len(counts) + 4) + "|",
    ]
    for name, found in judged.items():
        least = min(found.lines, key=lambda one: one.r)
        cells = [f"{least.r:.2f} [{least.interval[0]:.2f}, {least.interval[1]:.2f}]", f"{found.itself:.2f}"]
        cells += [f"{found.offsets[site].mean:+.2f} ± {found.offsets[site].error:.2f}" for site in sites]
        cells.append("yes" if found.given else "no")
        for study in CONTROLS:
            mine = [(scan, shares) for scan, shares in others if scan.study == study]
            cells.append(_spread([z_score(found.curve, shares[name], float(scan.age or 0)) for scan, shares in mine]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(z: list[float]) -> str:
    """Mean with 95 % interval (Student's t), and SD."""
    if len(z) < 2:
        return "-"
    low, high = stats.t.interval(0.95, len(z) - 1, np.mean(z), stats.sem(z))
    return f"{np.mean(z):+.1f} [{low:+.1f}, {high:+.1f}], {np.std(z, ddof=1):.1f}"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/probes"), help="standardized scans")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="write the curves beside the network there")
    arguments = parser.parse_args(argv)
    cache = arguments.work / "standardised"
    tables = [
        [person for person in table if person.age <= OLDEST]
        for table in (three_sites(arguments.data), two_millimetres(arguments.data))
    ]
    ready = all_prepared(not_trained_on(arguments.data, tables), cache)
    measured = dict(zip((person_of(scan.file) for scan in ready), _shares(ready, cache), strict=True))
    content, judged = norms_of(tables, measured)
    others = all_prepared(controls(arguments.data, content["ages"]), cache)
    text = report(content, judged, list(zip(others, _shares(others, cache), strict=True)))
    print(text)
    if arguments.install:
        target = arguments.install / ANATOMY_MODEL
        about = {"source": SOURCE, "licence": LICENCE}
        sha256 = find_encoder(model_id=ANATOMY_MODEL).contract.encoder.sha256
        (target / FILE).write_text(json.dumps({**about, "encoder_sha256": sha256, **content}, indent=1) + "\n", "utf-8")
        (target / "percentiles.md").write_text(text, encoding="utf-8")
        print(f"installed: {target / FILE}")
    return 0


def not_trained_on(data: Path, tables: Sequence[Sequence[TablePerson]]) -> list[OpenScan]:
    """The scans of persons in the tables whom the network was not trained on."""
    listed = {person.person for table in tables for person in table}
    persons = {scan: person_of(scan.file) for scan in ixi_scans(data)}
    return [scan for scan, person in persons.items() if person in listed and not is_trained_on(person)]


def controls(data: Path, ages: Sequence[float]) -> list[OpenScan]:
    """T1 scans of the healthy adults of other studies within the ages of the curves, one scan a person."""
    scans = [scan for scan in open_scans(data) if scan.sequence == "T1" and scan.study in CONTROLS]
    scans = [scan for scan in scans if CONTROLS[scan.study] in scan.note]
    scans = [scan for scan in scans if scan.age is not None and ages[0] <= scan.age <= ages[1]]
    return list({scan.subject: scan for scan in reversed(scans)}.values())


def _shares(scans: list[OpenScan], cache: Path) -> list[dict[str, float]]:
    """Structure -> our share of the intracranial volume, of each scan."""
    found = shares_in(anatomy(prepared(scan, cache).image for scan in scans)["anatomy"])
    return [{name: float(values[index]) for name, values in found.items()} for index in range(len(scans))]


if __name__ == "__main__":
    raise SystemExit(run("age_norms", main))
