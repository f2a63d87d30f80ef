r"""What embeddings know, by one command: age, sex, sequence, study, agreement; beside baselines without training.

    python -m Training.starter.probes --data ../shared/data --work runs/probes

Asks every representation of the open scans (``features``, kept in ``--work``) the same questions with the same heads:
ridge regression or logistic regression whose penalty is chosen by patients left out. *Across studies* means that the
study that is judged took no part in the fit; studies of one source, such as the two of BraTS, are one. Writes
``probes.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from BrainIACLib.head_training.linear_head import fit_linear_head
from BrainIACLib.head_training.targets import Target
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.statistics.bootstrap import paired_permutation_p
from BrainIACLib.statistics.metrics import balanced_accuracy
from Training.command import run
from Training.evaluation.evaluation import holm
from Training.starter.evaluate import wilson_interval
from Training.starter.features import REPRESENTATIONS, Features, features_of, repeated
from Training.starter.open_scans import manifest_sha256

FOLDS = 5
SEQUENCES = STANDARD_NAMES
WITH_LESIONS = ("BraTS2021", "UPENN-GBM", "openms cross-sectional", "openms longitudinal")  # gliomas, plaques


def answers(values: np.ndarray, target: np.ndarray, fold: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What heads fitted on all other folds say to each case: numbers for numbers, else labels."""
    regression = target.dtype.kind == "f"
    classes = () if regression else tuple(sorted(set(target)))
    codes = target if regression else np.searchsorted(classes, target)
    found = np.full(len(target), np.nan) if regression else np.full(len(target), "", dtype=target.dtype)
    for number in np.unique(fold):
        out = fold == number
        seen = ~out
        there = classes if regression else tuple(np.unique(target[seen]))
        kind = "regression" if regression else "classification"
        labels = codes[seen] if regression else np.searchsorted(there, target[seen])
        head = fit_linear_head(
            values[seen], Target("probe", kind, labels, there), groups[seen], np.random.default_rng(0)
        )
        outputs = head.outputs(values[out])
        if regression:
            found[out] = outputs[:, 0]
        elif outputs.shape[1] == 1:
            found[out] = np.array(there)[(outputs[:, 0] > 0).astype(int)]
        else:
            found[out] = np.array(there)[outputs.argmax(1)]
    return found


