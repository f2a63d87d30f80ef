"""``report.html``: one offline page to look at a cohort before anybody trusts its numbers, and to reject what is bad.

Worst registrations first, a contact sheet, the distribution of every quality figure, failures by cause, sequences found
against sequences named, how well the embedding tells the site, and a decision a scan with a key, exported as a table.
"""

from __future__ import annotations

import base64
import html
import json
import typing
from collections import Counter
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import BrainIACLib
from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.batch.index import embedded_scans
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.ledger import DONE
from BrainIACLib.batch.site_check import check_sites
from BrainIACLib.publishing import write_text

if typing.TYPE_CHECKING:
    import pyarrow

PAGE = "report.html"
TEMPLATE = Path(__file__).with_name("quality_page.html")
MOST_PICTURES = 1000  # of the worst and of others spread evenly; 4 to 7 kB each
WORST_SHARE = 0.5  # of the pictures
MOST_ROWS = 20_000
MOST_COMPARED = 5_000  # embeddings by which sites are compared
QUALITY = {  # column -> (title, whether low is bad; None: both ends)
    "registration_overlap": ("registration overlap (Dice)", True),
    "resampling_volume_ml": ("brain volume in template space (ml)", None),
    "registration_turn_degrees": ("turn (degrees)", False),
    "registration_shift_mm": ("shift (mm)", False),
    "bias_field_log_field_sd": ("bias field (SD of its logarithm)", False),
}


def write_page(out: Path, index: "pyarrow.Table") -> Path:
    """Write the page of an index; its path."""
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
    cases = [
        {**_case(out, row, columns, number in pictured), "why": why[number]}
        for number, row in zip(worst, shown, strict=True)
    ]
    data = {
        "cases": cases,
        "quality": [{"name": name, "title": QUALITY[name][0]} for name in columns],
        "histograms": {name: _histogram(values) for name, values in figures.items()},
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        notice=html.escape(BrainIACLib.RESEARCH_USE_ONLY),
        version=BrainIACLib.__version__,
        done=len(done),
        failed=len(failed),
        shown=len(cases),
        failures=_failures(failed.select(["scan", "path", "failure"]).to_pylist()),
        sequences=_sequences(done),
        sites=_sites(out, done),
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


def _histogram(values: np.ndarray) -> dict[str, Any]:
    numbers = values[np.isfinite(values)]
    if not len(numbers):
        return {"low": 0.0, "high": 1.0, "counts": []}
    low, high = np.percentile(numbers, (0.5, 99.5))
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(np.clip(numbers, low, high), 30, (low, high))
    return {"low": float(low), "high": float(high), "counts": counts.tolist()}


def _failures(rows: list[dict[str, Any]]) -> str:
    """A table, equal causes together."""
    if not rows:
        return "<p>None.</p>"
    causes: dict[str, list[str]] = {}
    for row in rows:
        cause = (row.get("failure") or "").replace(f"'{row['path']}'", "the file")
        causes.setdefault(cause, []).append(row["scan"] or row["path"])
    lines = [
        f"<tr><td>{len(scans)}</td><td>{html.escape(cause)}</td><td>{html.escape(', '.join(scans[:5]))}"
        f"{' …' if len(scans) > 5 else ''}</td></tr>"
        for cause, scans in sorted(causes.items(), key=lambda one: -len(one[1]))
    ]
    return f"<table><tr><th>scans</th><th>cause</th><th>such as</th></tr>{''.join(lines)}</table>"


def _sequences(done: "pyarrow.Table") -> str:
    """Found against named: a table of counts."""
    pairs: Counter[tuple[str, str]] = Counter()
    if {"sequence", "found_sequence"} <= set(done.column_names):
        columns = (done[name].to_pylist() for name in ("sequence", "found_sequence"))
        pairs.update((named, found) for named, found in zip(*columns, strict=True) if named and found)
    if not pairs:
        return "<p>No sequences were named.</p>"
    named, found = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in found)
    lines = [
        f"<tr><th>{html.escape(one)}</th>"
        + "".join(
            f"<td{' class=other' if one != other and pairs[one, other] else ''}>{pairs[one, other] or ''}</td>"
            for other in found
        )
        + "</tr>"
        for one in named
    ]
    return f"<table><tr><th>named \\ found</th>{head}</tr>{''.join(lines)}</table>"


def _sites(out: Path, done: "pyarrow.Table") -> str:
    import pyarrow

    there = [name for name in ("site", "dataset") if name in done.column_names]
    column = next((name for name in there if any(done[name].to_pylist())), None)
    if column is None:
        return "<p>No column 'site' or 'dataset' tells where the scans are from.</p>"
    spread = np.arange(0, len(done), max(1, len(done) // MOST_COMPARED))
    names = [name for name in ("id", "path", "patient", "embedded", column) if name in done.column_names]
    vectors, kept = [], []
    for row in done.select(names).take(pyarrow.array(spread)).to_pylist():
        try:  # of a study the first one
            vectors.append(np.load(out / embedded_scans(row)[0]["file"], allow_pickle=False))
            kept.append(row)
        except (OSError, ValueError):
            continue
    if not kept:
        return "<p>No embeddings could be read.</p>"
    sites, people = ([row.get(name) or "" for row in kept] for name in (column, "patient"))
    found = check_sites(np.stack(vectors), sites, people, column)
    if found is None:
        return f"<p>There are no two values of '{column}' with five scans each.</p>"
    warning = " class=warning" if found.low > found.chance else ""
    return f"<p{warning}>{html.escape(found.in_words)}</p>"
