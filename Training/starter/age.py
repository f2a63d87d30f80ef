r"""The bundled age head: fitted on volumes, judged by studies that it has not seen, installed only if it is honest.

    python -m Training.starter.age --data ../shared/data --work runs/probes --install Resources/Models

Reads the embeddings of the open scans (``features``; made if they are not there). Ridge regression on the 17 volumes
among the anatomy network's numbers, ages of every decade counting alike, its penalty chosen by persons left out. Each
study is then left out in turn, everything chosen anew without it, and the head must err less than the constant, the
intensity histogram and the block averages in the same persons, by paired tests after Holm. Writes ``age.json``;
``--install`` writes the model folder if it passes.
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
from BrainIACLib.contracts import HeadContract, ModelContract, StandingDoubt, contract_to_json
from BrainIACLib.statistics.agreement import agreement
from BrainIACLib.statistics.bootstrap import paired_permutation_p
from BrainIACLib.statistics.conformal import conformal_quantile
from BrainIACLib.trust.novelty import novelty_of, write_novelty
from Training.command import run
from Training.starter.anatomy.views import SEQUENCE_STUDY
from Training.starter.features import ANATOMY_MODEL, Features, features_of

HIGHEST_P, YOUNGEST, LARGE_STUDY, COVERAGE = 0.05, 18.0, 20, 0.9
PENALTIES = np.logspace(-1, 4, 21)
REPRESENTATION, BASELINES = "volumes", ("histogram", "block averages")
PATIENTS = ("openms cross-sectional", "openms longitudinal")  # multiple sclerosis
DECADE_WEIGHT_AT_MOST = 4.0
REPEATS = 5  # of the random tenths
ID, TASK = "structure-volumes-age", "age"


@dataclass(frozen=True)
class Cases:
    """``values``: (n, d); ``ages``: years; ``study`` and ``person``: names."""

    values: np.ndarray
    ages: np.ndarray
    study: np.ndarray
    person: np.ndarray

    def rows(self, keep: np.ndarray) -> Cases:
        """Some of the cases."""
        return Cases(self.values[keep], self.ages[keep], self.study[keep], self.person[keep])


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
    """Adults with a T1 scan and a known age, one scan a person; studies of a few persons count as one.

    Studies of patients whose disease changes volumes are left out (``PATIENTS``).
    """
    seen, keep = set(), []
    for scan in features.scans:
        usable = scan.sequence == "T1" and scan.age is not None and scan.age >= YOUNGEST and scan.subject not in seen
        usable &= scan.study not in PATIENTS
        keep.append(usable)
        if usable:
            seen.add(scan.subject)
    chosen = features.rows(np.array(keep))
    study = chosen.column("study").astype(object)
    names, counts = np.unique(study.astype(str), return_counts=True)
    small = set(names[counts < LARGE_STUDY])
    study = np.array(["single scans" if name in small else name for name in study])
    return Cases(chosen.of[representation], chosen.column("age").astype(float), study, chosen.column("subject"))


def fit(cases: Cases) -> AgeHead:
    """Ridge with the largest penalty whose error is within one standard error of the least (Breiman et al. 1984).

    Errors are those of persons left out, a tenth at a time. Whole studies left out would be nearer to the question, but
    there are too few of them: nine persons decided the penalty.
    """
    squares = np.zeros((len(PENALTIES), len(cases.ages)))
    for repeat in range(REPEATS):
        part = np.random.default_rng(repeat).permutation(len(cases.ages)) % 10
        for number in range(10):
            out = part == number
            for row, head in zip(squares, _ridges(cases.rows(~out), PENALTIES), strict=True):
                row[out] += (head.ages(cases.values[out]) - cases.ages[out]) ** 2 / REPEATS
    weights = _decade_weights(cases.ages) / _decade_weights(cases.ages).sum()
    errors = squares @ weights
    least = squares[errors.argmin()]
    allowed = errors.min() + np.sqrt((weights**2 * (least - errors.min()) ** 2).sum())
    return _ridges(cases, [PENALTIES[errors <= allowed].max()])[0]


def _ridges(cases: Cases, penalties) -> list[AgeHead]:
    """One head a penalty; numbers are standardized."""
    weights = _decade_weights(cases.ages)
    weights = weights / weights.mean()
    middle, scale = np.average(cases.values, axis=0, weights=weights), cases.values.std(axis=0) + 1e-9
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


def leave_studies_out(cases: Cases) -> Left:
    """Each study judged by a head that was fitted, penalty and all, on the others."""
    said, constant = np.zeros(len(cases.ages)), np.zeros(len(cases.ages))
    within = np.zeros(len(cases.ages), bool)
    for study in np.unique(cases.study):
        out = cases.study == study
        others = cases.rows(~out)
        said[out] = fit(others).ages(cases.values[out])
        constant[out] = np.average(others.ages, weights=_decade_weights(others.ages))
        within[out] = (cases.ages[out] >= others.ages.min()) & (cases.ages[out] <= others.ages.max())
    return Left(said, constant, within)


def figures(cases: Cases, said: np.ndarray, constant: np.ndarray, within: np.ndarray) -> dict:
    """Errors by study and together, over the cases within the ages fitted on."""
    found, own = {}, np.zeros(len(cases.ages))
    for name in np.unique(cases.study):
        own[cases.study == name] = cases.ages[within & (cases.study == name)].mean()
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
            "MAE of their own mean": round(float(np.abs(own[chosen] - cases.ages[chosen]).mean()), 2),
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

    The width is that of the study of at least ``LARGE_STUDY`` persons that needs the widest one: a few persons have no
    90th percentile.
    """
    scores = np.abs(left.said - cases.ages)
    studies, counts = np.unique(cases.study, return_counts=True)
    large = studies[counts >= LARGE_STUDY]

    def width(names) -> float:
        return max(conformal_quantile(scores[left.within & (cases.study == name)], COVERAGE) for name in names)

    covered = [
        scores[left.within & (cases.study == name)] <= width([other for other in large if other != name])
        for name in studies
    ]
    return width(large), float(np.concatenate(covered).mean())


def other_sequences(features: Features, head: AgeHead) -> dict:
    """Sequence -> answers minus the answer to the T1 scan of the same person, years, in the order of their size.

    Of heads with all four sequences, none of which the network was trained on; the age head saw none of them.
    """
    said = head.ages(features.of[REPRESENTATION])
    heads: dict[str, dict[str, float]] = {}
    for scan, years in zip(features.scans, said, strict=True):
        if scan.study != SEQUENCE_STUDY:
            heads.setdefault(scan.subject, {})[scan.sequence] = float(years)
    complete = [found for found in heads.values() if {"T1", "T2", "FLAIR", "T1CE"} <= set(found)]
    return {
        name: sorted((round(found[name] - found["T1"], 1) for found in complete), key=abs)
        for name in ("T2", "FLAIR", "T1CE")
    }


def judge(features: Features) -> tuple[dict, Cases, Left]:
    """All figures of the head and its baselines, and whether it passes."""
    cases = cases_of(features, REPRESENTATION)
    left = leave_studies_out(cases)
    mine = np.abs(left.said - cases.ages)
    facts: dict = {"across studies": figures(cases, left.said, left.constant, left.within)}
    persons = np.unique(cases.person, return_inverse=True)[1]
    rivals = {"constant": left.constant}
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
    by_p = sorted(facts["baselines"].values(), key=lambda found: found["paired p"])
    facts["passes"] = all(
        found["paired p"] * (len(by_p) - rank) < HIGHEST_P and found["MAE"] > facts["across studies"]["all"]["MAE"]
        for rank, found in enumerate(by_p)  # Holm
    )
    straight = corrected(left.said[left.within], cases.ages[left.within])
    error = straight - cases.ages[left.within]
    facts["without the pull to the mean"] = {
        "MAE": round(float(np.abs(error).mean()), 2),
        "r": round(float(np.corrcoef(straight, cases.ages[left.within])[0, 1]), 3),
    }
    width, coverage = interval(cases, left)
    facts["other sequences"] = other_sequences(features, fit(cases))
    facts["interval"] = {"half width": round(width, 1), "coverage of other studies": round(coverage, 3)}
    return facts, cases, left


def standing_doubt(across: dict, half_width: float) -> StandingDoubt:
    """What is shown with every age, so that none looks like a measurement."""
    found = across["all"]
    return StandingDoubt(
        f"In {found['persons']} persons of {found['ages'][0]:.0f} to {found['ages'][1]:.0f} years of studies that were "
        f"left out, the answer was wrong by {found['MAE']:.1f} years on average, and half the 90% interval is "
        f"{half_width:g} years: gaps of this size to the person's age are to be expected without any disease.",
        "doubt",
    )


def install(facts: dict, cases: Cases, embeddings: np.ndarray, folder: Path) -> Path:
    """Write the model folder of the head fitted on all cases.

    Parameters
    ----------
    embeddings : (n, d) of the cases, whose first numbers are those of ``cases``: what the head gets, and what its
        distance from the training cases is measured in.
    """
    target = folder / ID
    target.mkdir(parents=True, exist_ok=True)
    head, encoder = fit(cases), find_encoder(model_id=ANATOMY_MODEL).contract
    weights = np.zeros((1, embeddings.shape[1]), np.float32)
    weights[0, : len(head.weights)] = head.weights
    content = save({"fc.weight": weights, "fc.bias": np.array([head.bias], np.float32)})
    (target / "head.safetensors").write_bytes(content)
    groups = np.unique(cases.person, return_inverse=True)[1]
    ood = write_novelty(novelty_of(embeddings, groups), target / "ood.safetensors")
    across, ages = facts["across studies"], (float(cases.ages.min()), float(cases.ages.max()))
    measured = across["all"]["ages"]
    contract = ModelContract(
        id=ID,
        title="Brain age from volumes",
        version="1.1.0",
        licence="CC BY-SA 3.0 (fitted on IXI scans, share alike); its encoder: " + encoder.licence,
        citation="BrainIAC for 3D Slicer. Scans: IXI (brain-development.org), OpenNeuro ds002748 and others.",
        training_data=f"T1 scans of {len(cases.ages)} adults: "
        + ", ".join(f"{name} {(cases.study == name).sum()}" for name in np.unique(cases.study)),
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
            f"in studies that were left out, {measured[0]:.0f} to {measured[1]:.0f} years old: "
            f"{across['all']['MAE']:.1f} years; answers are pulled towards the middle ages. Most training scans come "
            "from one scanner.",
            polarity_verified=True,
            weights="head.safetensors",
            sha256=hashlib.sha256(content).hexdigest(),
            dropout=0.0,
            plausible_range=(0.0, 120.0),
            training_range=ages,
            training_age_range=ages,
            training_sets=tuple(np.unique(cases.study).tolist()),
            training_scans=len(cases.ages),
            standing_doubt=standing_doubt(across, facts["interval"]["half width"]),
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
    features = features_of(arguments.data, arguments.work)
    facts, cases, _ = judge(features)
    text = json.dumps(facts, indent=1)
    (arguments.work / "age.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    if arguments.install and facts["passes"]:
        print(f"installed: {install(facts, cases, cases_of(features, 'anatomy').values, arguments.install)}")
    elif not facts["passes"]:
        print("It does not beat every baseline across studies: no age head is to be bundled.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run("age", main))
