"""``report.html``: one offline page to look at a cohort before anybody trusts its numbers, and to reject what is bad.

Worst registrations first, a contact sheet, the distribution of every quality figure, and a decision a scan with a key,
exported as a table; ``quality_tables`` has what stands above them.
"""

from __future__ import annotations

import base64
import html
import json
import typing
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import BrainIACLib
from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.batch.index import DECISIONS, people_of
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.ledger import DONE
from BrainIACLib.batch.quality_tables import failures_table, sequences_table, sites_told
from BrainIACLib.head_training.decisions import Decisions, decisions_in
from BrainIACLib.publishing import write_text

if typing.TYPE_CHECKING:
    import pyarrow

PAGE = "report.html"
TEMPLATE = Path(__file__).with_name("quality_page.html")
MOST_PICTURES = 1000  # of the worst and of others spread evenly; 4 to 7 kB each
WORST_SHARE = 0.5  # of the pictures
MOST_ROWS = 20_000
QUALITY = {  # column -> (title, whether low is bad; None: both ends)
    "registration_overlap": ("registration overlap (Dice)", True),
    "resampling_volume_ml": ("brain volume in template space (ml)", None),
    "registration_turn_degrees": ("turn (degrees)", False),
    "registration_shift_mm": ("shift (mm)", False),
    "bias_field_log_field_sd": ("bias field (SD of its logarithm)", False),
}


def write_page(out: Path, index: "pyarrow.Table") -> Path:
    """Write the page of an index; its path. Decisions in ``decisions.csv`` beside it are shown and can be changed.

    Raises
    ------
    BrainIACError : ``decisions.csv`` cannot be read, or the page cannot be written.
    """
    import pyarrow.compute

    done = index.filter(pyarrow.compute.equal(index["status"], DONE))
    failed = index.filter(pyarrow.compute.not_equal(index["status"], DONE))
    columns = [name for name in QUALITY if name in index.column_names]
    figures = {name: done[name].cast(pyarrow.float64()).to_numpy() for name in columns}  # NaN where there is none
    worst, why = _worst_first(figures, len(done))
    worst = worst[:MOST_ROWS]
    pictured = set(worst[: int(MOST_PICTURES * WORST_SHARE)])
    rest = worst[len(pictured) :]
    pictured |= set(rest[:: max(1, len(rest) // max(1, MOST_PICTURES - len(pictured)) + 1)])
    shown = done.take(pyarrow.array(worst, pyarrow.int64())).to_pylist()
    decisions = decisions_in(out / DECISIONS) if (out / DECISIONS).is_file() else Decisions({})
    keys = decisions.keys(people_of(done))
    decided = [decisions.by_person[key] if key is not None else "" for key in keys]
    cases = [
        {**_case(out, row, columns, number in pictured), "why": why[number], "decision": decided[number]}
        for number, row in zip(worst, shown, strict=True)
    ]
    on_page = {keys[number] for number in worst}
    elsewhere = [[*key, decision] for key, decision in decisions.by_person.items() if key not in on_page]
    data = {
        "cases": cases,
        "quality": [{"name": name, "title": QUALITY[name][0], "low": QUALITY[name][1]} for name in columns],
        "elsewhere": elsewhere,  # of scans that are not on the page
        "histograms": {name: _histogram(values) for name, values in figures.items()},
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        notice=html.escape(BrainIACLib.RESEARCH_USE_ONLY),
        version=BrainIACLib.__version__,
        done=done_in_words(len(done), index),
        failed=len(failed),
        shown=len(cases),
        pictures=f"; {len(pictured)} have one, the worst and some spread over the others"
        if len(pictured) < len(cases)
        else "",
        failures=failures_table(failed.select(["scan", "path", "failure"]).to_pylist()),
        sequences=sequences_table(done),
        sites=sites_told(out, done, failed, {QUALITY[name][0]: values for name, values in figures.items()}),
        data=json.dumps(data).replace("<", "\\u003c"),  # no text of a stranger ends the script
    )
    write_text(text, out / PAGE)
    return out / PAGE


def _worst_first(figures: dict[str, np.ndarray], rows: int) -> tuple[list[int], list[int]]:
    """The numbers of the rows, by how far the worst of their figures lies out, in robust standard deviations; and of
    each row which figure that is (-1: there are none)."""
    if not figures:
        return list(range(rows)), [-1] * rows
    scores = np.zeros((len(figures), rows))
    for place, (name, values) in enumerate(figures.items()):
        if not np.isfinite(values).any():
            continue
        middle = np.nanmedian(values)
        spread = 1.4826 * np.nanmedian(np.abs(values - middle)) + 1e-9 * (abs(middle) + 1)
        away = (values - middle) / spread
        low_is_bad = QUALITY[name][1]
        bad = np.abs(away) if low_is_bad is None else -away if low_is_bad else away
        scores[place] = np.where(np.isfinite(bad), bad, 0)
    return np.argsort(-scores.max(0), kind="stable").tolist(), scores.argmax(0).tolist()


def _case(out: Path, row: dict[str, Any], columns: list[str], pictured: bool) -> dict[str, Any]:
    case = BatchCase(row["id"], row["path"], {})
    place = out / case.folder / Names(case).thumbnail
    picture = ""
    if pictured and place.is_file():
        picture = base64.b64encode(place.read_bytes()).decode("ascii")
    return {
        "scan": row["scan"],
        "patient": row.get("patient") or "",
        "site": row.get("site") or row.get("dataset") or "",
        "named": row.get("sequence") or "",
        "found": row.get("found_sequence") or "",
        "warnings": " ".join(filter(None, (row.get("warnings"), row.get("doubts"), row.get("not_answered")))),
        "page": f"{case.folder}/report.html" if row.get("slots") else f"{case.folder}/",
        "q": [None if row.get(name) is None else round(row[name], 4) for name in columns],
        "picture": picture,
    }


def done_in_words(count: int, index: pyarrow.Table) -> str:
    """``1 scan done``, or ``2 studies done`` where the index is one of studies."""
    one, many = ("study", "studies") if "slots" in index.column_names else ("scan", "scans")
    return f"{count} {one if count == 1 else many} done"


def _histogram(values: np.ndarray) -> dict[str, Any]:
    numbers = values[np.isfinite(values)]
    if not len(numbers):
        return {"low": 0.0, "high": 1.0, "counts": []}
    low, high = np.percentile(numbers, (0.5, 99.5))
    if low == high:
        around = 0.05 * abs(low) or 0.5  # no overlap of 1.4 on the axis of one scan
        low, high = low - around, high + around
    counts, _ = np.histogram(np.clip(numbers, low, high), 30, (low, high))
    return {"low": float(low), "high": float(high), "counts": counts.tolist()}
