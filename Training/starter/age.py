r"""The bundled age head: fitted on volumes, judged by studies that it has not seen, installed only if it is honest.

    python -m Training.starter.age --data ../shared/data --work runs/probes --install Resources/Models

Reads the embeddings of ``Training.starter.probes`` (made if they are not there). Ridge regression on the anatomy
network's numbers, ages of every decade counting alike, its penalty chosen by whole scanners left out. Persons of two
more scanners of IXI, of whom there are volumes but no scan, take part in the fit by ``anatomy.translation``. Each study
is then left out in turn, all of its scanners at once, everything chosen anew without it, and the head must beat the
constant, the intensity histogram and the block averages in the same persons by a paired test with p < 0.01. Writes
``age.json``; ``--install`` writes the model folder if it passes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.checkpoints.model_card import model_card
from BrainIACLib.contracts import HeadContract, ModelContract, contract_to_json
from BrainIACLib.statistics.agreement import agreement
from BrainIACLib.statistics.bootstrap import paired_permutation_p
from BrainIACLib.statistics.conformal import conformal_quantile
from BrainIACLib.trust.novelty import novelty_of, write_novelty
from Training.starter.anatomy.translation import regions_of, seen_by, translate
from Training.starter.anatomy.views import SEQUENCE_STUDY
from Training.starter.probes import ANATOMY_MODEL, GLOBAL, Features, features_of

HIGHEST_P, YOUNGEST, LARGE_STUDY, COVERAGE = 0.01, 18.0, 20, 0.9
PENALTIES = np.logspace(-1, 4, 21)
BASELINES = ("histogram", "block averages")
DECADE_WEIGHT_AT_MOST = 4.0
OLD, FEWEST = 69.0, 5  # years; persons that a figure is worth giving for
ID, TASK = "structure-volumes-age", "age"


@dataclass(frozen=True)
class Cases:
    """``values``: (n, d); ``ages``: years; ``study`` and ``person``: names; ``block``: (d,) numbers of what belongs
    together, 0 everywhere if not given; ``scanner``: names, the study if not given; ``scanned``: whether the numbers
    come from a scan, as all do if not given."""

    values: np.ndarray
    ages: np.ndarray
    study: np.ndarray
    person: np.ndarray
    block: np.ndarray | None = None
    scanner: np.ndarray | None = None
    scanned: np.ndarray | None = None

    def rows(self, keep: np.ndarray) -> Cases:
        """Some of the cases."""
        scanner = None if self.scanner is None else self.scanner[keep]
        return Cases(
            *(self.values[keep], self.ages[keep], self.study[keep], self.person[keep], self.block),
            *(scanner, self.from_scans[keep]),
        )

    @property
    def scanners(self) -> np.ndarray:
        """(n,) names."""
        return self.study if self.scanner is None else self.scanner

    @property
    def from_scans(self) -> np.ndarray:
        """(n,) bool."""
        return np.ones(len(self.ages), bool) if self.scanned is None else self.scanned


@dataclass(frozen=True)
class AgeHead:
    """years = values @ weights + bias."""

    weights: np.ndarray
    bias: float
    penalty: float

    def ages(self, values: np.ndarray) -> np.ndarray:
        """(n,) years."""
        return values @ self.weights + self.bias


def cases_of(features: Features, representation: str) -> Cases:
    """Adults with a T1 scan and a known age, one scan a person; studies of a few persons count as one."""
    seen, keep = set(), []
    for scan in features.scans:
        usable = scan.sequence == "T1" and scan.age is not None and scan.age >= YOUNGEST and scan.subject not in seen
        keep.append(usable)
        if usable:
            seen.add(scan.subject)
    chosen = features.rows(np.array(keep))
    study = chosen.column("study").astype(object)
    names, counts = np.unique(study.astype(str), return_counts=True)
    small = set(names[counts < LARGE_STUDY])
    study = np.array(["single scans" if name in small else name for name in study])
    values = chosen.of[representation]
    block = (np.arange(values.shape[1]) >= GLOBAL).astype(int) if representation == "anatomy" else None
    return Cases(values, chosen.column("age").astype(float), study, chosen.column("subject"), block)


def with_translated(cases: Cases, features: Features, data: Path) -> Cases:
    """And the persons of IXI's other scanners of whom there are volumes alone."""
    more = translate(regions_of(data), seen_by(features.scans, features.of["anatomy"]))
    count = len(more.values)
    scanner = np.where(cases.study == "IXI", "IXI HH", cases.study)
    return Cases(
        values=np.vstack([cases.values, more.values]),
        ages=np.append(cases.ages, more.regions.ages),
        study=np.append(cases.study, np.full(count, "IXI", object)),
        person=np.append(cases.person, more.regions.persons),
        block=cases.block,
        scanner=np.append(scanner, np.array([f"IXI {site}" for site in more.regions.sites], object)),
        scanned=np.append(np.ones(len(cases.ages), bool), np.zeros(count, bool)),
    )