def folds_by_subject(subjects: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n,) numbers of random folds that keep a subject together."""
    names, index = np.unique(subjects, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[index]


def effective_rank(values: np.ndarray) -> float:
    """exp of the entropy of the shares of the singular values of the centered table (Roy and Vetterli 2007)."""
    singular = np.linalg.svd(values - values.mean(0), compute_uv=False)
    shares = singular / singular.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def agreement_of_contrasts(values: np.ndarray, subjects: np.ndarray) -> float:
    """Median over the numbers of an embedding of ICC(1): one head under several sequences (Shrout and Fleiss 1979).

    1: a subject's scans say the same whatever their sequence; 0 or less: sequence outweighs subject. Numbers that are
    the same in all scans, such as blocks outside the brain, say nothing and are left out.
    """
    values = values[:, np.ptp(values, axis=0) > 0]
    names, index, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    repeats, groups = len(subjects) / len(names), len(names)
    means = np.stack([values[index == i].mean(0) for i in range(groups)])
    between = (counts[:, None] * (means - values.mean(0)) ** 2).sum(0) / (groups - 1)
    within = ((values - means[index]) ** 2).sum(0) / (len(subjects) - groups)
    icc = (between - within) / np.maximum(between + (repeats - 1) * within, 1e-12)
    return float(np.median(icc))


def report(features: Features, repeats: tuple[dict[str, np.ndarray], np.ndarray], manifest: str) -> str:
    """All probes as Markdown. ``repeats``: as ``repeated`` gives them."""
    lines = [
        "# What the embeddings know",
        "",
        "Made by `python -m Training.starter.probes --data ../shared/data`; manifest sha256 " + manifest[:12] + ".",
        "*Sequence encoder*: version 1.2 of it, from simulated images alone; the bundled version learned the sequence "
        "of many of these scans.",
        "",
        "| | " + " | ".join(REPRESENTATIONS) + " |",
        "|---" * (len(REPRESENTATIONS) + 1) + "|",
    ]
    lines.append("| numbers | " + " | ".join(str(features.of[name].shape[1]) for name in REPRESENTATIONS) + " |")
    for title, row in _rows(features, repeats):
        lines.append(f"| {title} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _rows(features: Features, repeats: tuple[dict[str, np.ndarray], np.ndarray]):
    sequence, study = features.column("sequence"), features.column("study")
    plain = features.rows((sequence == "T1") & (study != "ds000228"))  # over-stripped: no brain to speak of
    aged = plain.rows(np.array([scan.age is not None and scan.age >= 18 for scan in plain.scans]))
    ages, studies, subjects = aged.column("age").astype(float), aged.column("study"), aged.column("subject")
    large = [name for name in np.unique(studies) if (studies == name).sum() >= 20]
    small = ~np.isin(studies, large)
    groups = np.unique(subjects, return_inverse=True)[1]
    for name in large:
        inside = studies == name
        constant = np.abs(ages[inside] - ages[inside].mean()).mean()
        row = []
        for representation in REPRESENTATIONS:
            said = answers(
                aged.of[representation][inside], ages[inside], folds_by_subject(subjects[inside]), groups[inside]
            )
            row.append(f"{np.abs(said - ages[inside]).mean():.1f}")
        yield f"age within {name} (n {inside.sum()}), MAE; constant {constant:.1f}", row
    fold = np.full(len(ages), -1)
    for number, name in enumerate(large):
        fold[studies == name] = number
    fold[small] = len(large)
    said = {name: answers(aged.of[name], ages, fold, groups) for name in REPRESENTATIONS}
    inside = np.zeros(len(ages), bool)
    for number, name in enumerate([*large, "the single scans"]):
        judged = fold == number
        trained = ages[~judged]
        judged &= (ages >= trained.min()) & (ages <= trained.max())
        inside |= judged
        constant = np.abs(ages[judged] - trained.mean()).mean()
        row = [_error(said[one][judged], ages[judged]) for one in REPRESENTATIONS]
        yield f"age across: {name} left out (n {judged.sum()}), MAE (bias); constant {constant:.1f}", row
    errors = {name: np.abs(said[name] - ages) for name in REPRESENTATIONS}
    others = REPRESENTATIONS[1:]
    p = [paired_permutation_p(errors["anatomy"][inside], errors[name][inside], groups[inside]) for name in others]
    row = ["-"] + [
        f"{(errors['anatomy'] - errors[name])[inside].mean():+.1f} ({corrected:.4f})"
        for name, corrected in zip(others, holm(np.array(p)), strict=True)
    ]
    yield f"age across (n {inside.sum()}), anatomy's mean error minus theirs (paired p, Holm of {len(p)})", row
    sexed = plain.rows(np.isin(plain.column("sex"), ["F", "M"]))
    sex, subjects = sexed.column("sex"), sexed.column("subject")
    groups = np.unique(subjects, return_inverse=True)[1]
    fold = folds_by_subject(subjects)
    row = [_share(answers(sexed.of[name], sex, fold, groups), sex) for name in REPRESENTATIONS]
    head_size = _share(answers(sexed.of["volumes"][:, :1], sex, fold, groups), sex)
    majority = _share(majority_of_study(sex, sexed.column("study"), fold), sex)
    yield (
        f"sex ({len(sex)} scans, {len(set(subjects))} persons), balanced accuracy; the study's majority {majority}, "
        f"intracranial volume alone {head_size}",
        row,
    )
    known = features.rows(np.isin(sequence, SEQUENCES))
    truth, subjects = known.column("sequence"), known.column("subject")
    groups = np.unique(subjects, return_inverse=True)[1]
    fold = np.unique(known.sources(), return_inverse=True)[1]
    row = [_share(answers(known.of[name], truth, fold, groups), truth) for name in REPRESENTATIONS]
    yield f"sequence, each study left out (n {len(truth)}), balanced accuracy", row
    diseased = np.where(np.isin(plain.column("study"), WITH_LESIONS), "lesions", "none")
    fold, groups = (np.unique(names, return_inverse=True)[1] for names in (plain.sources(), plain.column("subject")))
    ill = diseased == "lesions"
    row = [_found(answers(plain.of[name], diseased, fold, groups), diseased, ill) for name in REPRESENTATIONS]
    yield (
        f"lesions, T1 scans, each study left out (n {len(ill)}), balanced accuracy; found of {ill.sum()} (95 %). "
        "**Not measurable here: in the studies of those with lesions everybody has them**",
        row,
    )
    both = plain.rows(np.isin(plain.column("study"), large))
    truth, subjects = both.column("study"), both.column("subject")
    groups = np.unique(subjects, return_inverse=True)[1]
    row = [_share(answers(both.of[name], truth, folds_by_subject(subjects), groups), truth) for name in REPRESENTATIONS]
    yield "which study (lower is better), balanced accuracy", row
    several = known.rows(np.isin(known.column("study"), ["openms cross-sectional", "UPENN-GBM"]))
    heads = several.column("subject")
    row = [_agreement(several.of[name], heads) for name in REPRESENTATIONS]
    yield f"same head, four sequences ({len(set(heads))} heads), median ICC (any one head left out)", row
    of, heads = repeats
    row = [_agreement(of[name], heads) for name in REPRESENTATIONS]
    yield (
        f"same head, turned, thicker slices, bias field ({len(set(heads))} heads), median ICC (any one head left out)",
        row,
    )
    yield "effective rank, T1 scans", [f"{effective_rank(plain.of[name]):.1f}" for name in REPRESENTATIONS]


def majority_of_study(target: np.ndarray, study: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(n,) for each case the commonest label of its study in the other folds; of all studies where it has none."""
    found = target.copy()
    for case in range(len(target)):
        seen = fold != fold[case]
        own = seen & (study == study[case])
        labels, counts = np.unique(target[own if own.any() else seen], return_counts=True)
        found[case] = labels[counts.argmax()]
    return found


