"""``python -m Training.reproduction.what_helps --out DIR``: which part of a pretraining helps, on simulated patients.

The pretraining of ``reproduce --preset small`` is repeated with one thing changed at a time. Each encoder is then
frozen, and a linear probe on it is tested on patients with other head shapes: the sequence of a scan (balanced
accuracy), and age and tumor radius of a patient from the mean over four scans (mean absolute error). The age is
simulated: the table is about the method, never about patients. Intervals are of the bootstrap by patient of the mean
over seeds, those of changes paired with the first row. The same command goes on with a run that was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import logging
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing import write_bytes, write_text
from Training.cohorts.synthetic import SyntheticCohort, draw_cohort
from Training.data.cache import Cache, make_folder
from Training.reproduction.presets import PRESETS
from Training.ssl.callbacks import Stopped
from Training.ssl.config import Pretraining
from Training.ssl.model import build
from Training.ssl.monitors import embed
from Training.ssl.pretrain import pretrain
from Training.tasks import AGE, SEQUENCE
from Training.tasks.measure import Measure, mean_absolute_error

RESAMPLES = 2000
PENALTIES = np.logspace(0, 5, 11)  # of the ridge probe; the best in leave-one-out on the training patients is taken
# What is asked of an embedding: column of the cache -> how the answers are measured.
ASKED = {"sequence": SEQUENCE.primary, "age_years": AGE.primary, "radius_mm": mean_absolute_error("mm")}


def variants(base: Pretraining) -> dict[str, Pretraining | None]:
    """Name -> settings, the default first; None for random weights."""

    def views(**changes: float) -> Pretraining:
        return dataclasses.replace(base, views=dataclasses.replace(base.views, **changes))

    def optimisation(**changes: float) -> Pretraining:
        return dataclasses.replace(base, optimisation=dataclasses.replace(base.optimisation, **changes))

    epochs, batch = base.optimisation.epochs, base.optimisation.batch_size
    return {
        "default": base,
        "random weights": None,
        "no crop, no zoom": views(crop_probability=0.0, zoom=(1.0, 1.0)),
        "no intensity views": views(intensity_probability=0.0, noise_probability=0.0),
        "contrast inverted in half of the views": views(invert_probability=0.5),
        "half the epochs": optimisation(epochs=epochs // 2),
        "half the batch": optimisation(batch_size=batch // 2),
        "twice the epochs": optimisation(epochs=2 * epochs),
    }


def embeddings(config: Pretraining | None, base: Pretraining, cache: Cache, out: Path) -> np.ndarray:
    """float32 (len(cache), D) of the encoder pretrained in ``out``, or of the base's net with random weights; kept."""
    path = out / "embeddings.npy"
    if not path.is_file():
        if config is None:
            encoder, _ = build(base.network, cache.size, base.seed)
        else:
            pretrain(config, cache, out)
            encoder = load_model(InstalledModel(out / "last", read_contract(out / "last"))).encoder
        stream = io.BytesIO()
        np.save(stream, embed(encoder, cache, list(range(len(cache))), torch.device("cpu")).numpy())
        make_folder(out)
        write_bytes(stream.getvalue(), path)
    return np.load(path)


def answers(table: pd.DataFrame, embedding: np.ndarray, asked: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, answer of the probe, and patient of each test case.

    Parameters
    ----------
    table : of the cache, with the roles ``train`` and ``test``.
    embedding : (len(table), D).
    asked : a column of the table: of text, asked of every scan, or of numbers, asked of every patient.
    """
    if not pd.api.types.is_numeric_dtype(table[asked]):
        names, probe = table, LogisticRegression(C=0.1, max_iter=1000)
    else:
        embedding = pd.DataFrame(embedding).groupby(table["patient"].to_numpy(), sort=True).mean().to_numpy()
        names, probe = table.groupby("patient", sort=True).first().reset_index(), RidgeCV(PENALTIES)
    train, test = ((names["role"] == role).to_numpy() for role in ("train", "test"))
    truth = names[asked].to_numpy()
    model = make_pipeline(StandardScaler(), probe).fit(embedding[train], truth[train])
    return truth[test], model.predict(embedding[test]), names["patient"].to_numpy()[test]


def results_table(table: pd.DataFrame, found: dict[str, list[np.ndarray]], resamples: int = RESAMPLES) -> str:
    """Markdown. ``found`` : variant -> one embedding a seed, the variant to compare with first. The last row is what an
    embedding without any content gets."""
    found = {**found, "a constant answer": [np.zeros((len(table), 1), np.float32)]}
    head = "| pretraining | seeds |" + "".join(
        f" {asked}: {measure.title} | change |" for asked, measure in ASKED.items()
    )
    lines = [head, "|---" * (2 + 2 * len(ASKED)) + "|"]
    answered = {name: {asked: _columns(table, seeds, asked) for asked in ASKED} for name, seeds in found.items()}
    reference = next(iter(answered))
    for name, of_asked in answered.items():
        cells = []
        for asked, measure in ASKED.items():
            columns, patients = of_asked[asked]
            cells.append(_shown(measure, measure.estimate(columns, patients, resamples)[0]))
            change, _ = measure.compare(columns, answered[reference][asked][0], patients, resamples)
            cells.append("" if name == reference else f"{_shown(measure, change.interval)}, p {change.p:.2g}")
        lines.append(f"| {name} | {len(found[name])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _columns(table: pd.DataFrame, seeds: list[np.ndarray], asked: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Truth, then one column of answers a seed; and the patients."""
    of_seed = [answers(table, embedding, asked) for embedding in seeds]
    return [of_seed[0][0], *(answer for _, answer, _ in of_seed)], of_seed[0][2]


def _shown(measure: Measure, interval) -> str:
    value, low, high = (
        f"{measure.factor * x:.{measure.digits}f}" for x in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def main(argv: list[str]) -> int:
    """Pretrain what is missing, and print and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m Training.reproduction.what_helps", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="keeps cohort, pretrainings and the table")
    parser.add_argument(
        "--preset", choices=list(PRESETS), default="small", help="cohort and pretraining, as reproduce's"
    )
    parser.add_argument("--labelmaps", type=Path, default=Path("../shared/data/labelmaps"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that draw the patients")
    options = parser.parse_args(argv)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it advertises
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    try:
        run(PRESETS[options.preset].cohort, PRESETS[options.preset].pretraining, options)
    except Stopped:
        return 130
    except BrainIACError as error:
        print(f"what_helps: {error}", file=sys.stderr)
        return 1
    return 0


def run(cohort: SyntheticCohort, base: Pretraining, options: argparse.Namespace) -> None:
    """The steps of ``main``: a seed after the other, with the table of what there is after every pretraining."""
    out = options.out
    folder = draw_cohort(cohort, options.labelmaps, out / "synthetic", out / "labelmaps", options.processes)
    cache = Cache(folder)
    found: dict[str, list[np.ndarray]] = {}
    for seed in options.seeds:
        seeded = dataclasses.replace(base, seed=seed)
        for name, config in variants(seeded).items():
            print(f"what_helps: seed {seed}, {name}", file=sys.stderr, flush=True)
            place = out / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
            found.setdefault(name, []).append(embeddings(config, seeded, cache, place))
            write_text(results_table(cache.table, found), out / "table.md")
    print((out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
