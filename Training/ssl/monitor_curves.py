"""The monitors of a pretraining as curves: does it learn, does it collapse, what does the embedding know."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from BrainIACLib.errors import TrainingError
from BrainIACLib.publishing import write_bytes

PANELS = (
    ("loss", ("loss",), "NT-Xent loss"),
    ("collapse", ("effective_rank",), "effective rank"),
    ("alignment", ("alignment", "uniformity"), "alignment, uniformity"),
    ("knowledge", ("knn", "probe"), "k-NN and linear probe"),
)
NAME = "monitors.png"


def draw_monitors(run: Path) -> Path:
    """Write ``monitors.png`` beside the ``log.csv`` of a run, and return it.

    Raises
    ------
    TrainingError : there is no log, or nothing in it yet.
    """
    path = Path(run) / "log.csv"
    try:
        log = pd.read_csv(path)
    except (OSError, ValueError):
        raise TrainingError(f"'{path}' cannot be read; give the folder of a pretraining that has begun.") from None
    if log.empty:
        raise TrainingError(f"'{path}' has no row yet; wait for the first steps.")
    figure = Figure(figsize=(3.0 * len(PANELS), 2.6), layout="constrained")
    for axis, (_, columns, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for column in columns:
            known = log.dropna(subset=[column])
            axis.plot(known["epoch"], known[column], marker="." if len(known) < 60 else "", label=column)
        axis.set(xlabel="epoch", ylabel=label)
        axis.spines[["top", "right"]].set_visible(False)
        if len(columns) > 1:
            axis.legend(frameon=False, fontsize=7)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    write_bytes(stream.getvalue(), Path(run) / NAME)
    return Path(run) / NAME