def _agreement(values: np.ndarray, heads: np.ndarray) -> str:
    """The agreement, and its range with any one head left out."""
    whole = f"{agreement_of_contrasts(values, heads):.2f}"
    names = np.unique(heads)
    if len(names) < 3:
        return whole
    without = [agreement_of_contrasts(values[heads != name], heads[heads != name]) for name in names]
    return f"{whole} ({min(without):.2f} to {max(without):.2f})"


def _found(said: np.ndarray, truth: np.ndarray, ill: np.ndarray) -> str:
    """Balanced accuracy, and how many of the ill were found, with Wilson's interval."""
    right = int((said[ill] == truth[ill]).sum())
    low, high = wilson_interval(right, int(ill.sum()))
    return f"{_share(said, truth)}; {right} ({100 * low:.0f} to {100 * high:.0f} %)"


def _error(said: np.ndarray, truth: np.ndarray) -> str:
    return f"{np.abs(said - truth).mean():.1f} ({(said - truth).mean():+.1f})"


def _share(said: np.ndarray, truth: np.ndarray) -> str:
    return f"{balanced_accuracy(truth, said):.2f}"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/probes"), help="standardized scans and the report")
    arguments = parser.parse_args(argv)
    arguments.work.mkdir(parents=True, exist_ok=True)
    features, repeats = features_of(arguments.data, arguments.work), repeated(arguments.data, arguments.work)
    text = report(features, repeats, manifest_sha256(arguments.data))
    (arguments.work / "probes.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(run("probes", main))
