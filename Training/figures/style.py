"""How figures look and are kept: colors that color-blind readers tell apart, and marks on what is simulated."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from BrainIACLib.publishing import write_bytes

# Okabe and Ito's palette (Color Universal Design, 2008) and, for more lines, colors far from these to any eye;
# line and marker say the same again without color
COLOURS = {
    **{"BrainIAC": "#0072B2", "MedicalNet": "#E69F00", "Scratch": "#009E73", "Bundled": "#D55E00"},
    **{"BetterViews": "#000080", "TwoContrasts": "#E6E600", "Anatomy": "#FF00FF", "Volumes": "#DDCC77"},
    **{"BrainSegFounder": "#773300"},
    **{"Blocks": "#882255", "Histogram": "#56B4E9", "Constant": "#000000"},
}
MARKERS = {
    **{"BrainIAC": "o", "MedicalNet": "s", "Scratch": "^", "Bundled": "D"},
    **{"BetterViews": "<", "TwoContrasts": ">", "Anatomy": "p", "Volumes": "X"},
    **{"BrainSegFounder": "h"},
    **{"Blocks": "v", "Histogram": "P", "Constant": "_"},
}
LINES = {
    **{"BrainIAC": "-", "MedicalNet": "--", "Scratch": ":", "Bundled": "-"},
    **{"BetterViews": "-", "TwoContrasts": "-", "Anatomy": "-", "Volumes": "-."},
    **{"BrainSegFounder": "--"},
    **{"Blocks": "-.", "Histogram": "-.", "Constant": (0, (1, 3))},
}
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
HIGH_RISK, LOW_RISK = "#D55E00", "#0072B2"

_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,  # text stays text in a PDF, as journals ask
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


class WaitsFor(Exception):
    """A figure that cannot be drawn from the runs that are there; the text says what it waits for."""


@dataclass(frozen=True)
class Drawn:
    """A figure of the report: file name, the paper's number, what it shows; ``figure`` or ``waits_for``."""

    name: str
    number: str
    caption: str
    figure: Figure | None
    waits_for: str = ""

    @property
    def extent(self) -> str:
        """How much room it needs: "wide" the whole page, "medium" the whole width on paper, or "" half of it."""
        if self.figure is None:
            return ""
        width, height = self.figure.get_size_inches()
        return "wide" if width > 7.5 else "medium" if width > max(5.5, height) else ""


@contextmanager
def drawing(rows: int, columns: int, *, simulated: bool, width: float = 3.2, height: float = 2.6) -> Iterator[tuple]:
    """``(figure, axes (rows, columns))`` in the project's style; simulated labels are marked across the top."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height * rows))  # without pyplot: no window, nothing to close
        axes = figure.subplots(rows, columns, squeeze=False)
        if simulated:
            figure.suptitle("SIMULATED LABELS - not a finding", color="#D55E00", fontsize=9, fontweight="bold")
        yield figure, axes
        figure.supxlabel("Research use only", fontsize=6, color="0.45", x=0.99, ha="right")


def legend_below(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, from what any of ``axes`` shows, where it hides no curve."""
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    order = sorted(found, key=lambda label: isinstance(found[label], Line2D))  # curves with intervals, then gray
    key_below(figure, [found[label] for label in order], order)


def key_below(figure: Figure, handles: list, labels: list[str]) -> None:
    """A legend below the panels, in as many rows as the figure's width asks for."""
    if not labels:
        return
    columns = max(1, int(figure.get_size_inches()[0] / (0.55 + 0.075 * max(map(len, labels)))))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def write(figure: Figure, name: str, folder: Path) -> bytes:
    """Write name.png (200 dpi) and name.pdf into ``folder`` and return the PNG's bytes.

    Neither file holds a date, so that the same figure gives the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pdf, png = io.BytesIO(), io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
        figure.set_layout_engine("none")  # laid out once; doing it again would cost as long as drawing
        figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    write_bytes(pdf.getvalue(), folder / f"{name}.pdf")
    write_bytes(png.getvalue(), folder / f"{name}.png")
    return png.getvalue()
