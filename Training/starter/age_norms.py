r"""Percentiles for age of the bundled volumes: curves from DLMUSE's tables, on the scale of the bundled network.

    python -m Training.starter.age_norms --data ../shared/data --work runs/probes --install Resources/Models

327 healthy adults of three scanners have DLMUSE volumes and ages, a hundred and more of them no scan here. Persons with
both say how this network's share of a structure follows DLMUSE's: a line of the logarithms, and what it leaves
unexplained. Those are the persons that the network was trained on by their volumes; no age enters the line. Along the
translated shares lies a parabola of age; its spread is that of the persons and of the network's own errors together.

A structure gets a curve only if the network follows DLMUSE (``LEAST_R`` of the shares) and if each scanner's persons
lie on the curve of the others (mean z-score within ``FARTHEST``): a scanner's offset must not be read as atrophy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.models.anatomy import SMALLEST_ML
from BrainIACLib.structures import STRUCTURES, VENTRICLES
from BrainIACLib.volumes.percentiles import DECADE, FILE, LEAST_SHARE, MIDDLE_AGE
from Training.starter.anatomy.real_scans import is_trained_on, ixi_scans
from Training.starter.anatomy.reference import COLUMNS, TablePerson, person_of, three_sites, two_millimetres
from Training.starter.open_scans import OpenScan, all_prepared, open_scans, prepared
from Training.starter.probes import ANATOMY_MODEL, anatomy

LEAST_R, FARTHEST = 0.7, 0.5
STRUCTURES_OF_TABLES = tuple(name for name in COLUMNS if name not in ("intracranial", "gray matter", "white matter"))
SOURCE = "IXI (brain-development.org), three scanners, volumes by NiChart DLMUSE"
LICENCE = "CC BY-SA 3.0"
SMALL_STUDY = 20  # persons; scans of such studies are looked at together


@dataclass(frozen=True)
class Line:
    """log of our share = slope * log of DLMUSE's + intercept, with errors of SD ``noise``; ``r``: of the two."""

    slope: float
    intercept: float
    noise: float
    r: float


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
    return Line(float(slope), float(intercept), float(noise), float(np.corrcoef(theirs, ours)[0, 1]))


