"""The report: one self-contained page, and beside it every figure (PDF, PNG) and table (CSV, Markdown, LaTeX)."""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from BrainIACLib.file_hash import file_sha256
from BrainIACLib.publishing import write_text
from Training.evaluation.evaluation import Evaluation
from Training.figures.catalogue import all_figures
from Training.figures.style import Drawn, write
from Training.report.protocol_checklist import protocol_checklist
from Training.report.tripod_checklist import tripod_checklist
from Training.tables.catalogue import all_tables
from Training.tables.table import Table

LONG, PRINTED = 24, 12
"""Tables of more rows than the first are printed with the second's; the page shows all, and the CSV has them."""
MODE_TITLES = {"finetune": "Whole network tuned", "probe": "Encoder frozen, head trained"}
LINEAR_PROBES = "Encoder frozen, linear probes"
_FIRST = ("where_pretraining_helps", "beside_the_paper")


@dataclass(frozen=True)
class Section:
    """What one mode (finetune, probe) has to show; ``figures`` with their PNG as text, None for those that wait."""

    mode: str
    title: str
    evaluation: Evaluation
    figures: list[tuple[Drawn, str | None]]
    tables: list[Table]
    checklists: list[Table]

    @property
    def suffix(self) -> str:
        """What the names of this mode's files end in."""
        return "" if self.mode == "finetune" else f"_{self.mode}"

    @property
    def first(self) -> list[Table]:
        """The tables of the headline."""
        return [table for table in self.tables if table.name.startswith(_FIRST)]

    @property
    def others(self) -> list[Table]:
        """All other tables."""
        return [table for table in self.tables if not table.name.startswith(_FIRST)]


def write_report(evaluations: list[Evaluation], out: Path, command: str) -> Path:
    """Write figures/, tables/ and, last, index.html into ``out``, and return the page.

    Files of an earlier report are replaced one by one; a figure that can no longer be drawn is removed. Everything on
    the page comes from the runs, so that the same runs give the same page.
    """
    sections = [_section(evaluation, out) for evaluation in evaluations]
    page = _environment().get_template("report_page.html")
    runs = [run for evaluation in evaluations for run in evaluation.runs]
    html = page.render(
        long=LONG,
        printed=PRINTED,
        sections=sections,
        command=command,
        runs=runs,
        cohorts=sorted({run.config["cohort"] for run in runs}),
        simulated=any(run.simulated for run in runs),
        notes=sorted({note for run in runs if (note := run.config.get("simulated_note"))}),
        other_weights=sorted(
            {
                f"{_named(evaluation, run.cell.initialisation)} here is: {run.initialisation_title}"
                for evaluation in evaluations
                for run in evaluation.runs
                if run.initialisation_title != run.cell.initialisation
            }
        ),
        overlaps=sorted(
            {
                f"{evaluation.shown(run.cell.initialisation)}, {run.cell.task}: "
                f"{run.config['overlap_with_pretraining']}"
                for evaluation in evaluations
                for run in evaluation.runs
                if "overlap_with_pretraining" in run.config
            }
        ),
        newest=max((run.metrics["finished"] for run in runs), default="no run has finished"),
        hashes=hashes(evaluations),
    )
    write_text(html, out / "index.html")
    write_text(_csv(hashes(evaluations)), out / "tables" / "hashes.csv")
    return out / "index.html"


def _named(evaluation: Evaluation, initialisation: str) -> str:
    """The name in files, and what figures and tables call it where that differs."""
    shown = evaluation.shown(initialisation)
    return initialisation if shown == initialisation else f"{initialisation} ({shown})"


def hashes(evaluations: list[Evaluation]) -> list[dict[str, str]]:
    """Per cell: the command that made it, versions, and the sha256 of what went in and came out."""
    rows = []
    for run in (run for evaluation in evaluations for run in evaluation.runs):
        provenance = run.config["provenance"]
        into = provenance.get("sha256", {})
        versions = provenance.get("versions", {})
        rows.append(
            {
                "cell": run.cell.name,
                "command": str(provenance.get("command", "")),
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                "device": str(provenance.get("device", "")),
                "inputs": ", ".join(f"{name} {digest}" for name, digest in into.items() if digest),
                "predictions.csv": file_sha256(run.folder / "predictions.csv"),
            }
        )
    return rows


def _section(evaluation: Evaluation, out: Path) -> Section:
    figures, drawn = [], []
    for figure in all_figures(evaluation):
        picture = None
        if figure.figure is None:
            for suffix in (".png", ".pdf"):
                (out / "figures" / f"{figure.name}{suffix}").unlink(missing_ok=True)
        else:
            picture = base64.b64encode(write(figure.figure, figure.name, out / "figures")).decode("ascii")
        figures.append((figure, picture))
        drawn.append(figure)
    tables, checklists = all_tables(evaluation), [protocol_checklist(evaluation, drawn), tripod_checklist(evaluation)]
    section = Section(evaluation.mode, _title(evaluation), evaluation, figures, tables, checklists)
    for table in tables + checklists:
        table.write(out / "tables", section.suffix)
    return section


def _title(evaluation: Evaluation) -> str:
    """What was trained; a head of one layer on a frozen encoder is a linear probe."""
    heads = {run.config["recipe"].get("head") for run in evaluation.runs}
    return LINEAR_PROBES if evaluation.mode == "probe" and heads == {"linear"} else MODE_TITLES[evaluation.mode]


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _csv(rows: list[dict[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else ["cell"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