def fit(cases: Cases) -> AgeHead:
    """Ridge with the penalty that errs least on scanners left out; of one scanner, on tenths of it."""
    parts = cases.scanners if len(set(cases.scanners)) > 1 else np.arange(len(cases.ages)) % 10
    errors = np.zeros(len(PENALTIES))
    for part in np.unique(parts):
        out = parts == part
        heads = _ridges(cases.rows(~out), PENALTIES)
        weights = _decade_weights(cases.ages[out])
        errors += [(weights * (head.ages(cases.values[out]) - cases.ages[out]) ** 2).sum() for head in heads]
    return _ridges(cases, [PENALTIES[int(errors.argmin())]])[0]


def _ridges(cases: Cases, penalties) -> list[AgeHead]:
    """One head a penalty; numbers are standardized, and each block weighs as much as another, however many it has.

    Volumes of whole structures are few and travel between studies; a hundred regional shares would drown them.
    """
    weights = _decade_weights(cases.ages)
    weights = weights / weights.mean()
    middle, scale = np.average(cases.values, axis=0, weights=weights), cases.values.std(axis=0) + 1e-9
    if cases.block is not None:
        sizes = np.bincount(cases.block)
        scale = scale * np.sqrt(sizes[cases.block] / sizes.min())
    age = float(np.average(cases.ages, weights=weights))
    root = np.sqrt(weights)[:, None]
    left, singular, right = np.linalg.svd(root * (cases.values - middle) / scale, full_matrices=False)
    along = left.T @ (root[:, 0] * (cases.ages - age))
    heads = []
    for penalty in penalties:
        coefficients = right.T @ (singular / (singular**2 + penalty) * along) / scale
        heads.append(AgeHead(coefficients, age - float(middle @ coefficients), float(penalty)))
    return heads