def parabola(age: np.ndarray, logarithm: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of 1, x, x^2 for x = (age - 50) / 10, and the SD around it (least squares)."""
    powers = _powers(age)
    coefficients = np.linalg.lstsq(powers, logarithm, rcond=None)[0]
    return coefficients, float(np.sqrt(((logarithm - powers @ coefficients) ** 2).sum() / (len(age) - 3)))


def _powers(age: np.ndarray) -> np.ndarray:
    return np.stack([((age - MIDDLE_AGE) / DECADE) ** power for power in range(3)], 1)


def scanner_offsets(persons: Sequence[TablePerson], name: str) -> dict[str, float]:
    """Scanner -> mean z-score of its persons on the curve of the others', all by DLMUSE."""
    logarithm, age = logarithms(persons, name), np.array([person.age for person in persons])
    site = np.array([person.site for person in persons])
    found = {}
    for one in np.unique(site):
        mine = site == one
        coefficients, deviation = parabola(age[~mine], logarithm[~mine])
        found[str(one)] = float(((logarithm[mine] - _powers(age[mine]) @ coefficients) / deviation).mean())
    return found


def repeated(tables: Sequence[Sequence[TablePerson]], name: str) -> float:
    """r of the logarithms of DLMUSE's shares of the persons who are in both tables: what nobody can follow better."""
    first, second = ({person.person: person for person in table} for table in tables)
    both = sorted(first.keys() & second.keys())
    pair = [logarithms([table[person] for person in both], name) for table in (first, second)]
    return float(np.corrcoef(pair)[0, 1])


def norms_of(
    tables: Sequence[Sequence[TablePerson]], measured: dict[str, dict[str, float]]
) -> tuple[dict, dict[str, dict]]:
    """The curves of the file, and the facts of each structure.

    Parameters
    ----------
    tables : the persons of each table; the first holds several scanners, each person counts by the first with him.
    measured : person -> structure -> our share, of persons who are in the tables.
    """
    known = {person.person for person in tables[0]}
    groups = [tables[0], *([one for one in table if one.person not in known] for table in tables[1:])]
    curves, facts = {}, {}
    for name in STRUCTURES_OF_TABLES:
        lines, translated = [], []
        for table, counted in zip(tables, groups, strict=True):
            both = [person for person in table if person.person in measured]
            ours = np.log([max(measured[person.person][name], LEAST_SHARE) for person in both])
            lines.append(line(logarithms(both, name), ours))
            translated.append(lines[-1].slope * logarithms(counted, name) + lines[-1].intercept)
        age = np.array([person.age for group in groups for person in group])
        coefficients, deviation = parabola(age, np.concatenate(translated))
        offsets = scanner_offsets(tables[0], name)
        r, noise = min(one.r for one in lines), max(one.noise for one in lines)
        given = r >= LEAST_R and max(map(abs, offsets.values())) <= FARTHEST
        facts[name] = {"r": r, "itself": repeated(tables, name), "offsets": offsets, "given": given}
        curve = {
            "coefficients": [round(float(c), 5) for c in coefficients],
            "deviation": round(float(np.hypot(deviation, noise)), 5),
        }
        facts[name]["curve"] = curve
        if given:
            curves[name] = curve
    ages = [person.age for group in groups for person in group]
    return {"persons": len(ages), "ages": [round(min(ages), 1), round(max(ages), 1)], "curves": curves}, facts


def z_score(curve: dict, share: float, age: float) -> float:
    """SDs above the curve."""
    usual = _powers(np.array([age]))[0] @ np.array(curve["coefficients"])
    return float((np.log(max(share, LEAST_SHARE)) - usual) / curve["deviation"])


def report(content: dict, facts: dict[str, dict], others: list[tuple[OpenScan, dict[str, float]]]) -> str:
    """Markdown."""
    sites = sorted(next(iter(facts.values()))["offsets"])
    low, high = content["ages"]
    lines = [
        "# Percentiles for age",
        "",
        "Made by `python -m Training.starter.age_norms --data ../shared/data`. "
        f"{content['persons']} adults of {low:.0f} to {high:.0f} years, {SOURCE}; {LICENCE}.",
        "",
        f"r: of this network's shares with DLMUSE's, at least {LEAST_R}; of DLMUSE's at 2 mm with DLMUSE's at full",
        "resolution, of persons in both tables. Scanners: mean z-score of their persons on",
        f"the curve of the other scanners' persons, both by DLMUSE, at most {FARTHEST}. Last: mean and SD of the",
        f"z-scores of {len(others)} adults of other studies, measured by this network; 0 and 1 are right.",
        "",
        "| structure | r | r of DLMUSE with itself | " + " | ".join(sites) + " | percentiles | other studies |",
        "|---" * (len(sites) + 5) + "|",
    ]
    for name, found in facts.items():
        z = np.array([z_score(found["curve"], shares[name], float(scan.age or 0)) for scan, shares in others])
        cells = [f"{found['r']:.2f}", f"{found['itself']:.2f}", *(f"{found['offsets'][site]:+.2f}" for site in sites)]
        cells += ["yes" if found["given"] else "no", f"{z.mean():+.1f}, {z.std():.1f}" if len(z) > 1 else "-"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/probes"), help="standardized scans")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="write the curves beside the network there")
    arguments = parser.parse_args(argv)
    cache = arguments.work / "standardised"
    tables = (three_sites(arguments.data), two_millimetres(arguments.data))
    listed = {person.person for table in tables for person in table}
    trained = [scan for scan in ixi_scans(arguments.data) if is_trained_on(person_of(scan.file))]
    trained = [scan for scan in trained if person_of(scan.file) in listed]
    scans = all_prepared(trained + _single(arguments.data), cache)
    shares = shares_in(anatomy(prepared(scan, cache).image for scan in scans)["anatomy"])
    rows = [{name: float(values[i]) for name, values in shares.items()} for i in range(len(scans))]
    pairs = list(zip(scans, rows, strict=True))
    measured = {person_of(scan.file): row for scan, row in pairs if scan.study == "IXI"}
    content, facts = norms_of(tables, measured)
    text = report(content, facts, [(scan, row) for scan, row in pairs if scan.study != "IXI"])
    print(text)
    if arguments.install:
        target = arguments.install / ANATOMY_MODEL
        about = {"source": SOURCE, "licence": LICENCE}
        sha256 = find_encoder(model_id=ANATOMY_MODEL).contract.encoder.sha256
        (target / FILE).write_text(json.dumps({**about, "encoder_sha256": sha256, **content}, indent=1) + "\n", "utf-8")
        (target / "percentiles.md").write_text(text, encoding="utf-8")
        print(f"installed: {target / FILE}")
    return 0


def _single(data: Path) -> list[OpenScan]:
    """T1 scans of adults of known age in studies of a few persons, one scan a person."""
    scans = [scan for scan in open_scans(data) if scan.sequence == "T1" and scan.age is not None and scan.age >= 18]
    names, counts = np.unique([scan.study for scan in scans], return_counts=True)
    small = set(names[counts < SMALL_STUDY])
    return list({scan.subject: scan for scan in reversed(scans) if scan.study in small}.values())


if __name__ == "__main__":
    raise SystemExit(main())
