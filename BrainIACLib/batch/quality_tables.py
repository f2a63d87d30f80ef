"""What stands above the pictures of the quality page: failures by cause, sequences found against sequences named, how
well the embedding tells the site, and the sites compared. HTML, every text of a stranger escaped."""

from __future__ import annotations

import html
import typing
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.batch.index import FAILURES, embedded_scans
from BrainIACLib.batch.site_check import check_sites

if typing.TYPE_CHECKING:
    import pyarrow

MOST_COMPARED = 5_000  # embeddings by which sites are compared
MOST_SITES_SHOWN = 50


def failures_table(rows: list[dict[str, Any]]) -> str:
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
    table = f"<table><tr><th>scans</th><th>cause</th><th>such as</th></tr>{''.join(lines)}</table>"
    return f"{table}<p>All of them, with their files: <a href={FAILURES}>{FAILURES}</a>.</p>"


def sequences_table(done: "pyarrow.Table") -> str:
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


def sites_told(out: Path, done: "pyarrow.Table", failed: "pyarrow.Table", figures: Mapping[str, np.ndarray]) -> str:
    """How well the embedding tells the site, and the sites beside each other.

    Parameters
    ----------
    figures : title -> (n,) of the rows of ``done``, NaN where there is none.
    """
    there = [name for name in ("site", "dataset") if name in done.column_names]
    column = next((name for name in there if any(done[name].to_pylist())), None)
    if column is None:
        return "<p>No column 'site' or 'dataset' tells where the scans are from.</p>"
    return _warning(out, done, column) + _beside(done, failed, column, figures)


def _warning(out: Path, done: "pyarrow.Table", column: str) -> str:
    import pyarrow

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
        return f"<p>Not asked: it takes two values of '{column}' with five scans each, and five people.</p>"
    warning = " class=warning" if found.low > found.chance else ""
    return f"<p{warning}>{html.escape(found.in_words)}</p>"


def _beside(done: "pyarrow.Table", failed: "pyarrow.Table", column: str, figures: Mapping[str, np.ndarray]) -> str:
    """A row a site: how many scans, how many without results, and the median of each figure."""
    of_done = np.array([value or "" for value in done[column].to_pylist()])
    without = Counter(value or "" for value in failed[column].to_pylist())
    scans = Counter(of_done.tolist())
    ordered = [name for name, _ in (scans + without).most_common()]
    lines = []
    for name in ordered[:MOST_SITES_SHOWN]:
        cells = [name or "(empty)", str(scans[name]), str(without[name] or "")]
        for values in figures.values():
            known = values[of_done == name]
            known = known[np.isfinite(known)]
            cells.append(f"{float(f'{np.median(known):.3g}'):g}" if len(known) else "")
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    more = len(ordered) - len(lines)
    titles = [column, "scans", "failed", *(f"median {title}" for title in figures)]
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{rows}</table>" + (f"<p>{more} more, with fewer scans.</p>" if more else "")
