"""Where the networks look: Fig 6A-D and Extended Data Fig 3, image, contours and heat map (PROTOCOL P-43, P-44)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from BrainIACLib.errors import ResultsError
from Training.evaluation.evaluation import Evaluation
from Training.figures.style import WaitsFor, drawing
from Training.runs.cell import BUNDLED, PAPER
from Training.runs.reading import Run
from Training.tasks import SEQUENCE, TASKS

_MOST_ROWS = 4  # on a page; one patient's sequences
_BESIDE = (PAPER[2], BUNDLED)
_CONTOURS = (0.4, 0.6, 0.8)
_SCALE = "share of the map's maximum in the volume"


@dataclass(frozen=True)
class SaliencyRow:
    """One axial slice, the one where the map is strongest: image and map (Y, X), anterior up, right on the left.

    ``height`` : of the slice, as a share of the volume's. ``answer`` : the class that the network took the scan for,
    whose logit the map explains; empty without classes.
    """

    image: np.ndarray
    map: np.ndarray
    tumour: np.ndarray | None
    aspect: float
    patient: str
    sequence: str
    target: str
    answer: str = ""
    height: float = 0.5

    @property
    def title(self) -> str:
        """What the scan is, and what it was taken for."""
        return f"{self.sequence}, answered {self.answer}" if self.answer else self.sequence


def read_saliency(path: Path, height: float | None = None) -> SaliencyRow:
    """Read a saliency file of a run and take its slice, or that at ``height``; ResultsError names a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        image, heat = content["image"].astype(float), content["map"].astype(float)
        spacing = content["spacing"]
        patient, sequence, target = (str(content[name]) for name in ("patient", "sequence", "target"))
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(f"{path} is not a saliency file ({error}): run this cell's saliency again") from error
    if image.ndim != 3 or heat.shape != image.shape or not np.isfinite(heat).all():
        raise ResultsError(f"{path} must hold an image and a finite map of one shape (X, Y, Z)")
    if heat.min() < 0 or heat.max() > 1 + 1e-3:
        raise ResultsError(f"{path} has a map from {heat.min():g} to {heat.max():g}, which must lie from 0 to 1")
    levels = heat.shape[2]
    level = int(heat.sum(axis=(0, 1)).argmax()) if height is None else min(int(height * levels), levels - 1)
    tumour = content.get("tumour")
    return SaliencyRow(
        _display(image, level),
        _display(heat, level),
        None if tumour is None else _display(tumour.astype(float), level),
        float(spacing[1] / spacing[0]),
        patient,
        sequence,
        target,
        str(content.get("answer", "")),
        (level + 0.5) / levels,
    )


def task_saliency(evaluation: Evaluation, task: str, initialisation: str = PAPER[0]) -> Figure:
    """Maps of the task's logit of the largest model (Fig 6A-D); beside them those of what it is compared with.

    With frozen encoders, a map that random weights give as well shows the image's own edges, and nothing that was
    learned; tuned, Scratch is a network *trained* from random weights. The slice is where the first map is strongest,
    and every panel has the one scale that is drawn: the share of the map's maximum in its volume.
    """
    run = evaluation.largest(task, initialisation)
    rows = _rows(run, "task")
    if not rows:
        raise WaitsFor(f"saliency of a {initialisation} run of {TASKS[task].says}")
    beside = {name: found for name in _BESIDE if (found := _same_slices(evaluation.largest(task, name), rows, "task"))}
    with drawing(len(rows), 3 + len(beside), simulated=run.simulated, width=1.9, height=2.0) as (figure, axes):
        for place, (line, row) in enumerate(zip(axes, rows, strict=True)):
            _draw(line[:3], row, row.title)
            for axis, of in zip(line[3:], beside.values(), strict=True):
                other = of[place]
                _heat(axis, other)
                axis.set_title(f"answered {other.answer}" if other.answer else "", fontsize=8)
        names = (evaluation.shown(initialisation), *map(evaluation.shown, beside))
        for axis, name in zip(axes[0, 2:], names, strict=True):
            axis.set_title("\n".join(filter(None, (name, axis.get_title()))), fontsize=8)
        figure.supylabel(f"{TASKS[task].title}, {evaluation.shown(initialisation)}", fontsize=9)
        _scale(figure, axes)
    return figure


