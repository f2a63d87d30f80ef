"""A table to print: cells are finished text, so that all three formats say the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.publishing import write_text

NOTHING = "-"
"""What stands where there is no number; the note of the table or its reason column says why."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Table:
    """``name`` is the file's, ``title`` and ``note`` stand around it; ``cells`` are text.

    ``simulated`` says that some of its labels were: it is then part of the title wherever the table appears.
    """

    name: str
    title: str
    cells: pd.DataFrame
    note: str = ""
    simulated: bool = False

    @property
    def headline(self) -> str:
        """The title, with the mark of simulated labels."""
        return f"{self.title} [SIMULATED LABELS]" if self.simulated else self.title

    def csv(self) -> str:
        """Comma-separated; a simulated table has a column that says so, which survives copying rows."""
        told = "labels" in self.cells
        cells = self.cells.assign(labels="simulated") if self.simulated and not told else self.cells
        return cells.to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        """A title, the table, the note."""
        rows = [list(map(str, self.cells.columns)), *self.cells.astype(str).to_numpy().tolist()]
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(self.cells.columns))
        return "\n".join([f"**{self.headline}**", "", *lines, "", *([self.note, ""] if self.note else [])])

    def latex(self) -> str:
        """A ``table`` environment for the booktabs package."""
        rows = [map(str, self.cells.columns), *self.cells.astype(str).to_numpy().tolist()]
        lines = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in rows]
        note = [rf"\par\footnotesize {_escape(self.note)}"] if self.note else []
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_escape(self.headline)}}}",
                rf"\begin{{tabular}}{{{'l' * len(self.cells.columns)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                *note,
                r"\end{table}",
                "",
            ]
        )

    def write(self, folder: Path, suffix: str = "") -> None:
        """Write name.csv, name.md and name.tex into ``folder``, the name followed by ``suffix``."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, text in ((".csv", self.csv()), (".md", self.markdown()), (".tex", self.latex())):
            write_text(text, folder / f"{self.name}{suffix}{kind}")


def interval_text(value: float, low: float, high: float, factor: float, digits: int) -> str:
    """``0.76 (0.61-0.90)``, or only the number where there is no interval, or a dash."""
    if not np.isfinite(value):
        return NOTHING
    text = f"{value * factor:.{digits}f}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return text
    between = " to " if low < 0 else "-"
    return f"{text} ({low * factor:.{digits}f}{between}{high * factor:.{digits}f})"


def no_width_note(intervals: Iterable[tuple[float, float]]) -> str:
    """A remark for the note of a table with intervals (low, high) that are one point; else an empty text."""
    if not any(np.isfinite(low) and low == high for low, high in intervals):
        return ""
    return (
        "An interval without width says nothing of uncertainty: every resample gave the same number, as where a model "
        "gives all cases one answer."
    )


def p_text(p: float) -> str:
    """A p value as printed: three digits, or below 0.001."""
    if not np.isfinite(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
