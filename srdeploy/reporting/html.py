"""Pieces of HTML that sections are made of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def section(key: str, title: str, body: str) -> str:
    """A section of the page."""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{body}</section>'


def lead(text: str) -> str:
    """The sentences that open a section."""
    return f'<p class="lead">{escape(text)}</p>' if text else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A table whose cells are HTML; the first ``texts`` columns are words, the others figures.

    On a phone each row becomes a card whose figures carry their column's name.
    """
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for row in rows:
        cells = []
        for number, (name, cell) in enumerate(zip(head, row, strict=True)):
            style = ' class="word"' if number < texts else ""
            empty = ' data-empty=""' if cell in ("", "–") else ""
            cells.append(f'<td data-name="{escape(name, quote=True)}"{style}{empty}>{cell}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "".join(lines)
    return f'<table class="w{texts}"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>'


def legend(names: Sequence[str]) -> str:
    """Colours and what they stand for."""
    items = "".join(
        f'<span class="key"><i class="s{number % 6}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{items}</p>'


def figure(drawing: str, caption: str = "", title: str = "") -> str:
    """A drawing in a card."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    foot = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="card">{head}{drawing}{foot}</figure>'


def soft(text: str) -> str:
    """Second words, smaller and paler."""
    return f"<small>{escape(text)}</small>" if text else ""