def backbone_saliency(evaluation: Evaluation) -> Figure:
    """Maps of a scalar of the embedding, BrainIAC beside MedicalNet, or Scratch without it (Extended Data Fig 3)."""
    run = evaluation.largest(SEQUENCE.name, PAPER[0])
    rows = _rows(run, "backbone")
    of_others = {name: _same_slices(evaluation.largest(SEQUENCE.name, name), rows, "backbone") for name in PAPER[1:]}
    second = next((name for name, found in of_others.items() if found), None)
    if second is None:
        raise WaitsFor("saliency of the backbone of a BrainIAC and a MedicalNet or Scratch run of the same case")
    with drawing(len(rows), 6, simulated=run.simulated, width=1.7, height=1.9) as (figure, axes):
        for line, row, other in zip(axes, rows, of_others[second], strict=True):
            _draw(line[:3], row, f"{evaluation.shown(PAPER[0])}, {row.sequence}")
            _draw(line[3:], other, f"{evaluation.shown(second)}, {other.sequence}")
        _scale(figure, axes)
    return figure


def _same_slices(run: Run | None, rows: list[SaliencyRow], target: str) -> list[SaliencyRow]:
    """Of another run, the maps of the same scans at the same height; empty unless it has them all."""
    pictures = run.pictures() if run is not None else []
    paths = {(one.patient, one.sequence): path for path in pictures if (one := read_saliency(path)).target == target}
    if any((row.patient, row.sequence) not in paths for row in rows):
        return []
    return [read_saliency(paths[row.patient, row.sequence], row.height) for row in rows]


def _rows(run: Run | None, target: str) -> list[SaliencyRow]:
    if run is None:
        return []
    return [row for path in run.pictures() if (row := read_saliency(path)).target == target][:_MOST_ROWS]


def _display(volume: np.ndarray, level: int) -> np.ndarray:
    """An axial slice of an RAS volume as radiologists look at it: anterior up, the patient's left on the right."""
    return volume[::-1, ::-1, level].T


def _draw(axes: np.ndarray, row: SaliencyRow, title: str) -> None:
    window = np.quantile(row.image, (0.01, 0.995))
    shown: tuple[Axes, ...] = tuple(axes)
    for axis in shown[:2]:
        axis.imshow(row.image, cmap="gray", vmin=window[0], vmax=window[1], aspect=row.aspect)
    levels = [level for level in _CONTOURS if row.map.min() < level < row.map.max()]
    if levels:
        shown[1].contour(row.map, levels=levels, cmap="viridis", vmin=0, vmax=1, linewidths=0.9)
    _heat(shown[2], row)
    _tumour(shown[1], row)
    shown[0].set_title(title, fontsize=8)
    for axis in shown[:2]:
        _bare(axis)


def _heat(axis: Axes, row: SaliencyRow) -> None:
    """The map by itself."""
    axis.imshow(row.map, cmap="magma", vmin=0, vmax=1, aspect=row.aspect)
    _tumour(axis, row)
    _bare(axis)


def _scale(figure: Figure, axes: np.ndarray) -> None:
    """The scale of all maps, and where the contours lie on it."""
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "magma"), ax=axes, shrink=0.8, pad=0.01)
    bar.set_ticks([0, *_CONTOURS, 1])
    bar.ax.tick_params(labelsize=7)
    bar.set_label(_SCALE, fontsize=7)


def _tumour(axis: Axes, row: SaliencyRow) -> None:
    if row.tumour is not None and row.tumour.any():
        axis.contour(row.tumour, levels=[0.5], colors="#56B4E9", linewidths=0.9, linestyles="--")


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