def _decade_weights(ages: np.ndarray) -> np.ndarray:
    """Each decade of ages counts alike, but no person more than a few times another."""
    decade = (ages // 10).astype(int)
    counts = np.bincount(decade)[decade]
    return np.minimum(counts.max() / counts, DECADE_WEIGHT_AT_MOST)


@dataclass(frozen=True)
class Left:
    """Answers of heads that never saw the study: (n,) years and which cases lie within the ages fitted on."""

    said: np.ndarray
    constant: np.ndarray
    within: np.ndarray

    def rows(self, keep: np.ndarray) -> Left:
        """Some of the answers."""
        return Left(self.said[keep], self.constant[keep], self.within[keep])


def leave_out(cases: Cases, group: np.ndarray, learned: np.ndarray | None = None) -> Left:
    """Each group, by (n,) names of studies or scanners, judged by a head fitted, penalty and all, on the others.

    Parameters
    ----------
    learned : (n,) which of the others are fitted on; all of them if None.
    """
    fitted = np.ones(len(cases.ages), bool) if learned is None else learned
    said, constant = np.zeros(len(cases.ages)), np.zeros(len(cases.ages))
    within = np.zeros(len(cases.ages), bool)
    for name in np.unique(group):
        out = group == name
        others = cases.rows(~out & fitted)
        said[out] = fit(others).ages(cases.values[out])
        constant[out] = np.average(others.ages, weights=_decade_weights(others.ages))
        within[out] = (cases.ages[out] >= others.ages.min()) & (cases.ages[out] <= others.ages.max())
    return Left(said, constant, within)


def leave_studies_out(cases: Cases) -> Left:
    """What is said of the cases that come from scans, each study left out in turn with all of its scanners."""
    return leave_out(cases, cases.study).rows(cases.from_scans)


def figures(cases: Cases, said: np.ndarray, constant: np.ndarray, within: np.ndarray) -> dict:
    """Errors by study and together, over the cases within the ages fitted on."""
    found = {}
    for name in [*np.unique(cases.study), "all"]:
        chosen = within & ((cases.study == name) | (name == "all"))
        error = said[chosen] - cases.ages[chosen]
        agreed = agreement(cases.ages[chosen], said[chosen])
        found[name] = {
            "persons": int(chosen.sum()),
            "ages": [float(cases.ages[chosen].min()), float(cases.ages[chosen].max())],
            "MAE": round(float(np.abs(error).mean()), 2),
            "bias": round(float(error.mean()), 2),
            "MAE of the constant": round(float(np.abs(constant[chosen] - cases.ages[chosen]).mean()), 2),
            "r": None if agreed.r is None else round(agreed.r, 3),
            "slope": round(agreed.slope, 3),
        }
    return found


def corrected(said: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """Answers without the pull to the mean: the line through (age, answer) undone (Cole et al. 2018, without the age).

    It needs no age of the person who is asked about, and errs more: what was pulled together is stretched again.
    """
    line = agreement(ages, said)
    return (said - line.intercept) / line.slope


def interval(cases: Cases, left: Left) -> tuple[float, float]:
    """Half the width of the 90 % interval, and its coverage of studies that did not set it.

    The width is that of the study that needs the widest one.
    """
    scores = np.abs(left.said - cases.ages)
    studies = np.unique(cases.study)

    def width(names) -> float:
        return max(conformal_quantile(scores[left.within & (cases.study == name)], COVERAGE) for name in names)

    covered = [
        scores[left.within & (cases.study == name)] <= width([other for other in studies if other != name])
        for name in studies
    ]
    return width(studies), float(np.concatenate(covered).mean())


def other_sequences(features: Features, head: AgeHead) -> dict[str, float]:
    """Sequence -> median of |answer - answer to the T1 scan| in years, of heads that have all four."""
    said = head.ages(features.of["anatomy"])
    heads: dict[str, dict[str, float]] = {}
    for scan, years in zip(features.scans, said, strict=True):
        if scan.study == SEQUENCE_STUDY:
            continue  # the network was trained on these persons' sequences
        heads.setdefault(scan.subject, {})[scan.sequence] = float(years)
    complete = [found for found in heads.values() if {"T1", "T2", "FLAIR", "T1CE"} <= set(found)]
    return {
        name: round(float(np.median([abs(found[name] - found["T1"]) for found in complete])), 1)
        for name in ("T2", "FLAIR", "T1CE")
    } | {"heads": len(complete)}


def judge(features: Features, data: Path) -> tuple[dict, Cases]:
    """All figures of the head and its baselines, and whether it passes; and the cases that it is to be fitted on."""
    cases = cases_of(features, "anatomy")
    fitted = with_translated(cases, features, data)
    left, alone = leave_studies_out(fitted), leave_studies_out(cases)
    scanners_out = leave_out(fitted, fitted.scanners)
    mine = np.abs(left.said - cases.ages)
    facts: dict = {
        "across studies": figures(cases, left.said, alone.constant, left.within),
        "across studies, fitted on scans alone": figures(cases, alone.said, alone.constant, left.within),
        "each scanner left out": by_scanner(fitted, scanners_out),
        "each scanner left out, fitted on scans alone": by_scanner(
            fitted, leave_out(fitted, fitted.scanners, fitted.from_scans)
        ),
    }
    persons = np.unique(cases.person, return_inverse=True)[1]
    rivals = {"constant": alone.constant, "scans alone": alone.said}
    for name in BASELINES:
        rivals[name] = leave_studies_out(cases_of(features, name)).said
    facts["baselines"] = {}
    for name, said in rivals.items():
        theirs = np.abs(said - cases.ages)
        keep = left.within
        facts["baselines"][name] = {
            "MAE": round(float(theirs[keep].mean()), 2),
            "bias": round(float((said - cases.ages)[keep].mean()), 2),
            "paired p": float(paired_permutation_p(mine[keep], theirs[keep], persons[keep])),
        }
    facts["passes"] = all(
        facts["baselines"][name]["paired p"] < HIGHEST_P
        and facts["baselines"][name]["MAE"] > facts["across studies"]["all"]["MAE"]
        for name in ("constant", *BASELINES)
    )
    straight = corrected(left.said[left.within], cases.ages[left.within])
    error = straight - cases.ages[left.within]
    facts["without the pull to the mean"] = {
        "MAE": round(float(np.abs(error).mean()), 2),
        "r": round(float(np.corrcoef(straight, cases.ages[left.within])[0, 1]), 3),
    }
    width, coverage = interval(cases, left)
    facts["other sequences"] = other_sequences(features, fit(fitted))
    facts["interval"] = {
        "half width": round(width, 1),
        "coverage of other studies": round(coverage, 3),
        "coverage of scanners left out": round(float((np.abs(scanners_out.said - fitted.ages) <= width).mean()), 3),
    }
    return facts, fitted


def by_scanner(cases: Cases, left: Left) -> dict:
    """Each scanner left out, others of its study not; also of the old alone. Who has no scan is translated."""
    found = {}
    for name in np.unique(cases.scanners):
        for who, youngest in (("", 0.0), (f" of {OLD:.0f} years and more", OLD)):
            chosen = (cases.scanners == name) & (cases.ages >= youngest)
            if chosen.sum() < FEWEST:
                continue
            error, constant = left.said[chosen] - cases.ages[chosen], left.constant[chosen] - cases.ages[chosen]
            found[name + who] = {
                "persons": int(chosen.sum()),
                "from scans": bool(cases.from_scans[chosen].all()),
                "MAE": round(float(np.abs(error).mean()), 2),
                "bias": round(float(error.mean()), 2),
                "MAE of the constant": round(float(np.abs(constant).mean()), 2),
                "r": round(float(np.corrcoef(left.said[chosen], cases.ages[chosen])[0, 1]), 3),
            }
    return found


def install(facts: dict, cases: Cases, folder: Path) -> Path:
    """Write the model folder of the head fitted on all cases."""
    target = folder / ID
    target.mkdir(parents=True, exist_ok=True)
    head, encoder = fit(cases), find_encoder(model_id=ANATOMY_MODEL).contract
    content = save({"fc.weight": head.weights[None].astype(np.float32), "fc.bias": np.array([head.bias], np.float32)})
    (target / "head.safetensors").write_bytes(content)
    scans = cases.rows(cases.from_scans)
    groups = np.unique(scans.person, return_inverse=True)[1]
    ood = write_novelty(novelty_of(scans.values, groups), target / "ood.safetensors")
    across, ages = facts["across studies"], (float(cases.ages.min()), float(cases.ages.max()))
    contract = ModelContract(
        id=ID,
        title="Brain age from volumes",
        version="1.1.0",
        licence="CC BY-SA 3.0 (fitted on IXI scans, share alike); its encoder: " + encoder.licence,
        citation="BrainIAC for 3D Slicer. Scans: IXI (brain-development.org), OpenNeuro ds002748 and others.",
        training_data=f"T1 scans of {len(scans.ages)} adults: "
        + ", ".join(f"{name} {(scans.study == name).sum()}" for name in np.unique(scans.study))
        + f"; volumes alone of {len(cases.ages) - len(scans.ages)} adults of two more scanners of IXI",
        intended_use="Research. The gap to a person's age is not a diagnosis.",
        encoder=encoder.encoder,
        encoder_model=ANATOMY_MODEL,
        head=HeadContract(
            task=TASK,
            head_type="linear",
            outputs=1,
            link="identity",
            labels=None,
            unit="years",
            slots=("T1",),
            missing_policy="refuse",
            temperature=None,
            confidence_gate=None,
            valid_range=f"T1 scans without contrast agent, adults of {ages[0]:.0f} to {ages[1]:.0f} years. Mean error "
            f"in studies that were left out: {across['all']['MAE']:.1f} years; answers are pulled towards the middle "
            f"ages. Most training scans come from one scanner; above {scans.ages.max():.0f} years: volumes alone.",
            polarity_verified=True,
            weights="head.safetensors",
            sha256=hashlib.sha256(content).hexdigest(),
            dropout=0.0,
            plausible_range=(0.0, 120.0),
            training_range=ages,
            training_age_range=ages,
            training_sets=tuple(np.unique(cases.scanners).tolist()),
            training_scans=len(scans.ages),
            conformal=facts["interval"]["half width"],
            conformal_coverage=COVERAGE,
            conformal_measured=facts["interval"]["coverage of other studies"],
            ood_stats="ood.safetensors",
            ood_sha256=ood,
            metrics=tuple(
                f"mean absolute error {found['MAE']} years (constant {found['MAE of the constant']}), bias "
                f"{found['bias']:+} years, {name} left out, {found['persons']} persons"
                for name, found in across.items()
            ),
        ),
    )
    (target / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    record = {**facts, "penalty": head.penalty, "encoder_sha256": encoder.encoder.sha256}
    (target / "evaluation.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if not (target / "card.md").is_file():
        (target / "card.md").write_text(model_card(contract), encoding="utf-8")
    return target


def main(argv: list[str] | None = None) -> int:
    """The command; exit status 0 whatever the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/probes"), help="embeddings and the figures")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="write the model folder there if it passes")
    arguments = parser.parse_args(argv)
    arguments.work.mkdir(parents=True, exist_ok=True)
    facts, cases = judge(features_of(arguments.data, arguments.work), arguments.data)
    text = json.dumps(facts, indent=1)
    (arguments.work / "age.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    if arguments.install and facts["passes"]:
        print(f"installed: {install(facts, cases, arguments.install)}")
    elif not facts["passes"]:
        print("It does not beat every baseline across studies: no age head is to be bundled.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
