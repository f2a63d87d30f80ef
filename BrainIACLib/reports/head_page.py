"""The report of a trained head as one page for a browser: offline, without scripts, in the words of ``words``."""

from __future__ import annotations

from html import escape

from BrainIACLib.head_training.report import HeadReport
from BrainIACLib.head_training.words import hardest_in_words, sections

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 1.8rem }
section.doubts { border-left: 4px solid #c77700; background: #fff6e5; padding: .2rem 1rem }
table { border-collapse: collapse } td, th { border: 1px solid #c9d3dd; padding: .3rem .7rem; text-align: right }
footer { margin-top: 2rem; color: #51606e }
"""
MOST_HARD = 10


def head_page(report: HeadReport) -> str:
    """The whole document."""
    parts = [f"<h1>{escape(report.task)}</h1>"]
    for number, section in enumerate(sections(report)):
        doubts = " class='doubts'" if number == 0 and section.title == "Before you use it" else ""
        lines = "".join(f"<li>{escape(line)}</li>" for line in section.lines)
        parts.append(f"<section{doubts}><h2>{escape(section.title)}</h2><ul>{lines}</ul></section>")
    if report.confusion:
        parts.append(_confusion(report))
    hard = "".join(f"<li>{escape(line)}</li>" for line in hardest_in_words(report, MOST_HARD))
    parts.append(f"<h2>Hardest cases, answered by a head that had not seen the patient</h2><ol>{hard}</ol>")
    parts.append(f"<footer>{escape(report.notice)} Made by BrainIAC {escape(report.library)}.</footer>")
    head = f"<meta charset='utf-8'><title>{escape(report.task)}: what the head is worth</title><style>{STYLE}</style>"
    return f"<!doctype html>\n<html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _confusion(report: HeadReport) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in report.classes)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{count}</td>' for count in row)}</tr>"
        for name, row in zip(report.classes, report.confusion, strict=True)
    )
    return f"<h2>Answers of each true class</h2><table><tr><th>truth</th>{names}</tr>{rows}</table>"
