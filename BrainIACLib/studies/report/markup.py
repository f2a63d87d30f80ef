"""Text into HTML: everything is escaped here, and nowhere is markup taken from data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from BrainIACLib.answers import worth_showing
from BrainIACLib.trust.words import probability


def text(value: object) -> str:
    """Any value as text that a browser shows as it is."""
    return escape(str(value), quote=True)


def items(rows: Iterable[str], kind: str = "findings") -> str:
    """A list of ready markup; nothing where there are no rows."""
    listed = "".join(f"<li>{row}</li>" for row in rows)
    return f'<ul class="{kind}">{listed}</ul>' if listed else ""


def warnings(sentences: Iterable[str]) -> str:
    """Doubts, each with a sign and the word "warning" for those who hear the page."""
    listed = "".join(
        f'<li class="warning"><span class="heard">Warning: </span>{text(sentence)}</li>' for sentence in sentences
    )
    return f'<ul class="findings" aria-label="Warnings">{listed}</ul>' if listed else ""


def bars(probabilities: Mapping[str, float]) -> str:
    """Probabilities as bars with their numbers, largest first, without the smallest."""
    cells = "".join(
        f'<div>{text(name)}</div><div aria-hidden="true"><div class="bar" style="width:{100 * value:.1f}%"></div></div>'
        f"<div>{probability(value)}</div>"
        for name, value in worth_showing(probabilities).items()
    )
    return f'<div class="bars">{cells}</div>' if cells else ""


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in pairs)}</dl>"


def details(title: str, inside: str) -> str:
    """Markup that is folded away; the keyboard opens it."""
    return f"<details><summary>{text(title)}</summary>{inside}</details>"


def picture(source: str, alternative: str, caption: str) -> str:
    """A figure. ``alternative``: what the picture shows, for those who cannot see it."""
    return (
        f'<figure><img src="{source}" alt="{text(alternative)}" loading="lazy">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )
